//! The rows of the comparison: which traffic, offered how, counted in what. `perf/peers/README.md` says why these.

use std::time::Duration;

use crate::plan::{Arrivals, Load, Plan, Protocol, Tls};
use crate::server::Speaks;

/// What stands between the generator and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// HTTP/1.1 on both sides.
    Http,
    /// TLS from the client (HTTP/1.1 or HTTP/2, as the client offers), HTTP/1.1 to the backend.
    Https,
    /// HTTP/2 without TLS from the client, HTTP/1.1 to the backend.
    H2c,
    /// HTTP/2 without TLS on both sides.
    H2cToH2c,
    /// Two of the same with mTLS and HTTP/1.1 between them.
    Pair,
    /// Two of the same with mTLS and HTTP/2 between them.
    PairHttp2,
    /// Bytes.
    Tcp,
    /// Bytes, which leave in mTLS.
    TcpToMtls,
}

impl Shape {
    /// The names of the configurations of the processes, from the client's side to the backend's.
    pub(crate) fn configurations(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["http"],
            Self::Https => &["https"],
            Self::H2c => &["h2c"],
            Self::H2cToH2c => &["h2c-h2c"],
            Self::Pair => &["outer", "inner"],
            Self::PairHttp2 => &["outer-h2", "inner"],
            Self::Tcp => &["tcp"],
            Self::TcpToMtls => &["tcp-mtls"],
        }
    }

    /// Whether there is TLS that the generator has no part in.
    pub(crate) fn hides_tls(self) -> bool {
        matches!(self, Self::Pair | Self::PairHttp2 | Self::TcpToMtls)
    }

    /// Whether a relay of bytes can do it, and so say what the kernel costs in it.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::Http | Self::H2c | Self::H2cToH2c | Self::Tcp)
    }
}

/// What a row's cost is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Unit {
    /// Microseconds of CPU time for each request.
    MicrosecondsPerRequest,
    /// Seconds of CPU time for each GiB of bodies.
    SecondsPerGib,
    /// Bytes of resident memory for each connection.
    BytesPerConnection,
}

impl Unit {
    /// As it stands in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::MicrosecondsPerRequest => "us/request",
            Self::SecondsPerGib => "CPU-s/GiB",
            Self::BytesPerConnection => "B/connection",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// W1 to W8.
    pub(crate) workload: &'static str,
    /// In words.
    pub(crate) what: &'static str,
    pub(crate) shape: Shape,
    pub(crate) protocol: Protocol,
    /// Requests a second; `None` is a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) request_bytes: usize,
    pub(crate) response_bytes: usize,
    pub(crate) unit: Unit,
}

impl Row {
    /// `W1 http, 5000/s`.
    pub(crate) fn name(&self) -> String {
        match self.rate {
            Some(rate) if self.unit == Unit::SecondsPerGib && self.protocol == Protocol::TcpBulk => {
                format!(
                    "{} {}, {} MiB/s",
                    self.workload,
                    self.what,
                    rate * self.request_bytes as f64 / 1_048_576.0
                )
            }
            Some(rate) => format!("{} {}, {rate}/s", self.workload, self.what),
            None if self.protocol == Protocol::Idle => format!("{} {}", self.workload, self.what),
            None => format!("{} {}, max", self.workload, self.what),
        }
    }

    /// What its backend does.
    pub(crate) fn backend(&self) -> Speaks {
        match self.protocol {
            Protocol::TcpPing => Speaks::TcpEcho,
            Protocol::TcpBulk => Speaks::TcpSink,
            _ => Speaks::Http,
        }
    }

    /// Whether a connection is meant to last for the whole run.
    pub(crate) fn keeps_connections(&self) -> bool {
        !matches!(self.protocol, Protocol::Connect | Protocol::ConnectResumed)
    }

    /// What is asked of the engine, of a server on this port of loopback.
    pub(crate) fn plan(&self, port: u16, warmup: Duration, duration: Duration, seed: u64) -> Plan {
        let bare = matches!(self.protocol, Protocol::TcpPing | Protocol::TcpBulk);
        let secure = self.shape == Shape::Https;
        let scheme = match (bare, secure) {
            (true, _) => "tcp",
            (false, true) => "https",
            (false, false) => "http",
        };
        let path = if bare { "" } else { "/" };
        Plan {
            target: format!("{scheme}://127.0.0.1:{port}{path}"),
            protocol: self.protocol,
            tls: secure.then(|| Tls {
                server_name: Some("localhost".into()),
                ca: None,
                identity: None,
                hybrid: false,
            }),
            load: match self.rate {
                Some(rate) => Load::Open { rate, arrivals: Arrivals::Poisson },
                None => Load::Closed,
            },
            connections: self.connections,
            streams: self.streams,
            threads: 1,
            warmup,
            duration,
            timeout: Duration::from_secs(5),
            request_bytes: self.request_bytes,
            response_bytes: (!bare).then_some(self.response_bytes),
            headers: Vec::new(),
            seed,
        }
    }
}

const MIB: usize = 1 << 20;

/// All rows, in order.
pub(crate) fn all() -> Vec<Row> {
    let http = Row {
        workload: "W1",
        what: "HTTP/1.1",
        shape: Shape::Http,
        protocol: Protocol::Http1,
        rate: None,
        connections: 64,
        streams: 1,
        request_bytes: 0,
        response_bytes: 1024,
        unit: Unit::MicrosecondsPerRequest,
    };
    let mut rows = Vec::new();
    let mut add = |row: &Row, rates: &[Option<f64>]| {
        rows.extend(rates.iter().map(|rate| Row { rate: *rate, ..row.clone() }));
    };
    let usual = [Some(2_000.0), Some(5_000.0), Some(10_000.0), None];
    add(&http, &usual);
    add(&Row { workload: "W2", what: "HTTP/1.1 over TLS", shape: Shape::Https, ..http.clone() }, &usual);
    let pair = [Some(2_000.0), Some(5_000.0), None];
    add(
        &Row { workload: "W3", what: "pair, mTLS with HTTP/1.1 between", shape: Shape::Pair, ..http.clone() },
        &pair,
    );
    add(
        &Row {
            workload: "W3",
            what: "pair, mTLS with HTTP/2 between",
            shape: Shape::PairHttp2,
            ..http.clone()
        },
        &pair,
    );
    let tcp = Row { workload: "W4", shape: Shape::Tcp, response_bytes: 0, ..http.clone() };
    let ping = Row {
        what: "TCP ping-pong of 1 KiB",
        protocol: Protocol::TcpPing,
        request_bytes: 1024,
        ..tcp.clone()
    };
    add(&ping, &[Some(10_000.0), None]);
    let bulk = Row {
        what: "TCP bulk",
        protocol: Protocol::TcpBulk,
        request_bytes: MIB,
        connections: 4,
        unit: Unit::SecondsPerGib,
        ..tcp
    };
    add(&bulk, &[Some(500.0), None]);
    add(&Row { what: "TCP bulk into mTLS", shape: Shape::TcpToMtls, ..bulk }, &[Some(250.0), None]);
    let streams =
        Row { workload: "W5", protocol: Protocol::Http2, connections: 8, streams: 32, ..http.clone() };
    add(&Row { what: "h2c to HTTP/1.1", shape: Shape::H2c, ..streams.clone() }, &[None]);
    add(&Row { what: "HTTP/2 over TLS to HTTP/1.1", shape: Shape::Https, ..streams.clone() }, &[None]);
    add(&Row { what: "h2c to h2c", shape: Shape::H2cToH2c, ..streams }, &[None]);
    let anew = Row { workload: "W6", shape: Shape::Https, connections: 16, ..http.clone() };
    let handshakes = [Some(500.0), None];
    add(
        &Row { what: "new connections, full handshake", protocol: Protocol::Connect, ..anew.clone() },
        &handshakes,
    );
    add(&Row { what: "new connections, resumed", protocol: Protocol::ConnectResumed, ..anew }, &handshakes);
    let long = Row {
        workload: "W7",
        what: "bodies of 1 MiB",
        connections: 16,
        response_bytes: MIB,
        unit: Unit::SecondsPerGib,
        ..http.clone()
    };
    add(&long, &[Some(300.0), None]);
    add(&Row { what: "bodies of 1 MiB over TLS", shape: Shape::Https, ..long }, &[Some(300.0), None]);
    // As many as a proxy takes in that keeps as many descriptors for upstreams, with the 20,000 that a process often has.
    let idle = Row {
        workload: "W8",
        what: "9,000 idle connections",
        protocol: Protocol::Idle,
        connections: 9_000,
        unit: Unit::BytesPerConnection,
        ..http
    };
    add(&idle, &[None]);
    add(&Row { what: "9,000 idle connections over TLS", shape: Shape::Https, ..idle }, &[None]);
    rows
}

/// Rows of these workloads (`W1`, `w2`, `all`), or what is wrong with the list.
pub(crate) fn chosen(workloads: &[String]) -> Result<Vec<Row>, String> {
    let all = all();
    if let Some(unknown) = workloads.iter().find(|name| {
        !name.eq_ignore_ascii_case("all") && !all.iter().any(|row| row.workload.eq_ignore_ascii_case(name))
    }) {
        return Err(format!("there is no workload {unknown:?}: take W1 to W8, or all"));
    }
    let wanted = |row: &Row| {
        workloads
            .iter()
            .any(|name| name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case(row.workload))
    };
    Ok(all.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let names: Vec<String> = all().iter().map(Row::name).collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:#?}");
        assert!(names.contains(&"W4 TCP bulk, 500 MiB/s".to_owned()), "{names:#?}");
        assert!(names.contains(&"W1 HTTP/1.1, 5000/s".to_owned()));
    }

    #[test]
    fn workloads_are_chosen_by_name() {
        let rows = chosen(&["w6".into(), "W8".into()]).unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|row| ["W6", "W8"].contains(&row.workload)));
        assert_eq!(chosen(&["all".into()]).unwrap(), all());
        assert_eq!(chosen(&["W9".into()]).unwrap_err(), "there is no workload \"W9\": take W1 to W8, or all");
    }
}
