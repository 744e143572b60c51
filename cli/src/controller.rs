//! `ringway controller DIR`: files in, streams to proxies out. Carries no traffic itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::ArgMatches;
use ringway_config::{Applied, Config, DataPlane, Delta};
use ringway_controller::serve::{self, Hub, Open, ProxyState, SharedToken};
use ringway_controller::standalone::{Board, Standalone, orders};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_rustls::rustls::ServerConfig;

use crate::admin::{self, AdminServer, Facts, Readiness};
use crate::args::meant::{self, Misuse, Origins};
use crate::args::said;
use crate::plane::{files_status, lock, timestamp};
use crate::run::options;
use crate::signals::{Signals, Told};
use crate::{exit, http, inputs, logs};

/// How often it is looked whether the certificate was renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// Runs until it is told to stop.
pub(crate) fn run(said: &said::Controller, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let token = admission(said)?;
    let tls = said.tls_cert.clone().zip(said.tls_key.clone()).map(|(chain, key)| Pem { chain, key });
    let named_by = Origins::new("controller", matches);
    let admins = meant::admin(&said.admin_addr, &named_by.of("admin_addr"))?;
    let log = logs::start(meant::log_filter(&said.log_level, &named_by)?, said.log_format)?;
    let variable = Some(named_by.of("paths")).filter(|variable| !variable.is_empty());
    let roots = inputs::roots(&meant::inputs(&said.paths)?, variable.as_deref())?;
    let hub = Hub::new();
    let publisher = Published { hub: hub.clone(), config: Arc::default(), generation: 0 };
    let shown = Shown {
        hub: hub.clone(),
        config: Arc::clone(&publisher.config),
        board: Board::default(),
        ready: AtomicBool::new(false),
    };
    let standalone = Standalone::new(roots, options(said.allow_external_name), publisher);
    let shown = Arc::new(Shown { board: standalone.board(), ..shown });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(said.listen, &admins, token, tls, standalone, hub, shown));
    runtime.shutdown_background();
    log.flush();
    served
}

/// The token, or `None` where anyone is let in.
fn admission(said: &said::Controller) -> anyhow::Result<Option<SharedToken>> {
    let Some(path) = &said.token_file else {
        if said.insecure {
            return Ok(None);
        }
        let text = "whoever connects would be given all configuration, private keys included:\n\
                    name a --token-file with a --tls-cert and --tls-key, or say --insecure";
        return Err(Misuse(text.to_owned()).into());
    };
    if said.tls_cert.is_none() {
        return Err(Misuse(
            "a token must not cross the network unencrypted: name a --tls-cert and --tls-key".into(),
        )
        .into());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let token = SharedToken::new(&text).with_context(|| format!("{} holds no token", path.display()))?;
    Ok(Some(token))
}

async fn serve(
    listen: SocketAddr,
    admins: &[meant::Admin],
    token: Option<SharedToken>,
    tls: Option<Pem>,
    mut standalone: Standalone<Published>,
    hub: Hub,
    shown: Arc<Shown>,
) -> anyhow::Result<ExitCode> {
    let server = Arc::new(AdminServer(Arc::clone(&shown)));
    for listener in admin::bind(admins).await? {
        tokio::spawn(http::serve(listener, admin::CONNECTIONS_MAX, Arc::clone(&server)));
    }
    let socket = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let tls = tls.map(Pem::followed).transpose()?;
    let mut signals = Signals::new()?;
    let (orders, inbox) = orders()?;
    let (first_done, first) = oneshot::channel();
    let pipeline = std::thread::Builder::new().name("config".to_owned()).spawn(move || {
        standalone.first();
        let _stopped = first_done.send(());
        standalone.run(&inbox);
    })?;
    first.await.context("reading the first configuration failed; the log says why")?;
    shown.ready.store(true, Ordering::Release);
    tracing::info!(address = %socket.local_addr()?, "proxies are served");
    let stop = std::future::pending();
    let serving = async {
        match token {
            Some(token) => serve::serve(hub, socket, tls, token, stop).await,
            None => serve::serve(hub, socket, tls, Open, stop).await,
        }
    };
    let told_to_stop = async {
        loop {
            match signals.next().await {
                Told::Stop => return,
                Told::Reload | Told::Reopen => orders.rescan(),
            }
        }
    };
    let mut watched = tokio::time::interval(Duration::from_secs(1));
    let pipeline_ended = async {
        while !pipeline.is_finished() {
            watched.tick().await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = told_to_stop => {}
        () = pipeline_ended => {
            tracing::error!("the thread that follows the files has ended by a fault of ringway's");
            return Ok(ExitCode::from(exit::FAULT));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the files say goes to the hub.
struct Published {
    hub: Hub,
    /// For `/config`.
    config: Arc<std::sync::Mutex<Arc<Config>>>,
    generation: u64,
}

impl DataPlane for Published {
    fn apply(&mut self, delta: Delta) -> Applied {
        // Binding is the proxies' affair: an empty change would tell them nothing.
        if self.generation == 0 || !delta.is_empty() {
            let mut config = lock(&self.config);
            Arc::make_mut(&mut config).apply(delta.clone());
            drop(config);
            self.generation = self.hub.publish(delta, Vec::new()).0;
        }
        Applied { generation: self.generation, ..Applied::default() }
    }
}

/// What the admin server shows.
struct Shown {
    hub: Hub,
    config: Arc<std::sync::Mutex<Arc<Config>>>,
    board: Board,
    ready: AtomicBool,
}

impl Facts for Shown {
    fn readiness(&self) -> Readiness {
        if self.ready.load(Ordering::Acquire) { Readiness::Ready } else { Readiness::Starting }
    }

    fn config(&self) -> Option<Arc<Config>> {
        Some(Arc::clone(&lock(&self.config)))
    }

    fn metrics(&self) -> String {
        let proxies = self.hub.proxies().len();
        format!(
            "# HELP ringway_proxies Proxies that are connected.\n\
             # TYPE ringway_proxies gauge\n\
             ringway_proxies {proxies}\n"
        )
    }

    fn status(&self) -> Value {
        let mut status = files_status(&self.board.read());
        status["proxies"] = self.hub.proxies().iter().map(proxy).collect();
        status
    }
}

fn proxy(proxy: &ProxyState) -> Value {
    let refused =
        proxy.refusals.iter().map(|(key, why)| json!({"resource": format!("{key:?}"), "reason": why}));
    let unbound =
        proxy.failed_binds.iter().map(|(key, why)| json!({"listener": key.as_str(), "reason": why}));
    json!({
        "gateway": proxy.gateway.as_str(),
        "name": proxy.pod,
        "version": proxy.version,
        "connected_since": timestamp(proxy.since),
        "acknowledged": proxy.acknowledged.map(|generation| generation.0),
        "resources_sent": proxy.resources_sent,
        "refused": refused.collect::<Vec<_>>(),
        "unbound": unbound.collect::<Vec<_>>(),
    })
}

/// The controller's certificate.
struct Pem {
    chain: PathBuf,
    key: PathBuf,
}

impl Pem {
    fn read(&self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok((read(&self.chain)?, read(&self.key)?))
    }

    /// As it is now and will be.
    fn followed(self) -> anyhow::Result<watch::Receiver<Arc<ServerConfig>>> {
        let mut before = self.read()?;
        let (renewed, tls) = watch::channel(serve::tls(&before.0, &before.1)?);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWED_EVERY).await;
                // Half of a renewal, or none: the next look finds all of it.
                let Ok(now) = self.read().inspect_err(|error| tracing::debug!(%error, "no certificate"))
                else {
                    continue;
                };
                if now == before {
                    continue;
                }
                match serve::tls(&now.0, &now.1) {
                    Ok(config) => {
                        tracing::info!("the certificate was renewed");
                        let _nobody_serves = renewed.send(config);
                        before = now;
                    }
                    Err(error) => tracing::warn!(%error, "the new certificate is not used yet"),
                }
            }
        });
        Ok(tls)
    }
}
