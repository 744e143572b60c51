//! The names of resources. Each kind of name is a type of its own, so that they cannot be swapped.
//!
//! A key is shared (`Arc<str>`): cloning one never copies the text. Keys are made once, when configuration is
//! translated, and never on the request path.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A key with this text.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The key's text, as shown in metrics, logs and `translate`.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )*};
}

keys! {
    /// A gateway: `namespace/name`.
    GatewayKey;
    /// A listener: `Gateway/namespace/name/listener` or `ListenerSet/namespace/name/listener`.
    ListenerKey;
    /// A route: `HTTPRoute/namespace/name` and so on.
    RouteKey;
    /// A cluster: the backend's name and port with how it is spoken to, such as `Service/ns/name/8080/http1`.
    ClusterKey;
    /// An endpoint set: the backend's name and port, such as `Service/ns/name/8080`; clusters share it.
    EndpointSetKey;
    /// A certificate with its private key: `Secret/namespace/name`.
    CertificateKey;
}
