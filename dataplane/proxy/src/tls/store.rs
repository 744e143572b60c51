//! What every listener and cluster of a configuration needs for TLS. Made off-core, shared by all cores.
//!
//! A new configuration makes a new store that shares every entry whose own inputs are the same: so sessions stay
//! resumable through changes that do not concern them, and ticket keys go exactly when the certificates or the client
//! validation of their listener change.
//!
//! A certificate that becomes unusable does not take working TLS away: the last good one under its key is used on, and
//! the problem says so. A renewal in two writes, first the chain and then its key, is such a case in between.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use ringway_config::{
    Certificate, CertificateKey, Cluster, ClusterKey, Config, Listener, ListenerKey, ListenerProtocol,
    TlsTermination, Trust, UpstreamProtocol, UpstreamTls, differing,
};
use rustls::RootCertStore;

use super::certificate::{CertificateFault, Loaded, Untimely};
use super::{Alpn, ClientTls, Clock, ServerTls, TlsFault};

/// TLS for every listener that ends it and every cluster that is spoken to by it.
#[derive(Clone, Debug)]
pub struct TlsStore {
    clock: Clock,
    system: SystemRoots,
    certificates: BTreeMap<CertificateKey, CertificateEntry>,
    listeners: BTreeMap<ListenerKey, Arc<ListenerEntry>>,
    clusters: BTreeMap<ClusterKey, Arc<ClusterEntry>>,
}

/// Something that TLS cannot use, and whose it is. The listener or cluster may work without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    /// Where it was met.
    pub place: TlsPlace,
    /// What it is.
    pub fault: TlsFault,
    /// Whether handshakes can be made there all the same.
    pub serves: bool,
}

/// A listener or cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsPlace {
    /// A listener.
    Listener(ListenerKey),
    /// A cluster.
    Cluster(ClusterKey),
}

/// A certificate, ready or refused. Equal while the certificate is the same one.
type Ready = Result<Arc<Loaded>, CertificateFault>;

#[derive(Clone, Debug)]
struct CertificateEntry {
    source: Arc<Certificate>,
    /// Of `source`; where that one is refused, of the last good one.
    ready: Ready,
    /// What is wrong with `source`.
    fault: Option<CertificateFault>,
}

#[derive(Debug)]
struct ListenerEntry {
    termination: TlsTermination,
    alpn: &'static [Alpn],
    certificates: Vec<Ready>,
    /// `None`: handshakes are refused.
    server: Option<Arc<ServerTls>>,
    /// Those of certificates apart.
    faults: Vec<TlsFault>,
}

#[derive(Debug)]
struct ClusterEntry {
    tls: UpstreamTls,
    protocol: UpstreamProtocol,
    shown: Option<Ready>,
    /// `None`: no connection can be made.
    client: Option<Arc<ClientTls>>,
    /// Those of certificates apart.
    faults: Vec<TlsFault>,
}

/// The machine's trust anchors, read from its files when the first cluster asks for them and never again.
#[derive(Clone, Debug, Default)]
struct SystemRoots(Arc<OnceLock<Arc<RootCertStore>>>);

impl TlsStore {
    /// A store for a configuration without anything in it.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            system: SystemRoots::default(),
            certificates: BTreeMap::new(),
            listeners: BTreeMap::new(),
            clusters: BTreeMap::new(),
        }
    }

    /// The store for another configuration, and everything in that one that TLS cannot use. Parses certificates and
    /// may read the machine's trust anchors: never call it on a core that carries traffic.
    pub fn next(&self, config: &Config) -> (Self, Vec<TlsProblem>) {
        let mut next = Self::new(self.clock.clone());
        next.system = self.system.clone();
        next.certificates = config
            .certificates
            .iter()
            .map(|(key, certificate)| (key.clone(), self.certificate(certificate)))
            .collect();
        let mut problems = Vec::new();
        for (key, listener) in &config.listeners {
            let Some((termination, alpn)) = termination(listener) else { continue };
            let entry = self.listener(key, termination, alpn, &next);
            let shown = termination.certificates.iter().filter_map(|key| next.fault(key));
            let problem = |fault: TlsFault| TlsProblem {
                place: TlsPlace::Listener(key.clone()),
                fault,
                serves: entry.server.is_some(),
            };
            problems.extend(shown.chain(entry.faults.iter().cloned()).map(problem));
            next.listeners.insert(key.clone(), entry);
        }
        for (key, cluster) in &config.clusters {
            let Some(tls) = &cluster.tls else { continue };
            let entry = self.cluster(key, cluster, tls, &next);
            let shown = tls.client_certificate.as_ref().and_then(|key| next.fault(key));
            let problem = |fault: TlsFault| TlsProblem {
                place: TlsPlace::Cluster(key.clone()),
                fault,
                serves: entry.client.is_some(),
            };
            problems.extend(shown.into_iter().chain(entry.faults.iter().cloned()).map(problem));
            next.clusters.insert(key.clone(), entry);
        }
        (next, problems)
    }

    /// For the handshakes of a listener. `None` if it ends no TLS, or cannot: then refuse the hello.
    pub fn server(&self, key: &ListenerKey) -> Option<&Arc<ServerTls>> {
        self.listeners.get(key)?.server.as_ref()
    }

    /// For the handshakes with a cluster. `None` if it is not spoken to by TLS, or cannot be: its configuration tells
    /// which (`Cluster::tls`), and in the second case no connection may be made.
    pub fn client(&self, key: &ClusterKey) -> Option<&Arc<ClientTls>> {
        self.clusters.get(key)?.client.as_ref()
    }

    /// The clusters whose TLS is not the same in another store.
    pub(crate) fn differing_clusters<'s>(&'s self, other: &'s Self) -> Vec<&'s ClusterKey> {
        // An entry is made for one cluster, so that the same one stands under the same name.
        differing(&self.clusters, &other.clusters)
    }

    /// Forgets ticket keys that are over, those of listeners that nobody uses too.
    pub fn expire_tickets(&self) {
        self.listeners
            .values()
            .filter_map(|entry| entry.server.as_ref())
            .for_each(|tls| tls.expire_tickets());
    }

    fn certificate(&self, source: &Arc<Certificate>) -> CertificateEntry {
        match self.certificates.get(&source.key) {
            Some(entry) if Arc::ptr_eq(&entry.source, source) || entry.source == *source => entry.clone(),
            before => {
                let loaded = Loaded::new(source).map(Arc::new);
                let fault = loaded.as_ref().err().copied();
                self.tell_untimely(source);
                let kept = before.filter(|_| fault.is_some()).and_then(|before| before.ready.as_ref().ok());
                let ready = kept.map_or(loaded, |kept| Ok(Arc::clone(kept)));
                CertificateEntry { source: Arc::clone(source), ready, fault }
            }
        }
    }

    /// A certificate out of its time is used as it is told: the clock may be what is wrong.
    fn tell_untimely(&self, certificate: &Certificate) {
        let key = &certificate.key;
        let now = UNIX_EPOCH + Duration::from_secs(self.clock.now().as_secs());
        match Untimely::of(certificate, now) {
            Some(Untimely::Expired(_)) => tracing::warn!("certificate {key} is expired; clients refuse it"),
            Some(Untimely::NotYetValid(_)) => {
                tracing::warn!("certificate {key} is not yet valid; clients refuse it");
            }
            None => {}
        }
    }

    fn fault(&self, key: &CertificateKey) -> Option<TlsFault> {
        let entry = self.certificates.get(key);
        let fault = entry.map_or(Some(CertificateFault::Missing), |entry| entry.fault)?;
        let kept = entry.is_some_and(|entry| entry.ready.is_ok());
        Some(TlsFault::Certificate { key: key.clone(), fault, kept })
    }

    fn ready(&self, key: &CertificateKey) -> Ready {
        self.certificates.get(key).map_or(Err(CertificateFault::Missing), |entry| entry.ready.clone())
    }

    fn listener(
        &self,
        key: &ListenerKey,
        termination: &TlsTermination,
        alpn: &'static [Alpn],
        next: &Self,
    ) -> Arc<ListenerEntry> {
        let certificates: Vec<_> = termination.certificates.iter().map(|key| next.ready(key)).collect();
        let before = self.listeners.get(key).filter(|before| {
            before.termination == *termination
                && before.alpn == alpn
                && before.certificates.len() == certificates.len()
                && before.certificates.iter().zip(&certificates).all(|(before, now)| same(before, now))
        });
        if let Some(before) = before {
            return Arc::clone(before);
        }
        let mut faults = Vec::new();
        let usable: Vec<_> = certificates.iter().filter_map(|ready| ready.as_ref().ok().cloned()).collect();
        let client = termination.client.as_ref();
        let server = ServerTls::new(alpn, &usable, client, &self.clock, &mut faults).map(Arc::new);
        Arc::new(ListenerEntry { termination: termination.clone(), alpn, certificates, server, faults })
    }

    fn cluster(
        &self,
        key: &ClusterKey,
        cluster: &Cluster,
        tls: &UpstreamTls,
        next: &Self,
    ) -> Arc<ClusterEntry> {
        let shown = tls.client_certificate.as_ref().map(|key| next.ready(key));
        let before = self.clusters.get(key).filter(|before| {
            before.tls == *tls
                && before.protocol == cluster.protocol
                && match (&before.shown, &shown) {
                    (None, None) => true,
                    (Some(before), Some(now)) => same(before, now),
                    _ => false,
                }
        });
        if let Some(before) = before {
            return Arc::clone(before);
        }
        let mut faults = Vec::new();
        let client = match shown.as_ref().map(Ready::as_ref) {
            // Without the certificate that it must show, a connection would be another one than was asked for.
            Some(Err(_)) => None,
            Some(Ok(shown)) => self.client_tls(cluster.protocol, tls, Some(shown), &mut faults),
            None => self.client_tls(cluster.protocol, tls, None, &mut faults),
        };
        Arc::new(ClusterEntry { tls: tls.clone(), protocol: cluster.protocol, shown, client, faults })
    }

    fn client_tls(
        &self,
        protocol: UpstreamProtocol,
        tls: &UpstreamTls,
        shown: Option<&Arc<Loaded>>,
        faults: &mut Vec<TlsFault>,
    ) -> Option<Arc<ClientTls>> {
        let system = match tls.trust {
            Trust::System => Arc::clone(self.system.load()),
            Trust::Roots(_) => Arc::new(RootCertStore::empty()),
        };
        ClientTls::new(tls, protocol, shown, &system, &self.clock, faults).map(Arc::new)
    }
}

impl SystemRoots {
    fn load(&self) -> &Arc<RootCertStore> {
        self.0.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "a trust anchor of the machine cannot be read");
            }
            let mut roots = RootCertStore::empty();
            let (added, ignored) = roots.add_parsable_certificates(found.certs);
            tracing::info!(added, ignored, "read the machine's trust anchors");
            Arc::new(roots)
        })
    }
}

fn same(before: &Ready, now: &Ready) -> bool {
    match (before, now) {
        (Ok(before), Ok(now)) => Arc::ptr_eq(before, now),
        (Err(before), Err(now)) => before == now,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

/// How a listener ends TLS, if it does, and which protocols it offers inside.
fn termination(listener: &Listener) -> Option<(&TlsTermination, &'static [Alpn])> {
    match &listener.protocol {
        ListenerProtocol::Https(termination) => Some((termination, &[Alpn::Http2, Alpn::Http1])),
        // What is inside is the backend's: we cannot promise a protocol for it.
        ListenerProtocol::TlsTerminate(termination) => Some((termination, &[])),
        ListenerProtocol::Http
        | ListenerProtocol::TlsPassthrough
        | ListenerProtocol::Tcp
        | ListenerProtocol::Udp => None,
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::Der;

    use super::super::testing::{Authority, Bench, leaf, start, upstream};
    use super::*;

    #[test]
    fn only_what_changed_is_made_anew() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        let (one, two) = (authority.issue("one", leaf(&["a.org"])), authority.issue("two", leaf(&["b.org"])));
        bench.listener("one", &[&one], None);
        bench.listener("two", &[&two], None);
        bench.listener("both", &[&one, &two], None);
        bench.cluster("shows", UpstreamProtocol::Http1, {
            let client_certificate = Some(two.key.clone());
            UpstreamTls { client_certificate, ..upstream("a.org", &authority) }
        });
        bench.cluster("plain", UpstreamProtocol::Http1, upstream("a.org", &authority));
        bench.apply();
        let before = bench.store.clone();
        let kept = |now: &TlsStore| {
            let servers = ["one", "two", "both"].map(|name| {
                let key = ListenerKey::new(name);
                Arc::ptr_eq(before.server(&key).unwrap(), now.server(&key).unwrap())
            });
            let clients = ["shows", "plain"].map(|name| {
                let key = ClusterKey::new(name);
                Arc::ptr_eq(before.client(&key).unwrap(), now.client(&key).unwrap())
            });
            (servers, clients)
        };
        // The same again, with other pointers.
        let copy = |certificate: &Arc<Certificate>| Arc::new((**certificate).clone());
        bench.certificate(&copy(&one));
        bench.certificate(&copy(&two));
        bench.apply();
        assert_eq!(kept(&bench.store), ([true; 3], [true; 2]));

        bench.certificate(&authority.issue("two", leaf(&["b.org"])));
        bench.apply();
        assert_eq!(kept(&bench.store), ([true, false, false], [false, true]));

        bench.config.listeners.clear();
        bench.config.clusters.clear();
        bench.apply();
        assert!(bench.store.server(&ListenerKey::new("one")).is_none());
        assert!(bench.store.client(&ClusterKey::new("plain")).is_none());
    }

    #[test]
    fn a_working_certificate_is_used_until_another_works() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        let (old, new) =
            (authority.issue("shop", leaf(&["a.org"])), authority.issue("shop", leaf(&["a.org"])));
        bench.listener("listener", &[&old], None);
        bench.cluster("client", UpstreamProtocol::Http1, {
            let client_certificate = Some(old.key.clone());
            UpstreamTls { client_certificate, ..upstream("a.org", &authority) }
        });
        assert_eq!(bench.apply(), []);
        let server = bench.server("listener");
        let fault = |fault, kept| TlsFault::Certificate { key: old.key.clone(), fault, kept };
        let told = |problems: Vec<TlsProblem>| -> Vec<(TlsFault, bool)> {
            problems.into_iter().map(|problem| (problem.fault, problem.serves)).collect()
        };

        // The chain is renewed first, its key second.
        let half = Certificate { private_key: old.private_key.clone(), ..(*new).clone() };
        bench.certificate(&Arc::new(half));
        let mismatch = (fault(CertificateFault::Mismatch, true), true);
        assert_eq!(
            told(bench.apply()),
            [mismatch.clone(), mismatch.clone()],
            "the listener's and the cluster's"
        );
        assert!(Arc::ptr_eq(&server, &bench.server("listener")), "and sessions stay resumable");
        bench.connect("client", "listener").unwrap();
        assert_eq!(told(bench.apply()), [mismatch.clone(), mismatch], "for as long as it lasts");

        bench.certificate(&Arc::new(Certificate { chain: vec![Der::new(vec![1])], ..(*new).clone() }));
        let malformed = (fault(CertificateFault::Malformed, true), true);
        assert_eq!(told(bench.apply()), [malformed.clone(), malformed], "another fault, the same good one");
        bench.connect("client", "listener").unwrap();

        bench.certificate(&new);
        assert_eq!(bench.apply(), []);
        assert!(!Arc::ptr_eq(&server, &bench.server("listener")));
        bench.connect("client", "listener").unwrap();

        // What is taken away is not used on.
        bench.config.certificates.clear();
        let missing = (fault(CertificateFault::Missing, false), false);
        assert!(told(bench.apply()).contains(&missing));
        assert!(bench.store.server(&ListenerKey::new("listener")).is_none());
    }

    #[test]
    fn ticket_keys_that_are_over_are_forgotten_for_every_listener() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener("one", &[&authority.issue("one", leaf(&["a.org"]))], None);
        bench.listener("two", &[&authority.issue("two", leaf(&["b.org"]))], None);
        bench.apply();
        let servers = ["one", "two"].map(|name| bench.store.server(&ListenerKey::new(name)).unwrap());
        let held = || servers.map(|server| server.holds_ticket_keys());
        assert_eq!(held(), [false, false], "drawn when first needed");
        servers.iter().for_each(|server| server.draw_ticket_key());
        bench.store.expire_tickets();
        assert_eq!(held(), [true, true]);
        bench.hand.set(start() + Duration::from_secs(24 * 3600));
        bench.store.expire_tickets();
        assert_eq!(held(), [false, false]);
    }

    #[test]
    fn the_machines_trust_anchors_are_read_once() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        let system = || UpstreamTls { trust: Trust::System, ..upstream("a.org", &authority) };
        bench.cluster("plain", UpstreamProtocol::Http1, upstream("a.org", &authority));
        bench.apply();
        assert!(bench.store.system.0.get().is_none(), "nobody asked");
        bench.cluster("system", UpstreamProtocol::Http1, system());
        bench.apply();
        let loaded = Arc::clone(bench.store.system.0.get().unwrap());
        bench.cluster("other", UpstreamProtocol::Http2, system());
        let problems = bench.apply();
        assert!(Arc::ptr_eq(&loaded, bench.store.system.0.get().unwrap()));
        // A machine may have none: then no connection can be made, and that is said.
        assert_eq!(bench.store.client(&ClusterKey::new("system")).is_some(), !loaded.is_empty());
        assert_eq!(problems.is_empty(), !loaded.is_empty());
    }

    #[test]
    fn stores_are_shared_by_all_cores() {
        fn shared<T: Send + Sync>() {}
        shared::<TlsStore>();
    }
}
