//! Tells from a connection's first bytes what it speaks, and where it wants to go before TLS is ended.
//!
//! Cleartext: HTTP/1 or HTTP/2 by prior knowledge. TLS passthrough: the server name and protocols of a ClientHello,
//! read strictly and within bounds. Nothing here takes part in a handshake: the bytes are passed on as they came.

use std::borrow::Cow;

use crate::canonical;

/// What a cleartext connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleartext {
    /// HTTP/1, or anything that its parser is to refuse.
    Http1,
    /// HTTP/2 by prior knowledge (RFC 9113 section 3.3).
    Http2,
}

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tells the protocol of a cleartext connection; `None` if more bytes are needed.
pub fn cleartext(buf: &[u8]) -> Option<Cleartext> {
    let length = buf.len().min(HTTP2_PREFACE.len());
    match buf[..length] == HTTP2_PREFACE[..length] {
        false => Some(Cleartext::Http1),
        true if length == HTTP2_PREFACE.len() => Some(Cleartext::Http2),
        true => None,
    }
}

/// What a ClientHello says in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server name, canonical.
    pub sni: Option<String>,
    /// The protocols the client offers, in its order.
    pub alpn: Vec<Vec<u8>>,
}

/// Why the first bytes are no ClientHello that we route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHello {
    /// Not TLS, or not the beginning of a handshake.
    NotTls,
    /// Longer than [`HELLO_BYTES_MAX`].
    TooLarge,
    /// TLS, but malformed.
    Malformed,
}

/// The longest ClientHello. Post-quantum key shares, tickets and encrypted hellos make some 4 KiB.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// A record's longest content (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

/// Records that a ClientHello may be cut into. Clients use one, middleboxes two or three.
const RECORDS_MAX: usize = 32;

/// Reads the ClientHello at the beginning of `buf`; `None` if it is not complete.
pub fn client_hello(buf: &[u8]) -> Result<Option<Hello>, BadHello> {
    let Some(message) = handshake_message(buf)? else { return Ok(None) };
    parse_hello(&message).ok_or(BadHello::Malformed).map(Some)
}

/// Puts the first handshake message together from its records; copies only if there are several.
fn handshake_message(buf: &[u8]) -> Result<Option<Cow<'_, [u8]>>, BadHello> {
    let mut rest = buf;
    let mut content: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    for _ in 0..RECORDS_MAX {
        if rest.first().is_some_and(|kind| *kind != 22) || rest.get(1).is_some_and(|major| *major != 3) {
            return Err(if content.is_empty() { BadHello::NotTls } else { BadHello::Malformed });
        }
        let Some((&[_, _, _, high, low], after)) = rest.split_first_chunk::<5>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(BadHello::Malformed);
        }
        let (fragment, after) = after.split_at(length.min(after.len()));
        if content.is_empty() {
            content = Cow::Borrowed(fragment);
        } else {
            content.to_mut().extend_from_slice(fragment);
        }
        if content.first().is_some_and(|kind| *kind != 1) {
            return Err(BadHello::NotTls);
        }
        if let Some(&[_, a, b, c]) = content.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            if end > HELLO_BYTES_MAX {
                return Err(BadHello::TooLarge);
            }
            // Nothing may follow it before the server has answered.
            if content.len() > end {
                return Err(BadHello::Malformed);
            }
            if content.len() == end {
                let message = match content {
                    Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[4..]),
                    Cow::Owned(bytes) => Cow::Owned(bytes[4..].to_vec()),
                };
                // The record itself must end here, too, even if its last byte did not come yet.
                return if fragment.len() == length { Ok(Some(message)) } else { Err(BadHello::Malformed) };
            }
        }
        if fragment.len() < length {
            return Ok(None);
        }
        rest = after;
    }
    Err(BadHello::Malformed)
}

/// RFC 8446 section 4.1.2; `None` if malformed.
fn parse_hello(message: &[u8]) -> Option<Hello> {
    let mut hello = Hello::default();
    let mut rest = Bytes(message);
    rest.take(2 + 32)?; // version, random
    let session = rest.vector8()?;
    let ciphers = rest.vector16()?;
    let compressions = rest.vector8()?;
    if session.len() > 32 || ciphers.is_empty() || !ciphers.len().is_multiple_of(2) || compressions.is_empty()
    {
        return None;
    }
    // TLS 1.2 clients may have no extensions at all.
    if rest.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Bytes(rest.vector16()?);
    if !rest.0.is_empty() {
        return None;
    }
    let (mut names, mut protocols) = (0, 0);
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        match kind {
            0 => {
                names += 1;
                hello.sni = Some(server_name(content)?);
            }
            16 => {
                protocols += 1;
                hello.alpn = protocol_names(content)?;
            }
            _ => {}
        }
    }
    // An extension may occur once (RFC 8446 section 4.2): two names would let us and the upstream choose differently.
    (names <= 1 && protocols <= 1).then_some(hello)
}

/// RFC 6066 section 3: a list of one host name, as nothing else was ever defined.
fn server_name(content: &[u8]) -> Option<String> {
    let mut content = Bytes(content);
    let mut names = Bytes(content.vector16()?);
    if !content.0.is_empty() || names.number8()? != 0 {
        return None;
    }
    let name = std::str::from_utf8(names.vector16()?).ok()?;
    let (host, port) = canonical::split_authority(name).ok()?;
    (names.0.is_empty() && port.is_none() && !name.contains(':')).then(|| host.to_ascii_lowercase())
}

/// RFC 7301 section 3.1.
fn protocol_names(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut content = Bytes(content);
    let mut list = Bytes(content.vector16()?);
    if !content.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8()?;
        if name.is_empty() {
            return None;
        }
        names.push(name.to_vec());
    }
    Some(names)
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number8(&mut self) -> Option<usize> {
        self.take(1).map(|bytes| usize::from(bytes[0]))
    }

    fn number16(&mut self) -> Option<usize> {
        self.take(2).map(|bytes| usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    }

    /// A vector with one byte of length.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.number8()?;
        self.take(length)
    }

    /// A vector with two bytes of length.
    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.number16()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_preface_tells_http2_and_its_first_differing_byte_http1() {
        for (bytes, found) in [
            (&b""[..], None),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (HTTP2_PREFACE, Some(Cleartext::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Cleartext::Http2)),
            (b"PUT", Some(Cleartext::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSX", Some(Cleartext::Http1)),
            (b"GET / HTTP/1.1\r\n", Some(Cleartext::Http1)),
            (b"\x16\x03", Some(Cleartext::Http1)),
        ] {
            assert_eq!(cleartext(bytes), found, "{bytes:?}");
        }
    }

    /// As OpenSSL 3 sends it for `Gateway.Example`, offering h2 and http/1.1.
    const OPENSSL: &[u8] = include_bytes!("../../fuzz/seeds/client_hello/openssl");

    fn with_length8(bytes: &[u8]) -> Vec<u8> {
        [&[bytes.len() as u8][..], bytes].concat()
    }

    fn with_length16(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_length16(content)].concat()
    }

    fn name(name: &str) -> Vec<u8> {
        extension(0, &with_length16(&[&[0][..], &with_length16(name.as_bytes())].concat()))
    }

    fn protocols(names: &[&str]) -> Vec<u8> {
        let list: Vec<u8> = names.iter().flat_map(|name| with_length8(name.as_bytes())).collect();
        extension(16, &with_length16(&list))
    }

    /// A hello with these extensions (`None`: without the list), as one handshake message.
    fn message(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(with_length8(&[8; 32]));
        body.extend(with_length16(&[0x13, 1, 0x13, 2]));
        body.extend(with_length8(&[0]));
        body.extend(extensions.map(with_length16).unwrap_or_default());
        [&[1, 0][..], &with_length16(&body)].concat()
    }

    fn records(message: &[u8], fragment: usize) -> Vec<u8> {
        message.chunks(fragment).flat_map(|part| [&[22, 3, 1][..], &with_length16(part)].concat()).collect()
    }

    fn hello(extensions: &[u8]) -> Result<Option<Hello>, BadHello> {
        client_hello(&records(&message(Some(extensions)), 1 << 14))
    }

    #[test]
    fn name_and_protocols_are_read_from_a_real_hello() {
        let expected =
            Hello { sni: Some("gateway.example".into()), alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()] };
        assert_eq!(client_hello(OPENSSL), Ok(Some(expected)));
        for end in 0..OPENSSL.len() {
            assert_eq!(client_hello(&OPENSSL[..end]), Ok(None), "{end} bytes");
        }
    }

    #[test]
    fn a_hello_in_several_records_is_the_same_hello() {
        let message = message(Some(&[name("a.b"), protocols(&["h2"])].concat()));
        let whole = client_hello(&records(&message, 1 << 14));
        assert_eq!(whole, Ok(Some(Hello { sni: Some("a.b".into()), alpn: vec![b"h2".to_vec()] })));
        for fragment in 4..message.len() {
            let bytes = records(&message, fragment);
            assert_eq!(client_hello(&bytes), whole, "fragments of {fragment}");
            assert_eq!(client_hello(&bytes[..bytes.len() - 1]), Ok(None), "fragments of {fragment}");
        }
        assert_eq!(client_hello(&records(&message, 1)), Err(BadHello::Malformed), "too many records");
    }

    #[test]
    fn a_hello_needs_neither_name_nor_protocols() {
        assert_eq!(client_hello(&records(&message(None), 999)), Ok(Some(Hello::default())));
        assert_eq!(hello(&[]), Ok(Some(Hello::default())));
        assert_eq!(hello(&extension(43, &[2, 3, 4])), Ok(Some(Hello::default())));
        assert_eq!(hello(&name("A.b.")).unwrap().unwrap().sni.as_deref(), Some("a.b"));
    }

    #[test]
    fn malformed_hellos_are_refused() {
        let one = with_length16(&[&[0][..], &with_length16(b"a")].concat());
        for (why, extensions) in [
            ("name twice", [name("a"), name("a")].concat()),
            ("protocols twice", [protocols(&["h2"]), protocols(&["h2"])].concat()),
            ("empty name", name("")),
            ("a name that is none", name("a b")),
            ("a name with NUL", name("a\0")),
            ("a name with port", name("a:1")),
            ("a name with empty port", name("a:")),
            ("an empty extension", extension(0, &[])),
            ("a list that is too short", extension(0, &one[..one.len() - 1])),
            ("bytes after the list", extension(0, &[&one[..], &[0]].concat())),
            ("two names in the list", extension(0, &with_length16(&[&one[2..], &one[2..]].concat()))),
            ("a name of another kind", extension(0, &with_length16(&[1, 0, 1, b'a']))),
            ("no protocol", protocols(&[])),
            ("an empty protocol", protocols(&["h2", ""])),
            ("half an extension", vec![0, 0, 0]),
            ("an extension that is too long", vec![0, 0, 0, 9, 0]),
        ] {
            assert_eq!(hello(&extensions), Err(BadHello::Malformed), "{why}");
        }
    }

    #[test]
    fn what_is_no_hello_is_told_early() {
        for (bytes, error) in [
            (&b"GET / HTTP/1.1\r\n"[..], BadHello::NotTls),
            (&[22, 2], BadHello::NotTls),
            (&[21, 3, 3, 0, 2, 1, 0], BadHello::NotTls),
            (&[22, 3, 1, 0, 5, 2], BadHello::NotTls),
            (&[22, 3, 1, 0, 0], BadHello::Malformed),
            (&[22, 3, 1, 0x40, 1], BadHello::Malformed),
            (&[22, 3, 1, 0, 9, 1, 0, 0x40, 0], BadHello::TooLarge),
            (&[22, 3, 1, 0, 4, 1, 0, 1, 0, 23], BadHello::Malformed),
            (&[22, 3, 1, 0, 6, 1, 0, 0, 1, 9, 0], BadHello::Malformed),
        ] {
            assert_eq!(client_hello(bytes), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_an_answer(at in 0usize..600, byte: u8, end in 0usize..600) {
            let mut bytes = OPENSSL.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let part = client_hello(&bytes[..end.min(bytes.len())]);
            if part != Ok(None) {
                prop_assert_eq!(client_hello(&bytes), part);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let framed = records(&[&[1, 0][..], &with_length16(&bytes)].concat(), 100);
            prop_assert_ne!(client_hello(&framed), Ok(None));
        }
    }
}
