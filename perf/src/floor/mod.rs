//! What the kernel alone costs: relays that carry bytes and know nothing of what they carry. One upstream connection
//! for each client, one thread, no parsing, no pools, no limits, no metrics.
//!
//! A proxy that costs less than this on the same workload shows that the relay wastes something, not that the proxy
//! is faster than the kernel: improve the relay then.

mod epoll;
mod ring;
mod splice;
mod turns;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::io::Errno;

/// How bytes are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// Edge-triggered readiness, then `recv` and `send` through one buffer.
    Epoll,
    /// The same waiting, then `splice` through a pipe.
    Splice,
    /// Operations of io_uring, each send linked with the next receive.
    Ring,
}

impl Relay {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Epoll, Self::Splice, Self::Ring];

    /// As it is called on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Splice => "splice",
            Self::Ring => "ring",
        }
    }
}

/// Carries bytes between clients of the listener and the upstream until the process ends.
pub fn run(relay: Relay, listener: &TcpListener, upstream: SocketAddr) -> io::Result<()> {
    match relay {
        Relay::Epoll => epoll::run(listener, upstream),
        Relay::Splice => splice::run(listener, upstream),
        Relay::Ring => ring::run(listener, upstream),
    }
}

/// Whether there is no room for another connection until one ends.
fn is_shortage(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Two connections whose bytes are for each other.
#[derive(Debug)]
struct Pair {
    ends: [TcpStream; 2],
}

impl Pair {
    /// For a client that was accepted. Connecting waits, which on loopback takes less than setting up not to.
    fn connect(client: TcpStream, upstream: SocketAddr) -> io::Result<Self> {
        let ends = [client, TcpStream::connect(upstream)?];
        for end in &ends {
            end.set_nodelay(true)?;
            end.set_nonblocking(true)?;
        }
        Ok(Self { ends })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::thread;

    use super::*;

    /// A server that answers with what it was sent, and ends when its client has ended.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    let _ended = std::io::copy(&mut stream, &mut back);
                    let _ended = back.shutdown(Shutdown::Write);
                });
            }
        });
        address
    }

    fn relay(relay: Relay, upstream: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || run(relay, &listener, upstream));
        address
    }

    #[test]
    fn every_byte_arrives_and_so_does_the_end() {
        for kind in Relay::ALL {
            let address = relay(kind, echo());
            let mut clients = Vec::new();
            for client in 0..4u8 {
                clients.push(thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    // More than all buffers on the way hold, so that somebody must wait for somebody.
                    let sent: Vec<u8> = (0..24_000_000u32).map(|at| (at >> 8) as u8 ^ client).collect();
                    let mut writer = stream.try_clone().unwrap();
                    let copy = sent.clone();
                    let writing = thread::spawn(move || {
                        writer.write_all(&copy).unwrap();
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut received = Vec::new();
                    stream.read_to_end(&mut received).unwrap();
                    writing.join().unwrap();
                    assert!(received == sent, "{kind:?}: {} bytes of {}", received.len(), sent.len());
                }));
            }
            clients.into_iter().for_each(|client| client.join().unwrap());
        }
    }

    #[test]
    fn short_messages_go_to_and_fro() {
        for kind in Relay::ALL {
            let mut stream = TcpStream::connect(relay(kind, echo())).unwrap();
            for round in 0..200u8 {
                stream.write_all(&[round; 100]).unwrap();
                let mut reply = [0; 100];
                stream.read_exact(&mut reply).unwrap();
                assert_eq!(reply, [round; 100]);
            }
        }
    }
}
