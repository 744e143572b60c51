//! Decides what to do with a request or connection: which listener, which rule, which backend, or which answer.
//!
//! A [`View`] is one core's look at a [`Compiled`] configuration. Deciding costs no lock, no atomic read-modify-write
//! and, for a request that is forwarded, no allocation: plans are made once for each rule and core, at first use, and
//! go from view to view while what they say stays true. `explain` tells why a decision is what it is, by the same
//! functions.

mod l4;
#[cfg(test)]
mod laws;
mod matching;
mod plan;
#[cfg(test)]
mod tests;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use ringway_config::{Bind, ClusterKey, HttpMatch, Listener, ListenerProtocol};

pub use l4::{L4Decision, L4Forward, L4Plan, L4Refusal};
pub use matching::Mismatch;
pub(crate) use plan::decide_drawn;

use crate::arrival::Arrival;
use crate::compiled::{BindKind, Compiled, Entry, ListenerTable};
use crate::decision::{Answer, Decision, Plan};
use crate::failure::Flag;
use crate::message::RequestHead;
use crate::summary::Labels;

/// gRPC's `UNIMPLEMENTED`: what "not found" is called there (checklist L9).
pub(crate) const GRPC_UNIMPLEMENTED: u8 = 12;
/// gRPC's `UNAVAILABLE` (checklist B5).
pub(crate) const GRPC_UNAVAILABLE: u8 = 14;

/// Finds a core's live clusters.
///
/// The same cluster must be given for a key as long as the configuration's `Arc<Cluster>` is the same: plans keep
/// what they were given until that changes.
pub trait ClusterSource<C> {
    /// The live cluster of this name.
    fn cluster(&self, key: &ClusterKey) -> Option<Rc<C>>;
}

impl<C, F: Fn(&ClusterKey) -> Option<Rc<C>>> ClusterSource<C> for F {
    fn cluster(&self, key: &ClusterKey) -> Option<Rc<C>> {
        self(key)
    }
}

/// One core's look at the configuration. `C` is its live cluster.
pub struct View<C> {
    compiled: Arc<Compiled>,
    source: Rc<dyn ClusterSource<C>>,
    /// What this core made of each attached route, by slot.
    routes: Vec<OnceCell<Rc<RouteOnCore<C>>>>,
    scratch: RefCell<Vec<u8>>,
}

/// What one core derived from an attached route.
struct RouteOnCore<C> {
    rules: Box<[RuleOnCore<C>]>,
    l4: OnceCell<Rc<L4Plan<C>>>,
}

struct RuleOnCore<C> {
    plan: OnceCell<Rc<Plan<C>>>,
    /// A copy of the rule's matches if they have regular expressions: those share caches behind a lock otherwise.
    matches: OnceCell<Box<[HttpMatch]>>,
}

/// Which listener a TLS connection belongs to, by server name (checklist L12, L15, L16).
#[derive(Clone, Copy, Debug)]
pub enum SniChoice<'v> {
    /// End TLS with this listener's certificates; what follows is HTTP or TCP as its protocol says.
    Terminate(&'v Arc<Listener>),
    /// Leave TLS alone and ask [`View::tcp`] where to.
    Passthrough(&'v Arc<Listener>),
    /// No listener is for this name: refuse the handshake.
    Refuse,
    /// The same where every listener leaves TLS alone: close, without a word of TLS that would be ours.
    Close,
}

/// Why no rule serves a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal<'v> {
    /// No listener of the bind is for the host.
    NoListener,
    /// The connection was made to one listener, but the host belongs to another (checklist L13).
    Misdirected,
    /// The listener has no rule for the request.
    NoRule(&'v ListenerTable),
}

impl<C> View<C> {
    /// A first view.
    pub fn new(compiled: Arc<Compiled>, source: Rc<dyn ClusterSource<C>>) -> Self {
        let routes = std::iter::repeat_with(OnceCell::new).take(compiled.slot_count()).collect();
        Self { compiled, source, routes, scratch: RefCell::default() }
    }

    /// A view of a later configuration. Plans of what did not change are kept.
    pub fn next(&self, compiled: Arc<Compiled>) -> Self {
        let kept = |slot: usize| {
            let number = slot as u32;
            let (old, new) = (self.compiled.slot(number)?, compiled.slot(number)?);
            self.routes.get(slot).filter(|_| Arc::ptr_eq(old, new)).cloned()
        };
        let routes = (0..compiled.slot_count()).map(|slot| kept(slot).unwrap_or_default()).collect();
        Self { compiled, source: Rc::clone(&self.source), routes, scratch: RefCell::default() }
    }

    /// The configuration it looks at.
    pub fn compiled(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// Decides about an HTTP request. `draw` is chance: its upper half chooses among weights.
    pub fn decide(&self, arrival: &Arrival, head: &RequestHead, draw: u64) -> Decision<C> {
        match self.find(arrival, head) {
            Ok(entry) => plan::decide(self.plan(entry), arrival, head, draw),
            Err(refusal) => Decision::Answer(refusal.answer(head)),
        }
    }

    /// The match that serves a request.
    pub(crate) fn find<'v>(
        &'v self,
        arrival: &Arrival,
        head: &RequestHead,
    ) -> Result<&'v Entry, Refusal<'v>> {
        let listener = self.choose_listener(arrival, head.host())?;
        self.choose_rule(listener, head).ok_or(Refusal::NoRule(listener))
    }

    /// The listener of a TLS connection. Without server name only a listener for every host will do.
    pub fn listener_for_sni<'v>(&'v self, bind: &Bind, sni: Option<&str>) -> SniChoice<'v> {
        match self.tls_listener(bind, sni) {
            None if self.ends_tls(bind) => SniChoice::Refuse,
            None => SniChoice::Close,
            Some(table) => match table.listener.protocol {
                ListenerProtocol::TlsPassthrough => SniChoice::Passthrough(&table.listener),
                _ => SniChoice::Terminate(&table.listener),
            },
        }
    }

    /// Whether some listener of a bind speaks TLS itself.
    fn ends_tls(&self, bind: &Bind) -> bool {
        let behind = self.compiled.bind(bind).filter(|behind| behind.kind == BindKind::Tls);
        let ends = |table: &Arc<ListenerTable>| table.listener.protocol != ListenerProtocol::TlsPassthrough;
        behind.is_some_and(|behind| behind.by_host.values().any(ends))
    }

    fn tls_listener<'v>(&'v self, bind: &Bind, sni: Option<&str>) -> Option<&'v ListenerTable> {
        let behind = self.compiled.bind(bind).filter(|behind| behind.kind == BindKind::Tls)?;
        // No pattern but `Any` covers the empty host.
        behind.by_host.covering_first(sni.unwrap_or_default()).map(Arc::as_ref)
    }

    /// The one listener whose rules may serve a host on this connection: the most specific of its bind (checklist
    /// L7, L8, L10). Where TLS has chosen one already, it must be the same (L13), now as on every later request of
    /// the connection (L14).
    pub(crate) fn choose_listener<'v>(
        &'v self,
        arrival: &Arrival,
        host: &str,
    ) -> Result<&'v ListenerTable, Refusal<'v>> {
        let behind = self.compiled.bind(&arrival.bind).ok_or(Refusal::NoListener)?;
        let wanted = match arrival.listener {
            Some(_) => BindKind::Tls,
            None => BindKind::Http,
        };
        if behind.kind != wanted {
            return Err(Refusal::NoListener);
        }
        let table = behind.by_host.covering_first(host).ok_or(Refusal::NoListener)?;
        match &arrival.listener {
            Some(shown) if *shown != table.listener.key => Err(Refusal::Misdirected),
            _ => Ok(table),
        }
    }

    /// The rule of a listener that serves a request. The hostname is the first part of precedence (checklist M2 a):
    /// the rules of the most specific hostname are tried first, then, if none of them fits, those of the less
    /// specific ones of the same listener.
    fn choose_rule<'v>(&'v self, listener: &'v ListenerTable, head: &RequestHead) -> Option<&'v Entry> {
        listener.hosts.covering(head.host()).find_map(|table| {
            let fits = |entry: &Entry, path_known: bool| {
                (entry.path_only && path_known) || self.mismatch(entry, head, path_known).is_none()
            };
            table.first(head.path(), fits)
        })
    }

    /// The first thing about a request that a match does not cover.
    pub(crate) fn mismatch(&self, entry: &Entry, head: &RequestHead, path_known: bool) -> Option<Mismatch> {
        let it = self.matches(entry).get(entry.matching as usize)?;
        let mut scratch = self.scratch.borrow_mut();
        let path = if path_known { None } else { matching::path_mismatch(it, head) };
        path.or_else(|| matching::mismatch_beyond_path(it, head, &mut scratch))
    }

    /// The matches of an entry's rule.
    pub(crate) fn matches(&self, entry: &Entry) -> &[HttpMatch] {
        let shared = &self.compiled.attached(entry.slot).rules()[entry.rule as usize].matches;
        match entry.patterned {
            true => self.rule_on_core(entry).matches.get_or_init(|| shared.clone().into()),
            false => shared,
        }
    }

    /// The plan of an entry's rule.
    pub(crate) fn plan(&self, entry: &Entry) -> &Rc<Plan<C>> {
        self.rule_on_core(entry).plan.get_or_init(|| {
            let attached = self.compiled.attached(entry.slot);
            Rc::new(plan::build(attached, entry.rule as usize, &*self.source))
        })
    }

    fn rule_on_core(&self, entry: &Entry) -> &RuleOnCore<C> {
        &self.route_on_core(entry.slot).rules[entry.rule as usize]
    }

    fn route_on_core(&self, slot: u32) -> &RouteOnCore<C> {
        self.routes[slot as usize].get_or_init(|| {
            let rules = self.compiled.attached(slot).rules().len();
            let rule = || RuleOnCore { plan: OnceCell::new(), matches: OnceCell::new() };
            let rules = std::iter::repeat_with(rule).take(rules).collect();
            Rc::new(RouteOnCore { rules, l4: OnceCell::new() })
        })
    }
}

impl Refusal<'_> {
    fn answer(self, head: &RequestHead) -> Answer {
        let (status, details, listener) = match self {
            Self::NoListener => (StatusCode::NOT_FOUND, "no listener for this host", None),
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "misdirected request", None),
            Self::NoRule(table) => {
                (StatusCode::NOT_FOUND, "no route matched", Some(table.listener.key.clone()))
            }
        };
        let labels =
            listener.map(|listener| Rc::new(Labels { listener: Some(listener), ..Labels::default() }));
        let answer = Answer { labels, ..Answer::refuse(status, Flag::NoRoute, details) };
        match status == StatusCode::NOT_FOUND && is_grpc(head) {
            true => answer.for_grpc(GRPC_UNIMPLEMENTED),
            false => answer,
        }
    }
}

/// Whether a request is gRPC: its client reads `grpc-status`, not the HTTP status. Not so gRPC-Web's.
pub fn is_grpc(head: &RequestHead) -> bool {
    let content_type = head.fields.first("content-type").unwrap_or_default();
    let kind = b"application/grpc";
    let (start, rest) = content_type.split_at(kind.len().min(content_type.len()));
    start.eq_ignore_ascii_case(kind) && rest.first().is_none_or(|next| matches!(next, b'+' | b';' | b' '))
}
