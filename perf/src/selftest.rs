//! Whether this machine, with this harness, measures what it should: runs against backends whose times are known.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::args::SelfTest;
use crate::engine::{self, RunError};
use crate::outcome::{Outcome, Verdict};
use crate::plan::{Arrivals, Load, Plan, Protocol};
use crate::run::{exit, interruptible};
use crate::server::{self, Answering, Speaks};

/// A tenth of the requests are due in the stall, evenly, so that one in a hundred waits 90 ms of its 100.
const STALL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// What the corrected p99 must show of that, and what a closed loop's stays below.
const STALL_SHOWS_US: f64 = 70_000.0;
/// The known latency.
const DELAY: Duration = Duration::from_millis(5);
/// How much longer than the known latency the median may read: two threads are woken on the way.
const TOLERANCE: Duration = Duration::from_millis(1);
/// More requests than a thread can send, of which each is done when the kernel took it.
const TOO_MANY: f64 = 3_000_000.0;

/// One claim, and what was seen of it.
struct Check {
    claim: &'static str,
    seen: String,
    holds: bool,
}

/// Runs every check, prints what each showed, and fails if any did.
pub(crate) fn run(said: &SelfTest) -> Result<ExitCode, RunError> {
    let stop = interruptible()?;
    let mut all_hold = true;
    for check in [stalls_show, known_latency_reads_back, saturation_is_told] {
        for Check { claim, seen, holds } in check(said.duration, &stop)? {
            all_hold &= holds;
            writeln!(io::stdout(), "{} {claim}: {seen}", if holds { "ok  " } else { "FAIL" })?;
        }
    }
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
}

fn stalls_show(duration: Duration, stop: &AtomicBool) -> Result<Vec<Check>, RunError> {
    // Whole periods, so that each part of one counts the same.
    let duration = Duration::from_secs(duration.as_secs().max(1));
    let answering = Answering { stall: Some(STALL), ..at_once(Speaks::Http) };
    let open = against(&answering, "http", duration, stop, |_| {})?;
    let closed = against(&answering, "http", duration, stop, |plan| plan.load = Load::Closed)?;
    let (corrected, uncorrected) = (open.latency.percentile_us(99.0), closed.latency.percentile_us(99.0));
    let ms = |us: f64| format!("p99 {:.1} ms", us / 1e3);
    Ok(vec![
        Check {
            claim: "a stall of 100 ms a second shows in an open loop",
            seen: ms(corrected),
            holds: corrected >= STALL_SHOWS_US && open.errors.is_empty(),
        },
        Check {
            claim: "and is hidden by a closed one, which is why it is not the default",
            seen: ms(uncorrected),
            holds: uncorrected < STALL_SHOWS_US && closed.errors.is_empty(),
        },
    ])
}

fn known_latency_reads_back(duration: Duration, stop: &AtomicBool) -> Result<Vec<Check>, RunError> {
    let answering = Answering { delay: DELAY, ..at_once(Speaks::Http) };
    let outcome = against(&answering, "http", duration, stop, |plan| {
        plan.load = Load::Open { rate: 500.0, arrivals: Arrivals::Poisson };
    })?;
    let delay = DELAY.as_secs_f64() * 1e6;
    let (least, median) = (outcome.latency.percentile_us(0.0), outcome.latency.percentile_us(50.0));
    // Three digits: a value reads as up to a thousandth less than it was.
    let holds = least >= delay * 0.999
        && median <= delay + TOLERANCE.as_secs_f64() * 1e6
        && outcome.done == outcome.sent;
    Ok(vec![Check {
        claim: "5 ms read back as 5 ms, never less, at the median less than 1 ms more",
        seen: format!("least {:.2} ms, p50 {:.2} ms", least / 1e3, median / 1e3),
        holds,
    }])
}

fn saturation_is_told(_: Duration, stop: &AtomicBool) -> Result<Vec<Check>, RunError> {
    let outcome = against(&at_once(Speaks::TcpSink), "tcp", Duration::from_secs(1), stop, |plan| {
        plan.protocol = Protocol::TcpBulk;
        plan.request_bytes = 1;
        plan.load = Load::Open { rate: TOO_MANY, arrivals: Arrivals::Constant };
    })?;
    let (seen, holds) = match outcome.verdict {
        Verdict::GeneratorSaturated { because } => (because, true),
        other => (format!("{other:?}"), false),
    };
    Ok(vec![Check { claim: "a generator that cannot keep up says so", seen, holds }])
}

fn at_once(speaks: Speaks) -> Answering {
    Answering { speaks, response_bytes: 1_024, delay: Duration::ZERO, stall: None }
}

/// A run of 1,000 requests a second, changed by `change`, against a backend of its own.
fn against(
    answering: &Answering,
    scheme: &str,
    duration: Duration,
    stop: &AtomicBool,
    change: impl FnOnce(&mut Plan),
) -> Result<Outcome, RunError> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let backend = server::serve(listener, answering, 1)?;
    let mut plan = Plan {
        target: format!("{scheme}://{}", backend.address()),
        protocol: Protocol::Http1,
        tls: None,
        load: Load::Open { rate: 1_000.0, arrivals: Arrivals::Constant },
        connections: 16,
        streams: 1,
        threads: 1,
        warmup: Duration::from_millis(200),
        duration,
        timeout: Duration::from_secs(1),
        request_bytes: 0,
        response_bytes: None,
        headers: Vec::new(),
        seed: 1,
    };
    change(&mut plan);
    engine::run(&plan, stop, &mut |_| {})
}
