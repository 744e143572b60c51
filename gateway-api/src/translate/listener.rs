//! One listener of a Gateway or ListenerSet, judged by itself: protocol, kinds, TLS (checklist LS, TLS10 to TLS12).
//!
//! What it may not share with others is `conflict.rs`; where it is bound is `gateway.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use ringway_config::{
    Certificate, ClientValidation, ClientValidationMode, HostPattern, ListenerKey, Transport,
};

use super::condition::{Problem, fails, holds, sentences, unless};
use super::grants::permitted;
use super::overlap::Overlap;
use super::secrets::{authorities, certificate};
use crate::objects::*;
use crate::world::{Name, World};

/// Whose listener it is.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'w> {
    pub(crate) kind: Kind,
    pub(crate) name: &'w Name,
    pub(crate) generation: i64,
}

/// What a listener speaks, once it is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Https,
    TlsTerminate,
    TlsPassthrough,
    Tcp,
    Udp,
}

impl Speaks {
    pub(crate) fn transport(self) -> Transport {
        if self == Self::Udp { Transport::Udp } else { Transport::Tcp }
    }

    fn terminates(self) -> bool {
        matches!(self, Self::Https | Self::TlsTerminate)
    }

    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::TlsTerminate | Self::TlsPassthrough => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// The kinds of routes that may attach (checklist LS7).
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Http | Self::Https => &[Kind::HTTPRoute, Kind::GRPCRoute],
            Self::TlsTerminate | Self::TlsPassthrough => &[Kind::TLSRoute],
            Self::Tcp => &[Kind::TCPRoute],
            Self::Udp => &[Kind::UDPRoute],
        }
    }
}

/// The namespaces that routes may come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum From {
    All,
    Namespace(Arc<str>),
    Selected(LabelSelector),
    None,
}

impl From {
    /// Understands a choice of namespaces; `same` is the namespace of whoever chooses.
    pub(crate) fn of(
        namespaces: Option<&Namespaces>,
        default: &FromNamespaces,
        same: &Arc<str>,
    ) -> Result<Self, String> {
        let from = namespaces.and_then(|namespaces| namespaces.from.as_ref()).unwrap_or(default);
        match from {
            FromNamespaces::All => Ok(Self::All),
            FromNamespaces::Same => Ok(Self::Namespace(Arc::clone(same))),
            FromNamespaces::None => Ok(Self::None),
            FromNamespaces::Selector => {
                match namespaces.and_then(|namespaces| namespaces.selector.as_ref()) {
                    Some(selector) => Ok(Self::Selected(selector.clone())),
                    None => Err("namespaces.selector: missing, with from: Selector".into()),
                }
            }
            FromNamespaces::Unknown(text) => Err(format!("namespaces.from: {text:?} is not known")),
        }
    }

    pub(crate) fn allows(&self, world: &World, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(only) => **only == *namespace,
            Self::Selected(selector) => selects(selector, |label| world.namespace_label(namespace, label)),
            Self::None => false,
        }
    }
}

/// A listener with everything that is known about it.
pub(crate) struct Entry<'w> {
    pub(crate) owner: Owner<'w>,
    pub(crate) spec: &'w Listener,
    pub(crate) key: ListenerKey,
    /// `None`: the protocol is not one of ours.
    pub(crate) speaks: Option<Speaks>,
    pub(crate) hostname: HostPattern,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) from: From,
    pub(crate) certificates: Vec<Arc<Certificate>>,
    pub(crate) client: Option<ClientValidation>,
    pub(crate) refused: Vec<Problem>,
    pub(crate) unresolved: Vec<Problem>,
    pub(crate) conflict: Option<Problem>,
    pub(crate) overlap: Overlap,
    /// Why it does not serve, though nothing is wrong with itself: its owner or gateway is not accepted.
    pub(crate) withheld: Option<Problem>,
}

impl<'w> Entry<'w> {
    /// Judges the listeners of an owner, each by itself but for its name: a route could not say which it means.
    pub(crate) fn judge_all(
        world: &World,
        owner: Owner<'w>,
        specs: &'w [Listener],
        frontend: Option<&FrontendTls>,
        gateway: &Name,
    ) -> Vec<Self> {
        let mut names = BTreeSet::new();
        let judge = |spec: &'w Listener| {
            let mut entry = Self::judge(world, owner, spec, frontend, gateway);
            if !names.insert(&*spec.name) {
                let message = format!("name: {:?} is another listener's, too", spec.name);
                entry.refused.push(Problem::new("UnsupportedValue", message));
            }
            entry
        };
        specs.iter().map(judge).collect()
    }

    /// Judges a listener. `frontend` is what the Gateway demands of clients, and `gateway` whose demand that is.
    fn judge(
        world: &World,
        owner: Owner<'w>,
        spec: &'w Listener,
        frontend: Option<&FrontendTls>,
        gateway: &Name,
    ) -> Self {
        let key = ListenerKey::new(format!("{}/{}/{}", owner.kind, owner.name, spec.name));
        let mut refused = vec![];
        let mut unresolved = vec![];
        let speaks = speaks(spec, &mut refused);
        let hostname = hostname(spec, speaks, &mut refused);
        let kinds = kinds(spec, speaks, &mut unresolved);
        let namespaces = spec.allowed_routes.as_ref().and_then(|routes| routes.namespaces.as_ref());
        let from = From::of(namespaces, &FromNamespaces::Same, &owner.name.namespace).unwrap_or_else(|why| {
            refused.push(Problem::new("UnsupportedValue", format!("allowedRoutes.{why}")));
            From::None
        });
        let mut entry = Self {
            owner,
            spec,
            key,
            speaks,
            hostname,
            kinds,
            from,
            certificates: vec![],
            client: None,
            refused,
            unresolved,
            conflict: None,
            overlap: Overlap::default(),
            withheld: None,
        };
        if speaks.is_some_and(Speaks::terminates) {
            entry.certificates(world);
        }
        if speaks == Some(Speaks::Https) {
            entry.client_validation(world, frontend, gateway);
        }
        entry
    }

    /// Not refused, neither by itself nor because of others.
    pub(crate) fn accepted(&self) -> bool {
        self.refused.is_empty() && self.conflict.is_none()
    }

    /// Whether it could serve, were its owner and gateway accepted.
    pub(crate) fn sound(&self) -> bool {
        let terminates = self.speaks.is_some_and(Speaks::terminates);
        self.accepted() && !self.kinds.is_empty() && (!terminates || !self.certificates.is_empty())
    }

    /// Whether it serves.
    pub(crate) fn serves(&self) -> bool {
        self.sound() && self.withheld.is_none()
    }

    /// The listener's status, with no routes attached yet.
    pub(crate) fn status(&self) -> ListenerStatus {
        let generation = self.owner.generation;
        let refused: Vec<Problem> = self.conflict.iter().chain(&self.refused).cloned().collect();
        let mut conditions = vec![
            unless("Accepted", ("Accepted", "The listener is accepted"), &refused, generation),
            self.programmed(generation),
            unless(
                "ResolvedRefs",
                ("ResolvedRefs", "All references are resolved"),
                &self.unresolved,
                generation,
            ),
            match &self.conflict {
                Some(conflict) => holds("Conflicted", conflict.reason, conflict.message.clone(), generation),
                None => fails("Conflicted", "NoConflicts", "No other listener is in the way", generation),
            },
        ];
        conditions.extend(self.overlap.condition(generation));
        let group_kind =
            |kind: &Kind| RouteGroupKind { group: Some(kind.group().into()), kind: kind.as_str().into() };
        ListenerStatus {
            name: self.spec.name.clone(),
            supported_kinds: self.kinds.iter().map(group_kind).collect(),
            attached_routes: 0,
            conditions,
        }
    }

    fn programmed(&self, generation: i64) -> Condition {
        if let Some(conflict) = &self.conflict {
            return fails("Programmed", conflict.reason, conflict.message.clone(), generation);
        }
        if !self.refused.is_empty() {
            return fails("Programmed", "Invalid", sentences(&self.refused), generation);
        }
        if !self.sound() {
            return fails("Programmed", "Invalid", sentences(&self.unresolved), generation);
        }
        match &self.withheld {
            Some(why) => fails("Programmed", why.reason, why.message.clone(), generation),
            None => holds("Programmed", "Programmed", "The listener is configured", generation),
        }
    }

    fn certificates(&mut self, world: &World) {
        let references = self.spec.tls.iter().flat_map(|tls| &tls.certificate_refs);
        let from = (self.owner.kind, &*self.owner.name.namespace);
        for (index, reference) in references.enumerate() {
            let field = format!("tls.certificateRefs[{index}]");
            match certificate(world, reference, from, &field, "InvalidCertificateRef") {
                Ok(certificate) => self.certificates.push(certificate),
                Err(problem) => self.unresolved.push(problem),
            }
        }
        if self.certificates.is_empty() && self.unresolved.is_empty() {
            let message = "tls.certificateRefs: none, but TLS is to be ended here";
            self.unresolved.push(Problem::new("InvalidCertificateRef", message));
        }
    }

    fn client_validation(&mut self, world: &World, frontend: Option<&FrontendTls>, gateway: &Name) {
        let Some((validation, field)) = frontend.and_then(|tls| validation_for(tls, self.spec.port)) else {
            return;
        };
        let mode = match &validation.mode {
            None | Some(FrontendValidationMode::AllowValidOnly) => ClientValidationMode::AllowValidOnly,
            Some(FrontendValidationMode::AllowInsecureFallback) => {
                ClientValidationMode::AllowInsecureFallback
            }
            Some(FrontendValidationMode::Unknown(text)) => {
                let message = format!("{field}.mode: {text:?} is not known");
                self.refused.push(Problem::new("UnsupportedValue", message));
                return;
            }
        };
        let mut roots = vec![];
        for (index, reference) in validation.ca_certificate_refs.iter().enumerate() {
            let at = format!("{field}.caCertificateRefs[{index}]");
            let namespace = reference.namespace.as_deref().unwrap_or(&gateway.namespace);
            let target = ("", "ConfigMap");
            let problem = if !reference.group.is_empty() || reference.kind != "ConfigMap" {
                let message = format!("{at}: {:?} is no ConfigMap", reference.kind);
                Problem::new("InvalidCACertificateKind", message)
            } else if !permitted(
                world,
                (Kind::Gateway, &gateway.namespace),
                target,
                (namespace, &reference.name),
            ) {
                let name = &reference.name;
                let message =
                    format!("{at}: no ReferenceGrant lets this Gateway use ConfigMap {namespace}/{name}");
                Problem::new("RefNotPermitted", message)
            } else {
                match authorities(world, namespace, &reference.name) {
                    Ok(found) => {
                        roots.extend(found);
                        continue;
                    }
                    Err(why) => Problem::new("InvalidCACertificateRef", format!("{at}: {why}")),
                }
            };
            self.unresolved.push(problem);
        }
        if roots.is_empty() {
            let message = format!("{field}.caCertificateRefs: none of them is a valid CA certificate");
            self.refused.push(Problem::new("NoValidCACertificate", message));
            return;
        }
        self.client = Some(ClientValidation { authorities: roots, mode });
    }
}

/// What is demanded of clients on a port. A port's own setting replaces the default as a whole (checklist TLS10).
fn validation_for(frontend: &FrontendTls, port: u16) -> Option<(&FrontendValidation, String)> {
    let own = frontend.per_port.iter().position(|entry| entry.port == port);
    let (config, field) = match own {
        Some(index) => {
            (&frontend.per_port[index].tls, format!("spec.tls.frontend.perPort[{index}].tls.validation"))
        }
        None => (&frontend.default, "spec.tls.frontend.default.validation".to_owned()),
    };
    Some((config.validation.as_ref()?, field))
}

fn speaks(spec: &Listener, refused: &mut Vec<Problem>) -> Option<Speaks> {
    let mut unsupported = |message: String| refused.push(Problem::new("UnsupportedValue", message));
    if spec.port == 0 {
        unsupported("port: 0 is no port".into());
    }
    if let Some(TlsMode::Unknown(text)) = spec.tls.as_ref().and_then(|tls| tls.mode.as_ref()) {
        unsupported(format!("tls.mode: {text:?} is not known"));
    }
    let passthrough = spec.tls.as_ref().is_some_and(|tls| tls.mode == Some(TlsMode::Passthrough));
    let plain = |speaks: Speaks, unsupported: &mut dyn FnMut(String)| {
        // Served in plain text, it would not be what its author believes.
        if spec.tls.is_some() {
            unsupported(format!("tls: not possible with protocol {}", spec.protocol));
        }
        Some(speaks)
    };
    match &spec.protocol {
        Protocol::Http => plain(Speaks::Http, &mut unsupported),
        Protocol::Tcp => plain(Speaks::Tcp, &mut unsupported),
        Protocol::Udp => plain(Speaks::Udp, &mut unsupported),
        Protocol::Https => {
            if passthrough {
                unsupported("tls.mode: Passthrough is not possible with protocol HTTPS".into());
            }
            Some(Speaks::Https)
        }
        Protocol::Tls if passthrough => Some(Speaks::TlsPassthrough),
        Protocol::Tls => Some(Speaks::TlsTerminate),
        Protocol::Unknown(text) => {
            let message = format!("protocol: {text:?} is not supported");
            refused.push(Problem::new("UnsupportedProtocol", message));
            None
        }
    }
}

fn hostname(spec: &Listener, speaks: Option<Speaks>, refused: &mut Vec<Problem>) -> HostPattern {
    let Some(text) = spec.hostname.as_deref().filter(|text| !text.is_empty()) else {
        return HostPattern::Any;
    };
    if matches!(speaks, Some(Speaks::Tcp | Speaks::Udp)) {
        let message = format!("hostname: not possible with protocol {}", spec.protocol);
        refused.push(Problem::new("UnsupportedValue", message));
        return HostPattern::Any;
    }
    HostPattern::parse(text).unwrap_or_else(|_| {
        refused.push(Problem::new("UnsupportedValue", format!("hostname: {text:?} is no host name")));
        HostPattern::Any
    })
}

/// The kinds that may attach: those of the protocol that are also asked for (checklist LS6).
fn kinds(spec: &Listener, speaks: Option<Speaks>, unresolved: &mut Vec<Problem>) -> Vec<Kind> {
    let possible = speaks.map_or(&[][..], Speaks::kinds);
    let asked = spec.allowed_routes.as_ref().map_or(&[][..], |routes| &*routes.kinds);
    if asked.is_empty() {
        return possible.to_vec();
    }
    let mut kinds = vec![];
    for (index, entry) in asked.iter().enumerate() {
        let group = entry.group.as_deref().unwrap_or(GROUP);
        let known = possible.iter().find(|kind| kind.as_str() == entry.kind && kind.group() == group);
        match known {
            Some(kind) if kinds.contains(kind) => {}
            Some(kind) => kinds.push(*kind),
            None => unresolved.push(Problem::new(
                "InvalidRouteKinds",
                format!(
                    "allowedRoutes.kinds[{index}]: {:?} of group {group:?} cannot attach to protocol {}",
                    entry.kind, spec.protocol
                ),
            )),
        }
    }
    kinds
}

/// Whether labels satisfy a selector. What is not understood selects nothing.
pub(crate) fn selects<'a>(selector: &LabelSelector, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    let labels = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    labels.into_iter().all(|(name, value)| label(name) == Some(value))
        && expressions.into_iter().all(|expression| {
            let value = label(&expression.key);
            let listed = || {
                value.is_some_and(|value| expression.values.iter().flatten().any(|listed| listed == value))
            };
            match &*expression.operator {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
