//! Listeners that cannot be told apart, or cannot share a port (checklist L1 to L6, LSET4).
//!
//! Inside one Gateway there is no winner: every member of a conflict is refused. Against the listeners of
//! ListenerSets the earlier wins: the Gateway's own first, then the sets by age.

use std::collections::BTreeMap;

use ringway_config::{HostPattern, Transport};

use super::condition::Problem;
use super::listener::{Entry, Speaks};
use crate::objects::Kind;

/// Marks every conflict among the listeners of one gateway, which are in merge order.
pub(crate) fn mark(entries: &mut [Entry<'_>]) {
    let own = entries.iter().take_while(|entry| entry.owner.kind == Kind::Gateway).count();
    let mut ports: BTreeMap<(u16, Transport), Port> = BTreeMap::new();
    for (index, entry) in entries[..own].iter().enumerate() {
        if let Some(speaks) = comparable(entry) {
            ports.entry(socket(entry, speaks)).or_default().take(index, entry, speaks);
        }
    }
    // A refused listener of the Gateway itself still keeps its place: its author is asked first.
    for index in 0..entries.len() {
        let Some(speaks) = comparable(&entries[index]) else {
            entries[index].conflict = None;
            continue;
        };
        let port = ports.entry(socket(&entries[index], speaks)).or_default();
        let conflict = port.conflict(index, &entries[index], speaks, entries);
        if conflict.is_none() && index >= own {
            port.take(index, &entries[index], speaks);
        }
        entries[index].conflict = conflict;
    }
}

/// Who is on a port, by what tells listeners apart.
#[derive(Default)]
struct Port {
    families: BTreeMap<u8, usize>,
    /// At most the first two for a host: whoever asks needs one that is not itself.
    hosts: BTreeMap<HostPattern, (usize, Option<usize>)>,
}

impl Port {
    fn take(&mut self, index: usize, entry: &Entry<'_>, speaks: Speaks) {
        self.families.entry(family(speaks)).or_insert(index);
        match self.hosts.get_mut(&entry.hostname) {
            Some((_, second)) => *second = second.or(Some(index)),
            None => drop(self.hosts.insert(entry.hostname.clone(), (index, None))),
        }
    }

    fn conflict(
        &self,
        index: usize,
        entry: &Entry<'_>,
        speaks: Speaks,
        entries: &[Entry<'_>],
    ) -> Option<Problem> {
        let other_family = self.families.iter().find(|(known, _)| **known != family(speaks));
        let same_host = || {
            let (first, second) = *self.hosts.get(&entry.hostname)?;
            if first == index { second } else { Some(first) }
        };
        let other = &entries[other_family.map(|(_, other)| *other).or_else(same_host)?];
        let same_protocol = other.speaks.map(Speaks::protocol) == Some(speaks.protocol());
        let port = entry.spec.port;
        Some(if same_protocol {
            let host = &other.hostname;
            let message = format!(
                "Listener {} has the same port number {port}, the same protocol and hostname {host}",
                other.key
            );
            Problem::new("HostnameConflict", message)
        } else {
            let protocol = &other.spec.protocol;
            let message = format!(
                "Listener {} has the same port number {port} with the conflicting protocol {protocol}",
                other.key
            );
            Problem::new("ProtocolConflict", message)
        })
    }
}

fn socket(entry: &Entry<'_>, speaks: Speaks) -> (u16, Transport) {
    (entry.spec.port, speaks.transport())
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
