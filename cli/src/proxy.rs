//! `ringway proxy`: a gateway that a controller configures.

use std::process::ExitCode;

use clap::ArgMatches;
use ringway_subscriber::{Settings, Subscriber};
use tokio::sync::{oneshot, watch};

use crate::args::meant::{self, Misuse, Origins};
use crate::args::said;
use crate::gateway::{self, Control, Feed, Prepared};
use crate::plane::Seen;

/// Runs until it is told to stop.
pub(crate) fn run(said: said::Proxy, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let process = meant::Process::build(said.process, &Origins::new("proxy", matches))?;
    let settings = Settings {
        controller: said.controller,
        gateway: said.gateway,
        name: said.name,
        version: said::VERSION.to_owned(),
        token_file: said.token_file,
        ca_file: said.ca_file,
        last_good: said.last_good,
    };
    settings.check().map_err(|error| Misuse(error.to_string()))?;
    gateway::run(&process, None, |plane| {
        let (subscriber, reports) = Subscriber::new(settings, plane);
        let seen = Seen::Controller(reports.clone());
        let start = move || {
            // Applying a change takes as long as it takes: not on the thread that answers probes.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async {
                let _told_or_dropped = stopped.await;
            };
            let (in_force, first) = oneshot::channel();
            let thread = std::thread::Builder::new().name("config".to_owned()).spawn(move || {
                runtime.block_on(async {
                    let told = tell_first(reports, in_force);
                    tokio::join!(subscriber.run(stopped), told);
                });
            })?;
            Ok(Feed { first, thread, control: Control::Controller(stop) })
        };
        Ok(Prepared { seen, start: Box::new(start) })
    })
}

/// Tells when the first configuration is in force.
async fn tell_first(mut reports: watch::Receiver<ringway_subscriber::Report>, in_force: oneshot::Sender<()>) {
    // Whoever reports may end before.
    if reports.wait_for(|report| report.generation > 0).await.is_ok() {
        let _stopped = in_force.send(());
    }
}
