//! Readiness, then `splice` through a pipe: bytes are not copied, their pages are handed on.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::Pair;
use super::turns::{self, Relayed};

/// As much as the kernel gives without privileges.
const PIPE_BYTES: usize = 1 << 20;

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
struct Spliced {
    pair: Pair,
    /// By the end that sends.
    from: [Direction; 2],
}

pub(super) fn run(listener: &TcpListener, upstream: SocketAddr) -> io::Result<()> {
    turns::run::<Spliced>(listener, upstream)
}

impl Relayed for Spliced {
    type Shared = ();

    fn new(pair: Pair) -> io::Result<Self> {
        Ok(Self { pair, from: [Direction::new()?, Direction::new()?] })
    }

    fn pair(&self) -> &Pair {
        &self.pair
    }

    fn turn(&mut self, side: usize, flags: EventFlags, (): &mut ()) -> bool {
        if flags.contains(EventFlags::OUT) && self.from[1 - side].in_pipe > 0 && self.carry(1 - side).is_err()
        {
            return true;
        }
        if turns::readable(flags) && self.carry(side).is_err() {
            return true;
        }
        self.from.iter().all(|direction| direction.ended)
    }
}

impl Spliced {
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
