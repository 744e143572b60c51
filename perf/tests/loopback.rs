//! Whole runs against the built-in backend: every request is counted, in every protocol.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringway_perf::engine::{self, Progress, RunError};
use ringway_perf::outcome::{Outcome, Verdict};
use ringway_perf::plan::{Arrivals, Load, Plan, Protocol, Tls};
use ringway_perf::server::{self, Answering, Backend, Speaks};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

const RATE: f64 = 400.0;

fn backend(answering: Answering) -> Backend {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    server::serve(listener, &answering, 1).unwrap()
}

fn answering(speaks: Speaks) -> Answering {
    Answering { speaks, response_bytes: 1_024, delay: Duration::ZERO, stall: None }
}

fn plan(target: String, protocol: Protocol) -> Plan {
    Plan {
        target,
        protocol,
        tls: None,
        load: Load::Open { rate: RATE, arrivals: Arrivals::Constant },
        connections: 4,
        streams: 1,
        threads: 2,
        warmup: Duration::from_millis(100),
        duration: Duration::from_millis(500),
        timeout: Duration::from_secs(20),
        request_bytes: 0,
        response_bytes: Some(1_024),
        headers: vec![("accept".to_owned(), "*/*".to_owned())],
        seed: 1,
    }
}

fn run(plan: &Plan) -> Outcome {
    engine::run(plan, &AtomicBool::new(false), &mut |_| {}).unwrap()
}

#[test]
fn every_request_that_is_due_is_sent_and_answered_once() {
    let cases = [
        (Protocol::Http1, Speaks::Http, 1, 0, 1_024),
        (Protocol::Http1, Speaks::Http, 1, 100_000, 1_024),
        (Protocol::Http2, Speaks::Http, 8, 0, 1_024),
        (Protocol::Http2, Speaks::Http, 8, 200_000, 1_024),
        (Protocol::Grpc, Speaks::Http, 8, 100, 1_024),
        (Protocol::GrpcStream, Speaks::Http, 8, 100, 1_024),
        (Protocol::WebSocket, Speaks::Http, 1, 1_024, 1_024),
        (Protocol::TcpPing, Speaks::TcpEcho, 1, 1_024, 1_024),
        (Protocol::TcpPing, Speaks::TcpEcho, 1, 300_000, 300_000),
        (Protocol::TcpBulk, Speaks::TcpSink, 1, 100_000, 0),
        (Protocol::Connect, Speaks::Http, 1, 0, 1_024),
    ];
    for (protocol, speaks, streams, request_bytes, answer_bytes) in cases {
        let backend = backend(answering(speaks));
        let scheme = if speaks == Speaks::Http { "http" } else { "tcp" };
        let plan =
            Plan { streams, request_bytes, ..plan(format!("{scheme}://{}/", backend.address()), protocol) };
        let outcome = run(&plan);
        let what = format!("{protocol:?} with {request_bytes} bytes: {:?}", outcome.errors);
        // The rate in the recorded half second; the warm-up is not in it.
        assert_eq!((outcome.sent, outcome.done), (200, 200), "{what}");
        assert!(outcome.errors.is_empty(), "{what}");
        assert_eq!(outcome.bytes_received, 200 * answer_bytes, "{what}");
        assert_eq!(outcome.bytes_sent, 200 * request_bytes as u64, "{what}");
        assert_eq!(outcome.latency.count(), 200, "{what}");
        assert_eq!((outcome.service.count(), outcome.lag.count()), (200, 200), "{what}");
        assert!(outcome.latency.max_us() >= outcome.service.percentile_us(0.0), "{what}");
        assert_ne!(outcome.verdict, Verdict::NoAnswers, "{what}");
    }
}

#[test]
fn long_bodies_pass_the_windows_of_http2() {
    let backend = backend(Answering { response_bytes: 3_000_000, ..answering(Speaks::Http) });
    let plan = Plan {
        load: Load::Open { rate: 20.0, arrivals: Arrivals::Constant },
        streams: 2,
        request_bytes: 2_000_000,
        response_bytes: Some(3_000_000),
        ..plan(format!("http://{}/", backend.address()), Protocol::Http2)
    };
    let outcome = run(&plan);
    assert_eq!((outcome.done, outcome.errors), (10, Default::default()));
}

#[test]
fn a_closed_loop_sends_the_next_when_the_last_was_answered() {
    for (protocol, streams) in [(Protocol::Http1, 1), (Protocol::Http2, 4)] {
        let backend = backend(Answering { delay: Duration::from_millis(50), ..answering(Speaks::Http) });
        let plan =
            Plan { load: Load::Closed, streams, ..plan(format!("http://{}/", backend.address()), protocol) };
        let outcome = run(&plan);
        let slots = 4 * streams as u64;
        // Half a second has room for ten rounds of 50 ms, and for no more than eleven begun.
        assert!(outcome.done >= slots && outcome.done <= 11 * slots, "{}", outcome.done);
        assert_eq!(outcome.sent, outcome.done);
        assert!(outcome.latency.percentile_us(0.0) >= 49_900.0);
    }
}

#[test]
fn what_waits_for_a_connection_counts_from_when_it_was_due() {
    let backend = backend(Answering { delay: Duration::from_millis(100), ..answering(Speaks::Http) });
    let plan = Plan {
        connections: 1,
        threads: 1,
        warmup: Duration::ZERO,
        load: Load::Open { rate: 40.0, arrivals: Arrivals::Constant },
        ..plan(format!("http://{}/", backend.address()), Protocol::Http1)
    };
    let outcome = run(&plan);
    // Twenty were due in half a second, one connection answers ten a second: the last waited 1.5 s and more.
    assert_eq!((outcome.sent, outcome.done), (20, 20));
    assert!(outcome.latency.max_us() >= 1_500_000.0, "{}", outcome.latency.max_us());
    assert!(outcome.service.percentile_us(50.0) < 1_000_000.0);
}

#[test]
fn what_is_not_answered_in_time_is_a_timeout_and_what_was_never_sent_is_told_apart() {
    let backend = backend(Answering { delay: Duration::from_secs(60), ..answering(Speaks::Http) });
    for (protocol, streams) in [(Protocol::Http1, 1), (Protocol::Http2, 2)] {
        let plan = Plan {
            streams,
            timeout: Duration::from_millis(300),
            ..plan(format!("http://{}/", backend.address()), protocol)
        };
        let outcome = run(&plan);
        assert_eq!((outcome.sent, outcome.done), (200, 0));
        assert_eq!(outcome.errors.values().sum::<u64>(), 200, "{:?}", outcome.errors);
        assert!(outcome.errors.keys().all(|cause| cause.starts_with("timeout")), "{:?}", outcome.errors);
        assert_eq!(outcome.verdict, Verdict::NoAnswers);
    }
}

#[test]
fn an_answer_of_another_size_is_an_error() {
    let backend = backend(answering(Speaks::Http));
    let plan = Plan {
        response_bytes: Some(1_000),
        ..plan(format!("http://{}/", backend.address()), Protocol::Http1)
    };
    assert_eq!(run(&plan).errors, [("size".to_owned(), 200)].into());
}

#[test]
fn idle_connections_make_one_request_and_stay() {
    let backend = backend(answering(Speaks::Http));
    let plan = Plan {
        connections: 300,
        warmup: Duration::ZERO,
        ..plan(format!("http://{}/", backend.address()), Protocol::Idle)
    };
    let mut connected = 0;
    let outcome = engine::run(&plan, &AtomicBool::new(false), &mut |progress| {
        if let Progress::Connected { connections } = progress {
            connected = connections;
        }
    })
    .unwrap();
    assert_eq!((connected, outcome.sent, outcome.done), (300, 300, 300));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
}

#[test]
fn an_observer_is_told_of_every_part_of_a_run() {
    let backend = backend(answering(Speaks::Http));
    let plan = Plan {
        duration: Duration::from_millis(1_200),
        ..plan(format!("http://{}/", backend.address()), Protocol::Http1)
    };
    let mut seen = Vec::new();
    let outcome = engine::run(&plan, &AtomicBool::new(false), &mut |progress| {
        seen.push(match progress {
            Progress::Starting => "starting",
            Progress::Connected { .. } => "connected",
            Progress::Recording => "recording",
            Progress::Second { second, .. } => {
                second.server_rss = Some(7);
                "second"
            }
            Progress::Ended => "ended",
        });
    })
    .unwrap();
    assert_eq!(seen, ["starting", "connected", "recording", "second", "second", "ended"]);
    assert!(outcome.seconds.iter().all(|second| second.server_rss == Some(7)));
}

#[test]
fn a_run_that_is_stopped_says_what_it_saw_until_then() {
    let backend = backend(answering(Speaks::Http));
    let plan = Plan {
        duration: Duration::from_secs(600),
        ..plan(format!("http://{}/", backend.address()), Protocol::Http1)
    };
    let stop = AtomicBool::new(false);
    let outcome = engine::run(&plan, &stop, &mut |progress| {
        if let Progress::Second { .. } = progress {
            stop.store(true, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert!(outcome.elapsed_s >= 1.0 && outcome.elapsed_s < 300.0, "{}", outcome.elapsed_s);
    assert_eq!(outcome.sent, outcome.done);
    assert!(outcome.done >= 400);
}

#[test]
fn a_target_that_is_not_there_is_told() {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let told = engine::run(
        &plan(format!("http://{address}/"), Protocol::Http1),
        &AtomicBool::new(false),
        &mut |_| {},
    );
    match told {
        Err(RunError::Unreachable { cause, .. }) => assert_eq!(cause, "connect refused"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plan_that_contradicts_itself_is_told() {
    let good = plan("http://127.0.0.1:1/".to_owned(), Protocol::Http1);
    let wrong = [
        Plan { connections: 0, ..good.clone() },
        Plan { threads: 5, ..good.clone() },
        Plan { streams: 2, ..good.clone() },
        Plan { protocol: Protocol::TcpPing, ..good.clone() },
        Plan { protocol: Protocol::ConnectResumed, ..good.clone() },
        Plan { load: Load::Open { rate: f64::NAN, arrivals: Arrivals::Constant }, ..good.clone() },
        Plan { target: "127.0.0.1:1".to_owned(), ..good },
    ];
    for plan in wrong {
        let told = engine::run(&plan, &AtomicBool::new(false), &mut |_| {});
        assert!(matches!(told, Err(RunError::Plan(_))), "{plan:?}");
    }
}

/// One authority, by which the certificates of a server and of a client are signed, and another that neither knows.
struct Pki {
    directory: PathBuf,
    server: Arc<ServerConfig>,
}

impl Pki {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let mut authorities = Vec::new();
        for name in ["ca", "stranger"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).unwrap();
            std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
            authorities.push((certificate, rcgen::Issuer::new(params, key)));
        }
        let signed = |issuer: &rcgen::Issuer<'_, rcgen::KeyPair>| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            (params.signed_by(&key, issuer).unwrap(), key)
        };
        for (name, issuer) in [("client", &authorities[0].1), ("strange-client", &authorities[1].1)] {
            let (certificate, key) = signed(issuer);
            std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        let mut roots = RootCertStore::empty();
        roots.add(authorities[0].0.der().clone()).unwrap();
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = signed(&authorities[0].1);
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        Self { directory, server: Arc::new(server) }
    }

    /// A run against a server that asks every client for a certificate.
    fn run(&self, ca: &str, client: Option<&str>) -> Result<Outcome, RunError> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let backend =
            server::serve_tls(listener, &answering(Speaks::Http), 1, Some(Arc::clone(&self.server))).unwrap();
        let file = |name: String| self.directory.join(name);
        let tls = Tls {
            server_name: Some("localhost".to_owned()),
            ca: Some(file(format!("{ca}.pem"))),
            identity: client.map(|name| (file(format!("{name}.pem")), file(format!("{name}.key")))),
            hybrid: false,
        };
        let plan = Plan {
            tls: Some(tls),
            timeout: Duration::from_secs(2),
            ..plan(format!("https://{}/", backend.address()), Protocol::Http1)
        };
        engine::run(&plan, &AtomicBool::new(false), &mut |_| {})
    }
}

#[test]
fn a_client_certificate_is_shown_to_who_asks_for_one() {
    let pki = Pki::new("mtls");
    let outcome = pki.run("ca", Some("client")).unwrap();
    assert_eq!((outcome.done, outcome.errors), (200, Default::default()));
    for wrong in [None, Some("strange-client")] {
        // In TLS 1.3 the client is through before the server has looked at its certificate.
        match pki.run("ca", wrong) {
            Ok(outcome) => assert_eq!((outcome.done, outcome.verdict), (0, Verdict::NoAnswers), "{wrong:?}"),
            Err(error) => assert!(matches!(error, RunError::Unreachable { .. }), "{wrong:?}: {error}"),
        }
    }
}

#[test]
fn a_server_that_no_trust_anchor_vouches_for_is_not_measured() {
    match Pki::new("untrusted").run("stranger", Some("client")) {
        Err(RunError::Unreachable { cause, .. }) => assert_eq!(cause, "handshake"),
        other => panic!("{other:?}"),
    }
}
