//! What Gateway API has no field for: annotations, each documented in `gateway-api/README.md`.
//!
//! A bad value is as none, and is told: in the object's condition if it has one, else as a notice.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ringway_config::{Balance, ClusterLimits, Outlier};

use super::duration;
use crate::objects::{Gateway, Kind};

/// What our annotations' keys begin with.
pub const ANNOTATION_PREFIX: &str = "ringway.dev/";

/// Every annotation of ours, and the kinds on which it is read.
pub const ANNOTATIONS: &[(&str, &[Kind])] = &[
    (PROXY_PROTOCOL, &[Kind::Gateway]),
    (MAX_REQUEST_BODY, &[Kind::Gateway, Kind::HTTPRoute, Kind::GRPCRoute]),
    (LOAD_BALANCING, BACKENDS),
    (MAX_CONNECTIONS, BACKENDS),
    (MAX_PENDING_REQUESTS, BACKENDS),
    (MAX_REQUESTS, BACKENDS),
    (OUTLIER_CONSECUTIVE_FAILURES, BACKENDS),
    (CONNECT_TIMEOUT_KEY, BACKENDS),
];

const BACKENDS: &[Kind] = &[Kind::Service, Kind::XBackend];
const PROXY_PROTOCOL: &str = "ringway.dev/proxy-protocol";
const MAX_REQUEST_BODY: &str = "ringway.dev/max-request-body";
const LOAD_BALANCING: &str = "ringway.dev/load-balancing";
const MAX_CONNECTIONS: &str = "ringway.dev/max-connections";
const MAX_PENDING_REQUESTS: &str = "ringway.dev/max-pending-requests";
const MAX_REQUESTS: &str = "ringway.dev/max-requests";
const OUTLIER_CONSECUTIVE_FAILURES: &str = "ringway.dev/outlier-consecutive-failures";
const CONNECT_TIMEOUT_KEY: &str = "ringway.dev/connect-timeout";

/// How long a connection to a backend may take to be made, unless its Service says otherwise. Envoy's default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Some listeners of a Gateway.
pub(crate) struct Listeners {
    pub(crate) all: bool,
    pub(crate) named: Vec<String>,
}

/// Which listeners expect a PROXY header.
pub(crate) fn proxy_protocol(gateway: &Gateway, notes: &mut Vec<String>) -> Listeners {
    let mut listeners = Listeners { all: false, named: vec![] };
    let Some(text) = value(&gateway.metadata, PROXY_PROTOCOL) else { return listeners };
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name == "*" {
            listeners.all = true;
        } else if gateway.spec.listeners.iter().any(|listener| listener.name == name) {
            listeners.named.push(name.into());
        } else {
            notes.push(format!("metadata.annotations: {PROXY_PROTOCOL}: there is no listener {name:?}"));
        }
    }
    listeners
}

/// The largest request body of a Gateway or route.
pub(crate) fn request_body_bytes_max(metadata: &ObjectMeta, notes: &mut Vec<String>) -> Option<u64> {
    read(metadata, MAX_REQUEST_BODY, notes, bytes)
}

/// How a Service's endpoints are used.
#[derive(Debug, PartialEq)]
pub(crate) struct ClusterKnobs {
    pub(crate) balance: Balance,
    pub(crate) limits: ClusterLimits,
    pub(crate) outlier: Option<Outlier>,
    pub(crate) connect_timeout: Duration,
}

/// Reads the annotations of a Service or XBackend.
pub(crate) fn cluster(metadata: &ObjectMeta, notes: &mut Vec<String>) -> ClusterKnobs {
    let balance = read(metadata, LOAD_BALANCING, notes, |text| match text {
        "PeakEwma" => Ok(Balance::PeakEwma),
        "RoundRobin" => Ok(Balance::RoundRobin),
        "LeastRequests" => Ok(Balance::LeastRequests),
        _ => Err("not one of PeakEwma, RoundRobin, LeastRequests"),
    });
    let limits = ClusterLimits {
        connections_max: read(metadata, MAX_CONNECTIONS, notes, positive),
        pending_max: read(metadata, MAX_PENDING_REQUESTS, notes, number),
        requests_max: read(metadata, MAX_REQUESTS, notes, positive),
    };
    let connect_timeout = read(metadata, CONNECT_TIMEOUT_KEY, notes, |text| {
        duration::parse(text)
            .filter(|timeout| !timeout.is_zero())
            .ok_or("not a duration above zero, such as 500ms")
    });
    ClusterKnobs {
        balance: balance.unwrap_or_default(),
        limits,
        outlier: outlier(metadata, notes),
        connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT),
    }
}

/// Ours, or Linkerd's, which it takes from those who come from there.
fn outlier(metadata: &ObjectMeta, notes: &mut Vec<String>) -> Option<Outlier> {
    let default = Outlier::default();
    if let Some(consecutive_failures) = read(metadata, OUTLIER_CONSECUTIVE_FAILURES, notes, positive) {
        return Some(Outlier { consecutive_failures, ..default });
    }
    const LINKERD: &str = "balancer.linkerd.io/failure-accrual";
    read(metadata, LINKERD, notes, |text| match text {
        "consecutive" => Ok(()),
        _ => Err("not the one mode that is known, consecutive"),
    })?;
    let of = |name: &str| format!("{LINKERD}-consecutive-{name}");
    let penalty = |text: &str| duration::parse(text).ok_or("not a duration, such as 1s");
    let failures = read(metadata, &of("max-failures"), notes, positive);
    let ejection_min = read(metadata, &of("min-penalty"), notes, penalty).unwrap_or(default.ejection_min);
    let ejection_max = read(metadata, &of("max-penalty"), notes, penalty).unwrap_or(default.ejection_max);
    Some(Outlier {
        consecutive_failures: failures.unwrap_or(default.consecutive_failures),
        ejection_min,
        ejection_max: ejection_max.max(ejection_min),
        ..default
    })
}

fn value<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let annotations: Option<&BTreeMap<String, String>> = metadata.annotations.as_ref();
    annotations?.get(key).map(|text| text.trim())
}

fn read<T, E: Display>(
    metadata: &ObjectMeta,
    key: &str,
    notes: &mut Vec<String>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = value(metadata, key)?;
    parse(text).map_err(|why| notes.push(format!("metadata.annotations: {key}: {text:?} is {why}"))).ok()
}

fn number(text: &str) -> Result<u32, &'static str> {
    u32::from_str(text).map_err(|_| "no number")
}

fn positive(text: &str) -> Result<u32, &'static str> {
    number(text).and_then(|number| if number > 0 { Ok(number) } else { Err("no number above zero") })
}

/// A whole Kubernetes quantity, such as `1048576`, `1Mi` or `10M`.
fn bytes(text: &str) -> Result<u64, &'static str> {
    const UNITS: &[(&str, u64)] = &[
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
    ];
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor)).ok_or("no size, such as 10Mi")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(pairs: &[(&str, &str)]) -> ObjectMeta {
        let pairs = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        ObjectMeta { annotations: Some(pairs.collect()), ..ObjectMeta::default() }
    }

    #[test]
    fn a_size_is_a_whole_quantity() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("10Mi", Ok(10 << 20)),
            ("2k", Ok(2000)),
            ("1.5Mi", Err(())),
            ("-1", Err(())),
            ("99999999999Gi", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(bytes(text).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn a_bad_annotation_is_as_none_and_is_told() {
        let mut notes = vec![];
        let bad = annotated(&[
            ("ringway.dev/load-balancing", "Magic"),
            ("ringway.dev/max-connections", "0"),
            ("ringway.dev/connect-timeout", "soon"),
            ("ringway.dev/outlier-consecutive-failures", "many"),
        ]);
        assert_eq!(cluster(&bad, &mut notes), cluster(&ObjectMeta::default(), &mut vec![]));
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert!(notes[0].contains("ringway.dev/load-balancing: \"Magic\""), "{}", notes[0]);
    }

    #[test]
    fn every_annotation_of_the_table_is_read() {
        for (key, kinds) in ANNOTATIONS {
            let metadata = annotated(&[(key, "?")]);
            for kind in *kinds {
                let mut notes = vec![];
                match kind {
                    Kind::Service | Kind::XBackend => drop(cluster(&metadata, &mut notes)),
                    _ => drop(request_body_bytes_max(&metadata, &mut notes)),
                }
                if *kind == Kind::Gateway {
                    let gateway = Gateway { metadata: metadata.clone(), ..Gateway::default() };
                    drop(proxy_protocol(&gateway, &mut notes));
                }
                assert!(matches!(&notes[..], [note] if note.contains(key)), "{key} on {kind}: {notes:?}");
            }
        }
    }

    #[test]
    fn linkerds_failure_accrual_is_understood() {
        let mut notes = vec![];
        let linkerd = annotated(&[
            ("balancer.linkerd.io/failure-accrual", "consecutive"),
            ("balancer.linkerd.io/failure-accrual-consecutive-max-failures", "3"),
            ("balancer.linkerd.io/failure-accrual-consecutive-min-penalty", "2s"),
        ]);
        let outlier = cluster(&linkerd, &mut notes).outlier.unwrap();
        assert_eq!((outlier.consecutive_failures, outlier.ejection_min.as_secs()), (3, 2));
        assert!(notes.is_empty(), "{notes:?}");
    }
}
