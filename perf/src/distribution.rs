//! Times as a histogram: what is kept, merged and written. Never averages of percentiles.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

/// The shortest time that is told apart, in nanoseconds.
const LOWEST_NS: u64 = 1_000;
/// The longest one; what takes longer counts as this.
const HIGHEST_NS: u64 = 60_000_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;

/// Times in nanoseconds, from 1 us to 60 s, to three digits.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution(Histogram<u64>);

impl Default for Distribution {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
                .expect("the bounds are constants that fit"),
        )
    }
}

impl Distribution {
    /// Counts one time.
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.max(LOWEST_NS));
    }

    /// Takes in what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time, in microseconds, that so many per cent did not exceed. Zero if nothing was counted.
    pub fn percentile_us(&self, per_cent: f64) -> f64 {
        self.0.value_at_quantile(per_cent / 100.0) as f64 / 1_000.0
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1_000.0
    }

    /// The mean, in microseconds.
    pub fn mean_us(&self) -> f64 {
        self.0.mean() / 1_000.0
    }

    /// The histogram itself, for what writes curves of it.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// As the standard text form of histograms (V2, base64).
impl Serialize for Distribution {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.0, &mut bytes).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        let read: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(serde::de::Error::custom)?;
        let mut known = Self::default();
        known.0.add(&read).map_err(serde::de::Error::custom)?;
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut times = Distribution::default();
        for time in [500, 1_000_000, 3_000_000, 90_000_000_000] {
            times.record(time);
        }
        let text = serde_json::to_string(&times).unwrap();
        assert_eq!(serde_json::from_str::<Distribution>(&text).unwrap(), times);
    }

    #[test]
    fn bounds_saturate() {
        let mut times = Distribution::default();
        times.record(1);
        times.record(u64::MAX);
        assert_eq!(times.count(), 2);
        assert!(times.max_us() >= 59_900_000.0);
    }
}
