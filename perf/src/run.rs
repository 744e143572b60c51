//! Does what was said after `ringway perf`, and answers with an exit code.

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::{Args, Command, Run, Serve};
use crate::contest;
use crate::cost::Meter;
use crate::engine::{self, RunError};
use crate::outcome::{Machine, Outcome, Verdict};
use crate::selftest;
use crate::server::{self, Answering};
use crate::verdict;

/// Exit codes, as `--help` lists them.
pub(crate) mod exit {
    pub(crate) const INVALID: u8 = 1;
    pub(crate) const MISUSE: u8 = 2;
    pub(crate) const NOT_STARTED: u8 = 3;
}

/// Does what was said. Only the exit code says how it went: what went wrong is written to standard error.
pub fn run(args: &Args) -> ExitCode {
    let done = match &args.command {
        Command::Run(said) => measure(said),
        Command::Serve(said) => serve(said),
        Command::Selftest(said) => selftest::run(said),
        Command::Compare(said) => contest::compare(said),
        Command::FindMax(said) => contest::find_max(said),
        Command::Churn(said) => contest::churn(said),
        Command::Gate(said) => contest::gate(said),
        Command::Peers(said) => contest::peers(said),
        Command::Floor(said) => contest::floor(said),
    };
    done.unwrap_or_else(|error| {
        let code = if matches!(error, RunError::Plan(_)) { exit::MISUSE } else { exit::NOT_STARTED };
        let _nobody_listens = writeln!(io::stderr(), "ringway perf: {error}");
        ExitCode::from(code)
    })
}

fn measure(said: &Run) -> Result<ExitCode, RunError> {
    let stop = interruptible()?;
    let mut meter = said.watched().map(Meter::new).transpose()?;
    let mut outcome = engine::run(&said.plan(), &stop, &mut |mut progress| {
        if let Some(meter) = &mut meter {
            meter.see(&mut progress);
        }
    })?;
    outcome.machine = Machine::here();
    outcome.server = meter.and_then(|meter| meter.cost(outcome.done));
    outcome.verdict = verdict::judge(&outcome);
    if let Some(name) = &said.name {
        outcome.name.clone_from(name);
    }
    match &said.json {
        Some(file) if file == Path::new("-") => write_json(&outcome, io::stdout().lock())?,
        Some(file) => {
            let created = File::create(file)
                .map_err(|error| RunError::Plan(format!("cannot write {}: {error}", file.display())))?;
            write_json(&outcome, created)?;
            summarise(&outcome, io::stdout().lock())?;
        }
        None => summarise(&outcome, io::stdout().lock())?,
    }
    Ok(match outcome.verdict {
        Verdict::Valid | Verdict::ServerNotBusy { .. } => ExitCode::SUCCESS,
        Verdict::GeneratorSaturated { .. } | Verdict::NoAnswers => ExitCode::from(exit::INVALID),
    })
}

fn write_json(outcome: &Outcome, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, outcome)?;
    writeln!(out)
}

/// The figures, in a few lines.
pub(crate) fn summarise(outcome: &Outcome, mut out: impl Write) -> io::Result<()> {
    let rate = outcome.done as f64 / outcome.elapsed_s;
    writeln!(
        out,
        "{}: {} of {} answered in {:.2} s, {rate:.0} a second",
        outcome.name, outcome.done, outcome.sent, outcome.elapsed_s
    )?;
    for (name, times) in [("latency", &outcome.latency), ("service", &outcome.service), ("lag", &outcome.lag)]
    {
        writeln!(
            out,
            "{name:>8}: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
            times.percentile_us(50.0),
            times.percentile_us(99.0),
            times.percentile_us(99.9),
            times.max_us()
        )?;
    }
    writeln!(out, "generator: {:.0} % busy", outcome.generator_spent * 100.0)?;
    if let Some(server) = &outcome.server {
        writeln!(
            out,
            "  server: {:.1} us of CPU for each answer, {:.0} % of a core, {:.1} MiB",
            server.cpu_us_per_request,
            server.busy * 100.0,
            server.rss_max as f64 / f64::from(1 << 20)
        )?;
    }
    for (cause, count) in &outcome.errors {
        writeln!(out, "   error: {cause}: {count}")?;
    }
    match &outcome.verdict {
        Verdict::Valid => Ok(()),
        Verdict::GeneratorSaturated { because } => writeln!(out, "GENERATOR SATURATED: {because}"),
        Verdict::ServerNotBusy { busy } => {
            writeln!(out, "SERVER NOT BUSY: {:.0} % of its core", busy * 100.0)
        }
        Verdict::NoAnswers => writeln!(out, "NO ANSWERS"),
    }
}

fn serve(said: &Serve) -> Result<ExitCode, RunError> {
    let stop = interruptible()?;
    let listener = TcpListener::bind(said.listen)?;
    let answering = Answering {
        speaks: said.speak.into(),
        response_bytes: said.response_bytes,
        delay: said.delay,
        stall: said.stall,
    };
    let tls = match said.tls_cert.as_ref().zip(said.tls_key.as_ref()) {
        None => None,
        Some((certificates, key)) => Some(Arc::new(server::tls(certificates, key)?)),
    };
    engine::allow_files()?;
    let backend = server::serve_tls(listener, &answering, said.threads, tls)?;
    writeln!(io::stderr(), "backend on {}", backend.address())?;
    backend.wait(&stop)?;
    Ok(ExitCode::SUCCESS)
}

/// A flag that is set by the first SIGINT or SIGTERM; the second one ends the process.
pub(crate) fn interruptible() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut terminate = {
        let _entered = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            for _ in 0..2 {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                if set.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(exit::INVALID));
                }
            }
        });
    })?;
    Ok(stop)
}
