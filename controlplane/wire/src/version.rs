//! What two ends compare to know that they have the same: a hash of each resource's bytes, and of all of a kind.

use std::collections::BTreeMap;

use twox_hash::XxHash3_64;

use crate::proto;

/// The hash of a resource's bytes.
///
/// Not secret and not proof against forgery: the stream is authenticated. Two versions of one resource that met would
/// leave a proxy with the older one, so 64 bits of a well-mixing hash must do: one chance in 10^19 a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(u64);

impl Version {
    /// Of an encoded resource.
    pub fn of(bytes: &[u8]) -> Self {
        Self(XxHash3_64::oneshot(bytes))
    }

    /// As on the wire.
    pub fn from_wire(value: u64) -> Self {
        Self(value)
    }

    /// As on the wire.
    pub fn to_wire(self) -> u64 {
        self.0
    }
}

/// All resources of one kind: how many, and the wrapping sum of a hash of each name with its version. Resources come and
/// go in any order and leave the same digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    count: u64,
    sum: u64,
}

impl Digest {
    /// Takes a resource in.
    pub fn add(&mut self, key: &str, version: Version) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(mixed(key, version));
    }

    /// Takes out what was taken in.
    pub fn remove(&mut self, key: &str, version: Version) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(mixed(key, version));
    }
}

fn mixed(key: &str, version: Version) -> u64 {
    XxHash3_64::oneshot_with_seed(version.0, key.as_bytes())
}

/// A digest for each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests(BTreeMap<i32, Digest>);

impl Digests {
    /// Takes a resource in.
    pub fn add(&mut self, name: &proto::Name, version: Version) {
        self.0.entry(name.kind).or_default().add(&name.key, version);
    }

    /// Takes out what was taken in. A kind without resources is no entry, so that it equals one that never had any.
    pub fn remove(&mut self, name: &proto::Name, version: Version) {
        if let Some(digest) = self.0.get_mut(&name.kind) {
            digest.remove(&name.key, version);
            if *digest == Digest::default() {
                self.0.remove(&name.kind);
            }
        }
    }

    /// As on the wire.
    pub fn to_wire(&self) -> Vec<proto::Digest> {
        let wire = |(kind, digest): (&i32, &Digest)| proto::Digest {
            kind: *kind,
            count: digest.count,
            sum: digest.sum,
        };
        self.0.iter().map(wire).collect()
    }

    /// As on the wire.
    pub fn from_wire(digests: &[proto::Digest]) -> Self {
        let read = |it: &proto::Digest| (it.kind, Digest { count: it.count, sum: it.sum });
        Self(digests.iter().map(read).collect())
    }
}
