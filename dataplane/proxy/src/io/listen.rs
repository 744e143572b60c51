//! Makes the listening sockets, on the control thread: one for each core and bind.
//!
//! A failed bind is an error here, before any core hears of it. The first socket of a bind is made without
//! SO_REUSEPORT, so that another process on the port is found instead of sharing its traffic; sockets that systemd or a
//! predecessor passed enter at the same place.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use ringway_config::{Bind, Transport};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, for each socket; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Sockets that were passed by systemd or a predecessor, by the bind they serve.
#[derive(Debug, Default)]
pub struct Inherited(BTreeMap<Bind, Vec<OwnedFd>>);

impl Inherited {
    /// Sorts passed descriptors by what they are bound to. Those that are no listening or datagram socket of an
    /// internet family are named in the error.
    pub fn new(fds: Vec<OwnedFd>) -> io::Result<Self> {
        let mut sorted = Self::default();
        for fd in fds {
            let socket = Socket::from(fd);
            let address = socket.local_addr()?.as_socket();
            let kind = socket.r#type()?;
            let (Some(address), true) = (address, kind == Type::STREAM || kind == Type::DGRAM) else {
                return Err(io::Error::other("a passed socket is neither TCP nor UDP"));
            };
            let transport = if kind == Type::STREAM { Transport::Tcp } else { Transport::Udp };
            let ip = address.ip();
            let bind =
                Bind { address: (!ip.is_unspecified()).then_some(ip), port: address.port(), transport };
            sorted.0.entry(bind).or_default().push(socket.into());
        }
        Ok(sorted)
    }
}

/// Makes the sockets of binds for a number of cores.
pub struct Sockets {
    cores: usize,
    inherited: Inherited,
}

impl Sockets {
    /// For so many cores, using passed sockets first.
    pub fn new(cores: usize, inherited: Inherited) -> Self {
        Self { cores, inherited }
    }

    /// At least a socket for each core, to be dealt in turn, and the address they are bound to (which names the port if 0
    /// was asked).
    pub fn bind(&mut self, bind: Bind) -> io::Result<(Vec<OwnedFd>, SocketAddr)> {
        let mut sockets = match self.inherited.0.remove(&bind) {
            Some(passed) => passed.into_iter().map(Socket::from).collect(),
            None => vec![first(bind)?],
        };
        let address = local(&sockets[0])?;
        // Passed sockets may be fewer than cores, and may not allow others beside them: then cores share. They may be more,
        // as where 0.0.0.0 and [::] are one bind: then some cores serve several.
        let passed = sockets.len();
        while sockets.len() < self.cores {
            let like = &sockets[sockets.len() % passed];
            let next = match beside(like, bind, local(like)?) {
                Ok(socket) => socket,
                Err(_) => like.try_clone()?,
            };
            sockets.push(next);
        }
        Ok((sockets.into_iter().map(OwnedFd::from).collect(), address))
    }
}

/// The first socket of a bind: finds whoever is there already.
fn first(bind: Bind) -> io::Result<Socket> {
    let any = || match bind.address {
        Some(address) => open(bind, address, false),
        // Dual stack where the machine has IPv6, else IPv4 alone.
        None => open(bind, IpAddr::V6(Ipv6Addr::UNSPECIFIED), false).or_else(|error| {
            match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL) => {
                    open(bind, IpAddr::V4(Ipv4Addr::UNSPECIFIED), false)
                }
                _ => Err(error),
            }
        }),
    };
    let socket = any()?;
    // From now on our own sockets may join.
    socket.set_reuse_port(true)?;
    Ok(socket)
}

/// A further socket of a bind.
fn beside(first: &Socket, bind: Bind, address: SocketAddr) -> io::Result<Socket> {
    if !first.reuse_port()? {
        return Err(io::ErrorKind::Unsupported.into());
    }
    open(Bind { port: address.port(), ..bind }, address.ip(), true)
}

fn open(bind: Bind, address: IpAddr, reuse_port: bool) -> io::Result<Socket> {
    let address = SocketAddr::new(address, bind.port);
    let domain = Domain::for_address(address);
    let (kind, protocol) = match bind.transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(bind.address.is_some())?;
    }
    if bind.transport == Transport::Tcp {
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    if bind.transport == Transport::Tcp {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet socket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: Bind =
        Bind { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: 0, transport: Transport::Tcp };

    #[test]
    fn every_core_gets_a_socket_on_the_same_port() {
        let (sockets, address) = Sockets::new(3, Inherited::default()).bind(LOOPBACK).unwrap();
        assert_eq!(sockets.len(), 3);
        for socket in sockets {
            assert_eq!(local(&Socket::from(socket)).unwrap(), address);
        }
    }

    #[test]
    fn a_port_that_another_process_serves_is_an_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Sockets::new(2, Inherited::default()).bind(Bind { port, ..LOOPBACK }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn passed_sockets_are_dealt_in_turn_and_none_is_lost() {
        let other = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, two) = (other(), other());
        let addresses = [one.local_addr().unwrap(), two.local_addr().unwrap()];
        for cores in 1..=4 {
            let fds = [&one, &two].map(|listener| listener.try_clone().unwrap().into());
            let inherited = Inherited(BTreeMap::from([(LOOPBACK, Vec::from(fds))]));
            let (sockets, _) = Sockets::new(cores, inherited).bind(LOOPBACK).unwrap();
            assert_eq!(sockets.len(), cores.max(2));
            for (index, socket) in sockets.into_iter().enumerate() {
                assert_eq!(local(&Socket::from(socket)).unwrap(), addresses[index % 2]);
            }
        }
    }

    #[test]
    fn passed_sockets_are_used_first_and_shared_by_the_other_cores() {
        let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = passed.local_addr().unwrap().port();
        let inherited = Inherited::new(vec![passed.into()]).unwrap();
        let (sockets, address) = Sockets::new(2, inherited).bind(Bind { port, ..LOOPBACK }).unwrap();
        assert_eq!((sockets.len(), address.port()), (2, port));
    }
}
