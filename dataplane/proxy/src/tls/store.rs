//! What every listener and cluster of a configuration needs for TLS. Made off-core, shared by all cores.
//!
//! A new configuration makes a new store that shares every entry whose own inputs are the same: so sessions stay
//! resumable through changes that do not concern them, and ticket keys go exactly when the certificates or the client
//! validation of their listener change.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use ringway_config::{
    Certificate, CertificateKey, Cluster, ClusterKey, Config, Listener, ListenerKey, ListenerProtocol,
    TlsTermination, Trust, UpstreamProtocol, UpstreamTls, differing,
};
use rustls::RootCertStore;

use super::certificate::{CertificateFault, Loaded};
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
    ready: Ready,
}

#[derive(Debug)]
struct ListenerEntry {
    termination: TlsTermination,
    alpn: &'static [Alpn],
    certificates: Vec<Ready>,
    /// `None`: handshakes are refused.
    server: Option<Arc<ServerTls>>,
    faults: Vec<TlsFault>,
}

#[derive(Debug)]
struct ClusterEntry {
    tls: UpstreamTls,
    protocol: UpstreamProtocol,
    shown: Option<Ready>,
    /// `None`: no connection can be made.
    client: Option<Arc<ClientTls>>,
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
            let problem = |fault: &TlsFault| TlsProblem {
                place: TlsPlace::Listener(key.clone()),
                fault: fault.clone(),
            };
            problems.extend(entry.faults.iter().map(problem));
            next.listeners.insert(key.clone(), entry);
        }
        for (key, cluster) in &config.clusters {
            let Some(tls) = &cluster.tls else { continue };
            let entry = self.cluster(key, cluster, tls, &next);
            let problem =
                |fault: &TlsFault| TlsProblem { place: TlsPlace::Cluster(key.clone()), fault: fault.clone() };
            problems.extend(entry.faults.iter().map(problem));
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
            _ => CertificateEntry { source: Arc::clone(source), ready: Loaded::new(source).map(Arc::new) },
        }
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
        for (key, ready) in termination.certificates.iter().zip(&certificates) {
            if let Err(fault) = ready {
                faults.push(TlsFault::Certificate { key: key.clone(), fault: *fault });
            }
        }
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
        let client = match (&tls.client_certificate, &shown) {
            // Without the certificate that it must show, a connection would be another one than was asked for.
            (Some(key), Some(Err(fault))) => {
                faults.push(TlsFault::Certificate { key: key.clone(), fault: *fault });
                None
            }
            _ => {
                let shown = shown.as_ref().and_then(|ready| ready.as_ref().ok());
                self.client_tls(cluster.protocol, tls, shown, &mut faults)
            }
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
    use std::time::Duration;

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
