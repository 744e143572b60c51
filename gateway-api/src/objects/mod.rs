//! The objects that configure ringway, as a user writes them; tolerantly decoded.
//!
//! Gateway API kinds are types of our own: an unknown enum value or a new field never fails (checklist S8). Core
//! kinds come from `k8s-openapi`. Nothing here judges an object: `translate/` does, and tells in conditions.
// The fields are those of the Gateway API reference; repeating its text here would only drift from it.
#![expect(missing_docs, reason = "documented by the Gateway API reference")]

mod decode;
mod filter;
mod gateway;
mod key;
mod macros;
mod parameters;
mod policy;
mod route;
mod shared;
pub(crate) mod status;

pub use decode::{DecodeError, Object};
pub use filter::*;
pub use gateway::*;
pub use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
pub use k8s_openapi::api::discovery::v1::EndpointSlice;
pub use key::{Kind, ObjectKey};
pub use parameters::*;
pub use policy::*;
pub use route::*;
pub use shared::*;
pub use status::{
    Condition, GatewayClassStatus, GatewayStatus, ListenerSetStatus, ListenerStatus, NoStatus,
    PolicyAncestorStatus, PolicyStatus, RouteParentStatus, RouteStatus, SupportedFeature, XBackendStatus,
};
