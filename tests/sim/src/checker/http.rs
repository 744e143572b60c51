//! What must hold of HTTP requests, whatever the protocol versions and the faults.
//!
//! Every request has an id, in its path and in a field. Every answer of a backend has a number, in a field. Bodies
//! follow from them ([`Content`]). So a request's life can be told from what both ends saw, without knowing what
//! happened between them. Failures are weighed against the harm that network and backends did: each harm excuses one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ringway_core::Instant;

use crate::checker::content::Content;
use crate::world::World;

/// The field with a request's id.
pub const ID: &str = "x-sim-id";

/// The field with an answer's number.
pub const ANSWER: &str = "x-sim-answer";

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its id.
    pub id: u64,
    /// Its method.
    pub method: &'static str,
    /// Its body's length; `None`: it has none.
    pub body: Option<usize>,
}

impl Ask {
    /// Doing it twice is as good as once.
    pub fn idempotent(self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
    }

    /// Where it goes.
    pub fn path(self) -> String {
        format!("/r/{}", self.id)
    }
}

/// What a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A backend's answer, whole: its number, status and body length.
    Answered {
        /// The answer's number.
        answer: u64,
        /// The status.
        status: u16,
        /// Bytes of its body.
        length: u64,
    },
    /// An answer that no backend gave.
    Refused(u16),
    /// No answer, or not all of it, and this was visible.
    Broken {
        /// The client's own connection was broken by the network.
        excused: bool,
        /// The connection ended before the first byte of an answer.
        unserved: bool,
    },
}

/// What a scenario allows.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How often the policy may send a request again, of whatever method.
    pub retries_max: u32,
    /// A request may find its connection closing: the proxy drains, or closes idle connections.
    pub may_close: bool,
    /// How many requests one harm may break: those that share a connection.
    pub broken_by_harm_max: u64,
}

impl Default for Rules {
    /// One request at a time on a connection, without a retry policy.
    fn default() -> Self {
        Self { retries_max: 0, may_close: false, broken_by_harm_max: 1 }
    }
}

/// The oracle of a run.
pub struct Http {
    world: World,
    rules: Cell<Rules>,
    serial: Cell<u64>,
    records: RefCell<BTreeMap<u64, Record>>,
    /// Backends that were removed, and since when.
    retired: RefCell<BTreeMap<u16, Instant>>,
    races: Cell<u64>,
}

struct Record {
    ask: Ask,
    asked: Instant,
    arrivals: u32,
    answers: Vec<Answer>,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
struct Answer {
    number: u64,
    status: u16,
    length: u64,
}

impl Http {
    /// The oracle of a world.
    pub fn new(world: &World, rules: Rules) -> Rc<Self> {
        Rc::new(Self {
            world: world.clone(),
            rules: Cell::new(rules),
            serial: Cell::new(1),
            records: RefCell::default(),
            retired: RefCell::default(),
            races: Cell::new(0),
        })
    }

    /// From now on the proxy may close connections at any time.
    pub fn may_close(&self) {
        self.rules.set(Rules { may_close: true, ..self.rules.get() });
    }

    /// No request that is asked from now on may reach a backend: every core knows that it was removed.
    pub fn retired(&self, backend: u16) {
        self.world.note(format!("backend {backend} is removed"));
        self.retired.borrow_mut().entry(backend).or_insert(self.world.now());
    }

    /// A backend may get requests again.
    pub fn restored(&self, backend: u16) {
        self.retired.borrow_mut().remove(&backend);
    }

    /// A backend closes an idle connection just as a request may be on its way to it.
    pub fn may_race(&self) {
        self.races.set(self.races.get() + 1);
    }

    /// A client is about to send a request.
    pub fn asks(&self, method: &'static str, body: Option<usize>) -> Ask {
        let ask = Ask { id: self.number(), method, body };
        let asked = self.world.now();
        let record = Record { ask, asked, arrivals: 0, answers: Vec::new(), outcome: None };
        self.records.borrow_mut().insert(ask.id, record);
        ask
    }

    /// A request's head reached a backend. `None`: it must not be there, and the run is over.
    pub fn arrived(&self, backend: u16, id: u64, method: &str) -> Option<Ask> {
        let mut records = self.records.borrow_mut();
        let Some(record) = records.get_mut(&id) else {
            self.world.violated(format!("backend {backend} got request {id}, which nobody sent"));
            return None;
        };
        record.arrivals += 1;
        self.world.note(format!("request {id} reaches backend {backend}, time {}", record.arrivals));
        let (ask, arrivals) = (record.ask, record.arrivals);
        if ask.method != method {
            self.world.violated(format!("request {id} was {}, and arrived as {method}", ask.method));
        }
        // Without a policy only one thing sends again what may have been seen: a race for a reused connection.
        let allowed = 1 + u32::from(ask.idempotent()) + self.rules.get().retries_max;
        if arrivals > allowed {
            self.world.violated(format!("request {id} ({method}) was sent {arrivals} times"));
        }
        let retired = self.retired.borrow().get(&backend).copied();
        if retired.is_some_and(|since| record.asked > since) {
            self.world.violated(format!("request {id} reached backend {backend}, which was removed before"));
        }
        Some(ask)
    }

    /// A piece of a request's body reached a backend.
    pub fn received(&self, ask: Ask, offset: u64, piece: &[u8]) {
        if let Some(at) = Content::of_request(ask.id).difference(offset, piece) {
            self.world.violated(format!("request {}: byte {at} of its body is wrong", ask.id));
        }
    }

    /// A request's body reached its end at a backend.
    pub fn received_whole(&self, ask: Ask, length: u64) {
        let sent = ask.body.unwrap_or(0) as u64;
        if length != sent {
            self.world.violated(format!("request {}: {length} bytes arrived, {sent} were sent", ask.id));
        }
    }

    /// A backend is about to answer; returns the answer's number.
    pub fn answers(&self, ask: Ask, status: u16, length: u64) -> u64 {
        let number = self.number();
        if let Some(record) = self.records.borrow_mut().get_mut(&ask.id) {
            record.answers.push(Answer { number, status, length });
        }
        number
    }

    /// A piece of an answer's body reached a client.
    pub fn got(&self, ask: Ask, answer: u64, offset: u64, piece: &[u8]) {
        if let Some(at) = Content::of_answer(answer).difference(offset, piece) {
            self.world.violated(format!("request {}: byte {at} of its answer is wrong", ask.id));
        }
    }

    /// A client knows what became of its request.
    pub fn outcome(&self, ask: Ask, outcome: Outcome) {
        self.world.note(format!("request {}: {outcome:?}", ask.id));
        let mut records = self.records.borrow_mut();
        let record = records.get_mut(&ask.id).expect("the client made it with `asks`");
        if let Some(before) = record.outcome.replace(outcome) {
            self.world.violated(format!("request {} ended twice: {before:?}, {outcome:?}", ask.id));
        }
        let Outcome::Answered { answer, status, length } = outcome else { return };
        let Some(given) = record.answers.iter().find(|given| given.number == answer) else {
            self.world.violated(format!("request {} got answer {answer}, which is not its own", ask.id));
            return;
        };
        let length_given = if ask.method == "HEAD" { 0 } else { given.length };
        if (given.status, length_given) != (status, length) {
            self.world.violated(format!(
                "request {}: the backend answered {} with {length_given} bytes, the client got {status} with {length}",
                ask.id, given.status
            ));
        }
    }

    /// Whether it is known what became of a request.
    pub fn has_outcome(&self, ask: Ask) -> bool {
        self.records.borrow().get(&ask.id).is_some_and(|record| record.outcome.is_some())
    }

    /// Whether a backend gave this answer to this request.
    pub fn is_answer_to(&self, ask: Ask, answer: u64) -> bool {
        let records = self.records.borrow();
        records.get(&ask.id).is_some_and(|record| record.answers.iter().any(|given| given.number == answer))
    }

    /// Weighs the whole run: every request has one outcome, and failures have causes.
    pub fn finish(&self) {
        let records = self.records.borrow();
        let (mut failures, mut raced_only) = (0, 0);
        for record in records.values() {
            let Some(outcome) = record.outcome else {
                return self.world.violated(format!("request {} has no outcome", record.ask.id));
            };
            match outcome {
                Outcome::Answered { .. } | Outcome::Broken { excused: true, .. } => {}
                Outcome::Broken { unserved: true, .. } if self.rules.get().may_close => {}
                Outcome::Refused(400..=499) => {
                    return self
                        .world
                        .violated(format!("request {} was refused: {outcome:?}", record.ask.id));
                }
                // Lost in a race for a connection that its backend closed, and not safe to send again.
                _ if !record.ask.idempotent() => raced_only += 1,
                _ => failures += 1,
            }
        }
        let each = self.rules.get().broken_by_harm_max;
        let (harm, races) = (self.world.harm_done().upstream * each, self.races.get() * each);
        if failures > harm || failures + raced_only > harm + races {
            let count = failures + raced_only;
            self.world.violated(format!(
                "{count} requests failed, {failures} of them idempotent; only {harm} are excused by harm and {races} by races"
            ));
        }
    }

    /// How many requests were answered whole by a backend: a scenario that tests nothing is a failure too.
    pub fn answered(&self) -> usize {
        let answered = |record: &&Record| matches!(record.outcome, Some(Outcome::Answered { .. }));
        self.records.borrow().values().filter(answered).count()
    }

    fn number(&self) -> u64 {
        self.serial.replace(self.serial.get() + 1)
    }
}
