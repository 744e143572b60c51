//! What was said after `ringway perf`, and the plan that it means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Subcommand, ValueEnum};

use crate::cost::Watched;
use crate::plan::{self, Arrivals, Load, Plan, Tls};
use crate::server::Speaks;

const EXAMPLES: &str = "\
Examples:
  ringway perf run http://127.0.0.1:8080/ --rate 5000    latency at 5,000 requests a second
  ringway perf run http://127.0.0.1:8080/ --closed       how many requests a second it can answer
  ringway perf run https://shop.example/ --protocol http2 --streams 32 --connections 8 --rate 2000
  ringway perf serve --listen 127.0.0.1:9000             a fast backend to put behind a proxy
  ringway perf peers --workloads W1,W2                   proxies side by side on this machine
  ringway perf selftest                                  does this machine measure what it should?

Exit codes:
  0  the figures hold
  1  they do not: nothing was answered, the generator was the limit, or a check failed
  2  the command line is wrong
  3  could not start, or the target cannot be reached";

/// `ringway perf`.
#[derive(Debug, Group)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Offer load to a target and say how long its answers take.
    Run(Box<Run>),
    /// Serve answers of a fixed size, as a backend to put behind a proxy.
    Serve(Serve),
    /// See that this machine measures what it should: stalls show, known delays read back, saturation is told.
    Selftest(SelfTest),
    /// Offer the same load to several targets in turn, and say how they stand to the first.
    Compare(Box<Compare>),
    /// Find the highest rate at which a promise still holds.
    FindMax(Box<FindMax>),
    /// Change something again and again while load runs, and count what fails.
    Churn(Box<Churn>),
    /// Hold a run against an earlier one: exit 1 if it is worse by more than is allowed.
    Gate(Gate),
    /// Compare proxies side by side: nginx, HAProxy, Envoy, ringway, and what the kernel alone costs.
    Peers(Peers),
    /// Relay bytes and nothing else: what every proxy costs at least.
    Floor(Floor),
}

/// `ringway perf run`.
#[derive(Clone, Debug, Group)]
pub(crate) struct Run {
    /// Where to: `http://host:port/path`, `https://…`, `tcp://host:port` or `tls://host:port`.
    pub(crate) target: String,

    /// What is spoken. Default: http1, or tcp-ping to tcp:// and tls://.
    #[arg(long, value_enum)]
    pub(crate) protocol: Option<Protocol>,

    /// Requests a second, over all connections.
    #[arg(long, short, value_name = "N", default_value_t = 1_000.0, conflicts_with = "closed")]
    pub(crate) rate: f64,

    /// The times between requests.
    #[arg(long, value_enum, default_value_t = Times::Poisson, conflicts_with = "closed")]
    pub(crate) arrivals: Times,

    /// Send the next request when the last one was answered: shows throughput, and hides what a stall does to latency.
    #[arg(long)]
    pub(crate) closed: bool,

    /// Connections, over all threads.
    #[arg(long, short, value_name = "N", default_value_t = 64)]
    pub(crate) connections: usize,

    /// Streams at a time on each connection (HTTP/2 and gRPC).
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) streams: usize,

    /// Threads of the generator.
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,

    /// How long the load is recorded, such as `10s`.
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(crate) duration: Duration,

    /// Load before anything is recorded.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) warmup: Duration,

    /// How long an answer may take, and how long a request may wait for a free connection.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(crate) timeout: Duration,

    /// Bytes of each request's body, or of each message.
    #[arg(long, value_name = "N")]
    pub(crate) request_bytes: Option<usize>,

    /// Bytes that each response body must have; another size is an error.
    #[arg(long, value_name = "N")]
    pub(crate) response_bytes: Option<usize>,

    /// A field of each request, such as `accept: text/html`. Repeatable.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,

    /// Trust anchors (PEM). Default: any certificate is taken.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// The client's certificate chain (PEM), for mTLS.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,

    /// The client's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// The name to ask for in the handshake, and to verify. Default: the target's host.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,

    /// Offer the hybrid key exchange X25519MLKEM768 instead of X25519.
    #[arg(long)]
    pub(crate) hybrid: bool,

    /// Of the arrivals that are drawn: the same seed gives the same schedule.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The server's process: its CPU time and memory, with all that descends from it, are part of what is shown. Repeatable.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<u32>,

    /// The server's cgroup, a directory under /sys/fs/cgroup, instead of its process.
    #[arg(long, value_name = "DIR", conflicts_with = "pid")]
    pub(crate) cgroup: Option<PathBuf>,

    /// What to call the target in results.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Write what the run showed as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with curves and tables, whole in one file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write the percentiles of latency as HdrHistogram's plotters read them.
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,

    /// Write a row for each second.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
}

/// `ringway perf serve`.
#[derive(Debug, Group)]
pub(crate) struct Serve {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,

    /// What is spoken.
    #[arg(long, value_enum, default_value_t = Spoken::Http)]
    pub(crate) speak: Spoken,

    /// Bytes of each response body.
    #[arg(long, value_name = "N", default_value_t = 1_024)]
    pub(crate) response_bytes: usize,

    /// How long each answer waits.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(crate) delay: Duration,

    /// Do nothing at all for a while, again and again: `100ms/1s`.
    #[arg(long, value_name = "TIME/TIME", value_parser = stall)]
    pub(crate) stall: Option<(Duration, Duration)>,

    /// Threads.
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,

    /// Certificate chain (PEM): serve TLS 1.3.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// `ringway perf selftest`.
#[derive(Debug, Group)]
pub(crate) struct SelfTest {
    /// How long each of its runs is recorded.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    pub(crate) duration: Duration,
}

/// `ringway perf compare`.
#[derive(Debug, Group)]
pub(crate) struct Compare {
    #[command(flatten)]
    pub(crate) first: Run,

    /// The others. A name may stand before each target: `new=http://127.0.0.1:8081/`.
    #[arg(required = true)]
    pub(crate) others: Vec<String>,

    /// How often each is measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(5..=1_000))]
    pub(crate) rounds: u16,

    /// The process of a target, whose CPU time and memory are compared: `new=4711`. Repeatable.
    #[arg(long, value_name = "NAME=PID", value_parser = watched)]
    pub(crate) watch: Vec<(String, u32)>,
}

/// `ringway perf find-max`.
#[derive(Debug, Group)]
pub(crate) struct FindMax {
    #[command(flatten)]
    pub(crate) load: Run,

    /// The promise: `p99<5ms`. The search begins at --rate.
    #[arg(long, value_name = "METRIC<TIME")]
    pub(crate) slo: crate::find_max::Promise,

    /// At most so many runs.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) tries: usize,
}

/// `ringway perf churn`.
#[derive(Debug, Group)]
pub(crate) struct Churn {
    #[command(flatten)]
    pub(crate) load: Run,

    /// A shell command that changes something; it sees its number as $CHANGE. Repeatable: they take turns.
    #[arg(long, value_name = "COMMAND", required_unless_present = "script")]
    pub(crate) change: Vec<String>,

    /// A file of such commands, one a line.
    #[arg(long, value_name = "FILE", conflicts_with = "change")]
    pub(crate) script: Option<PathBuf>,

    /// From the start of a change until the next.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) every: Duration,
}

/// `ringway perf gate`.
#[derive(Debug, Group)]
pub(crate) struct Gate {
    /// What `perf run --json` wrote before.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: PathBuf,

    /// How much worse each figure may be: `p99=10%,cpu=5%,rss=5%`.
    #[arg(long, value_name = "METRIC=N%,…")]
    pub(crate) max_regress: crate::gate::Limits,

    /// What `perf run --json` wrote now.
    pub(crate) now: PathBuf,
}

/// `ringway perf peers`.
#[derive(Debug, Group)]
pub(crate) struct Peers {
    /// Which rows: W1 to W8, or all.
    #[arg(long, value_name = "W1,W2,…", value_delimiter = ',', default_value = "all")]
    pub(crate) workloads: Vec<String>,

    /// Who: nginx, haproxy, envoy, floor, ringway, ringway-epoll, or all.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "all")]
    pub(crate) contestants: Vec<String>,

    /// How often each is measured on each row.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) rounds: usize,

    /// How long each run is recorded.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) seconds: u64,

    /// A short form that shows that it works: W1 and W2, nginx, floor and ringway, two rounds of a second. Written nowhere.
    #[arg(long, conflicts_with_all = ["workloads", "contestants", "rounds", "seconds"])]
    pub(crate) smoke: bool,

    /// Where `<date>.md` and `<date>.json` are written.
    #[arg(long, value_name = "DIR", default_value = "perf/results")]
    pub(crate) results: PathBuf,
}

/// `ringway perf floor`.
#[derive(Debug, Group)]
pub(crate) struct Floor {
    /// How bytes are carried.
    #[arg(long, value_enum, default_value_t = Carried::Epoll)]
    pub(crate) relay: Carried,

    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,

    /// Where bytes go.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) to: SocketAddr,
}

/// See [`crate::floor::Relay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carried {
    /// Readiness, then receive and send.
    Epoll,
    /// Readiness, then splice through a pipe.
    Splice,
    /// Operations of io_uring.
    Ring,
}

/// See [`plan::Protocol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// A request and its response over kept connections.
    Http1,
    /// The same over streams of kept connections.
    Http2,
    /// A unary call.
    Grpc,
    /// A message to and fro on a long stream.
    GrpcStream,
    /// A message to and fro on a WebSocket.
    #[value(name = "websocket")]
    WebSocket,
    /// Bytes to and fro.
    TcpPing,
    /// Bytes in one direction.
    TcpBulk,
    /// A connection for each request; over TLS with a full handshake.
    Connect,
    /// The same with a resumed session.
    ConnectResumed,
    /// Connections that make one request and stay open.
    Idle,
}

/// See [`Arrivals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Times {
    /// All the same.
    Constant,
    /// As of clients that do not know of each other.
    Poisson,
}

/// See [`Speaks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spoken {
    /// HTTP/1.1, WebSocket echo, HTTP/2 by prior knowledge and gRPC echo, told apart by what comes.
    Http,
    /// Bytes go back.
    TcpEcho,
    /// Bytes are thrown away.
    TcpSink,
}

impl From<Spoken> for Speaks {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Http => Self::Http,
            Spoken::TcpEcho => Self::TcpEcho,
            Spoken::TcpSink => Self::TcpSink,
        }
    }
}

impl From<Protocol> for plan::Protocol {
    fn from(said: Protocol) -> Self {
        match said {
            Protocol::Http1 => Self::Http1,
            Protocol::Http2 => Self::Http2,
            Protocol::Grpc => Self::Grpc,
            Protocol::GrpcStream => Self::GrpcStream,
            Protocol::WebSocket => Self::WebSocket,
            Protocol::TcpPing => Self::TcpPing,
            Protocol::TcpBulk => Self::TcpBulk,
            Protocol::Connect => Self::Connect,
            Protocol::ConnectResumed => Self::ConnectResumed,
            Protocol::Idle => Self::Idle,
        }
    }
}

impl Run {
    /// The processes whose cost is wanted.
    pub(crate) fn watched(&self) -> Option<Watched> {
        match &self.cgroup {
            Some(directory) => Some(Watched::Cgroup(directory.clone())),
            None => (!self.pid.is_empty()).then(|| Watched::Trees(self.pid.clone())),
        }
    }

    /// The plan that is meant. Whether it makes sense is the engine's to say.
    pub(crate) fn plan(&self) -> Plan {
        let bare = self.target.starts_with("tcp://") || self.target.starts_with("tls://");
        let protocol = match self.protocol {
            Some(said) => said.into(),
            None if bare => plan::Protocol::TcpPing,
            None => plan::Protocol::Http1,
        };
        let request_bytes = self.request_bytes.unwrap_or(match protocol {
            plan::Protocol::TcpPing | plan::Protocol::WebSocket | plan::Protocol::GrpcStream => 1_024,
            plan::Protocol::TcpBulk => 1024 * 1024,
            _ => 0,
        });
        let secure = self.target.starts_with("https://") || self.target.starts_with("tls://");
        let said = self.ca.is_some() || self.cert.is_some() || self.server_name.is_some() || self.hybrid;
        let arrivals = match self.arrivals {
            Times::Constant => Arrivals::Constant,
            Times::Poisson => Arrivals::Poisson,
        };
        Plan {
            target: self.target.clone(),
            protocol,
            tls: (secure || said).then(|| Tls {
                server_name: self.server_name.clone(),
                ca: self.ca.clone(),
                identity: self.cert.clone().zip(self.key.clone()),
                hybrid: self.hybrid,
            }),
            load: if self.closed { Load::Closed } else { Load::Open { rate: self.rate, arrivals } },
            connections: self.connections,
            streams: self.streams,
            threads: self.threads,
            warmup: self.warmup,
            duration: self.duration,
            timeout: self.timeout,
            request_bytes,
            response_bytes: self.response_bytes,
            headers: self.header.clone(),
            seed: self.seed,
        }
    }
}

/// `100us`, `2ms`, `1.5s` or `2m`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 100us, 2ms, 1.5s or 2m");
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(wrong()),
    };
    // A run of more than a month is a slip.
    if !(0.0..=2_678_400.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `100ms/1s`.
fn stall(text: &str) -> Result<(Duration, Duration), String> {
    let (length, period) =
        text.split_once('/').ok_or_else(|| format!("{text:?} is no stall; write 100ms/1s"))?;
    let (length, period) = (time(length)?, time(period)?);
    if length >= period {
        return Err(format!("{text:?} never serves: the first time must be shorter than the second"));
    }
    Ok((length, period))
}

/// `name=4711`.
fn watched(text: &str) -> Result<(String, u32), String> {
    let wrong = || format!("{text:?} names no process; write NAME=PID");
    let (name, process) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), process.parse().map_err(|_| wrong())?))
}

/// `name: value`.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} has no colon"))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is no name of a field"));
    }
    let value = value.trim();
    if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
        return Err(format!("{value:?} is no value of a field"));
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(time("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(stall("100ms/1s"), Ok((Duration::from_millis(100), Duration::from_secs(1))));
        for wrong in ["", "5", "s", "-1s", "1d", "1e99s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert!(stall("1s/1s").is_err());
    }

    #[test]
    fn fields_are_read() {
        assert_eq!(header("Accept:  a "), Ok(("accept".to_owned(), "a".to_owned())));
        for wrong in ["a", ": b", "a b: c", "a: b\r\nc: d"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }
}
