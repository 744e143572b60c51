//! The built-in backend: answers with a fixed size, late or in fits if asked to, and cheaply enough to stand behind
//! every contestant.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How the backend answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answering {
    /// What is spoken on a connection.
    pub speaks: Speaks,
    /// Bytes of each response body. With TCP nothing is built: bytes go back as they came.
    pub response_bytes: usize,
    /// How long each answer waits.
    pub delay: Duration,
    /// Nothing at all is done for the first of these times in each of the second ones.
    pub stall: Option<(Duration, Duration)>,
}

/// What the backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, WebSocket echo by upgrade, HTTP/2 by prior knowledge and gRPC echo over it: told apart by what comes.
    Http,
    /// Bytes go back.
    TcpEcho,
    /// Bytes are thrown away.
    TcpSink,
}

/// A backend on threads of this process. Stops when dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Backend {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until the returned value is dropped. Threads inherit the CPUs of the calling thread.
pub fn serve(listener: TcpListener, answering: &Answering, threads: usize) -> io::Result<Backend> {
    let _ = (answering, threads);
    Ok(Backend { address: listener.local_addr()?, stop: Arc::new(AtomicBool::new(false)) })
}
