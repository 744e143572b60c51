//! The codec's transport: a link that is written behind.
//!
//! The codec flushes after every response; here a flush only wakes the writer, which runs after all tasks that are
//! ready and sends what they all wrote at once. When too much waits, writing waits; nothing spins.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::Buffer;
use crate::env::Env;
use crate::link::Link;
use crate::signal::Signal;
use crate::worker::Worker;

/// Bytes that wait for the writer. The codec waits when there are more.
const OUT_BYTES_MAX: usize = 64 << 10;

/// What the codec reads from and writes to.
pub(super) struct Transport {
    shared: Rc<Shared>,
    /// Never ends; polled only when nothing is left to read, so that reading needs no task of its own.
    reader: Pin<Box<dyn Future<Output = ()>>>,
}

#[derive(Default)]
struct Shared {
    inbox: RefCell<Inbox>,
    out: RefCell<Vec<u8>>,
    dirty: Signal,
    /// The codec waits for room in `out`, or for the end.
    waiting: RefCell<Option<Waker>>,
    /// The codec waits for bytes.
    reading: RefCell<Option<Waker>>,
    closing: Cell<bool>,
    closed: Cell<bool>,
    broken: Cell<bool>,
}

#[derive(Default)]
enum Inbox {
    #[default]
    Empty,
    Filled(Buffer),
    Ended,
    Broken,
}

impl Transport {
    /// Puts a codec's transport over a link; `inbox` was read already. Spawns the writer, which closes the link when
    /// the transport is dropped.
    pub(super) fn new<E: Env>(worker: &Rc<Worker<E>>, link: Rc<Link<E>>, inbox: Option<Buffer>) -> Self {
        let shared = Rc::new(Shared::default());
        if let Some(inbox) = inbox {
            shared.inbox.replace(Inbox::Filled(inbox));
        }
        worker.env.spawn(write_behind(Rc::clone(worker), Rc::clone(&link), Rc::clone(&shared)));
        let reader = Box::pin(read_ahead(Rc::clone(worker), link, Rc::clone(&shared)));
        Self { shared, reader }
    }
}

/// Fills the inbox whenever it is empty. Polled by `poll_read` only. Without patience: a quiet connection may carry
/// streams that wait, and how long those may do so is known to whoever serves them.
async fn read_ahead<E: Env>(worker: Rc<Worker<E>>, link: Rc<Link<E>>, shared: Rc<Shared>) {
    loop {
        let next = match link.first_fill_whenever(&worker.buffers).await {
            Ok(Some(buffer)) => Inbox::Filled(buffer),
            Ok(None) => Inbox::Ended,
            Err(_) => Inbox::Broken,
        };
        shared.inbox.replace(next);
        std::future::poll_fn(|_| match *shared.inbox.borrow() {
            Inbox::Empty => Poll::Ready(()),
            _ => Poll::Pending,
        })
        .await;
    }
}

/// Sends what was written, and ends the link when the codec is done with it.
async fn write_behind<E: Env>(worker: Rc<Worker<E>>, link: Rc<Link<E>>, shared: Rc<Shared>) {
    let limits = &worker.limits;
    // Two buffers take turns: one is sent while the other is filled.
    let mut sending = Vec::new();
    loop {
        shared.dirty.wait().await;
        loop {
            std::mem::swap(&mut sending, &mut *shared.out.borrow_mut());
            if sending.is_empty() {
                break;
            }
            shared.wake();
            let written = link.write(&sending, &[], limits.body_idle_timeout).await;
            sending.clear();
            if written.is_err() {
                shared.broken.set(true);
                shared.closed.set(true);
                shared.wake();
                // A codec that only reads would not learn of it.
                let reading = shared.reading.take();
                if let Some(reading) = reading {
                    reading.wake();
                }
                return;
            }
        }
        if shared.closing.get() {
            let mut scratch = worker.buffers.take();
            link.linger(limits.linger_bytes_max, limits.linger_timeout, &mut scratch).await;
            shared.closed.set(true);
            shared.wake();
            return;
        }
        // A quiet connection holds no buffer.
        if sending.capacity() > 4 << 10 {
            sending = Vec::new();
        }
        let mut out = shared.out.borrow_mut();
        if out.is_empty() && out.capacity() > 4 << 10 {
            *out = Vec::new();
        }
    }
}

impl Shared {
    fn wake(&self) {
        let waiting = self.waiting.take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn wait(&self, cx: &Context<'_>) {
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let this = &mut *self;
            {
                let mut inbox = this.shared.inbox.borrow_mut();
                match &mut *inbox {
                    Inbox::Filled(buffer) => {
                        let count = buffer.filled().len().min(into.remaining());
                        into.put_slice(&buffer.filled()[..count]);
                        buffer.consume(count);
                        if buffer.is_empty() {
                            *inbox = Inbox::Empty;
                        }
                        return Poll::Ready(Ok(()));
                    }
                    Inbox::Ended => return Poll::Ready(Ok(())),
                    Inbox::Broken => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                    Inbox::Empty if this.shared.broken.get() => return Poll::Ready(Err(broken())),
                    Inbox::Empty => {}
                }
            }
            match this.reader.as_mut().poll(cx) {
                Poll::Pending if matches!(*this.shared.inbox.borrow(), Inbox::Empty) => {
                    match &mut *this.shared.reading.borrow_mut() {
                        Some(old) => old.clone_from(cx.waker()),
                        none => *none = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
                Poll::Pending => {}
                Poll::Ready(()) => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let shared = &self.shared;
        if shared.broken.get() {
            return Poll::Ready(Err(broken()));
        }
        let mut out = shared.out.borrow_mut();
        let room = OUT_BYTES_MAX.saturating_sub(out.len());
        if room == 0 {
            drop(out);
            shared.wait(cx);
            shared.dirty.notify();
            return Poll::Pending;
        }
        let count = room.min(from.len());
        out.extend_from_slice(&from[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        let mut this = self;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match this.as_mut().poll_write(cx, slice) {
                Poll::Ready(Ok(count)) => {
                    written += count;
                    if count < slice.len() {
                        break;
                    }
                }
                Poll::Pending if written > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.broken.get() {
            return Poll::Ready(Err(broken()));
        }
        if !self.shared.out.borrow().is_empty() {
            self.shared.dirty.notify();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.closed.get() {
            return Poll::Ready(Ok(()));
        }
        self.shared.closing.set(true);
        self.shared.wait(cx);
        self.shared.dirty.notify();
        Poll::Pending
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.shared.closing.set(true);
        self.shared.dirty.notify();
    }
}
