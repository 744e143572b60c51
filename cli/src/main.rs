//! The `ringway` binary: arguments in, one of the crates called, an exit code out; nothing decided here.
#![forbid(unsafe_code)]

mod admin;
mod args;
mod certificates;
mod cluster;
mod codes;
mod controller;
mod demo;
mod descriptors;
mod exit;
mod explain;
mod gateway;
mod greeting;
mod http;
mod inputs;
mod install;
mod logs;
mod metrics;
mod offline;
mod oneline;
mod plane;
mod proxy;
mod run;
mod show;
mod signals;
mod systemd;
mod translate;
mod validate;
mod writer;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use args::meant::{self, Misuse};
use args::said::{self, Command};

fn main() -> ExitCode {
    let (said, matches) = match meant::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        // Help and version come this way as well, with their own codes.
        Err(error) => error.exit(),
    };
    let (_, matches) = matches.subcommand().expect("the command that was parsed");
    let done = match said.command {
        Command::Run(said) => meant::Run::build(*said, matches).map_err(anyhow::Error::new).and_then(run),
        Command::Proxy(said) => proxy::run(*said, matches),
        Command::Controller(said) if !said.paths.is_empty() => controller::run(&said, matches),
        Command::Controller(said) => {
            let (namespace, host) = (cluster::pod_namespace(), cluster::host());
            let meant = meant::Controller::build(*said, matches, namespace, host).map_err(anyhow::Error::new);
            meant.and_then(cluster::run)
        }
        Command::Validate(said) => validate::run(&said),
        Command::Translate(said) => translate::run(&said),
        Command::Explain(said) => explain::run(&said),
        Command::Install(said) => install::install(said),
        Command::Uninstall(said) => install::uninstall(said),
        Command::DemoBackend(said) => demo_backend(&said),
        Command::Perf(said) => Ok(ringway_perf::run(&said)),
        Command::Version => version(),
    };
    done.unwrap_or_else(|error| {
        let code = if error.is::<Misuse>() { exit::MISUSE } else { exit::NOT_STARTED };
        let _nobody_listens = writeln!(io::stderr(), "ringway: {error:#}");
        ExitCode::from(code)
    })
}

fn run(meant: meant::Run) -> anyhow::Result<ExitCode> {
    if meant.print {
        let printed = inputs::printed(&meant.inputs)?;
        io::stdout().write_all(printed.text.as_bytes())?;
        if printed.keys > 0 {
            writeln!(
                io::stderr(),
                "ringway: the private key is left out; a comment in the Secret says where it goes"
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    run::run(&meant)
}

fn demo_backend(said: &said::DemoBackend) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(said.listen)
            .await
            .with_context(|| format!("cannot listen on {}", said.listen))?;
        writeln!(io::stderr(), "demo backend on http://{}", listener.local_addr()?)?;
        tokio::select! {
            served = demo::serve(listener) => served?,
            stopped = tokio::signal::ctrl_c() => stopped?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn version() -> anyhow::Result<ExitCode> {
    writeln!(io::stdout(), "ringway {}", said::VERSION)?;
    Ok(ExitCode::SUCCESS)
}
