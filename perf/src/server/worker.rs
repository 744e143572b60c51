//! One thread of the backend: accepts, reads, answers, writes.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection};

use super::Answering;
use super::session::{Canned, Due, Session};
use crate::outgoing::Outgoing;
use crate::poll::{Poll, Ready};
use crate::transport::{Reading, Transport};

/// A look at the stop flag, at least that often.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// What one read takes at most.
const SCRATCH_BYTES: usize = 128 * 1024;
const LISTENER: u64 = u64::MAX;

struct Place {
    generation: u32,
    /// `None`: free.
    connection: Option<Connection>,
}

struct Connection {
    transport: Transport,
    session: Session,
    out: Outgoing,
    /// More may be there to read; it waits until what was written is taken.
    unread: bool,
    /// The last answer was given.
    closing: bool,
}

pub(crate) struct Worker {
    listener: TcpListener,
    answering: Answering,
    canned: Canned,
    tls: Option<Arc<ServerConfig>>,
    stop: Arc<AtomicBool>,
    poll: Poll,
    clock: Instant,
    places: Vec<Place>,
    vacant: Vec<usize>,
    scratch: Box<[u8]>,
    /// Answers that wait: all for the same time, so the first is due first.
    late: VecDeque<(Duration, u64, Due)>,
}

impl Worker {
    pub(crate) fn new(
        listener: TcpListener,
        answering: Answering,
        tls: Option<Arc<ServerConfig>>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add_listener(&listener, LISTENER)?;
        Ok(Self {
            listener,
            canned: Canned::new(&answering),
            answering,
            tls,
            stop,
            poll,
            clock: Instant::now(),
            places: Vec::new(),
            vacant: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            late: VecDeque::new(),
        })
    }

    pub(crate) fn work(mut self) -> io::Result<()> {
        // Delays are exact to the microsecond, not to the slack of 50 that a thread has by default.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        let mut ready = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            self.stall();
            let longest = match self.late.front() {
                Some((due, ..)) => due.saturating_sub(self.clock.elapsed()).min(LOOK),
                None => LOOK,
            };
            self.poll.wait(longest, &mut ready)?;
            self.stall();
            for ready in &ready {
                self.happened(*ready)?;
            }
            self.answer_late();
        }
        Ok(())
    }

    /// Does nothing while a stall lasts.
    fn stall(&self) {
        if let Some((length, period)) = self.answering.stall {
            let nanoseconds = self.clock.elapsed().as_nanos() % period.as_nanos().max(1);
            let left = length.as_nanos().saturating_sub(nanoseconds);
            if left > 0 {
                std::thread::sleep(Duration::from_nanos(left as u64));
            }
        }
    }

    fn happened(&mut self, ready: Ready) -> io::Result<()> {
        if ready.token == LISTENER {
            return self.accept();
        }
        let index = (ready.token & u64::from(u32::MAX)) as usize;
        let place = &mut self.places[index];
        if u64::from(place.generation) != ready.token >> 32 {
            return Ok(());
        }
        if let Some(connection) = &mut place.connection {
            connection.unread |= ready.readable;
            if !self.serve(index, ready.ended) {
                self.close(index);
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Of the connection, or of a limit that a closed one lifts.
                Err(_) => return Ok(()),
            };
            if let Ok(connection) = self.connection(socket) {
                let index = self.vacant.pop().unwrap_or_else(|| {
                    self.places.push(Place { generation: 0, connection: None });
                    self.places.len() - 1
                });
                let place = &mut self.places[index];
                let token = u64::from(place.generation) << 32 | index as u64;
                self.poll.add(connection.transport.socket(), token)?;
                place.connection = Some(connection);
            }
        }
    }

    fn connection(&self, socket: TcpStream) -> io::Result<Connection> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let tls = match &self.tls {
            None => None,
            Some(configuration) => {
                Some(ServerConnection::new(Arc::clone(configuration)).map_err(io::Error::other)?.into())
            }
        };
        Ok(Connection {
            transport: Transport::new(socket, tls),
            session: Session::new(&self.canned),
            out: Outgoing::default(),
            unread: false,
            closing: false,
        })
    }

    fn close(&mut self, index: usize) {
        let place = &mut self.places[index];
        place.generation = place.generation.wrapping_add(1);
        if let Some(connection) = place.connection.take() {
            connection.transport.close();
            self.vacant.push(index);
        }
    }

    /// Reads and writes as far as it goes. False: the connection is over.
    fn serve(&mut self, index: usize, ended: bool) -> bool {
        let place = &mut self.places[index];
        let token = u64::from(place.generation) << 32 | index as u64;
        let Some(connection) = &mut place.connection else { return true };
        let mut due = Vec::new();
        loop {
            match connection.transport.flush(&mut connection.out) {
                Ok(true) if connection.closing => return false,
                Ok(true) => {}
                Ok(false) if connection.transport.is_handshaking() => {}
                // Reading on would pile up answers.
                Ok(false) => return true,
                Err(_) => return false,
            }
            if !connection.unread {
                return true;
            }
            let (session, out) = (&mut connection.session, &mut connection.out);
            let read =
                connection.transport.read(&mut self.scratch, |bytes| session.feed(bytes, out, &mut due));
            connection.unread = match read {
                Ok(Reading::Full) => true,
                Ok(Reading::All) => ended,
                Ok(Reading::Nothing) => false,
                Ok(Reading::End) | Err(_) => return false,
            };
            connection.session.resume(&self.canned, &mut connection.out);
            for due in due.drain(..) {
                if self.answering.delay.is_zero() {
                    connection.closing |= connection.session.answer(due, &self.canned, &mut connection.out);
                } else {
                    self.late.push_back((self.clock.elapsed() + self.answering.delay, token, due));
                }
            }
        }
    }

    /// Gives the answers that have waited long enough.
    fn answer_late(&mut self) {
        let now = self.clock.elapsed();
        while let Some((due, token, answer)) = self.late.front().copied() {
            if due > now {
                return;
            }
            self.late.pop_front();
            let index = (token & u64::from(u32::MAX)) as usize;
            let place = &mut self.places[index];
            if u64::from(place.generation) != token >> 32 {
                continue;
            }
            if let Some(connection) = &mut place.connection {
                connection.closing |= connection.session.answer(answer, &self.canned, &mut connection.out);
                if !self.serve(index, false) {
                    self.close(index);
                }
            }
        }
    }
}
