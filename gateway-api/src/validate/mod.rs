//! Whether objects follow the rules that the official definitions state, before anyone translates them. Pure.
//!
//! [`admit`] is what a cluster's API server would do: fill in defaults, check every object, and keep the
//! sound ones. Everything that is wrong is found at once, each [`Finding`] with a stable code, its place and
//! a hint. The tables in `kinds/` say what is allowed; `code.rs` lists what can be found. How objects fit
//! together is [`lint()`]'s matter.

mod annotations;
mod code;
mod defaults;
mod draft;
mod finding;
mod form;
mod kinds;
mod lint;
mod nearest;
mod schema;
mod shadow;
#[cfg(test)]
mod tests;
mod unread;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use code::{Code, Severity};
pub use defaults::apply_defaults;
pub use draft::Draft;
pub use finding::{Finding, sort};
pub use lint::lint;
pub use shadow::shadowed;

use crate::manifest::{Document, Scope, default_namespace, scope};
use walk::Checker;

/// What came of checking documents.
#[derive(Debug, Default)]
pub struct Admitted {
    /// The sound objects of kinds that ringway reads, defaults and namespace filled in, in the order given.
    pub documents: Vec<Document>,
    /// What the others are without what is unsound about them, for whoever looks for more to find.
    pub drafts: Vec<Draft>,
    /// All that was found, in the order of the text.
    pub findings: Vec<Finding>,
}

/// Checks documents as an API server does when they are applied, and keeps the sound ones. Of several
/// definitions of one object the first is kept.
pub fn admit(documents: Vec<Document>) -> Admitted {
    let mut admitted = Admitted::default();
    let mut first = BTreeMap::new();
    for mut document in documents {
        default_namespace(&mut document.value);
        apply_defaults(&mut document.value);
        let found = check(&document);
        let sound = found.iter().all(|finding| finding.severity != Severity::Error);
        let draft = if sound { None } else { Draft::of(&document, &found) };
        if let Some(draft) = draft.as_ref().filter(|draft| draft.is_whole()) {
            let told = |finding: &Finding| found.contains(finding) || draft.hides(finding);
            admitted.findings.extend(check(&draft.document).into_iter().filter(|finding| !told(finding)));
        }
        admitted.drafts.extend(draft);
        admitted.findings.extend(found);
        if !sound || kinds::of(&document.value).is_none() {
            continue;
        }
        let group = kinds::identity(&document.value).map(|(group, ..)| group.to_owned());
        let place = document.place("");
        if let Some(first) = first.get(&(group.clone(), document.name())) {
            let message = format!("is defined before, at {first}");
            admitted.findings.push(Finding::new(
                Code::DuplicateObject,
                &document,
                String::new(),
                message,
                None,
            ));
            continue;
        }
        first.insert((group, document.name()), place);
        admitted.documents.push(document);
    }
    let group = |document: &Document| kinds::identity(&document.value).map(|(group, ..)| group.to_owned());
    let mut names: BTreeSet<_> = first.into_keys().collect();
    admitted.drafts.retain(|draft| names.insert((group(&draft.document), draft.document.name())));
    finding::sort(&mut admitted.findings);
    admitted
}

/// Checks one object, whose defaults are filled in.
pub fn check(document: &Document) -> Vec<Finding> {
    let mut checker = Checker::new();
    inspect(&document.value, &mut checker);
    let located =
        |found: walk::Found| Finding::new(found.code, document, found.field, found.message, found.hint);
    let mut findings: Vec<Finding> = checker.found.into_iter().map(located).collect();
    finding::sort(&mut findings);
    findings
}

fn inspect<'v>(value: &'v Value, check: &mut Checker<'v>) {
    let Some((group, version, name)) = kinds::identity(value) else {
        let stated = |field| value.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        for field in ["apiVersion", "kind"] {
            if !stated(field) {
                check.report(field, Code::NoKind, format!("`{field}` is missing"), None);
            }
        }
        return;
    };
    let Some(kind) = kinds::of(value) else {
        let versions = kinds::versions(value);
        match versions.as_slice() {
            [] => unread::inspect(group, name, check),
            known => {
                let message = format!("version {version} is not served");
                let hint = Some(format!("use {}", known.join(" or ")));
                check.report("apiVersion", Code::VersionNotServed, message, hint);
            }
        }
        return;
    };
    inspect_name(kind, value, check);
    annotations::inspect(name, value, check);
    check.walk(&kind.shape, value);
}

fn inspect_name<'v>(kind: &kinds::Kind, value: &'v Value, check: &mut Checker<'v>) {
    let metadata = |field: &str| value.get("metadata").and_then(|metadata| metadata.get(field));
    match metadata("name") {
        None => check.report("metadata.name", Code::NoName, "is missing".to_owned(), None),
        Some(Value::String(name)) if name.len() <= kind.name_max && (kind.name.fits)(name) => {}
        Some(name) => {
            let shown: String = name.to_string().chars().take(80).collect();
            let message =
                format!("{shown} is not {}, of at most {} characters", kind.name.called, kind.name_max);
            check.report("metadata.name", Code::BadName, message, None);
        }
    }
    let Some(namespace) = metadata("namespace") else { return };
    let named =
        value.get("apiVersion").and_then(Value::as_str).zip(value.get("kind").and_then(Value::as_str));
    let scope = named.and_then(|(version, kind)| scope(version, kind));
    if scope == Some(Scope::Cluster) {
        check.broken("metadata.namespace", Code::NamespaceIgnored);
    } else if !namespace.as_str().is_some_and(form::dns_label) {
        let shown: String = namespace.to_string().chars().take(80).collect();
        let message = format!("{shown} is not {}", form::DNS_LABEL.called);
        check.report("metadata.namespace", Code::BadNamespace, message, None);
    }
}
