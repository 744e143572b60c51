//! The names of objects: kind, namespace, name. They sort, and print as `HTTPRoute/namespace/name`.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::parameters::GROUP_RINGWAY;
use super::shared::{GROUP, GROUP_X};

/// The namespace of a namespaced object that names none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

macro_rules! kinds {
    ($($kind:ident: $group:expr, [$($version:literal),*], $namespaced:literal;)*) => {
        /// A kind that we read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!("`", stringify!($kind), "`")] $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The kind's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }

            /// The kind's API group; empty for the core.
            pub fn group(self) -> &'static str {
                match self { $(Self::$kind => $group,)* }
            }

            /// The versions of the kind that decode into our type.
            pub fn versions(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &[$($version),*],)* }
            }

            /// Whether objects of the kind live in a namespace.
            pub fn namespaced(self) -> bool {
                match self { $(Self::$kind => $namespaced,)* }
            }
        }
    };
}

kinds! {
    Namespace: "", ["v1"], false;
    GatewayClass: GROUP, ["v1", "v1beta1"], false;
    Gateway: GROUP, ["v1", "v1beta1"], true;
    ListenerSet: GROUP, ["v1"], true;
    HTTPRoute: GROUP, ["v1", "v1beta1"], true;
    GRPCRoute: GROUP, ["v1"], true;
    TLSRoute: GROUP, ["v1", "v1alpha3", "v1alpha2"], true;
    TCPRoute: GROUP, ["v1", "v1alpha2"], true;
    UDPRoute: GROUP, ["v1", "v1alpha2"], true;
    ReferenceGrant: GROUP, ["v1", "v1beta1"], true;
    BackendTLSPolicy: GROUP, ["v1", "v1alpha3"], true;
    XBackend: GROUP_X, ["v1alpha1"], true;
    Service: "", ["v1"], true;
    EndpointSlice: "discovery.k8s.io", ["v1"], true;
    Secret: "", ["v1"], true;
    ConfigMap: "", ["v1"], true;
    GatewayParameters: GROUP_RINGWAY, ["v1alpha1"], true;
}

impl Kind {
    /// The kind that an object's `apiVersion` and `kind` name; `None`: one that we do not read.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let named = Self::ALL.iter().find(|known| known.as_str() == kind && known.group() == group)?;
        named.versions().contains(&version).then_some(*named)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of an object. Cloning shares the texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds without.
    pub namespace: Arc<str>,
    /// Its name in the namespace.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// The key of an object; the namespace is ignored for kinds without.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced() { namespace } else { "" };
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.namespaced() {
            write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
        } else {
            write!(f, "{}/{}", self.kind, self.name)
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_and_sort_by_kind_namespace_and_name() {
        let route = ObjectKey::new(Kind::HTTPRoute, "ns", "b");
        assert_eq!(route.to_string(), "HTTPRoute/ns/b");
        assert_eq!(ObjectKey::new(Kind::GatewayClass, "ns", "c").to_string(), "GatewayClass/c");
        assert!(ObjectKey::new(Kind::HTTPRoute, "ns", "a") < route);
        assert!(ObjectKey::new(Kind::Gateway, "z", "z") < route);
    }

    #[test]
    fn only_served_versions_are_read() {
        for (api_version, kind, expected) in [
            ("gateway.networking.k8s.io/v1", "HTTPRoute", Some(Kind::HTTPRoute)),
            ("gateway.networking.k8s.io/v1beta1", "HTTPRoute", Some(Kind::HTTPRoute)),
            ("gateway.networking.k8s.io/v1alpha2", "TCPRoute", Some(Kind::TCPRoute)),
            ("gateway.networking.k8s.io/v9", "HTTPRoute", None),
            ("v1", "Service", Some(Kind::Service)),
            ("v1", "HTTPRoute", None),
            ("apps/v1", "Deployment", None),
        ] {
            assert_eq!(Kind::of(api_version, kind), expected, "{api_version} {kind}");
        }
    }
}
