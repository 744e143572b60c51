//! Gives every proxy its gateway's share of what is published, over one stream each.
//!
//! [`Hub`] takes what is published and knows what each proxy has; [`serve`] speaks to the proxies. What a change is for
//! whom (`scope`), what a proxy lacks (`ledger`) and what it is sent next (`session`) are decided by pure code.

mod admission;
mod hub;
mod ledger;
mod limits;
mod listen;
mod scope;
mod session;
mod stream;

pub use admission::{Admission, Admitted, Open, Refused, SharedToken};
pub use hub::{Generation, Hub, ProxyState};
pub use listen::{ServeError, serve, tls};
pub use ringway_wire::proto::Position;

#[cfg(test)]
mod tests;
