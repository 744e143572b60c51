//! Readiness, then `recv` and `send` through one buffer that stays in the cache.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::Pair;

/// Larger ones leave the cache, smaller ones need more calls for bulk.
const BUFFER_BYTES: usize = 64 << 10;
const LISTENER: u64 = u64::MAX;

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
struct Relayed {
    pair: Pair,
    /// By the end that sends.
    from: [Direction; 2],
}

pub(super) fn run(listener: &TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut pairs: HashMap<u64, Relayed> = HashMap::new();
    let mut next = 0;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut events = [MaybeUninit::uninit(); 256];
    loop {
        let (ready, _) = match epoll::wait(&epoll, &mut events, None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in ready {
            if event.data.u64() == LISTENER {
                let (client, _) = listener.accept()?;
                // A client that is refused sees its connection close.
                let Ok(pair) = Pair::connect(client, upstream) else { continue };
                for (side, end) in pair.ends.iter().enumerate() {
                    let data = EventData::new_u64(next * 2 + side as u64);
                    epoll::add(
                        &epoll,
                        end,
                        data,
                        EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
                    )?;
                }
                pairs.insert(next, Relayed { pair, from: Default::default() });
                next += 1;
                continue;
            }
            let (key, side) = (event.data.u64() / 2, (event.data.u64() % 2) as usize);
            let Some(relayed) = pairs.get_mut(&key) else { continue };
            let flags = event.flags;
            let done = relayed.turn(side, flags, &mut buffer);
            if done {
                pairs.remove(&key);
            }
        }
    }
}

impl Relayed {
    /// Does what an event of one end allows. Whether both have ended.
    fn turn(&mut self, side: usize, flags: EventFlags, buffer: &mut Vec<u8>) -> bool {
        self.from[side].ending |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        // What waited for this end to take it can go, and then the other one is heard again.
        if flags.contains(EventFlags::OUT)
            && !self.from[1 - side].waiting.is_empty()
            && self.carry(1 - side, buffer).is_err()
        {
            return true;
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
            && self.carry(side, buffer).is_err()
        {
            return true;
        }
        self.from.iter().all(|direction| direction.ended)
    }

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
