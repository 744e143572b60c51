//! One proxy's stream: what to send next, and what it said. Pure; time is an argument.
//!
//! One change is under way at a time: the next one is made when this one is acknowledged, and then it is all that came
//! meanwhile. So nothing queues for a slow proxy, and a fast one is never behind.

use std::sync::Arc;
use std::time::Instant;

use ringway_config::{ListenerKey, ResourceKey};
use ringway_wire::proto::from_controller::Message;
use ringway_wire::proto::{Acknowledgement, Batch, FromController, Heartbeat, Name, Position};
use ringway_wire::{Digests, Version, decode_name};

use super::ledger::Change;
use super::limits::{ACKNOWLEDGE_WITHIN, BEHIND_AT_MOST, HEARTBEAT_EVERY, REASON_BYTES_MAX, REFUSALS_MAX};

/// What a proxy said it has, when it came.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// Resources.
    pub(super) held: Vec<(Name, Version)>,
    /// Where they were made from.
    pub(super) positions: Vec<Position>,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this.
    Send(FromController),
    /// Make the first change, if what the controller has is not older than what the proxy has.
    First,
    /// Make the change from this generation on, if there is one.
    Since(u64),
    /// Nothing, before this time or a word from the proxy.
    Wait(Instant),
}

/// The state of a stream.
#[derive(Debug)]
pub(super) struct Session {
    /// Until the first change is made.
    start: Option<Start>,
    began: Instant,
    /// Of the last batch.
    number: u64,
    sending: Option<Sending>,
    unacknowledged: Option<Unacknowledged>,
    /// What it was sent last, to its end; 0 before.
    sent: u64,
    digests: Digests,
    beat: Instant,
    acknowledged: Option<Acknowledged>,
    /// All that went out, to be counted.
    pub(super) resources_sent: u64,
}

#[derive(Debug)]
struct Sending {
    change: Arc<Change>,
    next: usize,
}

#[derive(Debug)]
struct Unacknowledged {
    number: u64,
    to: u64,
    /// When something of it last went out.
    since: Instant,
}

/// What a proxy last said of what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    number: u64,
    pub(super) generation: u64,
    pub(super) refusals: Vec<(ResourceKey, String)>,
    pub(super) failed_binds: Vec<(ListenerKey, String)>,
}

impl Session {
    /// A proxy has come.
    pub(super) fn new(start: Start, now: Instant) -> Self {
        Self {
            start: Some(start),
            began: now,
            number: 0,
            sending: None,
            unacknowledged: None,
            sent: 0,
            digests: Digests::default(),
            beat: now + HEARTBEAT_EVERY,
            acknowledged: None,
            resources_sent: 0,
        }
    }

    /// Decides. [`Next::First`] and [`Next::Since`] are answered by `begin`, or by `idle`.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if let Some(sending) = self.sending.take() {
            return Next::Send(self.batch(sending, now));
        }
        if self.unacknowledged.is_none() {
            return if self.start.is_some() { Next::First } else { Next::Since(self.sent) };
        }
        self.idle(now)
    }

    /// There is no change to make.
    pub(super) fn idle(&mut self, now: Instant) -> Next {
        if now < self.beat {
            return Next::Wait(self.beat);
        }
        self.beat = now + HEARTBEAT_EVERY;
        let heartbeat = Heartbeat { digests: self.digests.to_wire(), batch: self.number };
        Next::Send(FromController { message: Some(Message::Heartbeat(heartbeat)) })
    }

    /// What the proxy came with, until the first change.
    pub(super) fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// Whether a controller that is behind what the proxy came with has waited long enough.
    pub(super) fn waited_enough(&self, now: Instant) -> bool {
        self.began + BEHIND_AT_MOST <= now
    }

    /// Sends this from now on: here is its first message.
    pub(super) fn begin(&mut self, change: Arc<Change>, now: Instant) -> Next {
        self.start = None;
        Next::Send(self.batch(Sending { change, next: 0 }, now))
    }

    fn batch(&mut self, Sending { change, next }: Sending, now: Instant) -> FromController {
        self.number += 1;
        let end = next + change.message_from(next);
        let mut batch =
            Batch { number: self.number, set: change.set[next..end].to_vec(), ..Batch::default() };
        self.resources_sent += batch.set.len() as u64;
        self.unacknowledged = Some(Unacknowledged { number: self.number, to: change.to, since: now });
        if end < change.set.len() {
            self.sending = Some(Sending { change, next: end });
        } else {
            batch.removed = change.removed.clone();
            batch.ends = true;
            batch.position = change.positions.to_vec();
            self.sent = change.to;
            self.digests = change.digests.clone();
        }
        FromController { message: Some(Message::Batch(batch)) }
    }

    /// The proxy answered. Says whether that is an answer to something.
    pub(super) fn acknowledge(&mut self, said: Acknowledgement) -> bool {
        let generation = match (&self.unacknowledged, &self.acknowledged) {
            (Some(waiting), _) if waiting.number == said.batch && self.sending.is_none() => waiting.to,
            // Again, with news: a listener got its socket.
            (_, Some(before)) if before.number == said.batch => before.generation,
            _ => return false,
        };
        if self.unacknowledged.as_ref().is_some_and(|waiting| waiting.number == said.batch) {
            self.unacknowledged = None;
        }
        let refusals = said
            .refusals
            .into_iter()
            .filter_map(|refusal| Some((decode_name(&refusal.name?).ok()?, shortened(refusal.reason))));
        let failed_binds = said
            .failed_binds
            .into_iter()
            .map(|bind| (ListenerKey::new(bind.listener), shortened(bind.reason)));
        self.acknowledged = Some(Acknowledged {
            number: said.batch,
            generation,
            refusals: refusals.take(REFUSALS_MAX).collect(),
            failed_binds: failed_binds.take(REFUSALS_MAX).collect(),
        });
        true
    }

    /// What the proxy last said.
    pub(super) fn acknowledged(&self) -> Option<&Acknowledged> {
        self.acknowledged.as_ref()
    }

    /// Whether it neither reads nor answers.
    pub(super) fn stalled(&self, now: Instant) -> bool {
        self.unacknowledged.as_ref().is_some_and(|waiting| waiting.since + ACKNOWLEDGE_WITHIN <= now)
    }
}

fn shortened(mut reason: String) -> String {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason.truncate(end);
    reason
}

/// Whether `ours` is older than what a proxy has, for any kind of objects: resource versions of one cluster are numbers
/// that grow. What cannot be compared is not held against us: a kind that is no longer watched, another cluster's form.
pub(super) fn behind(ours: &[Position], theirs: &[Position]) -> bool {
    theirs.iter().any(|their| {
        let ours = ours.iter().find(|our| our.kind == their.kind);
        let number = |position: &Position| position.resource_version.parse::<u128>().ok();
        ours.and_then(number).zip(number(their)).is_some_and(|(ours, theirs)| ours < theirs)
    })
}
