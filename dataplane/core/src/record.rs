//! Counts what happened, on one core: a single writer, plain numbers, no allocation once a key is known.
//!
//! The proxy records every [`Summary`] and counts every [`Event`] and [`Limit`] hit. To be scraped, each core makes a
//! [`Snapshot`]; the control thread merges them and prints ([`Snapshot::prometheus`]). Series are bounded: by listener and backend, by
//! route for the busiest if asked for, never by a path or host from the network. `docs/metrics.md` lists every name.

mod histogram;
mod metric;
mod series;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringway_config::{ClusterKey, ListenerKey, RouteKey};

use crate::failure::{Flag, Flags};
use crate::summary::Summary;
use crate::time::Instant;
use series::Busiest;

pub use histogram::Histogram;
pub use metric::{Kind, Metric, Value};
pub use series::Key;

/// How many series there may be on one core; what is beyond counts as `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Listeners with series of their own.
    pub listeners_max: usize,
    /// Backends with series of their own.
    pub backends_max: usize,
    /// Routes with series of their own; zero: routes are not told apart.
    pub routes_max: usize,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self { listeners_max: 64, backends_max: 256, routes_max: 0 }
    }
}

/// Between two rankings of who is busiest.
const RANKING: Duration = Duration::from_secs(60);

/// What happens to connections and streams, whoever they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// A client connection was accepted.
    ConnectionAccepted,
    /// A client connection ended.
    ConnectionClosed,
    /// A client connection was handed to another core.
    ConnectionMoved,
    /// A TLS handshake with a client succeeded.
    HandshakeDone,
    /// A TLS handshake with a client failed.
    HandshakeFailed,
    /// A request began.
    RequestStarted,
    /// A request ended. Counted by recording its summary.
    RequestEnded,
    /// A client reset a stream.
    ResetReceived,
    /// We reset a client's stream.
    ResetSent,
    /// A connection to an endpoint was made.
    UpstreamConnected,
    /// A connection to an endpoint ended.
    UpstreamClosed,
    /// A connection to an endpoint could not be made.
    UpstreamConnectFailed,
    /// A request found an idle connection.
    UpstreamReused,
    /// A copy of a request was sent to a mirror.
    MirrorSent,
    /// A copy was not sent, for a limit.
    MirrorDropped,
    /// A line of the access log was dropped: its reader was too slow.
    LogLineDropped,
    /// A UDP session began.
    UdpSessionStarted,
    /// A UDP session ended.
    UdpSessionEnded,
    /// A connection ended by a fault of ours.
    Panic,
}

impl Event {
    const COUNT: usize = Self::Panic as usize + 1;
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A limit that can be hit, by the name it has in [`Limits`](crate::limits::Limits) and in a cluster's configuration.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Limit {
            $($(#[$doc])* $name,)*
        }

        impl Limit {
            /// Every limit.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
            const COUNT: usize = Self::ALL.len();

            /// The limit's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

limits! {
    /// Bytes of a head.
    HeaderBytes = "header_bytes_max",
    /// Fields of a head.
    HeaderCount = "header_count_max",
    /// Bytes of a request line.
    RequestLine = "request_line_bytes_max",
    /// Time to send a head.
    HeaderRead = "header_read_timeout",
    /// Time without a request.
    Idle = "idle_timeout",
    /// Time between pieces of a body.
    BodyIdle = "body_idle_timeout",
    /// Time to answer.
    ResponseHeader = "response_header_timeout",
    /// Interim responses of an upstream.
    Informational = "informational_max",
    /// Time without a byte in a stream.
    StreamIdle = "stream_idle_timeout",
    /// Time for a handshake.
    Handshake = "handshake_timeout",
    /// Client connections.
    Connections = "connections_max",
    /// Client connections of one address.
    ConnectionsPerClient = "connections_per_client_max",
    /// Requests on a connection.
    RequestsPerConnection = "requests_per_connection_max",
    /// Streams on a connection.
    Http2Streams = "http2_streams_max",
    /// Streams reset by a client.
    Http2Resets = "http2_resets_max",
    /// Bytes of a request's body.
    RequestBody = "request_body_bytes_max",
    /// Bytes kept to send a request again.
    ReplayBytes = "replay_bytes_max",
    /// Copies under way.
    Mirrors = "mirrors_max",
    /// Bytes thrown away after an early answer.
    LingerBytes = "linger_bytes_max",
    /// Time for that.
    LingerTime = "linger_timeout",
    /// Requests under way.
    Requests = "requests_max",
    /// UDP sessions.
    UdpSessions = "udp_sessions_max",
    /// Connections to a cluster.
    ClusterConnections = "cluster.connections_max",
    /// Requests that wait for a connection to a cluster.
    ClusterPending = "cluster.pending_max",
    /// Requests to a cluster.
    ClusterRequests = "cluster.requests_max",
}

/// A finished connection of bytes: TCP, TLS passthrough, or a UDP session.
#[must_use = "a connection that is not recorded is invisible"]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TunnelSummary {
    /// The listener that served it.
    pub listener: Option<ListenerKey>,
    /// The route that matched, if any.
    pub route: Option<RouteKey>,
    /// The cluster it went to, if any.
    pub cluster: Option<ClusterKey>,
    /// The endpoint it went to, if any.
    pub endpoint: Option<SocketAddr>,
    /// Why it ended, if for no ordinary reason.
    pub flags: Flags,
    /// Bytes from the client.
    pub received_bytes: u64,
    /// Bytes to the client.
    pub sent_bytes: u64,
    /// From the first byte, or the connection, to the end.
    pub duration: Duration,
}

/// What one core counted.
#[derive(Debug)]
pub struct Recorder {
    events: [u64; Event::COUNT],
    limits: [u64; Limit::COUNT],
    listeners: Busiest<ListenerKey, ListenerSeries>,
    /// What no listener could be found for.
    unheard: ListenerSeries,
    backends: Busiest<ClusterKey, BackendSeries>,
    routes: Option<Busiest<RouteKey, RouteSeries>>,
    ranked: Instant,
}

/// How often each status was seen. Those that mean something to proxies and their operators are told apart, the others are counted by
/// their hundred: a backend cannot make series by inventing statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Codes([u64; CODES.len()]);

const CODES: [&str; 38] = [
    "0", "1xx", "2xx", "3xx", "4xx", "5xx", "101", "200", "201", "202", "204", "206", "301", "302", "303",
    "304", "307", "308", "400", "401", "403", "404", "405", "408", "409", "413", "414", "421", "422", "429",
    "431", "499", "500", "501", "502", "503", "504", "505",
];

/// The place in `CODES` of every status; a status out of range counts as none.
const CODE_PLACES: [u8; 600] = {
    let mut places = [0; 600];
    let mut status = 100;
    while status < 600 {
        places[status] = (status / 100) as u8;
        status += 1;
    }
    let mut place = 6;
    while place < CODES.len() {
        let digits = CODES[place].as_bytes();
        let status = (digits[0] - b'0') as usize * 100
            + (digits[1] - b'0') as usize * 10
            + (digits[2] - b'0') as usize;
        places[status] = place as u8;
        place += 1;
    }
    places
};

impl Default for Codes {
    fn default() -> Self {
        Self([0; CODES.len()])
    }
}

impl Codes {
    fn record(&mut self, status: u16) {
        let place = CODE_PLACES.get(usize::from(status)).copied().unwrap_or(0);
        self.0[usize::from(place)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        add(&mut self.0, &other.0);
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// gRPC's statuses 0 to 16; the last place is for what is none.
const GRPC_STATUSES: [&str; 18] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "other"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ListenerSeries {
    codes: Codes,
    grpc: [u64; GRPC_STATUSES.len()],
    flags: [u64; Flag::ALL.len()],
    duration: Histogram,
    request_bytes: u64,
    response_bytes: u64,
    tunnels: u64,
    tunnel_received_bytes: u64,
    tunnel_sent_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct BackendSeries {
    codes: Codes,
    first_byte: Histogram,
    attempts: u64,
    retries: u64,
    ejections: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RouteSeries {
    codes: Codes,
    duration: Histogram,
}

impl Recorder {
    /// With nothing counted.
    pub fn new(limits: SeriesLimits) -> Self {
        Self {
            events: [0; Event::COUNT],
            limits: [0; Limit::COUNT],
            listeners: Busiest::new(limits.listeners_max),
            unheard: ListenerSeries::default(),
            backends: Busiest::new(limits.backends_max),
            routes: (limits.routes_max > 0).then(|| Busiest::new(limits.routes_max)),
            ranked: Instant::ORIGIN,
        }
    }

    /// Counts an event.
    pub fn count(&mut self, event: Event) {
        self.events[event as usize] += 1;
    }

    /// Counts a limit that was hit.
    pub fn hit(&mut self, limit: Limit) {
        self.limits[limit as usize] += 1;
    }

    /// Counts an ejection; for the cluster's home core alone.
    pub fn ejected(&mut self, cluster: &ClusterKey, now: Instant) {
        self.backends.of(cluster, now).ejections += 1;
    }

    /// Counts a finished request.
    pub fn record(&mut self, summary: &Summary, now: Instant) {
        self.count(Event::RequestEnded);
        let listener = match summary.listener() {
            Some(key) => self.listeners.of(key, now),
            None => &mut self.unheard,
        };
        listener.codes.record(summary.status);
        if let Some(status) = summary.grpc_status {
            listener.grpc[usize::from(status).min(GRPC_STATUSES.len() - 1)] += 1;
        }
        listener.flagged(summary.flags);
        listener.duration.record(summary.duration);
        listener.request_bytes += summary.request_body_bytes;
        listener.response_bytes += summary.response_body_bytes;
        if let Some(key) = summary.cluster() {
            let backend = self.backends.of(key, now);
            backend.codes.record(summary.status);
            backend.attempts += u64::from(summary.attempts);
            backend.retries += u64::from(summary.attempts.saturating_sub(1));
            if let Some(time) = summary.upstream_time {
                backend.first_byte.record(time);
            }
        }
        if let (Some(key), Some(routes)) = (summary.route(), &mut self.routes) {
            let route = routes.of(key, now);
            route.codes.record(summary.status);
            route.duration.record(summary.duration);
        }
    }

    /// Counts a finished connection of bytes.
    pub fn record_tunnel(&mut self, summary: &TunnelSummary, now: Instant) {
        let listener = match &summary.listener {
            Some(key) => self.listeners.of(key, now),
            None => &mut self.unheard,
        };
        listener.flagged(summary.flags);
        listener.tunnels += 1;
        listener.tunnel_received_bytes += summary.received_bytes;
        listener.tunnel_sent_bytes += summary.sent_bytes;
    }

    /// Forgets idle series and gives places to the busiest. To be called now and then; most calls do nothing.
    pub fn tick(&mut self, now: Instant) {
        if now.since(self.ranked) < RANKING {
            return;
        }
        self.ranked = now;
        self.listeners.rank(now);
        self.backends.rank(now);
        if let Some(routes) = &mut self.routes {
            routes.rank(now);
        }
    }

    /// What was counted until now, to be sent away.
    pub fn snapshot(&self) -> Snapshot {
        let mut listeners = copied(&self.listeners);
        listeners.insert(Label::None, self.unheard.clone());
        Snapshot {
            events: self.events,
            limits: self.limits,
            listeners,
            backends: copied(&self.backends),
            routes: self.routes.as_ref().map(copied).unwrap_or_default(),
        }
    }
}

impl ListenerSeries {
    fn flagged(&mut self, flags: Flags) {
        if !flags.is_empty() {
            for flag in flags.iter() {
                self.flags[flag as usize] += 1;
            }
        }
    }
}

/// What one core, or several, counted until some moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    events: [u64; Event::COUNT],
    limits: [u64; Limit::COUNT],
    listeners: BTreeMap<Label<ListenerKey>, ListenerSeries>,
    backends: BTreeMap<Label<ClusterKey>, BackendSeries>,
    routes: BTreeMap<Label<RouteKey>, RouteSeries>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            events: [0; Event::COUNT],
            limits: [0; Limit::COUNT],
            listeners: BTreeMap::new(),
            backends: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }
}

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label<K> {
    /// What could not be attributed.
    None,
    Key(K),
    Other,
}

impl<K: Key> Label<K> {
    fn text(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Key(key) => key.text(),
            Self::Other => "other",
        }
    }
}

/// Series that can be added up.
trait Merge: Default + PartialEq {
    fn merge(&mut self, other: &Self);
}

impl Merge for ListenerSeries {
    fn merge(&mut self, other: &Self) {
        self.codes.merge(&other.codes);
        add(&mut self.grpc, &other.grpc);
        add(&mut self.flags, &other.flags);
        self.duration.merge(&other.duration);
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
        self.tunnels += other.tunnels;
        self.tunnel_received_bytes += other.tunnel_received_bytes;
        self.tunnel_sent_bytes += other.tunnel_sent_bytes;
    }
}

impl Merge for BackendSeries {
    fn merge(&mut self, other: &Self) {
        self.codes.merge(&other.codes);
        self.first_byte.merge(&other.first_byte);
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.ejections += other.ejections;
    }
}

impl Merge for RouteSeries {
    fn merge(&mut self, other: &Self) {
        self.codes.merge(&other.codes);
        self.duration.merge(&other.duration);
    }
}

impl Snapshot {
    /// Adds what another core counted.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.events, &other.events);
        add(&mut self.limits, &other.limits);
        merge_all(&mut self.listeners, &other.listeners);
        merge_all(&mut self.backends, &other.backends);
        merge_all(&mut self.routes, &other.routes);
    }

    /// How often an event was counted.
    pub fn events(&self, event: Event) -> u64 {
        self.events[event as usize]
    }

    /// How often a limit was hit.
    pub fn hits(&self, limit: Limit) -> u64 {
        self.limits[limit as usize]
    }

    /// How many have begun and not ended. Two cores may have counted one of them, so only the sum over all is right.
    fn under_way(&self, begun: Event, ended: Event) -> u64 {
        self.events(begun).saturating_sub(self.events(ended))
    }
}

fn copied<K: Key, S: Merge + Clone>(series: &Busiest<K, S>) -> BTreeMap<Label<K>, S> {
    series
        .iter()
        .map(|(key, series)| (key.map_or(Label::Other, |key| Label::Key(key.clone())), series.clone()))
        .collect()
}

fn merge_all<K: Ord + Clone, S: Merge + Clone>(own: &mut BTreeMap<K, S>, other: &BTreeMap<K, S>) {
    for (label, series) in other {
        match own.get_mut(label) {
            Some(own) => own.merge(series),
            None => {
                own.insert(label.clone(), series.clone());
            }
        }
    }
}

fn add<const N: usize>(own: &mut [u64; N], other: &[u64; N]) {
    for (own, other) in own.iter_mut().zip(other) {
        *own += other;
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::summary::Labels;

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    pub(super) fn summary(listener: &str, cluster: &str, status: u16) -> Summary {
        Summary {
            labels: Some(Rc::new(Labels {
                listener: Some(ListenerKey::new(listener)),
                route: Some(RouteKey::new("HTTPRoute/default/shop")),
                cluster: Some(ClusterKey::new(cluster)),
            })),
            endpoint: Some(SocketAddr::from(([10, 0, 0, 1], 8080))),
            status,
            grpc_status: None,
            flags: Flags::default(),
            details: "via_upstream",
            request_body_bytes: 3,
            response_body_bytes: 1024,
            started: at(0),
            duration: Duration::from_millis(7),
            upstream_time: Some(Duration::from_millis(6)),
            processing_time: Duration::from_micros(80),
            attempts: 2,
        }
    }

    fn line(snapshot: &Snapshot, start: &str) -> Option<String> {
        let mut text = String::new();
        snapshot.prometheus(&mut text);
        text.lines().find_map(|line| line.strip_prefix(start)).map(|rest| rest.trim().to_owned())
    }

    #[test]
    fn a_summary_counts_for_its_listener_its_backend_and_its_route() {
        let mut recorder = Recorder::new(SeriesLimits { routes_max: 1, ..SeriesLimits::default() });
        recorder.count(Event::RequestStarted);
        recorder.count(Event::RequestStarted);
        let mut failed = summary("L", "C", 503);
        failed.flags.insert(Flag::UpstreamOverflow);
        failed.grpc_status = Some(14);
        recorder.record(&failed, at(0));
        let snapshot = recorder.snapshot();
        for (start, value) in [
            (r#"ringway_http_requests_total{listener="L",code="503"}"#, "1"),
            (r#"ringway_http_request_duration_seconds_bucket{listener="L",le="0.005"}"#, "0"),
            (r#"ringway_http_request_duration_seconds_bucket{listener="L",le="0.01"}"#, "1"),
            (r#"ringway_http_request_duration_seconds_bucket{listener="L",le="+Inf"}"#, "1"),
            (r#"ringway_http_request_duration_seconds_sum{listener="L"}"#, "0.007"),
            (r#"ringway_http_request_duration_seconds_count{listener="L"}"#, "1"),
            (r#"ringway_http_response_body_bytes_total{listener="L"}"#, "1024"),
            (r#"ringway_http_response_flags_total{listener="L",flag="UO"}"#, "1"),
            (r#"ringway_grpc_requests_total{listener="L",grpc_status="14"}"#, "1"),
            (r#"ringway_backend_requests_total{backend="C",code="503"}"#, "1"),
            (r#"ringway_backend_retries_total{backend="C"}"#, "1"),
            (r#"ringway_route_requests_total{route="HTTPRoute/default/shop",code="503"}"#, "1"),
            ("ringway_http_requests_active", "1"),
        ] {
            assert_eq!(line(&snapshot, start).as_deref(), Some(value), "{start}");
        }
    }

    #[test]
    fn a_request_that_no_listener_was_found_for_is_counted() {
        let mut recorder = Recorder::new(SeriesLimits::default());
        let nowhere = Summary { labels: None, ..summary("L", "C", 400) };
        recorder.record(&nowhere, at(0));
        let start = r#"ringway_http_requests_total{listener="none",code="400"}"#;
        assert_eq!(line(&recorder.snapshot(), start).as_deref(), Some("1"));
    }

    #[test]
    fn merging_cores_adds_whatever_each_of_them_has_named() {
        let mut cores: Vec<_> = (0..3).map(|_| Recorder::new(SeriesLimits::default())).collect();
        for (index, core) in cores.iter_mut().enumerate() {
            core.record(&summary("L", ["a", "b", "a"][index], 200), at(0));
            core.hit(Limit::ClusterRequests);
        }
        let mut merged = Snapshot::default();
        for core in &cores {
            merged.merge(&core.snapshot());
        }
        let value = |start| line(&merged, start);
        assert_eq!(value(r#"ringway_http_requests_total{listener="L",code="200"}"#).as_deref(), Some("3"));
        assert_eq!(value(r#"ringway_backend_requests_total{backend="a",code="200"}"#).as_deref(), Some("2"));
        assert_eq!(value(r#"ringway_limit_hits_total{limit="cluster.requests_max"}"#).as_deref(), Some("3"));
    }

    #[test]
    fn statuses_are_told_apart_where_it_matters_and_counted_by_the_hundred_elsewhere() {
        let mut codes = Codes::default();
        for status in [0, 99, 200, 299, 404, 418, 499, 599, 600, 999] {
            codes.record(status);
        }
        let counts: Vec<_> = codes.iter().collect();
        assert_eq!(
            counts,
            [("0", 4), ("2xx", 1), ("4xx", 1), ("5xx", 1), ("200", 1), ("404", 1), ("499", 1)]
        );
    }

    #[test]
    fn idle_series_are_forgotten_after_ten_minutes() {
        let mut recorder = Recorder::new(SeriesLimits::default());
        recorder.record(&summary("L", "old", 200), at(0));
        recorder.record(&summary("L", "new", 200), at(590));
        recorder.tick(at(601));
        let snapshot = recorder.snapshot();
        assert_eq!(line(&snapshot, r#"ringway_backend_attempts_total{backend="old"}"#), None);
        assert!(line(&snapshot, r#"ringway_backend_attempts_total{backend="new"}"#).is_some());
    }

    #[test]
    fn a_snapshot_can_be_sent_to_the_control_thread() {
        fn sendable<T: Send + 'static>(_: &T) {}
        sendable(&Recorder::new(SeriesLimits::default()).snapshot());
    }

    #[test]
    fn limits_have_the_names_of_the_table_they_are_in() {
        let table = include_str!("limits.rs");
        for limit in Limit::ALL {
            let name = limit.name();
            if let Some(cluster) = name.strip_prefix("cluster.") {
                assert!(matches!(cluster, "connections_max" | "pending_max" | "requests_max"));
            } else if name != "request_body_bytes_max" {
                assert!(table.contains(&format!("pub {name}:")), "{name}");
            }
        }
    }
}
