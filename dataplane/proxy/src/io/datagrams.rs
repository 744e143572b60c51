//! Datagram sockets of the machine. They know which of our addresses a datagram was sent to, so that the reply can
//! leave from there.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use monoio::net::udp::UdpSocket;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};

use super::clock;
use crate::env::{Datagrams, Received};

/// A datagram socket.
pub struct MachineDatagrams {
    socket: UdpSocket,
    local: SocketAddr,
}

impl MachineDatagrams {
    pub(super) fn attach(fd: OwnedFd) -> io::Result<Self> {
        let socket = std::net::UdpSocket::from(fd);
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        // An IPv6 socket that also takes IPv4 wants both; one that does not, refuses the first.
        let four = setsockopt(&socket, sockopt::Ipv4PacketInfo, &true);
        if local.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            four?;
        }
        Ok(Self { socket: UdpSocket::from_std(socket)?, local })
    }

    /// A socket on a free port that exchanges datagrams with one address.
    pub(super) fn connect(to: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(to)?;
        Self::attach(socket.into())
    }
}

impl Datagrams for MachineDatagrams {
    async fn readable(&self) -> io::Result<()> {
        self.socket.readable(false).await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        clock::pass();
        let mut control = nix::cmsg_space!(nix::libc::in_pktinfo, nix::libc::in6_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message =
            recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
        let from = message.address.as_ref().and_then(socket_address).unwrap_or(self.local);
        let to = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            _ => None,
        });
        let to = to.unwrap_or_else(|| self.local.ip());
        Ok(Received { length: message.bytes, from, to })
    }

    fn try_send(&self, datagram: &[u8], to: Option<SocketAddr>, from: Option<IpAddr>) -> io::Result<()> {
        clock::pass();
        let four;
        let six;
        // A mapped IPv4 address on an IPv6 socket is sent from by its IPv4 form.
        let control: &[ControlMessage<'_>] = match from.map(|address| address.to_canonical()) {
            None => &[],
            Some(IpAddr::V4(address)) => {
                four = nix::libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                    ipi_addr: nix::libc::in_addr { s_addr: 0 },
                };
                &[ControlMessage::Ipv4PacketInfo(&four)]
            }
            Some(IpAddr::V6(address)) => {
                six = nix::libc::in6_pktinfo {
                    ipi6_ifindex: 0,
                    ipi6_addr: nix::libc::in6_addr { s6_addr: address.octets() },
                };
                &[ControlMessage::Ipv6PacketInfo(&six)]
            }
        };
        let to = to.map(SockaddrStorage::from);
        let slices = [IoSlice::new(datagram)];
        sendmsg(self.socket.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, to.as_ref())?;
        Ok(())
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let four = address.as_sockaddr_in().map(|four| SocketAddr::from((four.ip(), four.port())));
    four.or_else(|| address.as_sockaddr_in6().map(|six| SocketAddr::from((six.ip(), six.port()))))
}
