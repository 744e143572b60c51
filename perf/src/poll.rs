//! Waiting for sockets: edge-triggered epoll, asked for everything once, so that a request costs no call for it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Events of one wait. More are there at the next one.
const EVENTS: usize = 256;

/// What is to be told of, and what was.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    /// Bytes, the end or an error may be read.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The other side sends no more, or all is over: read on to the end, short reads or not.
    pub(crate) ended: bool,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Tells of `socket`, until it is closed, under `token`: whenever it becomes readable or writable.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?)
    }

    /// Tells of connections to accept, as long as there are any. Of several threads that wait, one is woken.
    pub(crate) fn add_listener(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?)
    }

    /// Waits until something happened, but no longer than that; what it was is put into `into`.
    pub(crate) fn wait(&mut self, longest: Duration, into: &mut Vec<Ready>) -> io::Result<()> {
        self.events.clear();
        into.clear();
        // A day is as good as for ever, and always fits.
        let longest = longest.min(Duration::from_secs(86_400));
        let timeout =
            Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: i64::from(longest.subsec_nanos()) };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        into.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            Ready {
                token: event.data.u64(),
                readable: ended || flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                ended,
            }
        }));
        Ok(())
    }
}
