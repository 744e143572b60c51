//! What happened in a run, in order: a hash of all of it, and the last lines in full.
//!
//! Two runs of one seed must have equal traces. Lengths are recorded, never contents: keys of TLS differ from run to
//! run, the sizes of its records do not.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;

use ringway_core::Instant;

use crate::world::Place;

/// Events kept for the reader of a failure.
const TAIL_EVENTS_MAX: usize = 400;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A task ran. Hashed, but too common to keep.
    Poll(u64),
    /// A task was started.
    Spawn(u64),
    /// A task is over.
    End(u64),
    /// A task panicked.
    Panic(u64),
    /// A connection was made and waits to be accepted.
    Connect {
        /// Its number.
        link: u64,
        /// Who connected.
        from: SocketAddr,
        /// Whereto.
        to: SocketAddr,
    },
    /// A connection could not be made.
    ConnectFailed(SocketAddr, ErrorKind),
    /// A connection was accepted.
    Accept(u64),
    /// Bytes were read by one side (0 connected, 1 was accepted). 0 bytes: the end was read.
    Read(u64, u8, usize),
    /// Bytes were written by one side.
    Write(u64, u8, usize),
    /// A side said that it will write no more.
    Shutdown(u64, u8),
    /// A side closed.
    Close(u64, u8),
    /// A reset reached a side.
    Reset(u64, u8),
    /// The network harmed a connection.
    Harm(u64, &'static str),
    /// A message reached a core.
    Mail(u16),
    /// A core stands still until an instant.
    Stall(Instant),
    /// A datagram was sent; how many copies of it arrive.
    Datagram(SocketAddr, SocketAddr, usize, u8),
    /// A peer or checker says something.
    Note(Rc<str>),
}

/// The record of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    events: u64,
    tail: VecDeque<(Instant, Place, Event)>,
    /// Each event is also printed as it happens.
    aloud: bool,
}

impl Trace {
    pub(crate) fn new(aloud: bool) -> Self {
        Self { aloud, ..Self::default() }
    }

    /// Adds an event.
    pub(crate) fn record(&mut self, at: Instant, place: Place, event: Event) {
        (at, place, &event).hash(&mut self.hasher);
        self.events += 1;
        if matches!(event, Event::Poll(_)) {
            return;
        }
        if self.aloud {
            eprintln!("{}", Line(&(at, place, event.clone())));
        }
        if self.tail.len() == TAIL_EVENTS_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back((at, place, event));
    }

    /// Stands for everything that happened: how many events, and a hash of all.
    pub fn fingerprint(&self) -> (u64, u64) {
        (self.events, self.hasher.finish())
    }

    /// The last events, a line each.
    pub fn last_lines(&self, count: usize) -> String {
        let skipped = self.tail.len().saturating_sub(count);
        self.tail.iter().skip(skipped).map(|entry| format!("{}\n", Line(entry))).collect()
    }
}

struct Line<'a>(&'a (Instant, Place, Event));

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, place, event) = self.0;
        let micros = at.as_nanos() / 1000;
        write!(f, "{:4}.{:06} {place:<8} ", micros / 1_000_000, micros % 1_000_000)?;
        match event {
            Event::Poll(task) => write!(f, "task {task} runs"),
            Event::Spawn(task) => write!(f, "task {task} starts"),
            Event::End(task) => write!(f, "task {task} ends"),
            Event::Panic(task) => write!(f, "task {task} PANICS"),
            Event::Connect { link, from, to } => write!(f, "link {link}: {from} connects to {to}"),
            Event::ConnectFailed(to, kind) => write!(f, "connecting to {to} fails: {kind}"),
            Event::Accept(link) => write!(f, "link {link}: accepted"),
            Event::Read(link, side, 0) => write!(f, "link {link}{}: reads the end", letter(*side)),
            Event::Read(link, side, bytes) => write!(f, "link {link}{}: reads {bytes}", letter(*side)),
            Event::Write(link, side, bytes) => write!(f, "link {link}{}: writes {bytes}", letter(*side)),
            Event::Shutdown(link, side) => write!(f, "link {link}{}: shuts down writing", letter(*side)),
            Event::Close(link, side) => write!(f, "link {link}{}: closes", letter(*side)),
            Event::Reset(link, side) => write!(f, "link {link}{}: is reset", letter(*side)),
            Event::Harm(link, what) => write!(f, "link {link}: FAULT {what}"),
            Event::Mail(core) => write!(f, "mail for core {core}"),
            Event::Stall(until) => write!(f, "FAULT stands still until {} us", until.as_nanos() / 1000),
            Event::Datagram(from, to, bytes, copies) => {
                write!(f, "datagram {from} to {to}, {bytes} bytes, arrives {copies} times")
            }
            Event::Note(text) => write!(f, "{text}"),
        }
    }
}

/// `c` for the side that connected, `a` for the one that accepted.
fn letter(side: u8) -> char {
    if side == 0 { 'c' } else { 'a' }
}
