//! The outside world as the proxy sees it: time, chance, tasks, sockets, names and the other cores.
//!
//! Two implementations exist: the machine (`io/`, the only place that names monoio) and the simulator. Production
//! code runs unchanged in both. Readiness is waited for and then used by calls that never block: so every future here
//! may be dropped at any time without losing a byte.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::SystemTime;

use ringway_core::Instant;

use crate::mailbox::Message;

/// One core's view of the outside world. Cloning is cheap (a reference count within the core).
pub trait Env: Clone + 'static {
    /// A connected stream socket.
    type Socket: Socket;
    /// A listening stream socket.
    type Acceptor: Acceptor<Accepted = Self::Unattached>;
    /// A datagram socket.
    type Datagrams: Datagrams;
    /// A socket on its way to the core that will serve it.
    type Unattached: Send + 'static;

    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Wall-clock time: for logs, `date` and certificates only, never for timeouts.
    fn wall(&self) -> SystemTime;

    /// 64 random bits.
    fn draw(&self) -> u64;

    /// Runs a task on this core. A panic in it ends that task alone, and is counted.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// How many tasks of this core ended by a panic so far.
    fn panics(&self) -> u64;

    /// Waits until an instant.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;

    /// Waits until this core's other tasks, its sockets and its clock have had their turn. For whoever would go on for as
    /// long as others are fast enough.
    fn turn(&self) -> impl Future<Output = ()>;

    /// Makes a connection. Has no timeout of its own; dropping the future gives up.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Socket>>;

    /// Makes a datagram socket on a free port that exchanges datagrams with one address.
    fn connect_datagrams(&self, to: SocketAddr) -> io::Result<Self::Datagrams>;

    /// Makes a listening socket this core's own.
    fn attach_acceptor(&self, socket: Self::Unattached) -> io::Result<Self::Acceptor>;

    /// Makes a connected socket this core's own.
    fn attach_socket(&self, socket: Self::Unattached) -> io::Result<Self::Socket>;

    /// Makes a datagram socket this core's own.
    fn attach_datagrams(&self, socket: Self::Unattached) -> io::Result<Self::Datagrams>;

    /// Resolves a name. An empty answer is an error.
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>>;

    /// Which core this is, and how many there are.
    fn core(&self) -> CoreIndex;

    /// Sends a message to a core (this one included). Never waits: a mailbox has room for all that its senders may have under
    /// way. Should it be full all the same, the message is lost, and counted.
    fn post(&self, core: usize, message: Message<Self::Unattached>);

    /// Client connections that a core has or is about to get.
    fn load(&self, core: usize) -> usize;

    /// A core is about to get one more.
    fn add_load(&self, core: usize);

    /// One of this core's has ended.
    fn end_load(&self);

    /// The next message to this core; `None` when there will be no more. One task receives.
    fn receive(&self) -> impl Future<Output = Option<Message<Self::Unattached>>>;
}

/// Which core of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreIndex {
    /// From zero.
    pub index: usize,
    /// At least one.
    pub count: usize,
}

/// A listening stream socket.
pub trait Acceptor: 'static {
    /// What it accepts: any core may serve it.
    type Accepted;

    /// Waits until a connection may be there.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Accepts a connection that is there; `WouldBlock` if none is.
    fn try_accept(&self) -> io::Result<Self::Accepted>;

    /// The address it listens on.
    fn local(&self) -> SocketAddr;
}

/// A connected stream socket. All methods take `&self`: one side may read while the other writes.
pub trait Socket: 'static {
    /// Waits until reading may give something: bytes, the end, or an error.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Waits until writing may take something.
    fn writable(&self) -> impl Future<Output = io::Result<()>>;

    /// Reads what is there; 0 is the end of the stream; `WouldBlock` if nothing is there. `buffer` is not empty.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes what fits; `WouldBlock` if nothing does.
    fn try_write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether the connection is gone both ways: it was reset, or it failed. Consumes nothing, neither bytes nor the error.
    /// That the other side has ended alone is no such thing.
    fn is_gone(&self) -> bool;

    /// Says that nothing more will be written.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Makes the close that follows a reset instead of an orderly end.
    fn reset_on_close(&self);

    /// Our address.
    fn local(&self) -> SocketAddr;

    /// The other end's address.
    fn remote(&self) -> SocketAddr;

    /// The address the connection was made to before it was redirected to us, if it was.
    fn original_destination(&self) -> Option<SocketAddr>;

    /// The descriptor, for splice and kernel TLS; `None` in the simulator.
    fn raw_fd(&self) -> Option<BorrowedFd<'_>>;
}

/// A datagram socket.
pub trait Datagrams: 'static {
    /// Waits until a datagram may be there.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Receives one datagram; longer ones are cut to the buffer. `WouldBlock` if none is there.
    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received>;

    /// Sends one datagram: to an address, or to the connected one; from a local address of ours if given.
    /// `WouldBlock` if there is no room: the caller drops it, as the network would.
    fn try_send(&self, datagram: &[u8], to: Option<SocketAddr>, from: Option<IpAddr>) -> io::Result<()>;

    /// Our address.
    fn local(&self) -> SocketAddr;
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address of ours that it was sent to; replies leave from there.
    pub to: IpAddr,
}
