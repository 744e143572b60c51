//! Stream sockets of the machine.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use monoio::net::{TcpListener, TcpStream};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags};

use super::clock;
use super::machine::Unattached;
use crate::env::{Acceptor, Socket};

/// A listening socket.
pub struct MachineAcceptor {
    listener: TcpListener,
    local: SocketAddr,
}

impl MachineAcceptor {
    pub(super) fn attach(fd: OwnedFd) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        Ok(Self { listener: TcpListener::from_std(listener)?, local })
    }
}

impl Acceptor for MachineAcceptor {
    type Accepted = Unattached;

    async fn readable(&self) -> io::Result<()> {
        self.listener.readable(false).await
    }

    fn try_accept(&self) -> io::Result<Unattached> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, from) = rustix::net::acceptfrom_with(borrow(&self.listener), flags)?;
        let from = from.and_then(|address| SocketAddr::try_from(address).ok());
        let remote = from.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        Ok(Unattached::accepted(fd, remote))
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

/// A connected socket.
pub struct MachineSocket {
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
}

impl MachineSocket {
    /// Makes a connected, non-blocking socket this core's own.
    pub(super) fn attach(socket: Unattached) -> io::Result<Self> {
        let Unattached { fd, remote } = socket;
        let stream = std::net::TcpStream::from(fd);
        stream.set_nodelay(true)?;
        let local = unmapped(stream.local_addr()?);
        let remote = match remote {
            Some(remote) => unmapped(remote),
            None => unmapped(stream.peer_addr()?),
        };
        Ok(Self { stream: TcpStream::from_std(stream)?, local, remote })
    }

    /// Connects without blocking; the future may be dropped.
    pub(super) async fn connect(to: SocketAddr) -> io::Result<Self> {
        let domain = match to {
            SocketAddr::V4(_) => socket2::Domain::IPV4,
            SocketAddr::V6(_) => socket2::Domain::IPV6,
        };
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM.nonblocking().cloexec(), None)?;
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let stream = std::net::TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let stream = TcpStream::from_std(stream)?;
        stream.writable(false).await?;
        if let Err(error) = rustix::net::sockopt::socket_error(borrow(&stream))? {
            return Err(error.into());
        }
        let local = stream.local_addr()?;
        Ok(Self { stream, local, remote: to })
    }
}

impl Socket for MachineSocket {
    async fn readable(&self) -> io::Result<()> {
        self.stream.readable(false).await
    }

    async fn writable(&self) -> io::Result<()> {
        self.stream.writable(false).await
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        clock::pass();
        let (read, _) = rustix::net::recv(borrow(&self.stream), buffer, RecvFlags::DONTWAIT)?;
        Ok(read)
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        clock::pass();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let [buffer] = buffers {
            return Ok(rustix::net::send(borrow(&self.stream), buffer, flags)?);
        }
        let mut control = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(borrow(&self.stream), buffers, &mut control, flags)?)
    }

    fn is_gone(&self) -> bool {
        clock::pass();
        // These two are told without being asked for. An end of the other side alone is neither.
        let mut look = [PollFd::from_borrowed_fd(borrow(&self.stream), PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut look, Some(&now)), Ok(1..))
            && look[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(borrow(&self.stream), rustix::net::Shutdown::Write)?)
    }

    fn reset_on_close(&self) {
        // Best effort: a socket that is gone already needs no reset.
        let _ =
            rustix::net::sockopt::set_socket_linger(borrow(&self.stream), Some(std::time::Duration::ZERO));
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn remote(&self) -> SocketAddr {
        self.remote
    }

    fn original_destination(&self) -> Option<SocketAddr> {
        let found = match self.local {
            SocketAddr::V4(_) => socket2::SockRef::from(&borrow(&self.stream)).original_dst_v4(),
            SocketAddr::V6(_) => socket2::SockRef::from(&borrow(&self.stream)).original_dst_v6(),
        };
        found.ok().and_then(|address| address.as_socket()).filter(|address| *address != self.local)
    }

    fn raw_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(borrow(&self.stream))
    }
}

/// An IPv4 client of a dual-stack socket is an IPv4 client.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// monoio's sockets give their descriptor as a number only.
pub(super) fn borrow(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: `owner` owns the open descriptor, and the borrow cannot outlive it.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(owner.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_client_of_a_dual_stack_socket_is_an_ipv4_client() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:80".parse().unwrap();
        assert_eq!(unmapped(mapped), "192.0.2.1:80".parse().unwrap());
    }
}
