//! Who may refer to an object of another namespace: ReferenceGrants (checklist RG1 to RG4).

use crate::objects::Kind;
use crate::world::World;

/// Whether an object of `from` in `namespace` may refer to an object.
pub(crate) fn permitted(
    world: &World,
    (from, namespace): (Kind, &str),
    (to_group, to_kind): (&str, &str),
    (to_namespace, to_name): (&str, &str),
) -> bool {
    namespace == to_namespace
        || world.grants.in_namespace(to_namespace).any(|grant| {
            let from_matches = grant.spec.from.iter().any(|entry| {
                entry.group == from.group() && entry.kind == from.as_str() && entry.namespace == namespace
            });
            let to_matches = grant.spec.to.iter().any(|entry| {
                entry.group == to_group
                    && entry.kind == to_kind
                    && entry.name.as_deref().is_none_or(|name| name == to_name)
            });
            from_matches && to_matches
        })
}
