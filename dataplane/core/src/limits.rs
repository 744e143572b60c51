//! Every limit of the proxy, with its unit and what happens when it is hit. `docs/limits.md` is this table in words.
//!
//! Safe by default, after Envoy's guide for edge proxies. There is no default total request timeout: long downloads,
//! streams and upgrades are normal; what is bounded is silence.

use std::time::Duration;

/// The limits of a proxy. Changed by flags; never by traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A request or response head, in bytes. Request: 431 and close. Response: 502.
    pub header_bytes_max: usize,
    /// Fields in a head. Request: 431 and close. Response: 502.
    pub header_count_max: usize,
    /// The request line, in bytes. 414 and close.
    pub request_line_bytes_max: usize,
    /// From the first byte of a head to its last. 408 and close.
    pub header_read_timeout: Duration,
    /// A client connection without a request. Closed.
    pub idle_timeout: Duration,
    /// Between two pieces of a body, either way. Request: 408; response begun: reset.
    pub body_idle_timeout: Duration,
    /// From the request's last byte to the response's head, when the rule sets no timeout. 504.
    pub response_header_timeout: Duration,
    /// Interim responses (1xx) of one attempt that are passed on. Further ones: 502.
    pub informational_max: u32,
    /// A tunnel or stream without a byte either way. Closed.
    pub stream_idle_timeout: Duration,
    /// From accepting a connection to the end of its TLS handshake or PROXY header. Closed.
    pub handshake_timeout: Duration,
    /// Client connections of this process. Further ones are closed at once.
    pub connections_max: usize,
    /// Client connections from one address. Further ones are closed at once.
    pub connections_per_client_max: usize,
    /// Requests on one HTTP/1.1 connection. The last is answered with `Connection: close`.
    pub requests_per_connection_max: u64,
    /// Concurrent HTTP/2 streams of one connection. Further ones are refused (REFUSED_STREAM).
    pub http2_streams_max: u32,
    /// Flow-control window of an HTTP/2 stream, in bytes.
    pub http2_stream_window: u32,
    /// Flow-control window of an HTTP/2 connection, in bytes.
    pub http2_connection_window: u32,
    /// Streams reset by the client and not yet forgotten. GOAWAY ENHANCE_YOUR_CALM.
    pub http2_resets_max: usize,
    /// Body bytes kept so that a request can be sent again. Larger: the attempt is final.
    pub replay_bytes_max: usize,
    /// Copies to mirrors under way on one core. Further ones are not made; counted.
    pub mirrors_max: usize,
    /// Idle upstream connections kept for an endpoint on one core. The oldest is closed.
    pub upstream_idle_connections_max: usize,
    /// An idle upstream connection. Closed; shorter than what servers use (60 to 75 s), so that we close first.
    pub upstream_idle_timeout: Duration,
    /// What is read and thrown away from a client that was answered early. Then closed.
    pub linger_bytes_max: usize,
    /// How long that may take.
    pub linger_timeout: Duration,
    /// Requests under way on one core that wait or run. Further ones: 503 with flag OM.
    pub requests_max: usize,
    /// UDP sessions on one core. The longest idle one is dropped for a new one.
    pub udp_sessions_max: usize,
    /// A UDP session without a datagram either way. Forgotten.
    pub udp_session_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 64 << 10,
            header_count_max: 128,
            request_line_bytes_max: 16 << 10,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3600),
            body_idle_timeout: Duration::from_secs(60),
            response_header_timeout: Duration::from_secs(300),
            informational_max: 32,
            stream_idle_timeout: Duration::from_secs(3600),
            handshake_timeout: Duration::from_secs(10),
            connections_max: 50_000,
            connections_per_client_max: 10_000,
            requests_per_connection_max: u64::MAX,
            http2_streams_max: 100,
            http2_stream_window: 64 << 10,
            http2_connection_window: 1 << 20,
            http2_resets_max: 20,
            replay_bytes_max: 64 << 10,
            mirrors_max: 1024,
            upstream_idle_connections_max: 256,
            upstream_idle_timeout: Duration::from_secs(50),
            linger_bytes_max: 256 << 10,
            linger_timeout: Duration::from_secs(2),
            requests_max: 100_000,
            udp_sessions_max: 16_384,
            udp_session_idle_timeout: Duration::from_secs(60),
        }
    }
}
