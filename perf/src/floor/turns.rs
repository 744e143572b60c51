//! Readiness, edge by edge: the loop under the relays that wait for it. How bytes are carried is theirs.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::Pair;

const LISTENER: u64 = u64::MAX;

/// A pair of connections, and what is on its way between them.
pub(super) trait Relayed: Sized {
    /// What all pairs use in turn.
    type Shared: Default;

    fn new(pair: Pair) -> io::Result<Self>;

    fn pair(&self) -> &Pair;

    /// Does what an event of one end allows. Whether both have ended.
    fn turn(&mut self, side: usize, flags: EventFlags, shared: &mut Self::Shared) -> bool;
}

/// Whether bytes, the end or an error of an end can be read.
pub(super) fn readable(flags: EventFlags) -> bool {
    flags.contains(EventFlags::IN) || ending(flags)
}

/// Whether an end will send no more than what is there. The kernel tells so once.
pub(super) fn ending(flags: EventFlags) -> bool {
    flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
}

pub(super) fn run<R: Relayed>(listener: &TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut door = Door { epoll: &epoll, listener, open: true };
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut pairs: HashMap<u64, R> = HashMap::new();
    let mut next = 0;
    let mut shared = R::Shared::default();
    let mut events = [MaybeUninit::uninit(); 256];
    loop {
        let (ready, _) = match epoll::wait(&epoll, &mut events, None) {
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in ready {
            if event.data.u64() == LISTENER {
                // A client that is refused sees its connection close.
                if let Some(relayed) = door.enter::<R>(upstream)?
                    && watch(&epoll, relayed.pair(), next).is_ok()
                {
                    pairs.insert(next, relayed);
                    next += 1;
                }
                continue;
            }
            let (key, side) = (event.data.u64() / 2, (event.data.u64() % 2) as usize);
            let Some(relayed) = pairs.get_mut(&key) else { continue };
            if relayed.turn(side, event.flags, &mut shared) {
                pairs.remove(&key);
                door.open()?;
            }
        }
    }
}

fn watch(epoll: &OwnedFd, pair: &Pair, key: u64) -> io::Result<()> {
    for (side, end) in pair.ends.iter().enumerate() {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(epoll, end, EventData::new_u64(key * 2 + side as u64), flags)?;
    }
    Ok(())
}

/// Where clients come in. It is shut while there are no descriptors for another, or the loop would only be told of it.
struct Door<'a> {
    epoll: &'a OwnedFd,
    listener: &'a TcpListener,
    open: bool,
}

impl Door<'_> {
    /// The next client with its upstream, unless that cannot be had.
    fn enter<R: Relayed>(&mut self, upstream: SocketAddr) -> io::Result<Option<R>> {
        match self.listener.accept() {
            Ok((client, _)) => Ok(Pair::connect(client, upstream).and_then(R::new).ok()),
            Err(error) if super::is_shortage(&error) => {
                self.listen(false)?;
                Ok(None)
            }
            // A client that is gone already.
            Err(_gone) => Ok(None),
        }
    }

    /// Somebody went.
    fn open(&mut self) -> io::Result<()> {
        if self.open { Ok(()) } else { self.listen(true) }
    }

    fn listen(&mut self, open: bool) -> io::Result<()> {
        let flags = if open { EventFlags::IN } else { EventFlags::empty() };
        epoll::modify(self.epoll, self.listener, EventData::new_u64(LISTENER), flags)?;
        self.open = open;
        Ok(())
    }
}
