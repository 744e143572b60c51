//! Readiness, then `recv` and `send` through one buffer that stays in the cache.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::Pair;
use super::turns::{self, Relayed};

/// Larger ones leave the cache, smaller ones need more calls for bulk.
const BUFFER_BYTES: usize = 64 << 10;

/// One direction of a pair.
#[derive(Debug, Default)]
struct Direction {
    /// What was received and not yet sent. While there is any, nothing is received.
    waiting: Vec<u8>,
    /// The kernel has told that the sender's end came. It tells so once, so that reading must go on until it is read.
    ending: bool,
    /// The sender's end was read and passed on.
    ended: bool,
}

#[derive(Debug)]
struct Copied {
    pair: Pair,
    /// By the end that sends.
    from: [Direction; 2],
}

/// Every byte goes through it.
struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(Vec::with_capacity(BUFFER_BYTES))
    }
}

pub(super) fn run(listener: &TcpListener, upstream: SocketAddr) -> io::Result<()> {
    turns::run::<Copied>(listener, upstream)
}

impl Relayed for Copied {
    type Shared = Buffer;

    fn new(pair: Pair) -> io::Result<Self> {
        Ok(Self { pair, from: Default::default() })
    }

    fn pair(&self) -> &Pair {
        &self.pair
    }

    fn turn(&mut self, side: usize, flags: EventFlags, Buffer(buffer): &mut Buffer) -> bool {
        self.from[side].ending |= turns::ending(flags);
        // What waited for this end to take it can go, and then the other one is heard again.
        if flags.contains(EventFlags::OUT)
            && !self.from[1 - side].waiting.is_empty()
            && self.carry(1 - side, buffer).is_err()
        {
            return true;
        }
        if turns::readable(flags) && self.carry(side, buffer).is_err() {
            return true;
        }
        self.from.iter().all(|direction| direction.ended)
    }
}

impl Copied {
    /// Carries what one end has sent to the other until there is no more or no more is taken.
    fn carry(&mut self, side: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let (source, sink, direction) =
            (&self.pair.ends[side], &self.pair.ends[1 - side], &mut self.from[side]);
        if direction.ended {
            return Ok(());
        }
        if !direction.waiting.is_empty() {
            let sent = send(sink, &direction.waiting)?;
            direction.waiting.drain(..sent);
            if !direction.waiting.is_empty() {
                return Ok(());
            }
            direction.waiting = Vec::new();
        }
        loop {
            buffer.clear();
            let received = match rustix::net::recv(source, spare_capacity(buffer), RecvFlags::empty()) {
                Err(Errno::AGAIN) => return Ok(()),
                received => received?.0,
            };
            if received == 0 {
                direction.ended = true;
                return sink.shutdown(Shutdown::Write);
            }
            let sent = send(sink, buffer)?;
            if sent < buffer.len() {
                direction.waiting = buffer[sent..].to_vec();
                return Ok(());
            }
            // A short read took all there was: what comes later is a new edge.
            if received < BUFFER_BYTES && !direction.ending {
                return Ok(());
            }
        }
    }
}

/// Sends what is taken now; that can be nothing.
fn send(sink: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(sink, bytes, SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN) => Ok(0),
        sent => Ok(sent?),
    }
}
