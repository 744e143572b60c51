//! What holds for a request beside the steps of its rule: who may connect, how long things may take, how much may be
//! sent, what is tried again, and how a backend is spoken to.

use ringway_config::{
    Balance, ClientValidation, ClientValidationMode, Cluster, Listener, ListenerProtocol, Retry, Timeouts,
    Trust, UpstreamProtocol, UpstreamTls, VerifyName,
};

use crate::decision::Plan;

/// What a listener demands of connections.
pub(super) fn of_listener(listener: &Listener) -> Vec<String> {
    let mut terms = Vec::new();
    if listener.proxy_protocol {
        terms.push("connections begin with a PROXY protocol header".to_owned());
    }
    if let ListenerProtocol::Https(tls) | ListenerProtocol::TlsTerminate(tls) = &listener.protocol {
        let names: Vec<&str> = tls.certificates.iter().map(|key| key.as_str()).collect();
        terms.push(format!("TLS with {}", names.join(", ")));
        terms.extend(tls.client.as_ref().map(client_certificate));
    }
    terms
}

fn client_certificate(client: &ClientValidation) -> String {
    let by = counted(client.authorities.len(), "authority", "authorities");
    match client.mode {
        ClientValidationMode::AllowValidOnly => format!("client certificate required, signed by {by}"),
        ClientValidationMode::AllowInsecureFallback => {
            format!("client certificate wanted, signed by {by}; clients without one are let in")
        }
    }
}

/// What a rule allows its requests.
pub(super) fn of_plan<C>(plan: &Plan<C>) -> Vec<String> {
    let Timeouts { request, backend_request } = plan.timeouts;
    let body = plan.request_body_bytes_max.map(|most| format!("request body of at most {most} bytes"));
    let request = request.map(|time| format!("timeout {time:?} for the request with all its attempts"));
    let attempt = backend_request.map(|time| format!("timeout {time:?} for each attempt"));
    let retry = plan.retry.as_ref().map(retry);
    [body, request, attempt, retry].into_iter().flatten().collect()
}

fn retry(Retry { codes, attempts, backoff }: &Retry) -> String {
    let mut text = format!("retry up to {}", counted(*attempts as usize, "time", "times"));
    if !codes.is_empty() {
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", also on status {}", codes.join(", ")));
    }
    if let Some(backoff) = backoff {
        text.push_str(&format!(", after at least {backoff:?}"));
    }
    text
}

/// How a cluster is spoken to.
pub(super) fn of_cluster(cluster: &Cluster) -> String {
    let mut terms = vec![match cluster.protocol {
        UpstreamProtocol::Http1 => "HTTP/1.1".to_owned(),
        UpstreamProtocol::Http2 => "HTTP/2".to_owned(),
        UpstreamProtocol::Opaque => "bytes".to_owned(),
    }];
    terms.push(cluster.tls.as_ref().map_or("without TLS".to_owned(), upstream_tls));
    terms.push(format!("connect within {:?}", cluster.connect_timeout));
    terms.extend(match cluster.balance {
        Balance::PeakEwma => None,
        Balance::RoundRobin => Some("balanced in turn".to_owned()),
        Balance::LeastRequests => Some("balanced by least requests".to_owned()),
    });
    let limits = &cluster.limits;
    for (most, what) in [
        (limits.connections_max, "connections"),
        (limits.pending_max, "waiting requests"),
        (limits.requests_max, "requests"),
    ] {
        terms.extend(most.map(|most| format!("at most {most} {what}")));
    }
    format!("to {}: {}", cluster.key, terms.join(", "))
}

fn upstream_tls(tls: &UpstreamTls) -> String {
    let UpstreamTls { sni, verify, trust, client_certificate } = tls;
    let mut text = format!("TLS to {sni}");
    if let VerifyName::AnyOf { hostnames, uris } = verify {
        let names: Vec<&str> = hostnames.iter().chain(uris).map(AsRef::as_ref).collect();
        text.push_str(&format!(" with a certificate for {}", names.join(" or ")));
    }
    match trust {
        Trust::System => text.push_str(" signed by an authority of the machine"),
        Trust::Roots(roots) => {
            text.push_str(&format!(" signed by {}", counted(roots.len(), "authority", "authorities")));
        }
    }
    if let Some(key) = client_certificate {
        text.push_str(&format!(", showing {key}"));
    }
    text
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringway_config::{CertificateKey, ClusterLimits, Der};

    use super::*;
    use crate::fixture;

    #[test]
    fn a_listener_says_what_it_demands_of_clients() {
        let client = |mode| Some(ClientValidation { authorities: vec![Der::new(vec![1])], mode });
        let listener = |client| {
            let tls = ringway_config::TlsTermination { client, ..fixture::termination() };
            of_listener(&fixture::listener("l", 443, ListenerProtocol::Https(tls), "")).join("; ")
        };
        assert_eq!(listener(None), "TLS with Secret/ns/cert");
        assert_eq!(
            listener(client(ClientValidationMode::AllowValidOnly)),
            "TLS with Secret/ns/cert; client certificate required, signed by 1 authority"
        );
        assert!(
            listener(client(ClientValidationMode::AllowInsecureFallback)).ends_with("without one are let in")
        );
        let plain = fixture::http_listener("l", "");
        assert!(of_listener(&plain).is_empty());
        assert_eq!(of_listener(&Listener { proxy_protocol: true, ..plain }).len(), 1);
    }

    #[test]
    fn a_cluster_says_how_it_is_spoken_to() {
        let cluster = fixture::cluster("up");
        assert_eq!(of_cluster(&cluster), "to up: HTTP/1.1, without TLS, connect within 1s");
        let cluster = Cluster {
            protocol: UpstreamProtocol::Http2,
            tls: Some(UpstreamTls {
                sni: "up.test".into(),
                verify: VerifyName::AnyOf {
                    hostnames: vec!["a.test".into()],
                    uris: vec!["spiffe://b".into()],
                },
                trust: Trust::System,
                client_certificate: Some(CertificateKey::new("Secret/ns/own")),
            }),
            balance: Balance::RoundRobin,
            limits: ClusterLimits { requests_max: Some(9), ..ClusterLimits::default() },
            connect_timeout: Duration::from_millis(1500),
            ..cluster
        };
        assert_eq!(
            of_cluster(&cluster),
            "to up: HTTP/2, TLS to up.test with a certificate for a.test or spiffe://b signed by an authority of the \
             machine, showing Secret/ns/own, connect within 1.5s, balanced in turn, at most 9 requests"
        );
    }
}
