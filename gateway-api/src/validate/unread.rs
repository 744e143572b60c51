//! An object of a kind that is not read: whether that is fine, or something gets lost by a slip of the pen.

use super::code::Code;
use super::kinds::{self, GATEWAY_API, GATEWAY_API_X, Kind};
use super::nearest::nearest;
use super::walk::Checker;

/// Kinds of the Gateway API that are not served. They are known, lest they be taken for slips.
const NOT_SERVED: &[(&str, &str)] = &[(GATEWAY_API_X, "XBackendTrafficPolicy"), (GATEWAY_API_X, "XMesh")];

/// The group of Ingress, which is easily taken for that of the Gateway API.
const INGRESS: &str = "networking.k8s.io";

/// Says what an object is, of a kind that is not among ours.
pub(super) fn inspect(group: &str, kind: &str, check: &mut Checker<'_>) {
    if NOT_SERVED.contains(&(group, kind)) {
        let message = format!("{kind} is not served yet, so the object is skipped");
        return check.report("kind", Code::KindNotServed, message, None);
    }
    if [GATEWAY_API, GATEWAY_API_X].contains(&group) {
        let hint = meant(kind, |_| true).map_or_else(one_of_all, |meant| named(meant, group));
        return check.report("kind", Code::KindUnknown, unknown(group, kind), Some(hint));
    }
    // Others have kinds of the same names in groups of their own; in these there are none.
    let slip =
        ["", INGRESS].contains(&group) || nearest(group, [GATEWAY_API, GATEWAY_API_X].into_iter()).is_some();
    let lost = kinds::all().find(|known| slip && known.kind == kind && known.group != group);
    if let Some(known) = lost {
        return check.report(
            "apiVersion",
            Code::KindUnknown,
            unknown(group, kind),
            Some(named(known, group)),
        );
    }
    match meant(kind, |known| known.group == group) {
        Some(known) => {
            check.report("kind", Code::KindUnknown, unknown(group, kind), Some(named(known, group)));
        }
        None => {
            let message = "ringway does not read this kind, so the object is skipped".to_owned();
            check.report("", Code::KindSkipped, message, None);
        }
    }
}

/// The kind of the Gateway API, or else of `ours`, that a name was probably meant to be.
fn meant(kind: &str, ours: impl Fn(&Kind) -> bool) -> Option<&'static Kind> {
    let known = || kinds::all().filter(|known| ours(known));
    let name = nearest(kind, known().map(|known| known.kind))?;
    known().find(|known| known.kind == name)
}

fn unknown(group: &str, kind: &str) -> String {
    let group = if group.is_empty() { "the core API" } else { group };
    format!("there is no kind {kind} in {group}, so the object is skipped")
}

fn named(known: &Kind, group: &str) -> String {
    match known.group == group {
        true => format!("did you mean `{}`?", known.kind),
        false => format!("did you mean `apiVersion: {}`, `kind: {}`?", known.api_version(), known.kind),
    }
}

fn one_of_all() -> String {
    let mut names: Vec<&str> =
        kinds::all().filter(|known| known.group == GATEWAY_API).map(|known| known.kind).collect();
    names.dedup();
    format!("use one of {}", names.join(", "))
}
