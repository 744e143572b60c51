//! One run of one contestant on one row, in a network of its own: backend, proxy, load, and what the proxy cost.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{fs, io};

use super::agreed;
use super::certificates::{self, CertificateError};
use super::contestant::{self, Contestant, Hop, Programs};
use super::process::StartError;
use super::rows::{Row, Shape};
use crate::cost::{Meter, Watched};
use crate::engine::{self, Progress, RunError};
use crate::isolate::{self, Cores};
use crate::outcome::{Machine, Outcome};
use crate::server::{self, Answering, Backend};
use crate::verdict;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    #[error("cannot prepare the run: {0}")]
    Prepare(#[from] io::Error),
}

/// What a run showed, and what only its surroundings know.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    /// TCP connections that were accepted in this network while the run was recorded. Unknown where the network is shared.
    pub(crate) opened: Option<u64>,
    /// What isolation is missing.
    pub(crate) missing: Vec<String>,
}

/// How each run is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

pub(crate) fn measure(
    contestant: Contestant,
    row: &Row,
    programs: &Programs,
    scratch: &Path,
    timing: Timing,
    stop: &AtomicBool,
) -> Result<Measured, MeasureError> {
    let directory = scratch.join("run");
    // What the run before left there.
    let _nothing_there = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    certificates::write(&directory)?;
    let (measured, shared) = isolate::alone(|| inside(contestant, row, programs, &directory, timing, stop));
    let mut measured = measured?;
    if let Some(missing) = shared {
        measured.opened = None;
        measured.missing.push(missing);
    }
    Ok(measured)
}

/// On a thread that has the network for itself.
fn inside(
    contestant: Contestant,
    row: &Row,
    programs: &Programs,
    directory: &Path,
    timing: Timing,
    stop: &AtomicBool,
) -> Result<Measured, MeasureError> {
    let cores = Cores::choose();
    let mut missing = Vec::new();
    let mut pin = |core: fn(&Cores) -> usize| match &cores {
        Some(cores) => isolate::pin(core(cores))
            .unwrap_or_else(|error| missing.push(format!("nothing is pinned ({error})"))),
        None => missing.push("the server and the generator share the only core".into()),
    };
    pin(|cores| cores.generator);
    let (_backend, backend_port) = backend(row, directory)?;
    let mut ports = free_ports(row.shape.configurations().len())?;
    ports.push(backend_port);
    let hops: Vec<Hop> = ports.windows(2).map(|ports| (ports[0], ports[1])).collect();
    pin(|cores| cores.server);
    let processes = contestant::start(contestant, row.shape, programs, directory, &hops)?;
    pin(|cores| cores.generator);
    missing.dedup();
    let mut meter = Meter::new(Watched::Trees(processes.iter().map(super::process::Started::id).collect()))?;
    let mut opened = [None; 2];
    let plan = row.plan(ports[0], timing.warmup, timing.duration, timing.seed);
    let mut outcome = engine::run(&plan, stop, &mut |mut progress| {
        meter.see(&mut progress);
        match progress {
            Progress::Recording => opened[0] = accepted(),
            Progress::Ended => opened[1] = accepted(),
            _ => {}
        }
    })?;
    outcome.name = contestant.name().into();
    outcome.machine = Machine::here();
    outcome.server = meter.cost(outcome.done);
    outcome.verdict = verdict::judge(&outcome);
    let opened = opened[1].zip(opened[0]).map(|(after, before)| after.saturating_sub(before));
    Ok(Measured { outcome, opened, missing })
}

/// What a row's proxies have behind them, and its port.
fn backend(row: &Row, directory: &Path) -> Result<(Backend, u16), MeasureError> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let answering = Answering {
        speaks: row.backend(),
        response_bytes: row.response_bytes,
        delay: Duration::ZERO,
        stall: None,
    };
    let tls = match row.shape {
        // It asks for no certificate: what bytes cost does not depend on that.
        Shape::TcpToMtls => {
            Some(Arc::new(server::tls(&directory.join("server.pem"), &directory.join("server.key"))?))
        }
        _ => None,
    };
    let backend = server::serve_tls(listener, &answering, 1, tls)?;
    let port = backend.address().port();
    Ok((backend, port))
}

/// How long a proxy may take until it has spoken TLS to what is behind it.
const AGREED: Duration = Duration::from_secs(10);

/// What a contestant agrees on in the TLS behind its first process: one request with a relay in that place.
pub(crate) fn agreed(
    contestant: Contestant,
    row: &Row,
    programs: &Programs,
    scratch: &Path,
) -> Result<String, MeasureError> {
    let directory = scratch.join("agreed");
    let _nothing_there = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    certificates::write(&directory)?;
    let (agreed, _shared) = isolate::alone(|| -> Result<String, MeasureError> {
        let (_backend, mut to) = backend(row, &directory)?;
        let between = TcpListener::bind("127.0.0.1:0")?;
        let mut hops = Vec::new();
        for port in free_ports(row.shape.configurations().len())?.into_iter().rev() {
            hops.push((port, to));
            to = port;
        }
        hops.reverse();
        let behind = std::mem::replace(&mut hops[0].1, between.local_addr()?.port());
        let _processes = contestant::start(contestant, row.shape, programs, &directory, &hops)?;
        let mut asking = TcpStream::connect(("127.0.0.1", hops[0].0))?;
        asking.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let agreed = agreed::listen_in(&between, behind, Instant::now() + AGREED)?;
        Ok(agreed.map_or_else(|| "not seen".to_owned(), |agreed| agreed.to_string()))
    });
    agreed
}

/// Ports of loopback that nobody uses now.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    // All are held before any is let go, so that no two are the same.
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    held.iter().map(|listener| listener.local_addr().map(|address: SocketAddr| address.port())).collect()
}

/// How many connections have been accepted in the network of this thread.
fn accepted() -> Option<u64> {
    passive_opens(&fs::read_to_string("/proc/thread-self/net/snmp").ok()?)
}

/// Names and values are in two lines of the same word.
fn passive_opens(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|name| name == "PassiveOpens")?;
    values.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm ActiveOpens PassiveOpens\nTcp: 1 20 17\n";
        assert_eq!(passive_opens(snmp), Some(17));
        assert_eq!(passive_opens("Tcp: RtoAlgorithm\n"), None);
    }

    #[test]
    fn free_ports_differ() {
        let ports = free_ports(3).unwrap();
        assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
    }
}
