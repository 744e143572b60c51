//! BackendTLSPolicies: which one is in force for a Service port, and what it demands (checklist TLS1 to TLS8).
//!
//! A policy that demands what cannot be had leaves its Service without a way to be reached: traffic never falls back
//! to plain text, nor to the next policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_config::{Host, Trust, UpstreamTls, VerifyName};

use super::age::Seniority;
use super::condition::{Problem, unless};
use super::secrets::authorities;
use crate::objects::*;
use crate::world::{Name, World};

/// Every policy, judged, and the one in force for each target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Policies {
    policies: BTreeMap<Name, Judged>,
    in_force: BTreeMap<Target, Name>,
}

/// A Service, or a port of it by name.
type Target = (Name, Option<Arc<str>>);

#[derive(Clone, Debug, PartialEq)]
struct Judged {
    generation: i64,
    targets: Vec<Target>,
    refused: Vec<Problem>,
    unresolved: Vec<Problem>,
    tls: Option<UpstreamTls>,
}

impl Policies {
    pub(crate) fn of(world: &World) -> Self {
        let mut policies = BTreeMap::new();
        let mut candidates: BTreeMap<Target, (Seniority, Name)> = BTreeMap::new();
        for (name, policy) in world.backend_tls_policies.iter() {
            let seniority = Seniority::of(&policy.metadata, &name);
            let judged = judge(world, &name, policy);
            for target in &judged.targets {
                let candidate = (seniority.clone(), name.clone());
                match candidates.get_mut(target) {
                    Some(oldest) if candidate.0 < oldest.0 => *oldest = candidate,
                    Some(_) => {}
                    None => drop(candidates.insert(target.clone(), candidate)),
                }
            }
            policies.insert(name, judged);
        }
        let in_force = candidates.into_iter().map(|(target, (_, name))| (target, name)).collect();
        Self { policies, in_force }
    }

    /// What is demanded for a port of a Service: nothing, some TLS, or what cannot be had (`Err`).
    pub(crate) fn demand(&self, service: &Name, port: Option<&str>) -> Result<Option<&UpstreamTls>, ()> {
        let section = || self.in_force.get(&(service.clone(), Some(port?.into())));
        let Some(name) = section().or_else(|| self.in_force.get(&(service.clone(), None))) else {
            return Ok(None);
        };
        self.policies[name].tls.as_ref().map(Some).ok_or(())
    }

    /// The status of every policy that matters to a gateway of ours. `gateways` tells which reach a Service.
    pub(crate) fn statuses(
        &self,
        world: &World,
        controller: &str,
        gateways: impl Fn(&Name) -> Vec<Name>,
    ) -> BTreeMap<Name, PolicyStatus> {
        let mut statuses = BTreeMap::new();
        for (name, policy) in &self.policies {
            let mut ancestors: Vec<Name> =
                policy.targets.iter().flat_map(|(service, _)| gateways(service)).collect();
            ancestors.sort();
            ancestors.dedup();
            ancestors.truncate(ANCESTORS_MAX);
            if ancestors.is_empty() {
                continue;
            }
            let conditions = self.conditions(world, name, policy);
            let entry = |gateway: Name| PolicyAncestorStatus {
                ancestor_ref: ParentReference {
                    group: Some(GROUP.into()),
                    kind: Some("Gateway".into()),
                    namespace: Some(gateway.namespace.to_string()),
                    name: gateway.name.to_string(),
                    ..ParentReference::default()
                },
                controller_name: controller.into(),
                conditions: conditions.clone(),
            };
            statuses
                .insert(name.clone(), PolicyStatus { ancestors: ancestors.into_iter().map(entry).collect() });
        }
        statuses
    }

    fn conditions(&self, world: &World, name: &Name, policy: &Judged) -> Vec<Condition> {
        let lost = policy.targets.iter().filter_map(|target| {
            let winner = self.in_force.get(target).filter(|winner| *winner != name)?;
            let message = format!(
                "spec.targetRefs: BackendTLSPolicy {winner} is older and in force for Service {}",
                target.0
            );
            Some(Problem::new("Conflicted", message))
        });
        let missing = policy.targets.iter().filter_map(|(service, section)| {
            let found = world
                .services
                .get(&service.namespace, &service.name)
                .is_some_and(|service| section.as_ref().is_none_or(|section| has_port(service, section)));
            let message = || match section {
                None => format!("spec.targetRefs: Service {service} not found"),
                Some(section) => format!("spec.targetRefs: Service {service} has no port named {section}"),
            };
            (!found).then(|| Problem::new("TargetNotFound", message()))
        });
        let refused: Vec<Problem> = lost.chain(missing).chain(policy.refused.iter().cloned()).collect();
        let generation = policy.generation;
        vec![
            unless("Accepted", ("Accepted", "In force"), &refused, generation),
            unless(
                "ResolvedRefs",
                ("ResolvedRefs", "All references are resolved"),
                &policy.unresolved,
                generation,
            ),
        ]
    }
}

/// The CRD takes no more ancestors (checklist S6).
const ANCESTORS_MAX: usize = 16;

fn has_port(service: &Service, port: &str) -> bool {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.is_some_and(|ports| ports.iter().any(|known| known.name.as_deref() == Some(port)))
}

fn judge(world: &World, name: &Name, policy: &BackendTLSPolicy) -> Judged {
    let mut refused = vec![];
    let mut targets: Vec<Target> = vec![];
    for (index, target) in policy.spec.target_refs.iter().enumerate() {
        if !target.group.is_empty() || target.kind != "Service" {
            let message =
                format!("spec.targetRefs[{index}]: {:?} is no kind that this policy is for", target.kind);
            refused.push(Problem::new("Invalid", message));
            continue;
        }
        let service = Name { namespace: Arc::clone(&name.namespace), name: target.name.as_str().into() };
        targets.push((service, target.section_name.as_deref().map(Arc::from)));
    }
    let demand = demand(world, &name.namespace, &policy.spec.validation, "spec.validation");
    refused.extend(demand.refused);
    Judged {
        generation: policy.metadata.generation.unwrap_or_default(),
        targets,
        refused,
        unresolved: demand.unresolved,
        tls: demand.tls,
    }
}

/// What a `validation` demands, with everything that is wrong with it. Policies and XBackends share it.
pub(crate) struct Demand {
    pub(crate) refused: Vec<Problem>,
    pub(crate) unresolved: Vec<Problem>,
    pub(crate) tls: Option<UpstreamTls>,
}

/// Reads a `validation`. Client certificates are another's to add.
pub(crate) fn demand(
    world: &World,
    namespace: &str,
    validation: &BackendTlsValidation,
    field: &str,
) -> Demand {
    let mut refused = vec![];
    let mut unresolved = vec![];
    let sni = Host::parse(&validation.hostname)
        .map_err(|_| {
            let message = format!("{field}.hostname: {:?} is no host name", validation.hostname);
            refused.push(Problem::new("Invalid", message));
        })
        .ok();
    let trust = trust(world, namespace, validation, field, &mut refused, &mut unresolved);
    let verify = verify(validation, field, &mut refused);
    let tls = match (refused.is_empty(), sni, trust) {
        (true, Some(sni), Some(trust)) => {
            Some(UpstreamTls { sni: sni.as_str().into(), verify, trust, client_certificate: None })
        }
        _ => None,
    };
    Demand { refused, unresolved, tls }
}

fn trust(
    world: &World,
    namespace: &str,
    validation: &BackendTlsValidation,
    field: &str,
    refused: &mut Vec<Problem>,
    unresolved: &mut Vec<Problem>,
) -> Option<Trust> {
    if validation.ca_certificate_refs.is_empty() {
        return match &validation.well_known_ca_certificates {
            Some(WellKnownCaCertificates::System) => Some(Trust::System),
            Some(WellKnownCaCertificates::Unknown(text)) => {
                let message = format!("{field}.wellKnownCACertificates: {text:?} is not known");
                refused.push(Problem::new("Invalid", message));
                None
            }
            None => {
                let message = format!("{field}: neither caCertificateRefs nor wellKnownCACertificates");
                refused.push(Problem::new("NoValidCACertificate", message));
                None
            }
        };
    }
    let mut roots = vec![];
    for (index, reference) in validation.ca_certificate_refs.iter().enumerate() {
        let at = format!("{field}.caCertificateRefs[{index}]");
        if !reference.group.is_empty() || reference.kind != "ConfigMap" {
            let message = format!("{at}: {:?} is no ConfigMap", reference.kind);
            unresolved.push(Problem::new("InvalidKind", message));
            continue;
        }
        match authorities(world, namespace, &reference.name) {
            Ok(found) => roots.extend(found),
            Err(why) => unresolved.push(Problem::new("InvalidCACertificateRef", format!("{at}: {why}"))),
        }
    }
    if roots.is_empty() {
        let message = format!("{field}.caCertificateRefs: none of them is a valid CA certificate");
        refused.push(Problem::new("NoValidCACertificate", message));
        return None;
    }
    Some(Trust::Roots(roots))
}

fn verify(validation: &BackendTlsValidation, field: &str, refused: &mut Vec<Problem>) -> VerifyName {
    if validation.subject_alt_names.is_empty() {
        return VerifyName::Sni;
    }
    let (mut hostnames, mut uris) = (vec![], vec![]);
    for (index, name) in validation.subject_alt_names.iter().enumerate() {
        let at = format!("{field}.subjectAltNames[{index}]");
        let problem = match &name.kind {
            SubjectAltNameType::Uri if name.uri.is_empty() => "no uri".to_owned(),
            SubjectAltNameType::Uri => {
                uris.push(name.uri.as_str().into());
                continue;
            }
            SubjectAltNameType::Hostname => match Host::parse(name.hostname.trim_start_matches("*.")) {
                Ok(_) => {
                    hostnames.push(name.hostname.to_ascii_lowercase().into());
                    continue;
                }
                Err(_) => format!("{:?} is no host name", name.hostname),
            },
            SubjectAltNameType::Unknown(text) => format!("type {text:?} is not known"),
        };
        refused.push(Problem::new("Invalid", format!("{at}: {problem}")));
    }
    VerifyName::AnyOf { hostnames, uris }
}
