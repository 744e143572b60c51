//! A byte stream as the scripted peers use it, plain or with TLS on it, and the little that waiting on two things needs.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};

use ringway_proxy::env::Socket;

use crate::network::SimSocket;

/// A byte stream. Reading and writing may be under way at once.
pub trait Wire: 'static {
    /// Reads what is there, waiting for the first byte; 0 is the end.
    fn read(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>>;

    /// Writes all of it.
    fn write(&self, bytes: &[u8]) -> impl Future<Output = io::Result<()>>;

    /// Says that nothing more will be written.
    fn finish(&self) -> impl Future<Output = io::Result<()>>;

    /// The socket below.
    fn socket(&self) -> &SimSocket;
}

impl Wire for SimSocket {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable().await?;
            match self.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(&[IoSlice::new(bytes)]) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn finish(&self) -> io::Result<()> {
        self.shutdown_write()
    }

    fn socket(&self) -> &SimSocket {
        self
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
