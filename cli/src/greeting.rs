//! What `ringway run` says once it serves: what is where, and what is wrong. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use ringway_config::{Bind, Config, Listener, ListenerKey, ListenerProtocol, Route};
use ringway_controller::inventory::Effect;
use ringway_controller::standalone::Report;

/// The most lines of a kind; how many more there are is said.
const LINES_MAX: usize = 12;

/// A few lines for a person at a terminal.
pub(crate) fn greeting(
    config: &Config,
    bound: &BTreeMap<Bind, SocketAddr>,
    report: &Report,
    admin: &[SocketAddr],
    threads: &str,
) -> String {
    let routes = routes_by_listener(config);
    let mut served = Vec::new();
    for listener in config.listeners.values() {
        for bind in listener.binds.iter().filter(|bind| bound.contains_key(bind)) {
            let routes = routes.get(&listener.key).copied().unwrap_or_default();
            let plural = if routes == 1 { "" } else { "s" };
            served.push(format!("{:<34} {}, {routes} route{plural}", place(listener, bind), listener.key));
        }
    }
    let mut text = format!("ringway {} on {threads}\n", env!("CARGO_PKG_VERSION"));
    list(&mut text, "  ", &served);
    if served.is_empty() {
        text.push_str("  nothing is served yet: no Gateway of class `ringway` has a listener that works\n");
    }
    for (number, admin) in admin.iter().enumerate() {
        let what = if number == 0 { "admin: /ready /metrics /config /status" } else { "the same" };
        put(&mut text, format_args!("  {:<34} {what}\n", format!("http://{admin}")));
    }
    let problems: Vec<String> = report
        .problems
        .iter()
        .filter(|problem| problem.effect != Effect::Noted)
        .map(ToString::to_string)
        .chain(report.failed_binds.iter().map(|failed| {
            format!("{}: port {} cannot be bound: {}", failed.listener, failed.bind.port, failed.reason)
        }))
        .chain(report.plane_problems.iter().map(ToString::to_string))
        .collect();
    if !problems.is_empty() {
        text.push_str("problems:\n");
        list(&mut text, "  ", &problems);
    }
    text
}

fn place(listener: &Listener, bind: &Bind) -> String {
    let scheme = match listener.protocol {
        ListenerProtocol::Http => "http",
        ListenerProtocol::Https(_) => "https",
        ListenerProtocol::TlsTerminate(_) | ListenerProtocol::TlsPassthrough => "tls",
        ListenerProtocol::Tcp => "tcp",
        ListenerProtocol::Udp => "udp",
    };
    let port = bind.port;
    let host = match bind.address {
        Some(address) => SocketAddr::new(address, port).to_string(),
        None => format!("localhost:{port}"),
    };
    match listener.hostname.to_string() {
        every if every == "*" => format!("{scheme}://{host}"),
        name => format!("{scheme}://{name}:{port}"),
    }
}

fn routes_by_listener(config: &Config) -> BTreeMap<ListenerKey, usize> {
    let mut counts = BTreeMap::new();
    for route in config.routes.values() {
        let listeners: Vec<&ListenerKey> = match &**route {
            Route::Http(route) => route.attachments.iter().map(|attachment| &attachment.listener).collect(),
            Route::Tls(route) => route.attachments.iter().map(|attachment| &attachment.listener).collect(),
            Route::Tcp(route) | Route::Udp(route) => route.listeners.iter().collect(),
        };
        for listener in listeners {
            *counts.entry(listener.clone()).or_default() += 1;
        }
    }
    counts
}

fn list(text: &mut String, indent: &str, lines: &[String]) {
    for line in lines.iter().take(LINES_MAX) {
        put(text, format_args!("{indent}{line}\n"));
    }
    if lines.len() > LINES_MAX {
        put(text, format_args!("{indent}and {} more\n", lines.len() - LINES_MAX));
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ringway_config::PlaneProblem;

    use super::*;
    use crate::offline::{self, Offline};

    #[test]
    fn it_says_what_is_where_and_what_is_wrong() {
        let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello");
        let config = Offline::read(&[hello], offline::options(false)).unwrap().translation.config;
        let bound = config
            .listeners
            .values()
            .flat_map(|listener| &listener.binds)
            .map(|bind| (*bind, SocketAddr::from(([0, 0, 0, 0], bind.port))))
            .collect();
        let admin = ["127.0.0.1:15000", "[::1]:15000"].map(|address| address.parse().unwrap());
        let text = greeting(&config, &bound, &Report::default(), &admin, "2 data threads, io_uring");
        let expected = concat!(
            "ringway ",
            env!("CARGO_PKG_VERSION"),
            " on 2 data threads, io_uring\n",
            "  http://localhost:8080              Gateway/default/hello/web, 1 route\n",
            "  http://127.0.0.1:15000             admin: /ready /metrics /config /status\n",
            "  http://[::1]:15000                 the same\n",
        );
        assert_eq!(text, expected);

        let reason = "a certificate".to_owned();
        let problem = PlaneProblem { resource: None, reason, certificate: None, serves: false };
        let report = Report { plane_problems: vec![problem; 20], ..Report::default() };
        let text = greeting(&Config::default(), &BTreeMap::new(), &report, &[], "1 data thread, epoll");
        assert!(text.contains("nothing is served yet") && text.contains("and 8 more"), "{text}");
    }
}
