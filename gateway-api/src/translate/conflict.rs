//! Listeners that cannot be told apart, or cannot share a port (checklist L1 to L6, LSET4, LS5).
//!
//! Inside one Gateway there is no winner: every member of a conflict is refused. Against the listeners of
//! ListenerSets the earlier wins: the Gateway's own first, then the sets by age.

use super::condition::Problem;
use super::listener::{Entry, Speaks};
use crate::objects::Kind;

/// Marks every conflict among the listeners of one gateway, which are in merge order.
pub(crate) fn mark(entries: &mut [Entry<'_>]) {
    let own = entries.iter().take_while(|entry| entry.owner.kind == Kind::Gateway).count();
    let found: Vec<Option<Problem>> = (0..own)
        .map(|index| {
            (0..own).filter(|other| *other != index).find_map(|other| between(entries, index, other))
        })
        .collect();
    for (entry, conflict) in entries.iter_mut().zip(found) {
        entry.conflict = conflict;
    }
    for index in own..entries.len() {
        // A refused listener of the Gateway itself still keeps its place: its author is asked first.
        let earlier = |other: &usize| *other < own || entries[*other].conflict.is_none();
        let conflict = (0..index).filter(earlier).find_map(|other| between(entries, index, other));
        entries[index].conflict = conflict;
    }
    overlaps(entries);
}

fn between(entries: &[Entry<'_>], index: usize, other: usize) -> Option<Problem> {
    let (entry, other) = (&entries[index], &entries[other]);
    let (speaks, others) = (comparable(entry)?, comparable(other)?);
    if entry.spec.port != other.spec.port || speaks.transport() != others.transport() {
        return None;
    }
    let same_hosts = entry.hostname == other.hostname;
    let reason = if family(speaks) != family(others) {
        "ProtocolConflict"
    } else if !same_hosts {
        return None;
    } else if speaks.protocol() == others.protocol() {
        "HostnameConflict"
    } else {
        "ProtocolConflict"
    };
    let message = format!(
        "Listener {} has the same port number {} with {}",
        other.key,
        entry.spec.port,
        match reason {
            "ProtocolConflict" => format!("the conflicting protocol {}", other.spec.protocol),
            _ => format!("the same protocol and hostname {}", other.hostname),
        }
    );
    Some(Problem::new(reason, message))
}

/// What can be compared; a listener that is refused for itself is in nobody's way.
fn comparable(entry: &Entry<'_>) -> Option<Speaks> {
    entry.speaks.filter(|_| entry.refused.is_empty())
}

/// Protocols of one family can share a port, told apart by SNI or Host.
fn family(speaks: Speaks) -> u8 {
    match speaks {
        Speaks::Http => 0,
        Speaks::Https | Speaks::TlsTerminate | Speaks::TlsPassthrough => 1,
        Speaks::Tcp => 2,
        Speaks::Udp => 3,
    }
}

fn overlaps(entries: &mut [Entry<'_>]) {
    let tls = |entry: &Entry<'_>| {
        entry.accepted() && matches!(entry.speaks, Some(speaks) if family(speaks) == family(Speaks::Https))
    };
    let found: Vec<Option<String>> = entries
        .iter()
        .map(|entry| {
            let overlaps = |other: &&Entry<'_>| {
                other.key != entry.key
                    && tls(other)
                    && other.spec.port == entry.spec.port
                    && other.hostname.intersect(&entry.hostname).is_some()
            };
            let others: Vec<&str> = entries.iter().filter(overlaps).map(|other| other.key.as_str()).collect();
            (tls(entry) && !others.is_empty()).then(|| {
                format!(
                    "Connections for a host of both may be reused between this and {} (port {})",
                    others.join(", "),
                    entry.spec.port
                )
            })
        })
        .collect();
    for (entry, overlap) in entries.iter_mut().zip(found) {
        entry.overlap = overlap;
    }
}
