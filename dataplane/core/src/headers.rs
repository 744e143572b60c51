//! The header fields that belong to a connection, and those that tell an upstream about it.
//!
//! Who the client is and what the forwarded fields say is decided once, at the edge ([`enter`]), before anything
//! looks at the request; logs, limits and policies see that and nothing else. Fields that concern one hop never reach
//! the next ([`strip_hop_by_hop`]). Framing and `Host` are not fields here: the codecs write them.

use std::io::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use ringway_config::HeaderEdits;

use crate::arrival::Arrival;
use crate::canonical;
use crate::message::{Fields, RequestHead, Version};

/// Networks whose forwarded fields are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether an address is in one of them. An IPv4 address is the same in an IPv6 socket.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Makes a request that just arrived ready for everything that follows, and returns the client's address.
///
/// Hop-by-hop fields go. The forwarded fields are replaced by what we know, or extended by it if the sender is
/// trusted (`Arrival::trusted`). `drawn` becomes `X-Request-ID` if there is none to be kept.
pub fn enter(head: &mut RequestHead, arrival: &Arrival, trusted: &TrustedProxies, drawn: u128) -> IpAddr {
    let client = client_address(&head.fields, arrival, trusted);
    strip_hop_by_hop(&mut head.fields, true);
    let keep = arrival.trusted;
    head.fields.retain(|name, _| match FORWARDED.iter().any(|forwarded| same_field(name, forwarded)) {
        true => keep && !name.contains(&b'_'),
        false => true,
    });
    write_forwarded(head, arrival, drawn);
    client
}

/// The fields that [`enter`] decides. With underscores they are the same to CGI, so those go in any case.
const FORWARDED: [&[u8]; 6] = [
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"forwarded",
    b"x-request-id",
];

fn same_field(name: &[u8], dashed: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a == b || (*a == b'_' && *b == b'-');
    name.len() == dashed.len() && name.iter().zip(dashed).all(same)
}

fn write_forwarded(head: &mut RequestHead, arrival: &Arrival, drawn: u128) {
    let sender = arrival.client.ip().to_canonical();
    // Copied: the fields are written while the head is read. Bounded by the length of a host name.
    let mut authority = [0; 264];
    let length = head.authority().len().min(authority.len());
    authority[..length].copy_from_slice(&head.authority().as_bytes()[..length]);
    let authority = &authority[..length];
    let fields = &mut head.fields;
    let proto = arrival.scheme.as_str();

    let show = |out: &mut Vec<u8>, value: &dyn std::fmt::Display| {
        write!(out, "{value}").expect("writing to a Vec cannot fail");
    };
    fields.extend_with("x-forwarded-for", |out| show(out, &sender));
    fields.extend_with("forwarded", |out| {
        match sender {
            IpAddr::V4(address) => show(out, &format_args!("for={address};")),
            IpAddr::V6(address) => show(out, &format_args!("for=\"[{address}]\";")),
        }
        if !authority.is_empty() {
            out.extend_from_slice(b"host=\"");
            out.extend_from_slice(authority);
            out.extend_from_slice(b"\";");
        }
        show(out, &format_args!("proto={proto}"));
    });
    if !fields.contains("x-forwarded-proto") {
        fields.append(b"x-forwarded-proto", proto.as_bytes());
    }
    if !fields.contains("x-forwarded-host") && !authority.is_empty() {
        fields.append(b"x-forwarded-host", authority);
    }
    if !fields.contains("x-forwarded-port") {
        fields.append_with("x-forwarded-port", |out| show(out, &arrival.local.port()));
    }
    if fields.first("x-request-id").is_none_or(<[u8]>::is_empty) {
        fields.set("x-request-id", &uuid(drawn));
    }
}

/// The text of a random UUID (RFC 9562 section 5.4) made of drawn bits.
fn uuid(drawn: u128) -> [u8; 36] {
    let bits = drawn & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62);
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (index, byte) in text.iter_mut().enumerate() {
        if ![8, 13, 18, 23].contains(&index) {
            shift -= 4;
            *byte = b"0123456789abcdef"[(bits >> shift & 15) as usize];
        }
    }
    text
}

/// The client as a trusted proxy tells it: the last address of `X-Forwarded-For` that is not a trusted proxy's.
///
/// A sender outside the trusted networks is the client itself, also one that came by PROXY protocol: that names the
/// client, and what the client says about its own clients is not evidence.
fn client_address(fields: &Fields, arrival: &Arrival, trusted: &TrustedProxies) -> IpAddr {
    let mut client = arrival.client.ip().to_canonical();
    if !arrival.trusted {
        return client;
    }
    let mut from_last = fields.all("x-forwarded-for").rev().flat_map(|value| list(value).rev());
    while trusted.contains(client) {
        // What is no address ends the chain: whatever stands before it was written by nobody we know.
        let Some(before) = from_last.next().and_then(parse_address) else { break };
        client = before;
    }
    client
}

/// An element of `X-Forwarded-For`: an address, some write a port as well.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<std::net::SocketAddr>().map(|address| address.ip()))
        .or_else(|_| {
            text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::Ipv6Addr>().map(IpAddr::V6)
        });
    address.ok().map(|address| address.to_canonical())
}

/// Removes the fields that concern one connection only (RFC 9110 section 7.6.1), and those that `Connection` names.
///
/// `te` stays if it asks for trailers, and says nothing else then. `upgrade` stays where asked: a request codec leaves
/// it only where it may pass, and the response side knows whether it switches protocols.
pub fn strip_hop_by_hop(fields: &mut Fields, upgrade: bool) {
    // Named fields are rare, and the codecs bound how many there are; without any this allocates nothing.
    let named: Vec<Vec<u8>> = fields
        .all("connection")
        .flat_map(list)
        .filter(|option| !is_well_known_option(option))
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    let trailers = fields.all("te").flat_map(list).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    fields.retain(|name, _| match name {
        b"te" => trailers,
        b"upgrade" => upgrade,
        _ => !is_hop_by_hop(name) && (named.is_empty() || !named.iter().any(|named| named == name)),
    });
    if trailers {
        fields.set("te", b"trailers");
    }
}

fn is_well_known_option(option: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade", b"te"].iter().any(|known| option.eq_ignore_ascii_case(known))
}

/// Whether a field (lower case) concerns one connection only.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"te"
            | b"transfer-encoding"
            | b"upgrade"
            | b"http2-settings"
    )
}

/// Whether a field (lower case) may stand in trailers: it must not change what the head has already decided
/// (RFC 9110 section 6.5.1).
pub fn may_be_trailer(name: &[u8]) -> bool {
    let decided = matches!(
        name,
        b"content-length"
            | b"content-encoding"
            | b"content-type"
            | b"content-range"
            | b"host"
            | b"trailer"
            | b"authorization"
            | b"cookie"
            | b"set-cookie"
            | b"cache-control"
            | b"expect"
            | b"range"
            | b"max-forwards"
    );
    !decided && !is_hop_by_hop(name) && !FORWARDED.iter().any(|forwarded| same_field(name, forwarded))
}

/// Edits a request as a rule says. `Host` is not a field here: setting it changes the authority, and it cannot be
/// removed or given twice.
pub fn edit_request(head: &mut RequestHead, edits: &HeaderEdits) {
    for (name, value) in &edits.set {
        if name == http::header::HOST
            && let Ok(host) = value.to_str()
            && canonical::split_authority(host).is_ok()
        {
            canonical::fill_authority(head, host).expect("checked in the condition");
        }
    }
    edit(&mut head.fields, edits);
}

/// Edits fields as a rule says: set, then add, then remove. What belongs to the connection or to the message's framing
/// is not a rule's to edit, and is passed over.
pub fn edit(fields: &mut Fields, edits: &HeaderEdits) {
    for (name, value) in &edits.set {
        if may_be_edited(name.as_str()) {
            drop_lookalikes(fields, name.as_str());
            fields.set(name.as_str(), value.as_bytes());
        }
    }
    for (name, value) in &edits.add {
        if may_be_edited(name.as_str()) {
            drop_lookalikes(fields, name.as_str());
            fields.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    for name in &edits.remove {
        if may_be_edited(name.as_str()) {
            drop_lookalikes(fields, name.as_str());
            fields.remove(name.as_str());
        }
    }
}

/// Whether a rule may edit a field.
pub(crate) fn may_be_edited(name: &str) -> bool {
    !is_hop_by_hop(name.as_bytes()) && !matches!(name, "host" | "content-length")
}

/// Removes fields that become an edited one where `_` is read as `-`: a client could set through them what the rule
/// means to decide.
fn drop_lookalikes(fields: &mut Fields, name: &str) {
    if name.contains('-') {
        fields.retain(|other, _| other == name.as_bytes() || !same_field(other, name.as_bytes()));
    }
}

/// Whether two different names of a request are one where `_` is read as `-`, as in CGI and what came after it. Such a
/// request is refused, by the codec of either protocol.
///
/// `content_length` and `transfer_encoding` always collide, since the codecs write their dash forms.
pub fn names_collide(fields: &Fields) -> bool {
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    let same = |a: &[u8], b: &[u8]| a.len() == b.len() && a.iter().map(dashed).eq(b.iter().map(dashed));
    fields.iter().filter(|(name, _)| name.contains(&b'_')).any(|(name, _)| {
        same(name, b"content-length")
            || same(name, b"transfer-encoding")
            || fields.iter().any(|(other, _)| other != name && same(other, name))
    })
}

/// The elements of a comma-separated list, without those that are empty (RFC 9110 section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Options in `Connection` fields of one head. A client sends three at most; a field is looked up for each of them.
pub(crate) const CONNECTION_OPTIONS_MAX: usize = 16;

/// What the `Connection` fields of a head say.
#[derive(Debug, Default)]
pub(crate) struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    pub(crate) upgrade: bool,
    pub(crate) count: usize,
}

impl ConnectionOptions {
    /// Takes in one field.
    pub(crate) fn read(&mut self, value: &[u8]) {
        for option in list(value) {
            self.count += 1;
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// Whether the connection stays open after a message of that version (RFC 9112 section 9.3).
    pub(crate) fn keep_alive(&self, version: Version) -> bool {
        !self.close && (self.keep_alive || version >= Version::Http11)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use ringway_config::{Bind, Transport};

    use super::*;
    use crate::arrival::Scheme;

    fn arrival(client: &str, trusted: bool) -> Arrival {
        Arrival {
            bind: Bind { address: None, port: 8080, transport: Transport::Tcp },
            local: "10.0.0.9:8443".parse().unwrap(),
            original_destination: None,
            client: client.parse().unwrap(),
            trusted,
            scheme: Scheme::Https,
            sni: None,
            listener: None,
            peer: None,
        }
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::new();
        head.set_authority("a.b", Some(81));
        head.fields = fields.iter().copied().collect();
        head
    }

    fn text(fields: &Fields) -> Vec<String> {
        let text = String::from_utf8_lossy;
        fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn forwarded_fields_from_outside_are_replaced() {
        let mut head = head(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded_proto", "http"),
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=evil"),
            ("x-request-id", "evil"),
            ("traceparent", "00-1-2-01"),
        ]);
        let client = enter(&mut head, &arrival("[::ffff:192.0.2.1]:5", false), &trusted(), 0);
        assert_eq!(client, "192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(
            text(&head.fields),
            [
                "traceparent: 00-1-2-01",
                "x-forwarded-for: 192.0.2.1",
                "forwarded: for=192.0.2.1;host=\"a.b:81\";proto=https",
                "x-forwarded-proto: https",
                "x-forwarded-host: a.b:81",
                "x-forwarded-port: 8443",
                "x-request-id: 00000000-0000-4000-8000-000000000000",
            ]
        );
    }

    #[test]
    fn forwarded_fields_of_a_trusted_sender_are_kept_and_extended() {
        let mut head = head(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "192.0.2.7, 10.1.1.1"),
            ("x_forwarded_for", "9.9.9.9"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=1.1.1.1"),
            ("x-request-id", "kept"),
        ]);
        let client = enter(&mut head, &arrival("[fd00::1]:5", true), &trusted(), 0);
        assert_eq!(client, "192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!(
            text(&head.fields),
            [
                "x-forwarded-for: 1.1.1.1, 192.0.2.7, 10.1.1.1, fd00::1",
                "x-forwarded-proto: http",
                "forwarded: for=1.1.1.1, for=\"[fd00::1]\";host=\"a.b:81\";proto=https",
                "x-request-id: kept",
                "x-forwarded-host: a.b:81",
                "x-forwarded-port: 8443",
            ]
        );
    }

    #[test]
    fn names_that_differ_in_underscores_only_collide() {
        for (names, collide) in [
            (&["x_a", "x-b", "x_a"][..], false),
            (&["x_a", "x-a"], true),
            (&["x-a_b", "x_a-b"], true),
            (&["content_length"], true),
            (&["transfer_encoding"], true),
        ] {
            let fields: Fields = names.iter().map(|name| (name, "")).collect();
            assert_eq!(names_collide(&fields), collide, "{names:?}");
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxys() {
        for (sender, believed, forwarded, client) in [
            ("192.0.2.1:1", false, "1.1.1.1", "192.0.2.1"),
            ("10.0.0.1:1", false, "1.1.1.1", "10.0.0.1"),
            ("10.0.0.1:1", true, "", "10.0.0.1"),
            ("10.0.0.1:1", true, "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1:1", true, "1.1.1.1, 2.2.2.2", "2.2.2.2"),
            ("10.0.0.1:1", true, "2.2.2.2, 10.0.0.2, 10.0.0.3", "2.2.2.2"),
            ("10.0.0.1:1", true, "10.0.0.2, 10.0.0.3", "10.0.0.2"),
            ("10.0.0.1:1", true, "2.2.2.2, unknown, 10.0.0.3", "10.0.0.3"),
            ("10.0.0.1:1", true, "2.2.2.2:80", "2.2.2.2"),
            ("10.0.0.1:1", true, "[2001:db8::1]:80", "2001:db8::1"),
            ("10.0.0.1:1", true, "[2001:db8::1]", "2001:db8::1"),
            ("10.0.0.1:1", true, "::ffff:2.2.2.2", "2.2.2.2"),
            // By PROXY protocol: believed, but its own address is the client's.
            ("192.0.2.1:1", true, "1.1.1.1", "192.0.2.1"),
        ] {
            let fields: Fields = [("x-forwarded-for", forwarded)].into_iter().collect();
            let found = client_address(&fields, &arrival(sender, believed), &trusted());
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{sender} {believed} {forwarded}");
        }
    }

    #[test]
    fn fields_of_one_hop_do_not_reach_the_next() {
        let mut fields: Fields = [
            ("connection", "close, X-Own, keep-alive"),
            ("connection", "te, upgrade"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, Trailers;q=0.5, trailers"),
            ("transfer-encoding", "gzip"),
            ("upgrade", "websocket"),
            ("http2-settings", "x"),
            ("x-own", "1"),
            ("x-other", "2"),
            ("trailer", "x-t"),
        ]
        .into_iter()
        .collect();
        let mut tunnel = fields.clone();
        strip_hop_by_hop(&mut fields, false);
        assert_eq!(text(&fields), ["te: trailers", "x-other: 2", "trailer: x-t"]);
        strip_hop_by_hop(&mut tunnel, true);
        assert_eq!(text(&tunnel), ["te: trailers", "upgrade: websocket", "x-other: 2", "trailer: x-t"]);
        let mut compressed: Fields = [("te", "gzip")].into_iter().collect();
        strip_hop_by_hop(&mut compressed, false);
        assert!(compressed.is_empty());
    }

    #[test]
    fn a_client_cannot_have_our_fields_removed_by_naming_them_in_connection() {
        let mut head = head(&[("connection", "x-forwarded-for, x-request-id, forwarded")]);
        enter(&mut head, &arrival("192.0.2.1:5", false), &trusted(), 1);
        assert_eq!(head.fields.first("x-forwarded-for"), Some(&b"192.0.2.1"[..]));
        assert!(head.fields.contains("x-request-id") && head.fields.contains("forwarded"));
    }

    #[test]
    fn a_request_id_is_a_random_uuid() {
        for (drawn, text) in [
            (u128::MAX, "ffffffff-ffff-4fff-bfff-ffffffffffff"),
            (0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, "01234567-89ab-4def-8123-456789abcdef"),
        ] {
            assert_eq!(std::str::from_utf8(&uuid(drawn)), Ok(text));
        }
    }

    fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        let pair = |(n, v): &(&str, &str)| (name(n), HeaderValue::from_str(v).unwrap());
        HeaderEdits {
            set: set.iter().map(pair).collect(),
            add: add.iter().map(pair).collect(),
            remove: remove.iter().map(|n| name(n)).collect(),
        }
    }

    #[test]
    fn edits_set_then_add_then_remove() {
        let mut fields: Fields = [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")].into_iter().collect();
        edit(&mut fields, &edits(&[("A", "3"), ("d", "1")], &[("a", "4"), ("e", "1")], &["c", "e", "f"]));
        assert_eq!(text(&fields), ["a: 3", "b: 1", "d: 1", "a: 4"]);
    }

    #[test]
    fn edits_reach_names_that_become_the_same_where_underscores_are_dashes() {
        let mut fields: Fields =
            [("x_user", "evil"), ("x_gone", "evil"), ("x-gone", "1"), ("x_more", "evil"), ("y_z", "1")]
                .into_iter()
                .collect();
        edit(&mut fields, &edits(&[("x-user", "us")], &[("x-more", "us")], &["x-gone"]));
        assert_eq!(text(&fields), ["y_z: 1", "x-user: us", "x-more: us"]);
    }

    #[test]
    fn edits_pass_over_framing_and_connection_and_set_the_host_as_authority() {
        let mut head = head(&[("upgrade", "websocket"), ("te", "trailers")]);
        let framing =
            [("content-length", "1"), ("transfer-encoding", "x"), ("connection", "x"), ("host", "C.D.")];
        edit_request(&mut head, &edits(&framing, &framing, &["upgrade", "te", "host", "content-length"]));
        assert_eq!(text(&head.fields), ["upgrade: websocket", "te: trailers"]);
        assert_eq!((head.host(), head.authority()), ("c.d", "c.d"));
        edit_request(&mut head, &edits(&[("host", "no host")], &[], &[]));
        assert_eq!(head.authority(), "c.d", "an invalid host changes nothing");
    }
}
