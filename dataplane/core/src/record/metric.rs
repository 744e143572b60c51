//! The names under which a [`Snapshot`] is shown, and its text for Prometheus. See [`super`] for how it is counted.

use std::fmt::Write;

use super::{Event, GRPC_STATUSES, Histogram, Limit, Snapshot};
use crate::failure::Flag;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl Kind {
    /// As Prometheus names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One number of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'s> {
    /// Of a counter or a gauge.
    Number(u64),
    /// Of a histogram.
    Durations(&'s Histogram),
}

macro_rules! metrics {
    ($($variant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// Everything that is measured.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// Every metric, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// What kind of number it is.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// The names of its labels.
            pub fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*],)* }
            }
        }
    };
}

metrics! {
    Requests Counter "ringway_http_requests_total" ["listener", "code"]
        "Requests that ended, by what the client saw; code 0: nothing.";
    RequestDuration Histogram "ringway_http_request_duration_seconds" ["listener"]
        "From a request's first byte to the last byte of its response.";
    RequestsActive Gauge "ringway_http_requests_active" []
        "Requests under way.";
    RequestBytes Counter "ringway_http_request_body_bytes_total" ["listener"]
        "Body bytes from clients.";
    ResponseBytes Counter "ringway_http_response_body_bytes_total" ["listener"]
        "Body bytes to clients.";
    ResponseFlags Counter "ringway_http_response_flags_total" ["listener", "flag"]
        "Requests and tunnels that did not end well, by Envoy's response flags.";
    GrpcRequests Counter "ringway_grpc_requests_total" ["listener", "grpc_status"]
        "gRPC requests that ended, by status.";
    BackendRequests Counter "ringway_backend_requests_total" ["backend", "code"]
        "Requests that were last sent to a backend, by what the client saw.";
    BackendFirstByte Histogram "ringway_backend_first_byte_seconds" ["backend"]
        "From sending a request to a backend to the first byte of its response.";
    BackendAttempts Counter "ringway_backend_attempts_total" ["backend"]
        "How often requests were sent, repetitions included.";
    BackendRetries Counter "ringway_backend_retries_total" ["backend"]
        "How often requests were sent again.";
    BackendEjections Counter "ringway_backend_ejections_total" ["backend"]
        "How often an endpoint was left out because it kept failing.";
    RouteRequests Counter "ringway_route_requests_total" ["route", "code"]
        "Requests that ended, by route; for the busiest routes, if asked for.";
    RouteDuration Histogram "ringway_route_request_duration_seconds" ["route"]
        "From a request's first byte to the last byte of its response, by route.";
    Tunnels Counter "ringway_tunnels_total" ["listener"]
        "TCP and TLS connections and UDP sessions that ended.";
    TunnelReceived Counter "ringway_tunnel_received_bytes_total" ["listener"]
        "Bytes from clients of tunnels.";
    TunnelSent Counter "ringway_tunnel_sent_bytes_total" ["listener"]
        "Bytes to clients of tunnels.";
    UdpSessionsActive Gauge "ringway_udp_sessions_active" []
        "UDP sessions that are remembered.";
    Connections Counter "ringway_connections_total" []
        "Client connections that were accepted.";
    ConnectionsActive Gauge "ringway_connections_active" []
        "Client connections that are open.";
    ConnectionsMoved Counter "ringway_connections_moved_total" []
        "Client connections that were handed to a core with less to do.";
    Handshakes Counter "ringway_tls_handshakes_total" ["result"]
        "TLS handshakes with clients.";
    Resets Counter "ringway_stream_resets_total" ["by"]
        "Streams of clients that were reset, by whom.";
    UpstreamConnections Counter "ringway_upstream_connections_total" ["result"]
        "Attempts to connect to an endpoint.";
    UpstreamConnectionsActive Gauge "ringway_upstream_connections_active" []
        "Connections to endpoints that are open, idle ones included.";
    UpstreamReused Counter "ringway_upstream_connections_reused_total" []
        "Requests that found an idle connection.";
    Mirrors Counter "ringway_mirrors_total" ["result"]
        "Copies of requests for mirrors.";
    LimitHits Counter "ringway_limit_hits_total" ["limit"]
        "How often a limit was hit.";
    LogLinesDropped Counter "ringway_access_log_lines_dropped_total" []
        "Lines of the access log that were dropped because its reader was too slow.";
    Panics Counter "ringway_panics_total" []
        "Connections that ended by a fault of ringway's.";
    Series Gauge "ringway_metric_series" []
        "Series in this list, this one not included; buckets count.";
}

impl Snapshot {
    /// Shows every number that is there, metric by metric, with the values of the metric's labels in their order.
    pub fn each(&self, mut show: impl FnMut(Metric, &[&str], Value<'_>)) {
        let mut series = 0;
        for metric in Metric::ALL {
            let mut counted = |labels: &[&str], value: Value<'_>| {
                series += match value {
                    Value::Number(_) => 1,
                    Value::Durations(histogram) => 2 + histogram.cumulative().count(),
                };
                show(*metric, labels, value);
            };
            match metric {
                Metric::Series => show(*metric, &[], Value::Number(series as u64)),
                metric => self.each_of(*metric, &mut counted),
            }
        }
    }

    /// Writes every number in Prometheus' text format.
    pub fn prometheus(&self, out: &mut String) {
        let mut last = None;
        self.each(|metric, labels, value| {
            if last != Some(metric) {
                last = Some(metric);
                let (name, help, kind) = (metric.name(), metric.help(), metric.kind().as_str());
                write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
                    .expect("a String takes everything");
            }
            match value {
                Value::Number(number) => line(out, metric, "", labels, None, number),
                Value::Durations(histogram) => {
                    for (bound, count) in histogram.cumulative() {
                        let bound = bound.map_or("+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
                        line(out, metric, "_bucket", labels, Some(&bound), count);
                    }
                    line(out, metric, "_sum", labels, None, histogram.sum().as_secs_f64());
                    line(out, metric, "_count", labels, None, histogram.count());
                }
            }
        });
    }

    fn each_of(&self, metric: Metric, show: &mut impl FnMut(&[&str], Value<'_>)) {
        let event = |event| Value::Number(self.events(event));
        let under_way = |begun, ended| Value::Number(self.under_way(begun, ended));
        let listeners = self.listeners.iter().map(|(label, series)| (label.text(), series));
        let backends = self.backends.iter().map(|(label, series)| (label.text(), series));
        let routes = self.routes.iter().map(|(label, series)| (label.text(), series));
        match metric {
            Metric::Requests => {
                for (listener, series) in listeners {
                    series
                        .codes
                        .iter()
                        .for_each(|(code, count)| show(&[listener, code], Value::Number(count)));
                }
            }
            Metric::RequestDuration => {
                for (listener, series) in listeners.filter(|(_, series)| series.duration.count() > 0) {
                    show(&[listener], Value::Durations(&series.duration));
                }
            }
            Metric::RequestsActive => show(&[], under_way(Event::RequestStarted, Event::RequestEnded)),
            Metric::RequestBytes => sums(listeners.map(|(key, series)| (key, series.request_bytes)), show),
            Metric::ResponseBytes => sums(listeners.map(|(key, series)| (key, series.response_bytes)), show),
            Metric::ResponseFlags => {
                for (listener, series) in listeners {
                    for (flag, count) in
                        Flag::ALL.into_iter().zip(series.flags).filter(|(_, count)| *count > 0)
                    {
                        show(&[listener, flag.letters()], Value::Number(count));
                    }
                }
            }
            Metric::GrpcRequests => {
                for (listener, series) in listeners {
                    for (status, count) in
                        GRPC_STATUSES.into_iter().zip(series.grpc).filter(|(_, count)| *count > 0)
                    {
                        show(&[listener, status], Value::Number(count));
                    }
                }
            }
            Metric::BackendRequests => {
                for (backend, series) in backends {
                    series
                        .codes
                        .iter()
                        .for_each(|(code, count)| show(&[backend, code], Value::Number(count)));
                }
            }
            Metric::BackendFirstByte => {
                for (backend, series) in backends.filter(|(_, series)| series.first_byte.count() > 0) {
                    show(&[backend], Value::Durations(&series.first_byte));
                }
            }
            Metric::BackendAttempts => sums(backends.map(|(key, series)| (key, series.attempts)), show),
            Metric::BackendRetries => sums(backends.map(|(key, series)| (key, series.retries)), show),
            Metric::BackendEjections => sums(backends.map(|(key, series)| (key, series.ejections)), show),
            Metric::RouteRequests => {
                for (route, series) in routes {
                    series.codes.iter().for_each(|(code, count)| show(&[route, code], Value::Number(count)));
                }
            }
            Metric::RouteDuration => {
                for (route, series) in routes.filter(|(_, series)| series.duration.count() > 0) {
                    show(&[route], Value::Durations(&series.duration));
                }
            }
            Metric::Tunnels => sums(listeners.map(|(key, series)| (key, series.tunnels)), show),
            Metric::TunnelReceived => {
                sums(listeners.map(|(key, series)| (key, series.tunnel_received_bytes)), show);
            }
            Metric::TunnelSent => sums(listeners.map(|(key, series)| (key, series.tunnel_sent_bytes)), show),
            Metric::UdpSessionsActive => {
                show(&[], under_way(Event::UdpSessionStarted, Event::UdpSessionEnded));
            }
            Metric::Connections => show(&[], event(Event::ConnectionAccepted)),
            Metric::ConnectionsActive => {
                show(&[], under_way(Event::ConnectionAccepted, Event::ConnectionClosed));
            }
            Metric::ConnectionsMoved => show(&[], event(Event::ConnectionMoved)),
            Metric::Handshakes => {
                show(&["done"], event(Event::HandshakeDone));
                show(&["failed"], event(Event::HandshakeFailed));
            }
            Metric::Resets => {
                show(&["client"], event(Event::ResetReceived));
                show(&["ringway"], event(Event::ResetSent));
            }
            Metric::UpstreamConnections => {
                show(&["connected"], event(Event::UpstreamConnected));
                show(&["failed"], event(Event::UpstreamConnectFailed));
            }
            Metric::UpstreamConnectionsActive => {
                show(&[], under_way(Event::UpstreamConnected, Event::UpstreamClosed));
            }
            Metric::UpstreamReused => show(&[], event(Event::UpstreamReused)),
            Metric::Mirrors => {
                show(&["sent"], event(Event::MirrorSent));
                show(&["dropped"], event(Event::MirrorDropped));
            }
            Metric::LimitHits => {
                for limit in Limit::ALL {
                    show(&[limit.name()], Value::Number(self.hits(*limit)));
                }
            }
            Metric::LogLinesDropped => show(&[], event(Event::LogLineDropped)),
            Metric::Panics => show(&[], event(Event::Panic)),
            Metric::Series => {}
        }
    }
}

fn sums<'s>(sums: impl Iterator<Item = (&'s str, u64)>, show: &mut impl FnMut(&[&str], Value<'_>)) {
    // A series appears with its first event: most listeners have no tunnels, and tunnels have no requests.
    sums.filter(|(_, sum)| *sum > 0).for_each(|(key, sum)| show(&[key], Value::Number(sum)));
}

fn line(
    out: &mut String,
    metric: Metric,
    suffix: &str,
    values: &[&str],
    bound: Option<&str>,
    number: impl std::fmt::Display,
) {
    out.push_str(metric.name());
    out.push_str(suffix);
    let mut separator = '{';
    let named = metric.labels().iter().copied().zip(values.iter().copied());
    for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
        out.push(separator);
        separator = ',';
        out.push_str(name);
        out.push_str("=\"");
        for char in value.chars() {
            match char {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                char => out.push(char),
            }
        }
        out.push('"');
    }
    if separator == ',' {
        out.push('}');
    }
    writeln!(out, " {number}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::record::{Recorder, SeriesLimits, tests::summary};
    use crate::time::Instant;

    #[test]
    fn the_document_lists_every_metric_as_it_is() {
        let document = include_str!("../../../../docs/metrics.md");
        // What follows is about the process, and none of ours.
        let document = document.split("\n## ").next().unwrap_or_default();
        let row = |metric: &Metric| {
            let labels: Vec<_> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            format!("| `{}` | {} | {labels} | {} |", metric.name(), metric.kind().as_str(), metric.help())
        };
        let rows: Vec<_> = Metric::ALL.iter().map(row).collect();
        let written: Vec<_> = document.lines().filter(|line| line.starts_with("| `ringway_")).collect();
        assert_eq!(written, rows, "docs/metrics.md should have these rows:\n{}", rows.join("\n"));
    }

    #[test]
    fn names_and_kinds_follow_prometheus() {
        for metric in Metric::ALL {
            let counts = metric.name().ends_with("_total");
            assert_eq!(counts, metric.kind() == Kind::Counter, "{}", metric.name());
        }
    }

    #[test]
    fn each_metric_is_introduced_once_and_the_series_are_counted() {
        let mut recorder = Recorder::new(SeriesLimits::default());
        for number in 0..10 {
            recorder.record(&summary("L", &format!("C{number}"), 200 + number), Instant::ORIGIN);
        }
        let mut text = String::new();
        recorder.snapshot().prometheus(&mut text);
        let mut introduced: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = introduced.len();
        introduced.sort_unstable();
        introduced.dedup();
        assert_eq!(introduced.len(), count);
        let series = text.lines().filter(|line| !line.starts_with('#')).count() - 1;
        assert!(text.ends_with(&format!("ringway_metric_series {series}\n")), "{series}");
    }

    #[test]
    fn label_values_are_escaped() {
        let mut recorder = Recorder::new(SeriesLimits::default());
        recorder.record(&summary("a\"b\\c\nd", "C", 200), Instant::ORIGIN);
        let mut text = String::new();
        recorder.snapshot().prometheus(&mut text);
        assert!(text.contains(r#"{listener="a\"b\\c\nd",code="200"} 1"#));
    }
}
