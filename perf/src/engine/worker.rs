//! One thread of the generator: a loop that takes what is due from the schedule, gives it to free slots of its
//! connections, and reads what comes back. A slot is what can carry one request at a time: a connection, or a stream.
//!
//! What is due and finds no free slot stays in the schedule, which needs no memory however long it waits there: its
//! waiting counts from when it was due, and ends with the plan's timeout.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use socket2::{Domain, Protocol as Transmission, Socket, Type};

use super::dialog::{Dialog, Event, Script};
use super::record::{Account, Part, Record};
use crate::cause::Cause;
use crate::outgoing::Outgoing;
use crate::plan::{Load, Plan, Protocol};
use crate::poll::{Poll, Ready};
use crate::schedule::Schedule;
use crate::transport::{Reading, Transport};

/// Connections that are opened at the same time before a run: more would overflow listen queues.
const OPENING_MAX: usize = 64;
/// A look at the clock, the stop flag and timeouts, at least that often.
const SWEEP: Duration = Duration::from_millis(50);
/// Between attempts to connect again, after the first, which is made at once. Doubled up to the second number.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// What one read takes at most.
const SCRATCH_BYTES: usize = 128 * 1024;

/// What a thread needs.
pub(crate) struct Order<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) index: usize,
    /// Of all connections, those of this thread.
    pub(crate) connections: usize,
    pub(crate) script: Arc<Script>,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(crate) halt: super::Halt<'a>,
    pub(crate) reports: Sender<Report>,
    /// When the load begins.
    pub(crate) start: Receiver<Instant>,
    /// Closed when connections may be.
    pub(crate) hold: Receiver<()>,
}

/// What a thread tells while it runs.
pub(crate) enum Report {
    /// Its connections stand, so many of them; else the first failure.
    Connected(usize, Option<Cause>),
    /// Its part of a recorded second is over.
    Second(usize, Part),
    /// Nothing more is due.
    Ended,
    /// It cannot go on.
    Broken,
}

/// What a thread showed.
pub(crate) struct Finished {
    pub(crate) record: Record,
    /// Recorded time; shorter than planned if it was stopped.
    pub(crate) elapsed_ns: u64,
}

/// Runs in its own thread. `None`: the run was called off before it began.
pub(crate) fn work(order: Order<'_>) -> io::Result<Option<Finished>> {
    let reports = order.reports.clone();
    let worked = Worker::new(order).and_then(Worker::work);
    if worked.is_err() {
        let _nobody_listens = reports.send(Report::Broken);
    }
    worked
}

/// A slot that may carry a request.
#[derive(Clone, Copy)]
struct Free {
    connection: u32,
    generation: u32,
    slot: u32,
}

/// A request on its way.
#[derive(Clone, Copy)]
struct Flight {
    due: u64,
    sent: u64,
    recorded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not there: it is opened for each request, or was not opened yet.
    Closed,
    /// Opened again then.
    Waiting(u64),
    Connecting,
    Handshaking,
    /// The protocol's own greetings.
    Greeting,
    Ready,
    /// Takes no more requests.
    Retired,
}

struct Connection {
    stage: Stage,
    /// When `stage` began, for those that must not last.
    since: u64,
    /// Told apart from what was in its place before.
    generation: u32,
    /// Attempts since the last answer.
    attempts: u32,
    transport: Option<Transport>,
    dialog: Dialog,
    out: Outgoing,
    flights: Vec<Option<Flight>>,
    in_flight: usize,
    /// In the list of those that have something to write.
    dirty: bool,
    /// The protocol has no greetings to wait for.
    ready_at_once: bool,
}

struct Worker<'a> {
    order: Order<'a>,
    poll: Poll,
    clock: Instant,
    connections: Vec<Connection>,
    free: VecDeque<Free>,
    /// Since when there has been a free slot without a gap: what is due later than that has only us to wait for.
    free_since: u64,
    dirty: Vec<u32>,
    waiting: Vec<u32>,
    scratch: Box<[u8]>,
    ready: Vec<Ready>,
    events: Vec<Event>,
    record: Record,
    part: Part,
    part_index: usize,
    /// Requests under way that count.
    counted: usize,
    /// The recorded time.
    begin: u64,
    end: u64,
    timeout: u64,
    next_sweep: u64,
    first_failure: Option<Cause>,
    /// A connection for each request.
    anew: bool,
    /// Answers have no status.
    bare: bool,
}

impl<'a> Worker<'a> {
    fn new(order: Order<'a>) -> io::Result<Self> {
        // The kernel may be late by this much when it wakes us; it defaults to 50 us.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let streams = order.script.streams;
        let connections = (0..order.connections)
            .map(|_| Connection {
                stage: Stage::Closed,
                since: 0,
                generation: 0,
                attempts: 0,
                transport: None,
                dialog: Dialog::new(&order.script),
                out: Outgoing::default(),
                flights: vec![None; streams],
                in_flight: 0,
                dirty: false,
                ready_at_once: false,
            })
            .collect();
        Ok(Self {
            poll: Poll::new()?,
            clock: Instant::now(),
            connections,
            free: VecDeque::with_capacity(order.connections * streams),
            free_since: 0,
            dirty: Vec::new(),
            waiting: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            ready: Vec::new(),
            events: Vec::new(),
            record: Record::default(),
            part: Part::default(),
            part_index: 0,
            counted: 0,
            begin: u64::MAX,
            end: u64::MAX,
            timeout: nanoseconds(order.plan.timeout),
            next_sweep: 0,
            first_failure: None,
            anew: matches!(order.plan.protocol, Protocol::Connect | Protocol::ConnectResumed),
            bare: matches!(order.plan.protocol, Protocol::TcpPing | Protocol::TcpBulk | Protocol::WebSocket),
            order,
        })
    }

    fn work(mut self) -> io::Result<Option<Finished>> {
        let standing = self.connect()?;
        let told = Report::Connected(standing, self.first_failure);
        let _the_run_may_be_over = self.order.reports.send(told);
        let Ok(start) = self.order.start.recv() else {
            return Ok(None);
        };
        self.start(start);
        let elapsed_ns = self.offer()?;
        // Who looks on may still read what the open connections cost the server.
        let _closed = self.order.hold.recv();
        Ok(Some(Finished { record: self.record, elapsed_ns }))
    }

    fn now(&self) -> u64 {
        nanoseconds(self.clock.elapsed())
    }

    fn stopped(&self) -> bool {
        self.order.halt.is_set()
    }

    /// Opens all connections; where a request needs one of its own, makes one request on each to see that it can. Idle
    /// connections make their only request here. Returns how many stand.
    fn connect(&mut self) -> io::Result<usize> {
        let probed = self.anew || self.order.plan.protocol == Protocol::Idle;
        if self.order.plan.protocol == Protocol::Idle {
            self.begin = 0;
        }
        let mut next = 0;
        let mut standing = 0;
        let mut opening: Vec<u32> = Vec::new();
        while (next < self.connections.len() || !opening.is_empty()) && !self.stopped() {
            while next < self.connections.len() && opening.len() < OPENING_MAX {
                let flight = probed.then(|| {
                    let now = self.now();
                    Flight { due: now, sent: now, recorded: self.order.plan.protocol == Protocol::Idle }
                });
                opening.push(next as u32);
                self.open(next, flight)?;
                next += 1;
            }
            self.turn(SWEEP)?;
            opening.retain(|index| {
                let connection = &self.connections[*index as usize];
                let (over, stands) = match connection.stage {
                    Stage::Closed => (true, connection.attempts == 0),
                    Stage::Waiting(_) => (true, false),
                    Stage::Ready | Stage::Retired => (connection.in_flight == 0, true),
                    _ => (false, false),
                };
                standing += usize::from(over && stands);
                !over
            });
        }
        Ok(standing)
    }

    /// The clock begins again, at the beginning of the load.
    fn start(&mut self, start: Instant) {
        let plan = self.order.plan;
        std::thread::sleep(start.saturating_duration_since(Instant::now()));
        self.clock = start;
        self.begin = nanoseconds(plan.warmup);
        self.end = self.begin + nanoseconds(plan.duration);
        self.next_sweep = 0;
        self.waiting.clear();
        self.free.clear();
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            connection.since = 0;
            if matches!(connection.stage, Stage::Waiting(_)) {
                connection.stage = Stage::Waiting(0);
                self.waiting.push(index as u32);
            }
            let usable = if self.anew { Stage::Closed } else { Stage::Ready };
            if self.connections[index].stage == usable {
                self.free_slots(index, 0);
            }
        }
    }

    /// Offers the load and waits for its answers. Returns the recorded time.
    fn offer(&mut self) -> io::Result<u64> {
        let plan = self.order.plan;
        let mut schedule = match plan.load {
            _ if plan.protocol == Protocol::Idle => None,
            Load::Closed => None,
            Load::Open { rate, arrivals } => {
                Some(Schedule::new(rate, arrivals, plan.seed, self.order.index, plan.threads))
            }
        };
        let closed = schedule.is_none() && plan.protocol != Protocol::Idle;
        let mut account = None;
        let mut told = false;
        loop {
            let now = self.now();
            if now < self.end && self.stopped() {
                self.begin = self.begin.min(now);
                self.end = now;
            }
            if now >= self.begin && account.is_none() {
                account = Some((Account::read(), now));
            }
            self.roll(now);
            if now >= self.end && !told {
                told = true;
                if let Some((account, since)) = &account {
                    self.record.cpu = account.until(&Account::read(), now - since);
                }
                let _the_run_may_be_over = self.order.reports.send(Report::Ended);
            }
            let mut longest = self.next_sweep.saturating_sub(now);
            if let Some(schedule) = &mut schedule {
                self.dispatch_due(schedule, now)?;
                if schedule.due() < self.end && !self.free.is_empty() {
                    longest = longest.min(schedule.due().saturating_sub(self.now()));
                }
                if told && self.counted == 0 && schedule.due() >= self.end {
                    break;
                }
            } else {
                if closed && now < self.end {
                    self.dispatch_free()?;
                    if !self.free.is_empty() {
                        longest = 0;
                    }
                }
                if told && self.counted == 0 {
                    break;
                }
            }
            self.flush_dirty();
            for edge in [self.begin, self.end] {
                if now < edge {
                    longest = longest.min(edge - now);
                }
            }
            self.turn(Duration::from_nanos(longest))?;
        }
        Ok(self.end - self.begin)
    }

    /// Sends what is due, as far as slots are free.
    fn dispatch_due(&mut self, schedule: &mut Schedule, now: u64) -> io::Result<()> {
        loop {
            let due = schedule.due();
            if due > now || due >= self.end {
                return Ok(());
            }
            let recorded = due >= self.begin;
            if now - due > self.timeout {
                schedule.advance();
                if recorded {
                    self.record.sent += 1;
                    self.failed(Cause::Unsent);
                }
                continue;
            }
            let Some(free) = self.take_free() else {
                return Ok(());
            };
            schedule.advance();
            let sent = self.now();
            if recorded {
                self.record.lag.record(sent - due.max(self.free_since).min(sent));
            }
            self.send(free, Flight { due, sent, recorded })?;
        }
    }

    /// Sends on every slot that is free now.
    fn dispatch_free(&mut self) -> io::Result<()> {
        // Those that become free meanwhile wait for the next turn, so that answers are read in between.
        for _ in 0..self.free.len() {
            let Some(free) = self.take_free() else {
                return Ok(());
            };
            let now = self.now();
            let recorded = (self.begin..self.end).contains(&now);
            self.send(free, Flight { due: now, sent: now, recorded })?;
        }
        Ok(())
    }

    fn take_free(&mut self) -> Option<Free> {
        loop {
            let free = self.free.pop_front()?;
            let connection = &self.connections[free.connection as usize];
            let usable = if self.anew { Stage::Closed } else { Stage::Ready };
            if connection.generation == free.generation && connection.stage == usable {
                return Some(free);
            }
        }
    }

    fn free_slots(&mut self, index: usize, now: u64) {
        let connection = &self.connections[index];
        let generation = connection.generation;
        for slot in 0..self.connections[index].flights.len() as u32 {
            if self.connections[index].flights[slot as usize].is_none() {
                self.free_slot(Free { connection: index as u32, generation, slot }, now);
            }
        }
    }

    fn free_slot(&mut self, free: Free, now: u64) {
        if self.free.is_empty() {
            self.free_since = now;
        }
        self.free.push_back(free);
    }

    fn send(&mut self, free: Free, flight: Flight) -> io::Result<()> {
        let index = free.connection as usize;
        if self.anew {
            return self.open(index, Some(flight));
        }
        self.take_off(index, free.slot, flight);
        let connection = &mut self.connections[index];
        connection.dialog.request(free.slot, &mut connection.out, &mut self.events);
        self.happenings(index);
        let connection = &self.connections[index];
        if connection.flights.len() == 1 {
            self.flush(index);
        } else {
            // Others of this turn go with it in one write.
            self.mark_dirty(index);
        }
        Ok(())
    }

    fn mark_dirty(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(index as u32);
        }
    }

    fn take_off(&mut self, index: usize, slot: u32, flight: Flight) {
        let connection = &mut self.connections[index];
        connection.flights[slot as usize] = Some(flight);
        connection.in_flight += 1;
        if flight.recorded {
            self.counted += 1;
            self.record.sent += 1;
            self.record.bytes_sent += self.order.plan.request_bytes as u64;
        }
    }

    /// The request of a slot is over.
    fn land(&mut self, index: usize, slot: u32) -> Option<Flight> {
        let connection = &mut self.connections[index];
        let flight = connection.flights.get_mut(slot as usize)?.take()?;
        connection.in_flight -= 1;
        if flight.recorded {
            self.counted -= 1;
        }
        Some(flight)
    }

    fn failed(&mut self, cause: Cause) {
        *self.record.errors.entry(cause).or_default() += 1;
        let now = self.now();
        self.roll(now);
        if now < self.end {
            self.part.failed += 1;
        }
    }

    /// Ends the recorded seconds that are over.
    fn roll(&mut self, now: u64) {
        if now < self.begin || self.end == u64::MAX {
            return;
        }
        let seconds = (self.end - self.begin).div_ceil(1_000_000_000) as usize;
        let current = if now >= self.end { seconds } else { ((now - self.begin) / 1_000_000_000) as usize };
        while self.part_index < current {
            let part = std::mem::take(&mut self.part);
            let _the_run_may_be_over = self.order.reports.send(Report::Second(self.part_index, part));
            self.part_index += 1;
        }
    }

    /// Opens a connection, for one request or to keep.
    fn open(&mut self, index: usize, flight: Option<Flight>) -> io::Result<()> {
        let now = self.now();
        let connection = &mut self.connections[index];
        connection.attempts += 1;
        connection.generation += 1;
        connection.since = now;
        connection.stage = Stage::Connecting;
        connection.dialog = Dialog::new(&self.order.script);
        connection.out.clear();
        // Said before anything that comes is answered; it waits here until the transport stands.
        connection.ready_at_once = connection.dialog.open(&mut connection.out);
        let token = u64::from(connection.generation) << 32 | index as u64;
        if let Some(flight) = flight {
            self.take_off(index, 0, flight);
        }
        let opened = socket(self.order.address).map_err(Cause::from).and_then(|socket| {
            let tls = match &self.order.tls {
                None => None,
                Some((configuration, name)) => {
                    let session = ClientConnection::new(Arc::clone(configuration), name.clone());
                    Some(session.map_err(|_| Cause::Handshake)?.into())
                }
            };
            Ok(Transport::new(socket, tls))
        });
        match opened {
            Ok(transport) => {
                self.poll.add(transport.socket(), token)?;
                self.connections[index].transport = Some(transport);
                Ok(())
            }
            Err(cause) => {
                self.lose(index, cause);
                Ok(())
            }
        }
    }

    /// A connection is gone, and all that was under way on it.
    fn lose(&mut self, index: usize, cause: Cause) {
        let now = self.now();
        for slot in 0..self.connections[index].flights.len() as u32 {
            if let Some(flight) = self.land(index, slot)
                && flight.recorded
            {
                self.failed(cause);
            }
        }
        self.first_failure.get_or_insert(cause);
        if self.order.plan.protocol == Protocol::Idle
            && self.connections[index].stage == Stage::Ready
            && now < self.end
        {
            self.failed(cause);
        }
        self.shut(index, now);
    }

    /// Closes a connection, and sees to its successor.
    fn shut(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        connection.generation += 1;
        if let Some(transport) = connection.transport.take() {
            transport.close();
        }
        if self.anew {
            connection.stage = Stage::Closed;
            self.free_slots(index, now);
        } else {
            let delay = match connection.attempts {
                0 => Duration::ZERO,
                more => BACKOFF.1.min(BACKOFF.0 * (1 << more.min(16))),
            };
            connection.stage = Stage::Waiting(now + nanoseconds(delay));
            self.waiting.push(index as u32);
        }
    }

    /// Waits for what happens, no longer than that, and sees to it.
    fn turn(&mut self, longest: Duration) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(longest, &mut ready)?;
        for ready in &ready {
            self.happened(*ready);
        }
        self.ready = ready;
        self.flush_dirty();
        let now = self.now();
        if now >= self.next_sweep {
            self.next_sweep = now + nanoseconds(SWEEP);
            self.sweep(now);
        }
        if !self.waiting.is_empty() {
            self.reopen(now)?;
        }
        Ok(())
    }

    fn reopen(&mut self, now: u64) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        for index in waiting {
            match self.connections[index as usize].stage {
                // Before the run connections are tried once; in it, as long as it lasts.
                Stage::Waiting(until) if until <= now && self.reconnects() => {
                    self.open(index as usize, None)?
                }
                Stage::Waiting(_) => self.waiting.push(index),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether connections that were lost are opened again.
    fn reconnects(&self) -> bool {
        self.end != u64::MAX && self.order.plan.protocol != Protocol::Idle
    }

    /// Ends what has lasted too long.
    fn sweep(&mut self, now: u64) {
        for index in 0..self.connections.len() {
            let connection = &self.connections[index];
            match connection.stage {
                Stage::Connecting | Stage::Handshaking | Stage::Greeting
                    if now - connection.since.min(now) > self.timeout =>
                {
                    self.lose(index, Cause::Timeout);
                    continue;
                }
                _ if connection.in_flight == 0 => continue,
                _ => {}
            }
            for slot in 0..self.connections[index].flights.len() as u32 {
                let connection = &mut self.connections[index];
                let late = connection.flights[slot as usize]
                    .is_some_and(|flight| now.saturating_sub(flight.sent) > self.timeout);
                if !late {
                    continue;
                }
                if connection.stage == Stage::Ready && connection.dialog.cancel(slot, &mut connection.out) {
                    self.unanswered(index, slot, Cause::Timeout, now);
                    self.mark_dirty(index);
                } else {
                    self.lose(index, Cause::Timeout);
                    break;
                }
            }
        }
    }

    fn happened(&mut self, ready: Ready) {
        let index = (ready.token & u64::from(u32::MAX)) as usize;
        let connection = &mut self.connections[index];
        if u64::from(connection.generation) != ready.token >> 32 {
            return;
        }
        if connection.stage == Stage::Connecting {
            let Some(transport) = &connection.transport else { return };
            match transport.socket().take_error() {
                Ok(None) if ready.writable => {}
                Ok(None) => return,
                Ok(Some(error)) | Err(error) => return self.lose(index, error.into()),
            }
            connection.stage = if transport.has_tls() { Stage::Handshaking } else { Stage::Greeting };
            if connection.stage == Stage::Greeting {
                self.greet(index);
            }
            return self.flush(index);
        }
        if ready.readable {
            return self.read(index, ready.ended);
        }
        if ready.writable {
            self.flush(index);
        }
    }

    /// The transport stands: the protocol's turn.
    fn greet(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.stage = Stage::Greeting;
        let ready = connection.ready_at_once;
        self.mark_dirty(index);
        if ready {
            self.ready_for_requests(index);
        }
    }

    /// The protocol's greetings are over. A connection that was opened for a request makes it.
    fn ready_for_requests(&mut self, index: usize) {
        let now = self.now();
        let connection = &mut self.connections[index];
        connection.stage = Stage::Ready;
        if connection.flights[0].is_some() {
            connection.dialog.request(0, &mut connection.out, &mut self.events);
            self.mark_dirty(index);
        } else if !self.anew {
            self.free_slots(index, now);
        }
    }

    fn read(&mut self, index: usize, ended: bool) {
        let generation = self.connections[index].generation;
        loop {
            let connection = &mut self.connections[index];
            let Some(transport) = &mut connection.transport else { return };
            let (dialog, out, events) = (&mut connection.dialog, &mut connection.out, &mut self.events);
            let read = transport.read(&mut self.scratch, |bytes| dialog.feed(bytes, out, events));
            if connection.stage == Stage::Handshaking && read.is_ok() && !transport.is_handshaking() {
                if let Err(cause) = self.handshaken(index) {
                    return self.lose(index, cause);
                }
                self.greet(index);
            }
            if let Ok(Reading::End) = read {
                let connection = &mut self.connections[index];
                connection.dialog.end(&mut self.events);
            }
            self.happenings(index);
            if self.connections[index].generation != generation {
                return;
            }
            match read {
                Err(cause) => return self.lose(index, cause),
                Ok(Reading::End) => return self.lose(index, Cause::Closed),
                Ok(Reading::Full) => {}
                // The end, or what broke the connection, is what the next read gives, or one after it.
                Ok(Reading::All) if ended => {}
                Ok(Reading::All | Reading::Nothing) => break,
            }
        }
        self.flush(index);
    }

    fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            if self.connections[index as usize].dirty {
                self.flush(index as usize);
            }
        }
        // What became dirty meanwhile is seen to in the next turn.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn flush(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.dirty = false;
        let Some(transport) = &mut connection.transport else { return };
        if connection.stage == Stage::Connecting {
            return;
        }
        match transport.flush(&mut connection.out) {
            Ok(true) => {
                connection.dialog.written(&mut self.events);
                self.happenings(index);
            }
            Ok(false) => {}
            Err(cause) => self.lose(index, cause),
        }
    }

    /// Sees to what came of bytes on a connection.
    fn happenings(&mut self, index: usize) {
        if self.events.is_empty() {
            return;
        }
        let now = self.now();
        let generation = self.connections[index].generation;
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            if self.connections[index].generation != generation {
                break;
            }
            match event {
                Event::Ready => self.ready_for_requests(index),
                Event::Answered { slot, status, bytes } => self.answered(index, slot, status, bytes, now),
                Event::Failed { slot, cause } => self.unanswered(index, slot, cause, now),
                Event::Retired => self.connections[index].stage = Stage::Retired,
            }
        }
        self.events = events;
        let connection = &self.connections[index];
        if connection.stage == Stage::Retired && connection.in_flight == 0 {
            self.shut(index, now);
        }
    }

    fn answered(&mut self, index: usize, slot: u32, status: u16, bytes: u64, now: u64) {
        let Some(flight) = self.land(index, slot) else { return };
        self.connections[index].attempts = 0;
        if flight.recorded {
            if status != 0 || !self.bare {
                *self.record.statuses.entry(status).or_default() += 1;
            }
            match self.judge(status, bytes) {
                Some(cause) => self.failed(cause),
                None => {
                    let latency = now - flight.due;
                    self.record.done += 1;
                    self.record.bytes_received += bytes;
                    self.record.latency.record(latency);
                    self.record.service.record(now - flight.sent);
                    self.roll(now);
                    if now < self.end {
                        self.part.done += 1;
                        self.part.latency.record(latency);
                    }
                }
            }
        }
        self.vacate(index, slot, now);
    }

    fn unanswered(&mut self, index: usize, slot: u32, cause: Cause, now: u64) {
        let Some(flight) = self.land(index, slot) else { return };
        if flight.recorded {
            self.failed(cause);
        }
        self.first_failure.get_or_insert(cause);
        self.vacate(index, slot, now);
    }

    /// The slot may carry another request.
    fn vacate(&mut self, index: usize, slot: u32, now: u64) {
        let connection = &self.connections[index];
        if self.anew {
            self.shut(index, now);
        } else if connection.stage == Stage::Ready {
            let generation = connection.generation;
            self.free_slot(Free { connection: index as u32, generation, slot }, now);
        }
    }

    /// What is wrong with an answer.
    fn judge(&self, status: u16, bytes: u64) -> Option<Cause> {
        let plan = self.order.plan;
        match plan.protocol {
            Protocol::Grpc | Protocol::GrpcStream if status != 0 => Some(Cause::GrpcStatus(status)),
            Protocol::Http1
            | Protocol::Http2
            | Protocol::Connect
            | Protocol::ConnectResumed
            | Protocol::Idle
                if !(200..400).contains(&status) =>
            {
                Some(Cause::Status(status))
            }
            Protocol::TcpBulk | Protocol::TcpPing => None,
            _ if plan.response_bytes.is_some_and(|expected| expected as u64 != bytes) => Some(Cause::Size),
            _ => None,
        }
    }

    /// What the handshake came to.
    fn handshaken(&self, index: usize) -> Result<(), Cause> {
        let Some(transport) = &self.connections[index].transport else { return Ok(()) };
        match self.order.plan.protocol {
            Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream if !transport.chose(b"h2") => {
                Err(Cause::NoHttp2)
            }
            Protocol::ConnectResumed
                if !transport.resumed()
                    && self.connections[index].flights[0].is_some_and(|flight| flight.recorded) =>
            {
                Err(Cause::NotResumed)
            }
            _ => Ok(()),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A socket on its way to `address`.
fn socket(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Transmission::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}
