//! `ringway run`: a gateway on files, and on what stands for a file on the command line.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_controller::standalone::{Board, Inbox, Orders, Standalone, orders};
use ringway_gateway_api::Options;
use tokio::sync::oneshot;

use crate::args::meant;
use crate::gateway::{self, Control, Feed, Prepared};
use crate::inputs;
use crate::plane::{Plane, Seen};

/// Runs until it is told to stop.
pub(crate) fn run(meant: &meant::Run) -> anyhow::Result<ExitCode> {
    gateway::run(&meant.process, meant.demo_backend, |plane| {
        let roots = inputs::roots(&meant.inputs, meant.inputs_variable.as_deref())?;
        let standalone = Standalone::new(roots, options(meant.allow_external_name), plane);
        let seen = Seen::Files(standalone.board());
        let start = || {
            let (orders, inbox) = orders()?;
            let (first, thread) = spawn_pipeline(standalone, inbox)?;
            Ok(Feed { first, thread, control: Control::Files(orders) })
        };
        Ok(Prepared { seen, start: Box::new(start) })
    })
}

/// How files are translated here.
pub(crate) fn options(allow_external_name: bool) -> Options {
    Options { allow_external_name, ..Options::standalone(own_addresses()) }
}

/// Starts the thread that follows the files. Tells when the first configuration is in force.
fn spawn_pipeline(
    mut standalone: Standalone<Plane>,
    inbox: Inbox,
) -> anyhow::Result<(oneshot::Receiver<()>, JoinHandle<()>)> {
    let (in_force, first) = oneshot::channel();
    let thread = std::thread::Builder::new().name("config".to_owned()).spawn(move || {
        standalone.first();
        // Nobody listens if it was told to stop meanwhile.
        let _stopped = in_force.send(());
        standalone.run(&inbox);
    })?;
    Ok((first, thread))
}

/// Has all files looked at, and waits until that is done: systemd wants to know.
pub(crate) async fn rescan(orders: &Orders, board: &Board) {
    const PATIENCE: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_millis(5);
    let before = board.read().scans;
    orders.rescan();
    let done = async {
        while board.read().scans == before {
            tokio::time::sleep(STEP).await;
        }
    };
    if tokio::time::timeout(PATIENCE, done).await.is_err() {
        tracing::warn!("reading the files takes longer than {PATIENCE:?}");
    }
}

/// The addresses by which others reach this machine: those it would speak from. No packet is sent to find out.
fn own_addresses() -> Vec<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849): outside of every local network.
    let outside = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let own = |(from, to): (&str, &str)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let found: Vec<IpAddr> = outside.into_iter().filter_map(own).collect();
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}
