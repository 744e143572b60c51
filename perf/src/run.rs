//! Does what was said after `ringway perf`, and answers with an exit code.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::{Args, Command, Run, Serve};
use crate::contest;
use crate::cost::Meter;
use crate::engine::{self, RunError};
use crate::live::Live;
use crate::outcome::{Machine, Outcome, Verdict};
use crate::report;
use crate::report::html::Page;
use crate::report::terminal::{self, Ink};
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
    let plan = said.plan();
    let mut live = Live::new(&plan);
    let ended = engine::run(&plan, &stop, &mut |mut progress| {
        if let Some(meter) = &mut meter {
            meter.see(&mut progress);
        }
        live.see(&progress);
    });
    drop(live);
    let mut outcome = ended?;
    outcome.machine = Machine::here();
    outcome.server = meter.and_then(|meter| meter.cost(outcome.done));
    outcome.verdict = verdict::judge(&outcome);
    if let Some(name) = &said.name {
        outcome.name.clone_from(name);
    }
    write_files(said, &outcome)?;
    if said.json.as_deref() != Some(Path::new("-")) {
        print(&outcome)?;
    }
    Ok(match outcome.verdict {
        Verdict::Valid | Verdict::ServerNotBusy { .. } => ExitCode::SUCCESS,
        Verdict::GeneratorSaturated { .. } | Verdict::NoAnswers => ExitCode::from(exit::INVALID),
    })
}

/// Every file that was asked for. A run cannot be had again, so one that cannot be written does not keep the next from
/// being tried.
fn write_files(said: &Run, outcome: &Outcome) -> Result<(), RunError> {
    let mut failed = None;
    let mut write = |file: &Option<PathBuf>, text: &dyn Fn() -> Result<String, String>| {
        let Some(file) = file else { return };
        let written = text().and_then(|text| write_file(file, &text).map_err(|error| error.to_string()));
        if let Err(reason) = written {
            failed = Some(format!("cannot write {}: {reason}", file.display()));
        }
    };
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let page = Page { title: &outcome.name, command: Some(&command) };
    write(&said.json, &|| report::json::one(outcome).map_err(|error| error.to_string()));
    write(&said.html, &|| Ok(report::html::report(std::slice::from_ref(outcome), page)));
    write(&said.hgrm, &|| Ok(report::hgrm::text(&outcome.latency)));
    write(&said.csv, &|| {
        report::csv::seconds(std::slice::from_ref(outcome)).map_err(|error| error.to_string())
    });
    failed.map_or(Ok(()), |reason| Err(RunError::Plan(reason)))
}

fn write_file(file: &Path, text: &str) -> io::Result<()> {
    if file == Path::new("-") { io::stdout().write_all(text.as_bytes()) } else { fs::write(file, text) }
}

/// The figures as people read them.
pub(crate) fn print(outcome: &Outcome) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let ink = if colours { Ink::Coloured } else { Ink::Plain };
    out.write_all(terminal::report(outcome, ink).as_bytes())
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
