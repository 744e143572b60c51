//! What the end-to-end suites stand on: the real binary on free ports, scripted and packaged peers, a plain client.
//!
//! A suite starts a [`Gateway`] on manifests that it writes ([`manifest`]), in front of a [`Backend`] of its own or of
//! a packaged program (`peer`), and speaks to it over sockets. Nothing here knows ringway's code: what is checked is
//! what a user could see. Every wait has a deadline ([`wait`]), and nothing sleeps to be in time.
#![forbid(unsafe_code)]

mod backend;
mod certificate;
mod client;
mod figure;
mod folder;
mod gateway;
mod http2;
pub mod manifest;
#[cfg(feature = "peers")]
pub mod peer;
mod port;
mod share;
mod wait;

pub use backend::{Backend, Received, Reply};
pub use certificate::{Authority, Identity};
pub use client::{Answer, Connection, Transport};
pub use figure::figure;
pub use folder::Folder;
pub use gateway::{Builder, Driver, Gateway, Memory, binary};
pub use http2::{Asked, Http2};
pub use port::{Port, free_port};
pub use share::fits;
pub use wait::{DEADLINE, eventually};

/// Makes of each function that takes a [`Driver`] two tests, one for each way to ask the kernel for I/O.
#[macro_export]
macro_rules! on_both_drivers {
    ($($name:ident),* $(,)?) => {
        mod io_uring {
            $(#[test] fn $name() { super::$name($crate::Driver::IoUring); })*
        }
        mod epoll {
            $(#[test] fn $name() { super::$name($crate::Driver::Epoll); })*
        }
    };
}
