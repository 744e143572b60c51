//! A gateway as a process, whatever configures it: starts everything, waits for signals, and ends it in order. Read it
//! top to bottom.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use ringway_controller::standalone::Orders;
use ringway_core::access_log::Format;
use ringway_core::headers::TrustedProxies;
use ringway_core::record::SeriesLimits;
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
use crate::plane::{Plane, Seen, Shown};
use crate::run::rescan;
use crate::signals::{Signals, Told};
use crate::writer::{Lines, Target};
use crate::{demo, exit, greeting, http, logs, systemd};

/// How often it is looked whether every data thread is still there.
const WATCH: Duration = Duration::from_secs(1);

/// What configures the proxy, before it has begun.
pub(crate) struct Prepared {
    /// What the admin server shows of it.
    pub(crate) seen: Seen,
    pub(crate) start: Box<dyn FnOnce() -> anyhow::Result<Feed>>,
}

/// What configures the proxy, on a thread of its own.
pub(crate) struct Feed {
    /// The first configuration is in force.
    pub(crate) first: oneshot::Receiver<()>,
    pub(crate) thread: JoinHandle<()>,
    /// Dropping it ends the thread.
    pub(crate) control: Control,
}

/// How that thread is reached.
pub(crate) enum Control {
    Files(Orders),
    Controller(#[expect(dead_code, reason = "dropping it is what it is for")] oneshot::Sender<()>),
}

/// Runs until it is told to stop.
pub(crate) fn run(
    meant: &meant::Process,
    demo_backend: Option<SocketAddr>,
    prepare: impl FnOnce(Plane) -> anyhow::Result<Prepared>,
) -> anyhow::Result<ExitCode> {
    let log = logs::start(meant.logs.filter.clone(), meant.logs.format)?;
    let access = meant.logs.access.as_ref().map(access_log).transpose()?;
    let descriptors = descriptors::raise_limit();
    let (proxy, room) = start(meant, access.as_ref(), descriptors)?;
    let plane = Plane::new(proxy);
    let Prepared { seen, start } = prepare(plane.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let access = access.map(|(lines, _)| lines);
    let shown = Shown { plane: plane.clone(), seen, log: log.clone(), access: access.clone(), room };
    let served = runtime.block_on(serve(meant, demo_backend, start, &plane, shown));
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
    meant: &meant::Process,
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
    meant: &meant::Process,
    demo_backend: Option<SocketAddr>,
    start: Box<dyn FnOnce() -> anyhow::Result<Feed>>,
    plane: &Plane,
    shown: Shown,
) -> anyhow::Result<ExitCode> {
    let (seen, log, access) = (shown.seen.clone(), shown.log.clone(), shown.access.clone());
    let access = access.as_ref();
    let listeners = admin::bind(&meant.admin).await?;
    let admin: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let server = Arc::new(AdminServer(Arc::new(shown)));
    for listener in listeners {
        tokio::spawn(http::serve(listener, admin::CONNECTIONS_MAX, Arc::clone(&server)));
    }
    if let Some(address) = demo_backend {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the demo backend cannot listen on {address}"))?;
        tokio::spawn(demo::serve(listener));
    }
    let mut signals = Signals::new()?;
    let Feed { first, thread: pipeline, control } = start()?;

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
        let text =
            seen.report(|report| greeting::greeting(&plane.config(), &bound, report, &admin, &threads));
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
                    reload(&control, &seen).await;
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
        drop(control);
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

/// Reads again what may have changed unseen.
async fn reload(control: &Control, seen: &Seen) {
    match (control, seen) {
        (Control::Files(orders), Seen::Files(board)) => rescan(orders, board).await,
        // A stream tells of every change.
        (Control::Files(_) | Control::Controller(_), _) => {}
    }
}

fn reopen(access: Option<&Lines>) {
    if let Some(lines) = access {
        lines.reopen();
    }
}
