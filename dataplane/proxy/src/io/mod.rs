//! The machine: sockets, clocks and threads. The only module that names monoio.
//!
//! Sockets wait for readiness on the ring (or epoll) and are then used by calls that never block, so a wait may be
//! dropped at any time. Never here: self-waking to yield, `zero_copy`, `spawn_blocking`, `to_socket_addrs`, a
//! `JoinHandle` that crosses threads (each is a known trap of monoio 0.2.4).

mod clock;
mod datagrams;
mod driver;
mod listen;
mod machine;
mod memory;
mod pages;
mod stream;
mod turn;

pub use driver::{Cause, Driver, DriverChoice};
pub use listen::{Inherited, Sockets};
pub use machine::{Machine, Mailboxes, Unattached};
pub use memory::give_back_memory;
pub use pages::give_back_pages;

pub(crate) use driver::run_on;

/// The size of the future that a closure would make; nothing is run.
#[cfg(test)]
pub(crate) fn size_of_future<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}
