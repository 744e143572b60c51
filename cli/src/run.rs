//! `ringway run`: starts everything, waits for signals, and ends it in order. Read it top to bottom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use ringway_controller::standalone::{Board, Inbox, Orders, Standalone, orders};
use ringway_core::access_log::Format;
use ringway_core::headers::TrustedProxies;
use ringway_core::record::SeriesLimits;
use ringway_gateway_api::Options;
use ringway_proxy::access_log::AccessLogSettings;
use ringway_proxy::io::Inherited;
use ringway_proxy::worker::Settings;
use ringway_proxy::{Proxy, TEND_EVERY, io};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::admin::{self, AdminServer, Readiness};
use crate::args::meant;
use crate::args::said::{Driver, LogFormat};
use crate::descriptors::{self, Room};
use crate::plane::{Plane, Shown};
use crate::signals::{Signals, Told};
use crate::writer::{Lines, Target};
use crate::{demo, exit, greeting, http, inputs, logs, systemd};

/// How often it is looked whether every data thread is still there.
const WATCH: Duration = Duration::from_secs(1);

/// Runs until it is told to stop.
pub(crate) fn run(meant: meant::Run) -> anyhow::Result<ExitCode> {
    let log = logs::start(meant.logs.filter.clone(), meant.logs.format)?;
    let access = meant.logs.access.as_ref().map(access_log).transpose()?;
    let descriptors = descriptors::raise_limit();
    let roots = inputs::roots(&meant.inputs, meant.inputs_variable.as_deref())?;
    let (proxy, room) = start(&meant, access.as_ref(), descriptors)?;
    let plane = Plane::new(proxy);
    let options =
        Options { allow_external_name: meant.allow_external_name, ..Options::standalone(own_addresses()) };
    let standalone = Standalone::new(roots, options, plane.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let access = access.map(|(lines, _)| lines);
    let shown = Shown {
        plane: plane.clone(),
        board: standalone.board(),
        log: log.clone(),
        access: access.clone(),
        room,
    };
    let served = runtime.block_on(serve(&meant, standalone, &plane, shown));
    runtime.shutdown_background();
    log.flush();
    access.iter().for_each(Lines::flush);
    served
}

fn access_log(meant: &meant::AccessLog) -> anyhow::Result<(Lines, Format)> {
    let target = meant.file.clone().map_or(Target::Stdout, Target::File);
    let lines = Lines::start(target.clone())
        .with_context(|| format!("{}: cannot write the access log to {target}", meant.said_by))?;
    Ok((lines, if meant.json { Format::Json } else { Format::Text }))
}

fn start(
    meant: &meant::Run,
    access: Option<&(Lines, Format)>,
    descriptors: usize,
) -> anyhow::Result<(Proxy, Room)> {
    let mut limits = meant.limits.clone();
    let cores = meant.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let room = descriptors::fit(&mut limits, descriptors, cores);
    if room.connections < meant.limits.connections_max {
        tracing::warn!(
            descriptors,
            connections_max = room.connections,
            "the limit of open files allows fewer client connections than connections_max"
        );
    }
    let access_log =
        access.map(|(lines, format)| AccessLogSettings { format: *format, sink: Arc::new(lines.clone()) });
    let passed = systemd::sockets().context("cannot take the sockets that systemd passed")?;
    let options = ringway_proxy::Options {
        threads: meant.threads,
        pin: meant.pin.then_some(true),
        driver: match meant.driver {
            Driver::Auto => io::Driver::Auto,
            Driver::IoUring => io::Driver::IoUring,
            Driver::Epoll => io::Driver::Epoll,
        },
        settings: Settings {
            limits,
            trusted: TrustedProxies::new(meant.trusted_proxies.clone()),
            series: SeriesLimits { routes_max: meant.route_metrics, ..SeriesLimits::default() },
            access_log,
            ..Settings::default()
        },
        inherited: Inherited::new(passed)?,
    };
    let proxy = Proxy::start(options).context("cannot start the data threads")?;
    let driver = proxy.driver();
    tracing::info!(
        threads = proxy.cores(),
        driver = driver.name(),
        reason = driver.reason,
        "data threads run"
    );
    Ok((proxy, room))
}

async fn serve(
    meant: &meant::Run,
    standalone: Standalone<Plane>,
    plane: &Plane,
    shown: Shown,
) -> anyhow::Result<ExitCode> {
    let (board, log, access) = (shown.board.clone(), shown.log.clone(), shown.access.clone());
    let access = access.as_ref();
    let listeners = admin::bind(&meant.admin).await?;
    let admin: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let server = Arc::new(AdminServer(Arc::new(shown)));
    for listener in listeners {
        tokio::spawn(http::serve(listener, admin::CONNECTIONS_MAX, Arc::clone(&server)));
    }
    if let Some(address) = meant.demo_backend {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the demo backend cannot listen on {address}"))?;
        tokio::spawn(demo::serve(listener));
    }
    let mut signals = Signals::new()?;
    let (orders, inbox) = orders()?;
    let (first, pipeline) = spawn_pipeline(standalone, inbox)?;

    // The first configuration.
    tokio::select! {
        done = first => done.context("reading the first configuration failed; the log says why")?,
        () = signals.until_stop() => return Ok(ExitCode::SUCCESS),
    }
    plane.set_readiness(Readiness::Ready);
    let threads = {
        let proxy = plane.proxy();
        let plural = if proxy.cores() == 1 { "" } else { "s" };
        format!("{} data thread{plural}, {}", proxy.cores(), proxy.driver().name())
    };
    if meant.logs.format == LogFormat::Text {
        let bound = plane.proxy().bound().clone();
        let text = greeting::greeting(&plane.config(), &bound, &board.read(), &admin, &threads);
        log.send(text.into_bytes());
    }
    systemd::ready(&format!("serving on {threads}"));

    // Until the signal to stop.
    let mut watch = tokio::time::interval(WATCH);
    let mut tend = tokio::time::interval(TEND_EVERY);
    let mut frozen = false;
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break,
                Told::Reload => {
                    systemd::reloading();
                    rescan(&orders, &board).await;
                    reopen(access);
                    systemd::ready(&format!("serving on {threads}"));
                }
                Told::Reopen => reopen(access),
            },
            _ = tend.tick() => plane.proxy().tend(),
            _ = watch.tick() => {
                if !plane.proxy().is_alive() {
                    tracing::error!("a data thread has ended by a fault of ringway's");
                    return Ok(ExitCode::from(exit::FAULT));
                }
                if pipeline.is_finished() && !frozen {
                    frozen = true;
                    tracing::error!("the configuration is frozen: its thread has ended by a fault of ringway's");
                }
            }
        }
    }

    // Draining: refuse to be chosen, go on for a while, then finish what is under way.
    tracing::info!(delay = ?meant.drain_delay, timeout = ?meant.drain_timeout, "draining");
    plane.set_readiness(Readiness::Draining);
    plane.retire();
    systemd::stopping();
    let since = Instant::now();
    let drained = async {
        tokio::time::sleep(meant.drain_delay).await;
        // A change of configuration now would bind again what is to be closed.
        drop(orders);
        let (plane, timeout) = (plane.clone(), meant.drain_timeout);
        let finish = move || {
            let _frozen = pipeline.join();
            plane.drain(timeout)
        };
        tokio::task::spawn_blocking(finish).await
    };
    tokio::select! {
        all = drained => {
            if !all? {
                tracing::warn!("the time to finish is over: what was still under way is cut");
            }
            Ok(ExitCode::SUCCESS)
        }
        () = signals.until_second_stop(since) => {
            tracing::warn!("told again to stop: what is under way is cut");
            Ok(ExitCode::from(exit::CUT_SHORT))
        }
    }
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
async fn rescan(orders: &Orders, board: &Board) {
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

fn reopen(access: Option<&Lines>) {
    if let Some(lines) = access {
        lines.reopen();
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
