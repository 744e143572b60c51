//! How long things took, in fixed buckets: recording is a search in fifteen numbers, merging is adding. See [`super`].

use std::time::Duration;

/// Upper bounds in nanoseconds, inclusive. From half a millisecond, which is what a neighbour needs, to a minute; what is slower is
/// a stream.
pub(super) const BOUNDS: [u64; 15] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// Durations in buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    /// Wraps after 584 years of waiting.
    nanos: u64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS.partition_point(|bound| *bound < nanos)] += 1;
        self.nanos = self.nanos.wrapping_add(nanos);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.buckets.iter_mut().zip(other.buckets) {
            *own += other;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// For each bound, how many were at most that long; the last one, of all, has no bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.into_iter().map(|bound| Some(Duration::from_nanos(bound)));
        bounds.chain([None]).zip(self.buckets).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_merging_adds() {
        let mut a = Histogram::default();
        a.record(Duration::ZERO);
        a.record(Duration::from_micros(500));
        a.record(Duration::from_nanos(500_001));
        let mut b = Histogram::default();
        b.record(Duration::from_secs(3600));
        b.merge(&a);
        let counts: Vec<_> = b.cumulative().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[14], counts[15]), (2, 3, 3, 4));
        assert_eq!(b.count(), 4);
        assert_eq!(b.sum(), Duration::from_secs(3600) + Duration::from_nanos(1_000_001));
        assert_eq!(b.cumulative().last(), Some((None, 4)));
    }
}
