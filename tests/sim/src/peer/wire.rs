//! A byte stream as the scripted peers use it, plain or with TLS on it, and what waiting on two things needs.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use ringway_proxy::env::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::network::SimSocket;

/// A byte stream. Reading and writing may be under way at once.
pub trait Wire: 'static {
    /// Reads what is there, waiting for the first byte; 0 is the end.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of it, which is not nothing.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Waits until what was written is on its way.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that nothing more will be written.
    fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket below.
    fn socket(&self) -> &SimSocket;

    /// Reads what is there, waiting for the first byte; 0 is the end.
    fn read(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        poll_fn(|cx| self.poll_read(cx, buffer))
    }

    /// Writes all of it.
    fn write(&self, mut bytes: &[u8]) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| {
            while !bytes.is_empty() {
                let count = ready!(self.poll_write(cx, bytes))?;
                bytes = &bytes[count..];
            }
            self.poll_flush(cx)
        })
    }

    /// Says that nothing more will be written.
    fn finish(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|cx| self.poll_finish(cx))
    }
}

impl Wire for SimSocket {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx))?;
            match self.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx))?;
            match self.try_write(&[IoSlice::new(bytes)]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }

    fn socket(&self) -> &SimSocket {
        self
    }
}

/// A wire for the h2 crate.
pub struct Io<W>(pub W);

impl<W: Wire + Unpin> AsyncRead for Io<W> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(self.0.poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<W: Wire + Unpin> AsyncWrite for Io<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_finish(cx)
    }
}

/// Runs the first to its end, and the second beside it as far as it comes. The caller may go on with the second, unless
/// it says that it is done.
pub async fn while_first<A>(
    first: impl Future<Output = A>,
    mut second: Pin<&mut impl Future<Output = ()>>,
    second_done: &Cell<bool>,
) -> A {
    let mut first = pin!(first);
    poll_fn(|cx| {
        if !second_done.get() {
            second_done.set(second.as_mut().poll(cx).is_ready());
        }
        first.as_mut().poll(cx)
    })
    .await
}
