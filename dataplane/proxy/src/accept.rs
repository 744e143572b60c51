//! Accepts connections of one bind, a bounded number a turn. The kernel deals them out without looking, so a core with much
//! more to do than others hands one on before anything was read from it.
//!
//! Whoever accepted a connection counts it until it has ended, wherever it is served: a drain waits for it, and limits are
//! those of the core that serves it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::Bind;
use ringway_core::handover::hand_to;
use rustix::io::Errno;

use crate::connection;
use crate::env::{Acceptor, CoreIndex, Env};
use crate::mailbox::Message;
use crate::race::{First, race};
use crate::signal::Signal;
use crate::worker::Worker;

/// Connections accepted before other tasks get a turn.
const TURN_MAX: usize = 64;
/// How long accepting rests when the process or the machine is out of descriptors or memory. Connections wait in the
/// kernel's queue meanwhile.
const REST: Duration = Duration::from_millis(100);

/// Accepts until told to stop; then empties the queue and closes the socket.
pub async fn accept<E: Env>(worker: Rc<Worker<E>>, bind: Bind, acceptor: E::Acceptor, stop: Rc<Signal>) {
    // A drain is not over while the queue may hold connections.
    let _accepting = worker.drain.connection();
    loop {
        let stopping = matches!(race(acceptor.readable(), stop.wait()).await, First::Two(()));
        match accept_turn(&worker, bind, &acceptor) {
            Ok(Turn::Full) if stopping => stop.notify(),
            Ok(Turn::Full) => {}
            Ok(Turn::Empty) if stopping => return,
            Ok(Turn::Empty) => {}
            Err(_) if stopping => return,
            Err(error) => {
                tracing::warn!(%error, port = bind.port, "cannot accept connections; trying again soon");
                worker.env.sleep_until(worker.env.now() + REST).await;
            }
        }
    }
}

enum Turn {
    /// The queue is empty.
    Empty,
    /// There may be more.
    Full,
}

fn accept_turn<E: Env>(worker: &Rc<Worker<E>>, bind: Bind, acceptor: &E::Acceptor) -> io::Result<Turn> {
    for _ in 0..TURN_MAX {
        match acceptor.try_accept() {
            Ok(socket) => {
                let own = worker.env.core().index;
                let to = choose(worker);
                worker.env.add_load(to);
                if to == own {
                    serve_accepted(worker, bind, socket, own);
                } else {
                    worker.lend();
                    worker.env.post(to, Message::Connection { bind, socket, from: own });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Empty),
            // The client went away while it was queued, or a signal came.
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Turn::Full)
}

/// The core that is to serve a connection. Whoever is to end soon begins nothing elsewhere.
fn choose<E: Env>(worker: &Worker<E>) -> usize {
    let CoreIndex { index, count } = worker.env.core();
    if count == 1 || worker.drain.is_retiring() {
        return index;
    }
    let load = |core| worker.env.load(core);
    hand_to(index, count, load, worker.env.draw()).unwrap_or(index)
}

/// Serves a connection that was accepted here or by another core.
pub(crate) fn serve_accepted<E: Env>(worker: &Rc<Worker<E>>, bind: Bind, socket: E::Unattached, by: usize) {
    // Counted now: the task runs later, and the drain must not end in between.
    let open = worker.connection(by);
    match worker.env.attach_socket(socket) {
        Ok(socket) => worker.env.spawn(connection::serve(Rc::clone(worker), bind, socket, open)),
        // It went away while it waited, most likely.
        Err(error) => tracing::debug!(%error, port = bind.port, "an accepted connection cannot be served"),
    }
}

/// Whether an error is of the one connection that was accepted. Linux hands on the network's errors that were pending on it
/// (accept(2)).
fn is_transient(error: &io::Error) -> bool {
    let of_kind = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NotConnected
    );
    let of_network = matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
        )
    );
    of_kind || of_network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_befell_one_connection_does_not_stop_accepting() {
        let one = [Errno::CONNABORTED, Errno::PROTO, Errno::HOSTUNREACH, Errno::OPNOTSUPP, Errno::NONET];
        assert!(one.into_iter().all(|errno| is_transient(&errno.into())));
        let all = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::BADF];
        assert!(!all.into_iter().any(|errno| is_transient(&errno.into())));
    }
}
