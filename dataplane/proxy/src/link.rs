//! A connected socket with its deadlines and, where asked for, TLS: what the codecs read from and write to.
//!
//! Reading waits without a buffer and then fills one that the caller took from the pool. Writing gathers what it is
//! given and waits on the writer when the socket is full; it never spins. Where turns of the event loop are full, what is
//! gathered leaves at the end of the turn (`outbox`). One task may read while another writes.

use std::cell::{Cell, OnceCell, RefCell};
use std::convert::Infallible;
use std::future::pending;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ringway_core::Instant;
use ringway_core::record::Limit;

use crate::admission::Token;
use crate::buffer::{BUFFER_BYTES, Buffer, Buffers};
use crate::env::{Env, Socket};
use crate::latch::Latch;
use crate::outbox::{LATE_BYTES_MAX, Late, Outbox};
use crate::timer::{Deadline, Elapsed, Timers};
use crate::tls::{Alpn, ClientTls, Handshake, OPEN_BYTES, Plaintext, TlsFacts, TlsFailure, TlsSession};
use crate::upstream::Open;
use crate::worker::ClientConnection;

const _: () = assert!(BUFFER_BYTES >= OPEN_BYTES, "a record of any size can be opened into an empty buffer");

/// What is received without a wait before other tasks get a turn. Between two ends that are faster than we are a body would
/// never make its core wait, and everybody else on it would.
const TURN_BYTES: u32 = 1 << 20;
/// A wait for less than this is not worth a look at whether somebody still waits for its outcome.
const WATCHED_AFTER: Duration = Duration::from_millis(100);
/// How often one that has sent something meanwhile is looked at.
const WATCHED_EVERY: Duration = Duration::from_secs(1);

/// A connection, downstream or upstream.
pub struct Link<E: Env> {
    env: E,
    socket: E::Socket,
    /// Boxed: a plain link should not pay for it. Borrowed for single calls only, so both directions may use it.
    tls: Option<Box<RefCell<TlsSession>>>,
    reading: Deadline,
    writing: Deadline,
    /// The other end has ended its side.
    ended: Cell<bool>,
    /// What was put off could not be sent: nothing may follow it.
    broken: Cell<bool>,
    /// What was put off.
    late: RefCell<Option<Box<Late>>>,
    outbox: Rc<Outbox<E>>,
    /// For the outbox.
    this: Weak<Self>,
    /// Bytes that were received since it last had to wait for some.
    in_turn: Cell<u32>,
    /// What ends with it.
    held: OnceCell<Box<Open<E>>>,
    /// A client's connection counts until its link is gone.
    counted: OnceCell<Box<ClientConnection<E>>>,
}

/// Why a link cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// Reset, or an error of the socket.
    Broken,
    /// Nothing came, or nothing was taken, for too long.
    Idle,
}

impl From<io::Error> for LinkError {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl<E: Env> Link<E> {
    /// A plain-text link.
    pub fn plain(env: E, socket: E::Socket, timers: &Timers, outbox: &Rc<Outbox<E>>) -> Rc<Self> {
        Self::new(env, socket, timers, outbox, None)
    }

    /// A link over a TLS session, whose handshake may still be going on.
    pub fn secure(
        env: E,
        socket: E::Socket,
        timers: &Timers,
        outbox: &Rc<Outbox<E>>,
        session: TlsSession,
    ) -> Rc<Self> {
        Self::new(env, socket, timers, outbox, Some(Box::new(RefCell::new(session))))
    }

    /// A link to an upstream whose handshake is to be made.
    pub fn client(
        env: E,
        socket: E::Socket,
        timers: &Timers,
        outbox: &Rc<Outbox<E>>,
        tls: &ClientTls,
    ) -> Result<Rc<Self>, TlsFailure> {
        Ok(Self::secure(env, socket, timers, outbox, TlsSession::connecting(tls)?))
    }

    fn new(
        env: E,
        socket: E::Socket,
        timers: &Timers,
        outbox: &Rc<Outbox<E>>,
        tls: Option<Box<RefCell<TlsSession>>>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            env,
            socket,
            tls,
            reading: timers.deadline(),
            writing: timers.deadline(),
            ended: Cell::new(false),
            in_turn: Cell::new(0),
            broken: Cell::new(false),
            late: RefCell::new(None),
            outbox: Rc::clone(outbox),
            this: Weak::clone(this),
            held: OnceCell::new(),
            counted: OnceCell::new(),
        })
    }

    /// Lets a client's connection count for as long as the link lives.
    pub fn count_as(&self, connection: Box<ClientConnection<E>>) {
        // Whoever counts it a second time has counted it once: the first value stays, the second ends here.
        let _ = self.counted.set(connection);
    }

    /// Makes the handshake. Has no timeout of its own; if the future is dropped, the link is of no use.
    pub async fn handshake(&self) -> Result<(), LinkError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        match shake_hands(&self.socket, tls).await? {
            Handshake::Done => Ok(()),
            // Chosen before the link was made.
            Handshake::Hello(_) | Handshake::Wait => Err(LinkError::Broken),
        }
    }

    /// What the handshake showed.
    pub fn facts(&self) -> Option<TlsFacts> {
        self.tls.as_ref()?.borrow().facts().cloned()
    }

    /// The application protocol agreed on.
    pub fn alpn(&self) -> Option<Alpn> {
        self.tls.as_ref()?.borrow().facts()?.alpn
    }

    /// The same as [`first_fill`](Self::first_fill), however long it takes.
    pub async fn first_fill_whenever(&self, buffers: &Buffers) -> Result<Option<Buffer>, LinkError> {
        // Bytes may be in the session that the socket does not know of.
        let mut look = self.tls.is_some();
        loop {
            if look {
                let mut buffer = buffers.take();
                match self.try_fill(&mut buffer)? {
                    Some(0) => return Ok(None),
                    Some(_) => return Ok(Some(buffer)),
                    None => {}
                }
            }
            self.readable().await?;
            look = true;
        }
    }

    /// Waits at most so long for bytes without holding a buffer, then takes one for them. What comes and makes no bytes (a part
    /// of a TLS record) prolongs nothing. `None`: the other end has ended.
    pub async fn first_fill(
        &self,
        buffers: &Buffers,
        patience: Duration,
    ) -> Result<Option<Buffer>, LinkError> {
        let until = self.env.now() + patience;
        loop {
            if self.tls.is_some() {
                // Bytes may be in the session that the socket does not know of.
                let mut buffer = buffers.take();
                match self.try_fill(&mut buffer)? {
                    Some(0) => return Ok(None),
                    Some(_) => return Ok(Some(buffer)),
                    None => {}
                }
            }
            self.readable_until(until).await?;
            let mut buffer = buffers.take();
            match self.try_fill(&mut buffer)? {
                Some(0) => return Ok(None),
                Some(_) => return Ok(Some(buffer)),
                None => {}
            }
        }
    }

    /// What is there already, if anything is.
    pub fn fill_now(&self, buffers: &Buffers) -> Option<Buffer> {
        let mut buffer = buffers.take();
        matches!(self.try_fill(&mut buffer), Ok(Some(1..))).then_some(buffer)
    }

    /// Waits until reading gives something. May be dropped and begun again.
    pub async fn readable(&self) -> Result<(), LinkError> {
        Ok(self.socket.readable().await?)
    }

    /// Ends when the other end is gone: its connection was reset, or failed. Reads nothing, so that what it sends
    /// meanwhile stays for whoever reads; an end of its side alone is not the end, since it may still read.
    ///
    /// For waits that may be long. A short one costs no look at the socket, only a move of the deadline.
    pub async fn gone(&self, watching: &Deadline) {
        let mut pause = WATCHED_AFTER;
        loop {
            let Err(Elapsed) = watching.within(self.env.now() + pause, pending::<Infallible>()).await;
            if self.socket.is_gone() {
                return;
            }
            // A reset ends this wait as bytes do, and an end. Boxed: few requests come here.
            let _ready_or_failed = Box::pin(self.socket.readable()).await;
            if self.socket.is_gone() {
                return;
            }
            // What is there stays there, so that from now on the socket always is readable.
            pause = WATCHED_EVERY;
        }
    }

    /// The same, but not longer than until then.
    async fn readable_until(&self, until: Instant) -> Result<(), LinkError> {
        self.in_turn.set(0);
        match self.reading.within(until, self.socket.readable()).await {
            Ok(ready) => Ok(ready?),
            Err(_) => Err(LinkError::Idle),
        }
    }

    /// Reads what is there into the buffer's room (which must not be empty). `Some(0)`: the other end has ended.
    /// `None`: nothing is there.
    pub fn try_fill(&self, buffer: &mut Buffer) -> Result<Option<usize>, LinkError> {
        let read = match &self.tls {
            None => self.socket.try_read(buffer.receive_space()),
            Some(tls) => self.try_open(&mut tls.borrow_mut(), buffer.space()),
        };
        match read {
            Ok(count) => {
                buffer.advance(count);
                if count == 0 {
                    self.ended.set(true);
                }
                self.in_turn.set(self.in_turn.get().saturating_add(u32::try_from(count).unwrap_or(u32::MAX)));
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is for others to go on first: [`fill`](Self::fill) lets them.
    pub fn had_its_turn(&self) -> bool {
        self.in_turn.get() >= TURN_BYTES
    }

    /// Takes plaintext out of a session, giving it what the socket has.
    fn try_open(&self, session: &mut TlsSession, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let outcome = session.read(into);
            // Answers of the record layer (a key update, an alert) leave as far as the socket takes them at once.
            if session.wants_write() {
                match session.flush(&mut |slices| self.socket.try_write(slices)) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
            match outcome {
                Ok(Plaintext::Bytes(count)) => return Ok(count),
                Ok(Plaintext::Closed) => return Ok(0),
                // Whoever needs the end to be told (a body until close) must not take this for it.
                Ok(Plaintext::Truncated) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(failure) => return Err(io::Error::new(io::ErrorKind::InvalidData, failure)),
                Ok(Plaintext::Wait) => {}
            }
            session.fill(&mut |room| self.socket.try_read(room))?;
        }
    }

    /// Reads into the buffer's room, waiting at most so long: whoever sends a TLS record byte by byte gets no more time for
    /// it. 0: the other end has ended.
    pub async fn fill(&self, buffer: &mut Buffer, patience: Duration) -> Result<usize, LinkError> {
        let mut until = None;
        if self.had_its_turn() {
            self.in_turn.set(0);
            // Boxed: it is rare.
            Box::pin(self.env.turn()).await;
        }
        loop {
            // First without waiting: under load something usually is there.
            if let Some(count) = self.try_fill(buffer)? {
                return Ok(count);
            }
            let until = *until.get_or_insert_with(|| self.env.now() + patience);
            self.readable_until(until).await?;
        }
    }

    /// Writes all of it, gathered, waiting at most so long for each step. The socket has it when this is done.
    pub async fn write(&self, first: &[u8], second: &[u8], patience: Duration) -> Result<(), LinkError> {
        self.settle().await?;
        self.send(first, second, patience, false).await
    }

    /// Writes a part of a message, which may wait for more that leaves in one send with it. Whoever calls it flushes
    /// before waiting for anything.
    pub async fn gather(&self, first: &[u8], second: &[u8], patience: Duration) -> Result<(), LinkError> {
        if self.put_off(first, second, patience) {
            return Ok(());
        }
        self.settle().await?;
        self.send(first, second, patience, true).await
    }

    /// Whether something waits for [`flush_gathered`](Self::flush_gathered).
    pub fn holds_gathered(&self) -> bool {
        self.late.borrow().is_none() && self.tls.as_ref().is_some_and(|tls| tls.borrow().wants_write())
    }

    /// Sends what [`gather`](Self::gather) kept: now, or at the end of this turn.
    pub async fn flush_gathered(&self, patience: Duration) -> Result<(), LinkError> {
        if self.late.borrow().is_some() {
            return Ok(());
        }
        self.send(&[], &[], patience, false).await
    }

    /// Keeps a short message for the end of the turn, if turns are full now. `false`: it is to be sent at once.
    fn put_off(&self, first: &[u8], second: &[u8], patience: Duration) -> bool {
        let bytes = first.len() + second.len();
        if bytes > LATE_BYTES_MAX || self.broken.get() || !self.outbox.puts_off(self.env.now()) {
            return false;
        }
        let mut slot = self.late.borrow_mut();
        let fits = slot
            .as_ref()
            .is_none_or(|late| late.stuck.is_none() && late.bytes.len() + bytes <= 2 * LATE_BYTES_MAX);
        // A session that has something to send beside it is flushed first.
        let sealed = fits && self.tls.as_ref().is_none_or(|tls| tls.borrow_mut().write_whole(first, second));
        if !sealed {
            return false;
        }
        let Some(this) = self.this.upgrade() else { return false };
        let late = match &mut *slot {
            Some(late) => late,
            none => {
                self.outbox.enter(this);
                none.insert(self.outbox.late(patience))
            }
        };
        if self.tls.is_none() {
            late.bytes.extend_from_slice(first);
            late.bytes.extend_from_slice(second);
        }
        true
    }

    /// Sends what was put off, as far as the socket takes it; says whether nothing is left.
    fn try_send_late(&self) -> Result<bool, LinkError> {
        let Some(mut late) = self.late.take() else { return Ok(true) };
        let mut unsent = [&late.bytes[late.sent..], &[]];
        let all = self.try_send(&mut unsent, false);
        let left = unsent[0].len();
        late.sent = late.bytes.len() - left;
        match all {
            Ok(true) => self.outbox.sent(late),
            Ok(false) => drop(self.late.replace(Some(late))),
            Err(_) => {
                self.broken.set(true);
                if let Some(stuck) = &late.stuck {
                    stuck.open();
                }
            }
        }
        all
    }

    /// Sends what was put off. If the socket does not take all of it: what waits for that, a task of its own.
    pub(crate) fn send_late_or_wait(&self) -> Option<impl Future<Output = ()> + use<E>> {
        if self.late.borrow().as_ref()?.stuck.is_some() || !matches!(self.try_send_late(), Ok(false)) {
            return None;
        }
        let link = self.this.upgrade()?;
        let stuck = Rc::new(Latch::default());
        let patience = {
            let mut slot = link.late.borrow_mut();
            let late = slot.as_mut()?;
            late.stuck = Some(Rc::clone(&stuck));
            late.patience
        };
        Some(async move {
            loop {
                match link.writable(patience).await {
                    Ok(()) => {}
                    // The message is cut off: its receiver must notice.
                    Err(_) => {
                        link.broken.set(true);
                        link.socket.reset_on_close();
                        drop(link.late.take());
                        break;
                    }
                }
                if !matches!(link.try_send_late(), Ok(false)) {
                    break;
                }
            }
            stuck.open();
        })
    }

    /// Waits until nothing is left of what was put off: before anything is sent behind it, and before the end.
    async fn settle(&self) -> Result<(), LinkError> {
        if let Some(waiting) = self.send_late_or_wait() {
            self.env.spawn(waiting);
        }
        let stuck = self.late.borrow().as_ref().and_then(|late| late.stuck.clone());
        if let Some(stuck) = stuck {
            Box::pin(stuck.opened()).await;
        }
        if self.broken.get() { Err(LinkError::Broken) } else { Ok(()) }
    }

    /// Whether something that was put off is still to be sent.
    pub fn is_late(&self) -> bool {
        self.late.borrow().is_some()
    }

    /// One loop with one wait, because it is a part of every connection's future.
    async fn send(
        &self,
        first: &[u8],
        second: &[u8],
        patience: Duration,
        keep: bool,
    ) -> Result<(), LinkError> {
        let mut unsent = [first, second];
        while !self.try_send(&mut unsent, keep)? {
            self.writable(patience).await?;
        }
        Ok(())
    }

    /// Sends as much as the socket takes; says whether that was all.
    fn try_send(&self, unsent: &mut [&[u8]; 2], keep: bool) -> Result<bool, LinkError> {
        loop {
            let sent = match &self.tls {
                Some(tls) => self.try_seal(&mut tls.borrow_mut(), unsent, keep),
                None => self.try_write(unsent),
            };
            match sent {
                Ok(()) if is_empty(unsent) => return Ok(true),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn try_write(&self, unsent: &mut [&[u8]; 2]) -> io::Result<()> {
        let slices = unsent.map(IoSlice::new);
        let slices = match unsent.map(<[u8]>::is_empty) {
            [true, true] => return Ok(()),
            [true, false] => &slices[1..],
            [false, true] => &slices[..1],
            [false, false] => &slices[..],
        };
        *unsent = behind(*unsent, self.socket.try_write(slices)?);
        Ok(())
    }

    /// Seals what there is room for, and sends it unless all that there is may be kept.
    fn try_seal(&self, session: &mut TlsSession, unsent: &mut [&[u8]; 2], keep: bool) -> io::Result<()> {
        let flush = |session: &mut TlsSession| session.flush(&mut |slices| self.socket.try_write(slices));
        if !is_empty(unsent) {
            match session.write(unsent[0], unsent[1]) {
                Ok(taken) => *unsent = behind(*unsent, taken),
                Err(failure) => {
                    // The alert leaves as far as the socket takes it at once.
                    let _ = flush(session);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, failure));
                }
            }
            if keep && is_empty(unsent) {
                return Ok(());
            }
        }
        flush(session)
    }

    async fn writable(&self, patience: Duration) -> Result<(), LinkError> {
        let at = self.env.now() + patience;
        match self.writing.within(at, self.socket.writable()).await {
            Ok(ready) => Ok(ready?),
            Err(_) => Err(LinkError::Idle),
        }
    }

    /// Says that nothing more will be written.
    pub async fn finish(&self, patience: Duration) -> Result<(), LinkError> {
        self.settle().await?;
        if let Some(tls) = &self.tls {
            tls.borrow_mut().close();
            self.send(&[], &[], patience, false).await?;
        }
        Ok(self.socket.shutdown_write()?)
    }

    /// Says that nothing more will be written, as far as that can be said at once: for a connection that ends while it is
    /// idle, which has nothing else to send. Without it a TLS client could not tell our end from a cut.
    pub fn say_goodbye(&self) {
        if let Some(tls) = &self.tls {
            let mut session = tls.borrow_mut();
            session.close();
            let _ = session.flush(&mut |slices| self.socket.try_write(slices));
        }
    }

    /// Closes with possibly unread input: ends our side, then reads and discards within bounds. A plain close would
    /// turn the answer that was just written into a reset. Says which bound ended it, if one did.
    pub async fn linger(&self, bytes_max: usize, patience: Duration, scratch: &mut Buffer) -> Option<Limit> {
        let until = self.env.now() + patience;
        if self.finish(patience).await.is_err() {
            return None;
        }
        let mut left = bytes_max;
        while left > 0 && !self.ended.get() {
            scratch.consume(scratch.filled().len());
            let patience = until.since(self.env.now());
            match self.fill(scratch, patience).await {
                Ok(count) if count > 0 => left = left.saturating_sub(count),
                Ok(_) | Err(LinkError::Broken) => return None,
                Err(LinkError::Idle) => return Some(Limit::LingerTime),
            }
        }
        (left == 0).then_some(Limit::LingerBytes)
    }

    /// Keeps something for as long as the link lives. Once for each link.
    pub fn hold(&self, open: Open<E>) {
        assert!(self.held.set(Box::new(open)).is_ok(), "a link is counted once");
    }

    /// Gives up its place among the connections of its cluster: it is about to end, and the place is for another.
    pub fn yield_token(&self) -> Option<Token<E>> {
        self.held.get()?.yield_token()
    }

    /// Whether it has such a place.
    pub fn has_token(&self, such: impl FnOnce(&Token<E>) -> bool) -> bool {
        self.held.get().is_some_and(|open| open.has_token(such))
    }

    /// Makes the coming close a reset.
    pub fn reset(&self) {
        // What was put off stays: it leaves before the link is gone, unless its receiver is too slow for that.
        self.socket.reset_on_close();
    }

    /// Our address.
    pub fn local(&self) -> SocketAddr {
        self.socket.local()
    }

    /// The other end's address.
    pub fn remote(&self) -> SocketAddr {
        self.socket.remote()
    }

    /// The socket itself, for what TLS and codecs have no part in.
    pub fn socket(&self) -> &E::Socket {
        &self.socket
    }
}

/// What is left of two slices, one after the other, behind their first bytes.
fn behind([first, second]: [&[u8]; 2], count: usize) -> [&[u8]; 2] {
    let from_first = count.min(first.len());
    [&first[from_first..], &second[count - from_first..]]
}

fn is_empty(slices: &[&[u8]; 2]) -> bool {
    slices.iter().all(|slice| slice.is_empty())
}

/// Goes on with a handshake until it is done, or the client's hello needs a listener. After a failure the alert was
/// sent as far as the socket took it.
pub async fn shake_hands<S: Socket>(socket: &S, tls: &RefCell<TlsSession>) -> Result<Handshake, LinkError> {
    loop {
        let step = tls.borrow_mut().handshake();
        loop {
            let flushed = tls.borrow_mut().flush(&mut |slices| socket.try_write(slices));
            match flushed {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        match step {
            Ok(Handshake::Wait) => {}
            Ok(done) => return Ok(done),
            Err(_) => return Err(LinkError::Broken),
        }
        let filled = tls.borrow_mut().fill(&mut |room| socket.try_read(room));
        match filled {
            Ok(0) => return Err(LinkError::Broken),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::io::{Driver, Machine, Mailboxes, run_on};
    use crate::resolver::Resolver;

    /// Polls once.
    async fn now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut future = Some(future);
        poll_fn(|cx| {
            Poll::Ready(match future.take().map(|future| future.poll(cx)) {
                Some(Poll::Ready(output)) => Some(output),
                _ => None,
            })
        })
        .await
    }

    #[test]
    fn who_receives_without_a_wait_lets_others_have_their_turn_and_then_goes_on() {
        for driver in [Driver::IoUring, Driver::Epoll] {
            let choice = driver.choose(1).unwrap();
            let ran = run_on(&choice, async {
                let (mailboxes, mut receivers) = Mailboxes::new(1);
                let resolver = Resolver::start().unwrap();
                let env =
                    Machine::new(std::time::Instant::now(), 0, mailboxes, receivers.remove(0), resolver);
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (accepted, remote) = listener.accept().unwrap();
                accepted.set_nonblocking(true).unwrap();
                let socket =
                    env.attach_socket(crate::io::Unattached::accepted(accepted.into(), remote)).unwrap();
                let timers = Timers::new();
                let outbox = Rc::new(Outbox::new(ringway_core::turn::Turns::default()));
                let link = Link::plain(env.clone(), socket, &timers, &outbox);
                let buffers = Buffers::default();
                let piece = [7; 8 << 10];
                let (mut received, mut turns) = (0, 0);
                while received < 4 * TURN_BYTES as usize {
                    // There is always something to receive.
                    peer.write_all(&piece).unwrap();
                    let mut buffer = buffers.take();
                    let mut filling = pin!(link.fill(&mut buffer, Duration::from_secs(60)));
                    received += match now(filling.as_mut()).await {
                        Some(count) => count.unwrap(),
                        None => {
                            turns += 1;
                            filling.await.unwrap()
                        }
                    };
                }
                assert!(turns >= 3, "{turns} turns");
            });
            ran.unwrap();
        }
    }
}
