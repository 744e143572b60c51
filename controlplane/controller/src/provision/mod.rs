//! What runs for each Gateway: a Deployment of proxies, the Service before it, and what these need.
//!
//! [`desired()`] decides what there should be, [`plan()`] what is to be done about what there is, and [`apply()`] does it.
//! Objects are owned by their Gateway and go with it.

pub mod addresses;
mod apply;
mod desired;
mod labels;
pub mod name;
mod objects;
mod plan;
mod pod;
mod view;

pub use apply::{Applied, Refusal, apply, live};
pub use desired::desired;
pub use labels::{CLASS_LABEL, GATEWAY_LABEL, MANAGED_BY, MANAGED_BY_LABEL, selector};
pub(crate) use objects::document;
pub use objects::{Made, Objects, Owner};
pub use plan::{Live, Step, plan};
pub use pod::{ADMIN_PORT, TOKEN_AUDIENCE};
pub use view::{GatewayView, Install, Port, ports};
