//! `ringway controller` without files: follows a cluster, serves its proxies and writes its statuses until told to stop. Read it top
//! to bottom.

use std::fmt::Write;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use kube::config::{Config as ClusterConfig, KubeConfigOptions, Kubeconfig};
use ringway_config::Config;
use ringway_controller::kube::admission::TokenAdmission;
use ringway_controller::kube::follow::{self, Settings};
use ringway_controller::kube::report::{Board, Report};
use ringway_controller::kube::{authority, lease};
use ringway_controller::provision::Install;
use ringway_controller::serve::{self, Hub};
use ringway_gateway_api::Options;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, AdminServer, Facts, Readiness};
use crate::args::meant;
use crate::writer::Lines;
use crate::{http, logs};

/// How long it may take to give up the lead.
const GIVE_UP: Duration = Duration::from_secs(2);

/// Runs until it is told to stop.
pub(crate) fn run(meant: meant::Controller) -> anyhow::Result<ExitCode> {
    let log = logs::start(meant.log_filter.clone(), meant.log_format)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(serve(&meant, log.clone()));
    runtime.shutdown_background();
    log.flush();
    done
}

async fn serve(meant: &meant::Controller, log: Lines) -> anyhow::Result<ExitCode> {
    let (stop, stopped) = watch::channel(false);
    let (board, hub) = (Board::default(), Hub::new());
    let shown = Arc::new(AdminServer(Arc::new(Shown { board: board.clone(), hub: hub.clone(), log })));
    for listener in admin::bind(&meant.admin).await? {
        tokio::spawn(http::serve(listener, admin::CONNECTIONS_MAX, Arc::clone(&shown)));
    }
    let socket = TcpListener::bind(meant.listen).await.with_context(|| {
        format!("cannot serve proxies on {}; choose another address with --listen", meant.listen)
    })?;
    let client = client(meant).await?;

    // Who we are, to proxies.
    let authority = authority::load(&client, &meant.namespace).await?;
    let names = names(meant);
    let (renewed, tls) = watch::channel(identity(&authority, &names)?);
    let admission = TokenAdmission::new(client.clone());
    let serving = tokio::spawn(serve::serve(hub.clone(), socket, Some(tls), admission, until(&stopped)));

    // Who we are, among replicas.
    let (leads_said, leads) = watch::channel(false);
    let holding = {
        let (client, namespace, name) = (client.clone(), meant.namespace.clone(), meant.name.clone());
        tokio::spawn(async move { lease::run(client, &namespace, &name, leads_said).await })
    };

    let options = Options { allow_external_name: meant.allow_external_name, ..Options::cluster() };
    let install = meant.image.clone().map(|image| Install {
        image,
        controller: format!("https://{}", meant.advertise),
        ca: authority.certificate.clone(),
    });
    let settings = Settings { client, options, install, leads, board };
    let following = tokio::spawn(follow::run(settings, hub, until(&stopped)));

    let mut renew = tokio::time::interval(authority::RENEW_AFTER);
    renew.tick().await;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = renew.tick() => match identity(&authority, &names) {
                Ok(identity) => drop(renewed.send_replace(identity)),
                Err(error) => tracing::error!(%error, "no new certificate; the old one is shown on"),
            },
        }
    }
    stop.send_replace(true);
    // The follower goes first: with it the last listener of the Lease goes, which is then given up.
    let ended = async { (following.await, serving.await, holding.await) };
    if tokio::time::timeout(GIVE_UP, ended).await.is_err() {
        tracing::warn!("the lead is not given up in time: another replica takes it when it ends");
    }
    Ok(ExitCode::SUCCESS)
}

fn identity(
    authority: &authority::Authority,
    names: &[String],
) -> anyhow::Result<Arc<tokio_rustls::rustls::ServerConfig>> {
    let identity = authority.identity(names, jiff::Timestamp::now())?;
    Ok(serve::tls(identity.chain.as_bytes(), identity.key.as_bytes())?)
}

fn until(stopped: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stopped = stopped.clone();
    async move {
        // Whoever can say so is gone only when everything is.
        let _gone = stopped.wait_for(|stopped| *stopped).await;
    }
}

/// The API server: of the cluster that this runs in, or as a kubeconfig says.
async fn client(meant: &meant::Controller) -> anyhow::Result<Client> {
    let options = KubeConfigOptions { context: meant.context.clone(), ..KubeConfigOptions::default() };
    let config = match &meant.kubeconfig {
        Some(file) => {
            let read =
                Kubeconfig::read_from(file).with_context(|| format!("--kubeconfig {}", file.display()))?;
            ClusterConfig::from_custom_kubeconfig(read, &options).await?
        }
        None if meant.context.is_some() => ClusterConfig::from_kubeconfig(&options).await?,
        None => ClusterConfig::infer()
            .await
            .context("not in a cluster, and no kubeconfig; name one with --kubeconfig")?,
    };
    tracing::info!(server = %config.cluster_url, "the cluster");
    Ok(Client::try_from(config)?)
}

/// The names that proxies may know the controller by.
fn names(meant: &meant::Controller) -> Vec<String> {
    let service = format!("ringway-controller.{}.svc", meant.namespace);
    let mut names = vec![meant.host().to_owned(), service.clone(), format!("{service}.cluster.local")];
    names.dedup();
    names
}

/// The namespace of the pod that this runs in.
pub(crate) fn pod_namespace() -> Option<String> {
    let text = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()?;
    Some(text.trim().to_owned())
}

/// A name that no other replica has.
pub(crate) fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

/// What the admin server shows.
struct Shown {
    board: Board,
    hub: Hub,
    log: Lines,
}

impl Facts for Shown {
    fn readiness(&self) -> Readiness {
        if self.board.read().synced { Readiness::Ready } else { Readiness::Starting }
    }

    fn config(&self) -> Option<Arc<Config>> {
        None
    }

    fn metrics(&self) -> String {
        metrics(&self.board.read(), self.hub.proxies().len(), self.log.dropped())
    }

    fn status(&self) -> Value {
        let proxies = self.hub.proxies().into_iter().map(|proxy| {
            let refusals =
                proxy.refusals.iter().map(|(key, why)| json!({"resource": format!("{key:?}"), "why": why}));
            let unbound =
                proxy.failed_binds.iter().map(|(key, why)| json!({"listener": key.as_str(), "reason": why}));
            json!({
                "gateway": proxy.gateway.as_str(), "pod": &*proxy.pod, "version": proxy.version,
                "acknowledged": proxy.acknowledged.map(|generation| generation.0),
                "refusals": refusals.collect::<Vec<_>>(), "unbound": unbound.collect::<Vec<_>>(),
            })
        });
        let proxies: Vec<Value> = proxies.collect();
        let report = self.board.read();
        let undecodable =
            report.undecodable.iter().map(|(key, why)| json!({"object": key.to_string(), "why": why}));
        json!({
            "synced": report.synced, "leads": report.leads,
            "generation": report.generation, "since": report.since, "objects": report.objects,
            "undecodable": undecodable.collect::<Vec<_>>(), "proxies": proxies,
        })
    }
}

fn metrics(report: &Report, proxies: usize, log_lines_dropped: u64) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, value: u64| {
        let _infallible = writeln!(
            out,
            "# HELP ringway_controller_{name} {help}\n# TYPE ringway_controller_{name} {kind}\nringway_controller_{name} {value}"
        );
    };
    family("synced", "gauge", "Whether the cluster is known.", u64::from(report.synced));
    family("leads", "gauge", "Whether this replica writes statuses.", u64::from(report.leads));
    family("generation", "gauge", "Counts what was published.", report.generation);
    family("objects", "gauge", "Objects that are held.", report.objects as u64);
    family("objects_undecodable", "gauge", "Objects that cannot be read.", report.undecodable.len() as u64);
    family("proxies", "gauge", "Proxies that are connected.", proxies as u64);
    family("notices_total", "counter", "Remarks of translation.", report.notices);
    family("status_writes_total", "counter", "Statuses that were written.", report.writes);
    family("status_write_failures_total", "counter", "Writes that failed.", report.write_failures);
    family("statuses_waiting", "gauge", "Statuses that wait to be written.", report.waiting as u64);
    family("log_lines_dropped_total", "counter", "Lines of the log that were lost.", log_lines_dropped);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_written_with_its_own_value() {
        let report = Report {
            synced: true,
            leads: true,
            generation: 7,
            objects: 5,
            notices: 2,
            writes: 11,
            write_failures: 3,
            waiting: 13,
            ..Report::default()
        };
        let text = metrics(&report, 17, 19);
        for line in [
            "synced 1",
            "leads 1",
            "generation 7",
            "objects 5",
            "objects_undecodable 0",
            "proxies 17",
            "notices_total 2",
            "status_writes_total 11",
            "status_write_failures_total 3",
            "statuses_waiting 13",
            "log_lines_dropped_total 19",
        ] {
            let line = format!("ringway_controller_{line}");
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
    }
}
