//! Writes one line of the access log for a finished request or tunnel, as Envoy's default text or as JSON.
//!
//! What a request looked like is captured before it is rewritten ([`Facts`]), into buffers that are used again; a line is
//! formatted into a buffer of the caller's. Whatever a client sends, a line stays one line, its fields stay apart, and its length is bounded.
//! Pure: the wall clock's time is an argument. Where lines go, and which are dropped, is the proxy's business.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::arrival::Arrival;
use crate::failure::Flags;
use crate::message::{RequestHead, Version};
use crate::record::TunnelSummary;
use crate::summary::Summary;

/// Bytes of a value from the network that are logged. A longer one is cut, and ends with `...`.
const VALUE_BYTES_MAX: usize = 2048;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Envoy's default format.
    Text,
    /// One JSON object; names as Linkerd's where it has one.
    Json,
}

/// What a request looked like when it came. Reused by its connection: capturing allocates nothing once warm.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    captured: bool,
    client: Option<IpAddr>,
    version: Option<Version>,
    block: Vec<u8>,
    ends: [usize; Fact::COUNT],
    present: [bool; Fact::COUNT],
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Fact {
    Method,
    Uri,
    Host,
    ForwardedFor,
    UserAgent,
    RequestId,
    TraceParent,
}

impl Fact {
    const COUNT: usize = Self::TraceParent as usize + 1;
}

impl Facts {
    /// Forgets the last request: nothing is known of the next one until it is captured.
    pub fn clear(&mut self) {
        self.block.clear();
        self.client = None;
        self.version = None;
        self.present = [false; Fact::COUNT];
        self.captured = false;
    }

    /// Remembers a request: after the client's address and the request id were decided, before anything is rewritten.
    pub fn capture(&mut self, head: &RequestHead, client: IpAddr) {
        self.clear();
        self.captured = true;
        self.client = Some(client);
        self.version = Some(head.version);
        self.store(Fact::Method, &[head.method.as_str().as_bytes()]);
        match head.query() {
            None => self.store(Fact::Uri, &[head.path().as_bytes()]),
            Some(query) => self.store(Fact::Uri, &[head.path().as_bytes(), b"?", query.as_bytes()]),
        }
        self.store(Fact::Host, &[head.authority().as_bytes()]);
        for (fact, name) in [
            (Fact::ForwardedFor, "x-forwarded-for"),
            (Fact::UserAgent, "user-agent"),
            (Fact::RequestId, "x-request-id"),
            (Fact::TraceParent, "traceparent"),
        ] {
            match head.fields.first(name) {
                Some(value) => self.store(fact, &[value]),
                None => self.ends[fact as usize] = self.block.len(),
            }
        }
    }

    fn store(&mut self, fact: Fact, parts: &[&[u8]]) {
        let start = self.block.len();
        for part in parts {
            let room = VALUE_BYTES_MAX - (self.block.len() - start);
            if part.len() > room {
                self.block.extend_from_slice(&part[..room]);
                self.block.extend_from_slice(b"...");
                break;
            }
            self.block.extend_from_slice(part);
        }
        self.present[fact as usize] = true;
        self.ends[fact as usize] = self.block.len();
    }

    fn value(&self, fact: Fact) -> Option<&[u8]> {
        let index = fact as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (self.present[index] && self.ends[index] > start).then(|| &self.block[start..self.ends[index]])
    }

    fn trace_id(&self) -> Option<&[u8]> {
        self.value(Fact::TraceParent)?.split(|byte| *byte == b'-').nth(1)
    }
}

impl Format {
    /// Appends the line of a finished request, with its line feed. `began`: when its first byte came.
    pub fn request(
        self,
        out: &mut Vec<u8>,
        summary: &Summary,
        facts: &Facts,
        arrival: &Arrival,
        began: SystemTime,
    ) {
        self.line(
            out,
            &Line {
                began,
                facts: Some(facts).filter(|facts| facts.captured),
                arrival,
                status: summary.status,
                grpc_status: summary.grpc_status,
                flags: summary.flags,
                details: summary.details,
                received: summary.request_body_bytes,
                sent: summary.response_body_bytes,
                duration: summary.duration,
                upstream_time: summary.upstream_time,
                processing_time: Some(summary.processing_time),
                attempts: Some(summary.attempts),
                listener: summary.listener().map(|key| key.as_str()),
                route: summary.route().map(|key| key.as_str()),
                backend: summary.cluster().map(|key| key.as_str()),
                endpoint: summary.endpoint,
            },
        );
    }

    /// Appends the line of a finished tunnel, with its line feed. `began`: when its connection was accepted.
    pub fn tunnel(self, out: &mut Vec<u8>, summary: &TunnelSummary, arrival: &Arrival, began: SystemTime) {
        self.line(
            out,
            &Line {
                began,
                facts: None,
                arrival,
                status: 0,
                grpc_status: None,
                flags: summary.flags,
                details: "",
                received: summary.received_bytes,
                sent: summary.sent_bytes,
                duration: summary.duration,
                upstream_time: None,
                processing_time: None,
                attempts: None,
                listener: summary.listener.as_ref().map(|key| key.as_str()),
                route: summary.route.as_ref().map(|key| key.as_str()),
                backend: summary.cluster.as_ref().map(|key| key.as_str()),
                endpoint: summary.endpoint,
            },
        );
    }

    fn line(self, out: &mut Vec<u8>, line: &Line<'_>) {
        match self {
            Self::Text => line.text(out),
            Self::Json => line.json(out),
        }
        out.push(b'\n');
    }
}

/// What a line is made of.
struct Line<'l> {
    began: SystemTime,
    facts: Option<&'l Facts>,
    arrival: &'l Arrival,
    status: u16,
    grpc_status: Option<u16>,
    flags: Flags,
    details: &'static str,
    received: u64,
    sent: u64,
    duration: Duration,
    upstream_time: Option<Duration>,
    processing_time: Option<Duration>,
    attempts: Option<u32>,
    listener: Option<&'l str>,
    route: Option<&'l str>,
    backend: Option<&'l str>,
    endpoint: Option<SocketAddr>,
}

impl Line<'_> {
    fn fact(&self, fact: Fact) -> Option<&[u8]> {
        self.facts.and_then(|facts| facts.value(fact))
    }

    fn version(&self) -> Option<&'static str> {
        self.facts.and_then(|facts| facts.version).map(Version::as_str)
    }

    /// The client that was decided at the edge. Whose address a proxy told has no port that we know.
    fn client(&self, out: &mut Vec<u8>) {
        let arrived = self.arrival.client;
        let arrived = SocketAddr::new(arrived.ip().to_canonical(), arrived.port());
        match self.facts.and_then(|facts| facts.client) {
            Some(told) if told != arrived.ip() => put(out, format_args!(",\"client.addr\":\"{told}\"")),
            _ => put(out, format_args!(",\"client.addr\":\"{arrived}\"")),
        }
    }

    fn text(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        timestamp(out, self.began);
        out.extend_from_slice(b"] \"");
        text_value(out, self.fact(Fact::Method));
        out.push(b' ');
        text_value(out, self.fact(Fact::Uri));
        out.push(b' ');
        text_value(out, self.version().map(str::as_bytes));
        put(out, format_args!("\" {} {} ", self.status, self.flags));
        put(out, format_args!("{} {} {} ", self.received, self.sent, self.duration.as_millis()));
        match self.upstream_time {
            Some(time) => put(out, format_args!("{}", time.as_millis())),
            None => out.push(b'-'),
        }
        for fact in [Fact::ForwardedFor, Fact::UserAgent, Fact::RequestId, Fact::Host] {
            out.extend_from_slice(b" \"");
            text_value(out, self.fact(fact));
            out.push(b'"');
        }
        match self.endpoint {
            Some(endpoint) => put(out, format_args!(" \"{endpoint}\"")),
            None => out.extend_from_slice(b" \"-\""),
        }
    }

    fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        timestamp(out, self.began);
        out.push(b'"');
        self.client(out);
        if let Some(peer) = &self.arrival.peer {
            json_value(out, "client.id", peer.uris.first().or(peer.dns_names.first()).map(String::as_bytes));
        }
        put(out, format_args!(",\"server.addr\":\"{}\"", self.arrival.local));
        json_value(out, "sni", self.arrival.sni.as_deref().map(str::as_bytes));
        json_value(out, "method", self.fact(Fact::Method));
        json_value(out, "uri", self.fact(Fact::Uri));
        json_value(out, "version", self.version().map(str::as_bytes));
        json_value(out, "host", self.fact(Fact::Host));
        if self.attempts.is_some() {
            put(out, format_args!(",\"status\":{}", self.status));
        }
        if let Some(status) = self.grpc_status {
            put(out, format_args!(",\"grpc_status\":{status}"));
        }
        put(out, format_args!(",\"flags\":\"{}\"", self.flags));
        json_value(out, "details", Some(self.details.as_bytes()).filter(|details| !details.is_empty()));
        put(out, format_args!(",\"request_bytes\":{},\"response_bytes\":{}", self.received, self.sent));
        put(out, format_args!(",\"total_ns\":{}", self.duration.as_nanos()));
        if let Some(time) = self.processing_time {
            put(out, format_args!(",\"processing_ns\":{}", time.as_nanos()));
        }
        if let Some(time) = self.upstream_time {
            put(out, format_args!(",\"upstream_ns\":{}", time.as_nanos()));
        }
        if let Some(attempts) = self.attempts {
            put(out, format_args!(",\"attempts\":{attempts}"));
        }
        json_value(out, "listener", self.listener.map(str::as_bytes));
        json_value(out, "route", self.route.map(str::as_bytes));
        json_value(out, "backend", self.backend.map(str::as_bytes));
        if let Some(endpoint) = self.endpoint {
            put(out, format_args!(",\"endpoint\":\"{endpoint}\""));
        }
        json_value(out, "forwarded_for", self.fact(Fact::ForwardedFor));
        json_value(out, "user_agent", self.fact(Fact::UserAgent));
        json_value(out, "request_id", self.fact(Fact::RequestId));
        json_value(out, "trace_id", self.facts.and_then(Facts::trace_id));
        out.push(b'}');
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes everything");
}

/// A value inside quotes; `-` for none. Quotes, backslashes and all that is not printable ASCII are escaped.
fn text_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else {
        out.push(b'-');
        return;
    };
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => put(out, format_args!("\\x{byte:02x}")),
        }
    }
}

/// A member of an object that is not its first; nothing for none. What is not UTF-8 becomes U+FFFD.
fn json_value(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let Some(value) = value else { return };
    put(out, format_args!(",\"{name}\":\""));
    for chunk in value.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
                '\0'..='\x1f' | '\x7f' => put(out, format_args!("\\u{:04x}", char as u32)),
                char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// RFC 3339 in UTC with milliseconds; times before 1970 show as its first moment.
fn timestamp(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = date(since.as_secs() / 86_400);
    let second = since.as_secs() % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    put(out, format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"));
}

/// The Gregorian date of a day, counted from 1970-01-01. Years begin in March here, so that the leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on: 31 30 31 30 31, twice, then what is left: 153 days every five months.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::summary::Labels;

    use http::Method;
    use ringway_config::{Bind, ClusterKey, ListenerKey, RouteKey, Transport};
    use std::sync::Arc;

    use crate::arrival::{PeerIdentity, Scheme};
    use crate::failure::Flag;
    use crate::time::Instant;

    fn head() -> RequestHead {
        let mut head = RequestHead::new();
        head.set_authority("shop.example", Some(8080));
        head.set_path("/cart");
        head.set_query(Some("id=7"));
        head.fields.append(b"user-agent", b"curl/8.5");
        head.fields.append(b"x-forwarded-for", b"198.51.100.7");
        head.fields.append(b"x-request-id", b"f00d");
        head.fields.append(b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        head
    }

    fn arrival() -> Arrival {
        Arrival {
            bind: Bind { address: None, port: 443, transport: Transport::Tcp },
            local: SocketAddr::from(([203, 0, 113, 1], 443)),
            original_destination: None,
            client: SocketAddr::from(([198, 51, 100, 7], 50_000)),
            trusted: false,
            scheme: Scheme::Https,
            sni: Some(Arc::from("shop.example")),
            listener: None,
            peer: Some(Arc::new(PeerIdentity {
                dns_names: vec![],
                uris: vec!["spiffe://example/ns/a/sa/b".to_owned()],
            })),
        }
    }

    fn summary() -> Summary {
        Summary {
            labels: Some(Rc::new(Labels {
                listener: Some(ListenerKey::new("Gateway/default/edge/https")),
                route: Some(RouteKey::new("HTTPRoute/default/shop")),
                cluster: Some(ClusterKey::new("Service/default/shop/80/http1")),
            })),
            endpoint: Some(SocketAddr::from(([10, 0, 0, 1], 8080))),
            status: 200,
            grpc_status: None,
            flags: Flags::default(),
            details: "via_upstream",
            request_body_bytes: 3,
            response_body_bytes: 1024,
            started: Instant::ORIGIN,
            duration: Duration::from_micros(7_900),
            upstream_time: Some(Duration::from_micros(6_100)),
            processing_time: Duration::from_micros(80),
            attempts: 1,
        }
    }

    fn began() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_789)
    }

    fn line(format: Format, summary: &Summary, head: Option<&RequestHead>) -> String {
        let mut facts = Facts::default();
        facts.capture(&RequestHead::new(), arrival().client.ip());
        facts.clear();
        if let Some(head) = head {
            facts.capture(head, arrival().client.ip());
        }
        let mut out = Vec::new();
        format.request(&mut out, summary, &facts, &arrival(), began());
        String::from_utf8(out).expect("lines are UTF-8")
    }

    #[test]
    fn text_is_envoys_default_format() {
        assert_eq!(
            line(Format::Text, &summary(), Some(&head())),
            "[2024-02-29T12:34:56.789Z] \"GET /cart?id=7 HTTP/1.1\" 200 - 3 1024 7 6 \"198.51.100.7\" \
             \"curl/8.5\" \"f00d\" \"shop.example:8080\" \"10.0.0.1:8080\"\n"
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let mut flags = Flags::from(Flag::NoRoute);
        flags.insert(Flag::DownstreamProtocolError);
        let refused = Summary {
            status: 400,
            flags,
            request_body_bytes: 0,
            response_body_bytes: 12,
            upstream_time: None,
            endpoint: None,
            ..summary()
        };
        assert_eq!(
            line(Format::Text, &refused, None),
            "[2024-02-29T12:34:56.789Z] \"- - -\" 400 NR,DPE 0 12 7 - \"-\" \"-\" \"-\" \"-\" \"-\"\n"
        );
    }

    #[test]
    fn json_names_what_it_has() {
        let mut grpc = summary();
        grpc.grpc_status = Some(0);
        assert_eq!(
            line(Format::Json, &grpc, Some(&head())),
            concat!(
                r#"{"timestamp":"2024-02-29T12:34:56.789Z","client.addr":"198.51.100.7:50000","#,
                r#""client.id":"spiffe://example/ns/a/sa/b","server.addr":"203.0.113.1:443","sni":"shop.example","#,
                r#""method":"GET","uri":"/cart?id=7","version":"HTTP/1.1","host":"shop.example:8080","status":200,"#,
                r#""grpc_status":0,"flags":"-","details":"via_upstream","request_bytes":3,"response_bytes":1024,"#,
                r#""total_ns":7900000,"processing_ns":80000,"upstream_ns":6100000,"attempts":1,"#,
                r#""listener":"Gateway/default/edge/https","#,
                r#""route":"HTTPRoute/default/shop","backend":"Service/default/shop/80/http1","#,
                r#""endpoint":"10.0.0.1:8080","forwarded_for":"198.51.100.7","user_agent":"curl/8.5","#,
                r#""request_id":"f00d","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_client_is_who_was_decided_at_the_edge() {
        let shown = |arrived: &str, decided: &str| {
            let mut facts = Facts::default();
            facts.capture(&head(), decided.parse().expect("an address"));
            let arrival = Arrival { client: arrived.parse().expect("an address"), ..arrival() };
            let mut out = Vec::new();
            Format::Json.request(&mut out, &summary(), &facts, &arrival, began());
            let line = String::from_utf8(out).expect("lines are UTF-8");
            line.split("\"client.addr\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        for (arrived, decided, expected) in [
            ("198.51.100.7:5", "198.51.100.7", "198.51.100.7:5"),
            ("10.0.0.1:5", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1:5", "2001:db8::7", "2001:db8::7"),
            ("[::ffff:198.51.100.7]:5", "198.51.100.7", "198.51.100.7:5"),
        ] {
            assert_eq!(shown(arrived, decided).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_tunnel_has_no_request() {
        let tunnel = TunnelSummary {
            endpoint: Some(SocketAddr::from(([10, 0, 0, 9], 5432))),
            flags: Flags::from(Flag::UpstreamConnectionFailure),
            received_bytes: 10,
            sent_bytes: 20,
            duration: Duration::from_secs(2),
            ..TunnelSummary::default()
        };
        let mut out = Vec::new();
        Format::Text.tunnel(&mut out, &tunnel, &arrival(), began());
        Format::Json.tunnel(&mut out, &tunnel, &arrival(), began());
        assert_eq!(
            String::from_utf8(out).expect("lines are UTF-8"),
            concat!(
                "[2024-02-29T12:34:56.789Z] \"- - -\" 0 UF 10 20 2000 - \"-\" \"-\" \"-\" \"-\" \"10.0.0.9:5432\"\n",
                r#"{"timestamp":"2024-02-29T12:34:56.789Z","client.addr":"198.51.100.7:50000","#,
                r#""client.id":"spiffe://example/ns/a/sa/b","server.addr":"203.0.113.1:443","sni":"shop.example","#,
                r#""flags":"UF","request_bytes":10,"response_bytes":20,"total_ns":2000000000,"#,
                r#""endpoint":"10.0.0.9:5432"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn hostile_values_stay_inside_their_field_and_line() {
        let mut hostile = head();
        hostile.method = Method::from_bytes(b"X").expect("a token");
        hostile.fields.set("user-agent", b"a\"b\\c\n\x00\xff\xc3\xa9\x7f");
        assert!(
            line(Format::Text, &summary(), Some(&hostile))
                .contains(" \"a\\\"b\\\\c\\x0a\\x00\\xff\\xc3\\xa9\\x7f\" \"f00d\"")
        );
        assert!(
            line(Format::Json, &summary(), Some(&hostile))
                .contains("\"user_agent\":\"a\\\"b\\\\c\\u000a\\u0000\u{fffd}é\\u007f\",")
        );
    }

    #[test]
    fn a_line_is_bounded() {
        let mut long = head();
        long.set_path(&"/x".repeat(50_000));
        long.fields.set("user-agent", &[0xff; 50_000]);
        for format in [Format::Text, Format::Json] {
            let line = line(format, &summary(), Some(&long));
            assert!(line.len() < 8 * VALUE_BYTES_MAX && line.contains("/x/x..."), "{}", line.len());
        }
    }

    #[test]
    fn dates_are_right_in_every_kind_of_year() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (1_735_689_600, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (4_107_456_000, "2100-02-28T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            timestamp(&mut out, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
        }
        let mut out = Vec::new();
        timestamp(&mut out, SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(out, b"1970-01-01T00:00:00.000Z");
    }
}
