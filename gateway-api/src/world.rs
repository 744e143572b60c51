//! The world: every object that configuration is made from, as plain sorted maps.
//!
//! EndpointSlices are not part of it: they change far more often, and nothing but endpoint sets is made from them
//! (`translate/endpoints.rs`). A world knows no history; [`Changes`] make one world into the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ringway_config::pack;

use crate::objects::*;

/// New, changed and deleted objects. Their order does not matter, but for the last of several under one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Objects as they are now.
    pub upserts: Vec<Object>,
    /// Names of those that are gone. A name that is also among the upserts is there.
    pub deletes: Vec<ObjectKey>,
}

impl Changes {
    /// The change that brings these objects into an empty world.
    pub fn all(objects: impl IntoIterator<Item = Object>) -> Self {
        Self { upserts: objects.into_iter().collect(), deletes: vec![] }
    }
}

/// Objects of one kind by namespace and name. Kinds without namespace are under the empty one.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelf<T> {
    spaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<T>>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { spaces: BTreeMap::new() }
    }
}

impl<T> Shelf<T> {
    /// The object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.spaces.get(namespace)?.get(name)
    }

    /// Every object, by namespace, then name.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &Arc<T>)> {
        self.spaces.iter().flat_map(|(namespace, names)| {
            names.iter().map(|(name, object)| {
                (Name { namespace: Arc::clone(namespace), name: Arc::clone(name) }, object)
            })
        })
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.spaces.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    /// A name, with the texts that are here already, as far as they are.
    pub(crate) fn name(&self, namespace: &str, name: &str) -> Name {
        let Some((namespace, names)) = self.spaces.get_key_value(namespace) else {
            return Name::new(namespace, name);
        };
        let name = names.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        Name { namespace: Arc::clone(namespace), name }
    }

    fn pack(&mut self) {
        self.spaces.values_mut().for_each(pack);
    }

    pub(crate) fn insert(&mut self, name: Name, object: Arc<T>) -> Option<Arc<T>> {
        self.spaces.entry(name.namespace).or_default().insert(name.name, object)
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let names = self.spaces.get_mut(namespace)?;
        let removed = names.remove(name);
        if names.is_empty() {
            self.spaces.remove(namespace);
        }
        removed
    }
}

/// A namespace and a name in it. Cloning shares the texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace; empty for kinds without.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl Name {
    /// A name in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<&ObjectKey> for Name {
    fn from(key: &ObjectKey) -> Self {
        Self { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) }
    }
}

macro_rules! world {
    ($($field:ident: $kind:ident,)*) => {
        /// Every object but EndpointSlices, sorted.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[expect(missing_docs, reason = "each field is the kind it is named for")]
        pub struct World {
            $(pub $field: Shelf<$kind>,)*
        }

        impl World {
            /// Brings an object in; `false` if the same one was there, or if it is an EndpointSlice.
            pub fn set(&mut self, object: &Object) -> bool {
                self.enter(object).is_some()
            }

            /// Brings an object in and returns its name, with the texts by which the world knows it; `None` as for
            /// [`set`](Self::set).
            pub(crate) fn enter(&mut self, object: &Object) -> Option<ObjectKey> {
                let key = object.key();
                let (name, same) = match object {
                    $(Object::$kind(object_of_kind) => {
                        let name = self.$field.name(&key.namespace, &key.name);
                        let before = self.$field.insert(name.clone(), Arc::clone(object_of_kind));
                        (name, before.as_ref() == Some(object_of_kind))
                    })*
                    Object::EndpointSlice(_) => return None,
                };
                (!same).then_some(ObjectKey { kind: key.kind, namespace: name.namespace, name: name.name })
            }

            /// Gives back the room that was made for more.
            pub(crate) fn pack(&mut self) {
                $(self.$field.pack();)*
            }

            /// Takes an object out; `false` if it was not there.
            pub fn remove(&mut self, key: &ObjectKey) -> bool {
                match key.kind {
                    $(Kind::$kind => self.$field.remove(&key.namespace, &key.name).is_some(),)*
                    Kind::EndpointSlice => false,
                }
            }
        }
    };
}

world! {
    namespaces: Namespace,
    classes: GatewayClass,
    gateways: Gateway,
    listener_sets: ListenerSet,
    http_routes: HTTPRoute,
    grpc_routes: GRPCRoute,
    tls_routes: TLSRoute,
    tcp_routes: TCPRoute,
    udp_routes: UDPRoute,
    grants: ReferenceGrant,
    backend_tls_policies: BackendTLSPolicy,
    x_backends: XBackend,
    services: Service,
    secrets: Secret,
    config_maps: ConfigMap,
    parameters: GatewayParameters,
}

impl World {
    /// The world that these objects make.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let mut world = Self::default();
        for object in objects {
            world.set(object);
        }
        world
    }

    /// The value of a namespace's label. Every namespace is labelled with its own name, as Kubernetes does; one
    /// without an object has no other label.
    pub(crate) fn namespace_label<'a>(&'a self, namespace: &'a str, label: &str) -> Option<&'a str> {
        let object = self.namespaces.get("", namespace);
        let labels = object.and_then(|object| object.metadata.labels.as_ref());
        let written = labels.and_then(|labels| labels.get(label)).map(String::as_str);
        written.or((label == NAME_LABEL).then_some(namespace))
    }
}

/// The label that names a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_has_no_history() {
        let service = |name: &str| {
            let value = serde_json::json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "ns" },
            });
            Object::decode(value).unwrap().unwrap()
        };
        let mut world = World::of(&[service("a"), service("b")]);
        assert!(!world.set(&service("a")), "the same again");
        assert!(world.remove(&service("b").key()));
        assert!(!world.remove(&service("b").key()));
        assert_eq!(world, World::of(&[service("a")]));
        assert!(world.remove(&service("a").key()));
        assert_eq!(world, World::default(), "an emptied namespace leaves nothing behind");
    }
}
