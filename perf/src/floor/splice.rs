//! Readiness, then `splice` through a pipe: bytes are not copied, their pages are handed on.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::Pair;

/// As much as the kernel gives without privileges.
const PIPE_BYTES: usize = 1 << 20;
const LISTENER: u64 = u64::MAX;

/// One direction of a pair.
#[derive(Debug)]
struct Direction {
    from_pipe: OwnedFd,
    into_pipe: OwnedFd,
    in_pipe: usize,
    ended: bool,
}

impl Direction {
    fn new() -> io::Result<Self> {
        let (from_pipe, into_pipe) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller pipe works too.
        let _size = fcntl_setpipe_size(&into_pipe, PIPE_BYTES);
        Ok(Self { from_pipe, into_pipe, in_pipe: 0, ended: false })
    }
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
    let mut events = [MaybeUninit::uninit(); 256];
    loop {
        let (ready, _) = match epoll::wait(&epoll, &mut events, None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in ready {
            if event.data.u64() == LISTENER {
                let (client, _) = listener.accept()?;
                let Ok(pair) = Pair::connect(client, upstream) else { continue };
                let from = [Direction::new()?, Direction::new()?];
                for (side, end) in pair.ends.iter().enumerate() {
                    let data = EventData::new_u64(next * 2 + side as u64);
                    epoll::add(
                        &epoll,
                        end,
                        data,
                        EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
                    )?;
                }
                pairs.insert(next, Relayed { pair, from });
                next += 1;
                continue;
            }
            let (key, side) = (event.data.u64() / 2, (event.data.u64() % 2) as usize);
            let flags = event.flags;
            if pairs.get_mut(&key).is_some_and(|relayed| relayed.turn(side, flags)) {
                pairs.remove(&key);
            }
        }
    }
}

impl Relayed {
    /// Does what an event of one end allows. Whether both have ended.
    fn turn(&mut self, side: usize, flags: EventFlags) -> bool {
        if flags.contains(EventFlags::OUT) && self.from[1 - side].in_pipe > 0 && self.carry(1 - side).is_err()
        {
            return true;
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
            && self.carry(side).is_err()
        {
            return true;
        }
        self.from.iter().all(|direction| direction.ended)
    }

    /// Carries what one end has sent to the other until there is no more or no more is taken.
    fn carry(&mut self, side: usize) -> io::Result<()> {
        let (source, sink, direction) =
            (&self.pair.ends[side], &self.pair.ends[1 - side], &mut self.from[side]);
        while !direction.ended {
            if direction.in_pipe == 0 {
                match splice(
                    source,
                    None,
                    &direction.into_pipe,
                    None,
                    PIPE_BYTES,
                    SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
                ) {
                    Err(Errno::AGAIN) => return Ok(()),
                    Ok(0) => {
                        direction.ended = true;
                        return sink.shutdown(Shutdown::Write);
                    }
                    taken => direction.in_pipe = taken?,
                }
            }
            match splice(
                &direction.from_pipe,
                None,
                sink,
                None,
                direction.in_pipe,
                SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
            ) {
                Err(Errno::AGAIN) => return Ok(()),
                given => direction.in_pipe -= given?,
            }
        }
        Ok(())
    }
}
