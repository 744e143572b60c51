//! Reads a PROXY protocol header, version 1 or 2: who the client of a connection is, told by a load balancer.
//!
//! Only for listeners that ask for it, where every connection must begin with one: guessing would let any client name
//! itself. Bounded and incremental; what follows the addresses in version 2 is skipped, never interpreted.
//! The specification is HAProxy's `proxy-protocol.txt`; sections below are its.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A header at the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes; what follows belongs to the client.
    pub consumed: usize,
    /// What it tells. `None`: the balancer speaks for itself (a health check) or does not know, and the socket's
    /// addresses hold.
    pub told: Option<Told>,
}

/// The addresses of the connection that was made to the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The client's.
    pub source: SocketAddr,
    /// The one it connected to.
    pub destination: SocketAddr,
}

/// Why a connection does not begin with a header. It is closed without an answer: nothing is known of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadProxyHeader {
    /// No PROXY protocol at all.
    Absent,
    /// Malformed.
    Malformed,
    /// Longer than any balancer's.
    TooLong,
}

/// The longest header of version 1 with its CRLF (section 2.1).
const V1_BYTES_MAX: usize = 107;

/// Addresses and extensions of version 2. The format allows 64 KiB; balancers send some hundred bytes, and a
/// connection that has shown nothing yet is not worth more memory.
const V2_BODY_BYTES_MAX: usize = 4 << 10;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Parses the header at the beginning of `buf`; `None` if it is not complete.
pub fn parse_proxy_header(buf: &[u8]) -> Result<Option<ProxyHeader>, BadProxyHeader> {
    if begins(buf, V2_SIGNATURE) {
        version_2(buf)
    } else if begins(buf, V1_PREFIX) {
        version_1(buf)
    } else {
        Err(BadProxyHeader::Absent)
    }
}

/// Whether the bytes are the beginning of something that begins so.
fn begins(buf: &[u8], prefix: &[u8]) -> bool {
    let length = buf.len().min(prefix.len());
    buf[..length] == prefix[..length]
}

/// `PROXY TCP4 source destination source-port destination-port CRLF` (section 2.1).
fn version_1(buf: &[u8]) -> Result<Option<ProxyHeader>, BadProxyHeader> {
    let seen = &buf[..buf.len().min(V1_BYTES_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if buf.len() >= V1_BYTES_MAX { Err(BadProxyHeader::TooLong) } else { Ok(None) };
    };
    let consumed = end + 2;
    let line = std::str::from_utf8(&buf[V1_PREFIX.len()..end]).map_err(|_| BadProxyHeader::Malformed)?;
    let told = match line.split_once(' ') {
        // What follows it is to be ignored.
        _ if line == "UNKNOWN" || line.starts_with("UNKNOWN ") => None,
        Some(("TCP4", rest)) => Some(addresses::<Ipv4Addr>(rest)?),
        Some(("TCP6", rest)) => Some(addresses::<Ipv6Addr>(rest)?),
        _ => return Err(BadProxyHeader::Malformed),
    };
    Ok(Some(ProxyHeader { consumed, told }))
}

fn addresses<A: FromStr + Into<IpAddr>>(text: &str) -> Result<Told, BadProxyHeader> {
    let mut parts = text.split(' ');
    let mut part = || parts.next().ok_or(BadProxyHeader::Malformed);
    let (source, destination, source_port, destination_port) = (part()?, part()?, part()?, part()?);
    if part().is_ok() {
        return Err(BadProxyHeader::Malformed);
    }
    let address = |text: &str| text.parse::<A>().map(Into::into).map_err(|_| BadProxyHeader::Malformed);
    let port = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| BadProxyHeader::Malformed),
        false => Err(BadProxyHeader::Malformed),
    };
    Ok(Told {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

/// Signature, version and command, family and transport, length, addresses, extensions (section 2.2).
fn version_2(buf: &[u8]) -> Result<Option<ProxyHeader>, BadProxyHeader> {
    let Some((fixed, rest)) = buf.split_first_chunk::<16>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadProxyHeader::Malformed),
    };
    if length > V2_BODY_BYTES_MAX {
        return Err(BadProxyHeader::TooLong);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let told = match family {
        // A health check of the balancer's own: whatever it says about addresses is to be discarded.
        _ if local => None,
        0x11 => Some(binary_addresses::<4>(body)?),
        0x21 => Some(binary_addresses::<16>(body)?),
        // Unspecified, datagrams, and sockets of one machine: nothing that could be a TCP client.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(BadProxyHeader::Malformed),
    };
    Ok(Some(ProxyHeader { consumed: fixed.len() + length, told }))
}

fn binary_addresses<const N: usize>(body: &[u8]) -> Result<Told, BadProxyHeader>
where
    IpAddr: From<[u8; N]>,
{
    let parts = || {
        let (source, rest) = body.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk::<2>()?;
        let (destination_port, _extensions) = rest.split_first_chunk::<2>()?;
        let address =
            |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes(*port));
        Some(Told {
            source: address(source, source_port),
            destination: address(destination, destination_port),
        })
    };
    parts().ok_or(BadProxyHeader::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(source: &str, destination: &str) -> Option<Told> {
        Some(Told { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, body].concat()
    }

    #[test]
    fn version_1_is_read_as_section_2_1_says() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(longest.len(), V1_BYTES_MAX);
        for (line, found) in [
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 65535\r\n", Ok(told("1.2.3.4:9", "5.6.7.8:65535"))),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Ok(told("[2001:db8::1]:1", "[::1]:2"))),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN what ever\r\n", Ok(None)),
            (&longest, Ok(None)),
            ("PROXY UNKNOWNX\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY \r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4  5.6.7.8 9 10\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 \r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 ::1 ::1 9 10\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 01.2.3.4 5.6.7.8 9 10\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 65536\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY TCP6 1.2.3.4 ::1 9 10\r\n", Err(BadProxyHeader::Malformed)),
            ("PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n", Err(BadProxyHeader::Malformed)),
            ("proxy TCP4 1.2.3.4 5.6.7.8 9 10\r\n", Err(BadProxyHeader::Absent)),
            ("GET / HTTP/1.1\r\n", Err(BadProxyHeader::Absent)),
        ] {
            let expected = found.map(|told| Some(ProxyHeader { consumed: line.len(), told }));
            assert_eq!(parse_proxy_header(format!("{line}next").as_bytes()), expected, "{line:?}");
        }
        let longer = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
        assert_eq!(parse_proxy_header(longer.as_bytes()), Err(BadProxyHeader::TooLong));
    }

    #[test]
    fn version_2_is_read_as_section_2_2_says() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 255, 255];
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[31], v6[33], v6[35]) = (0xfd, 1, 2, 3, 4);
        let extended = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        for (command, family, body, found) in [
            (0x21, 0x11, &v4[..], Ok(told("1.2.3.4:9", "5.6.7.8:65535"))),
            (0x21, 0x11, &extended, Ok(told("1.2.3.4:9", "5.6.7.8:65535"))),
            (0x21, 0x21, &v6, Ok(told("[fd00::1]:3", "[::2]:4"))),
            (0x20, 0x11, &v4, Ok(None)),
            (0x20, 0x00, &[], Ok(None)),
            (0x20, 0xff, &[1], Ok(None)),
            (0x21, 0x00, &[1, 2], Ok(None)),
            (0x21, 0x12, &v4, Ok(None)),
            (0x21, 0x31, &[0; 216], Ok(None)),
            (0x21, 0x11, &v4[..11], Err(BadProxyHeader::Malformed)),
            (0x21, 0x21, &v6[..35], Err(BadProxyHeader::Malformed)),
            (0x21, 0x13, &v4, Err(BadProxyHeader::Malformed)),
            (0x21, 0x41, &v4, Err(BadProxyHeader::Malformed)),
            (0x22, 0x11, &v4, Err(BadProxyHeader::Malformed)),
            (0x11, 0x11, &v4, Err(BadProxyHeader::Malformed)),
            (0x21, 0x11, &[0; 4097], Err(BadProxyHeader::TooLong)),
        ] {
            let mut bytes = v2(command, family, body);
            let expected = found.map(|told| Some(ProxyHeader { consumed: bytes.len(), told }));
            bytes.extend_from_slice(b"next");
            assert_eq!(parse_proxy_header(&bytes), expected, "{command:#x} {family:#x} {body:?}");
        }
    }

    #[test]
    fn a_part_of_a_header_asks_for_more_and_never_for_more_than_the_bound() {
        let headers = [
            b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".to_vec(),
            v2(0x21, 0x11, &[1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 255, 255, 4, 0, 0]),
        ];
        for header in headers {
            for end in 0..header.len() {
                assert_eq!(parse_proxy_header(&header[..end]), Ok(None), "{end} of {header:?}");
            }
            assert!(matches!(parse_proxy_header(&header), Ok(Some(_))));
        }
        assert_eq!(
            parse_proxy_header(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()),
            Err(BadProxyHeader::TooLong)
        );
        assert_eq!(parse_proxy_header(&v2(0x21, 0x11, &[0; 5000])[..16]), Err(BadProxyHeader::TooLong));
    }

    proptest! {
        #[test]
        fn what_a_balancer_writes_is_what_is_told(source: SocketAddr, destination: SocketAddr, extension in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = Told {
                source: SocketAddr::new(source.ip(), source.port()),
                destination: SocketAddr::new(destination.ip(), destination.port()),
            };
            let (family, mut body) = match (source.ip(), destination.ip()) {
                (IpAddr::V4(a), IpAddr::V4(b)) => (0x11, [a.octets(), b.octets()].concat()),
                (IpAddr::V6(a), IpAddr::V6(b)) => (0x21, [a.octets(), b.octets()].concat()),
                _ => return Ok(()),
            };
            let name = if family == 0x11 { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {name} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port());
            prop_assert_eq!(parse_proxy_header(line.as_bytes()), Ok(Some(ProxyHeader { consumed: line.len(), told: Some(expected) })));
            body.extend(source.port().to_be_bytes());
            body.extend(destination.port().to_be_bytes());
            body.extend(extension);
            let bytes = v2(0x21, family, &body);
            prop_assert_eq!(parse_proxy_header(&bytes), Ok(Some(ProxyHeader { consumed: bytes.len(), told: Some(expected) })));
        }
    }
}
