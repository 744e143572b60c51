//! Who is older: the tie-break of everything that can conflict (checklist M2, R8, LSET4, TLS6).

use std::cmp::Ordering;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ringway_config::RouteAge;

use crate::world::Name;

/// Sorts older objects first, then by `namespace/name` as one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seniority {
    created: RouteAge,
    name: Name,
}

impl Seniority {
    pub(crate) fn of(metadata: &ObjectMeta, name: &Name) -> Self {
        Self { created: created(metadata), name: name.clone() }
    }
}

impl Ord for Seniority {
    fn cmp(&self, other: &Self) -> Ordering {
        let text = |name: &'_ Name| [name.namespace.as_bytes(), b"/", name.name.as_bytes()].concat();
        self.created.cmp(&other.created).then_with(|| text(&self.name).cmp(&text(&other.name)))
    }
}

impl PartialOrd for Seniority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// When an object was created; the epoch if it does not say.
pub(crate) fn created(metadata: &ObjectMeta) -> RouteAge {
    RouteAge(metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_in_age_sort_by_namespace_and_name_as_one_text() {
        let of = |namespace, name| Seniority::of(&ObjectMeta::default(), &Name::new(namespace, name));
        assert!(of("a-b", "x") < of("a", "x"), "`-` comes before `/`");
        assert!(of("a", "a") < of("a", "b"));
    }
}
