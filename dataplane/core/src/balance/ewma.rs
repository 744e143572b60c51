//! A latency estimate that believes bad news at once and good news slowly.
//!
//! A latency above the estimate replaces it; one below is averaged in. Without news the estimate decays, so that an
//! endpoint that was slow is tried again. Never reads a clock. See [`super`] for what it is used for.

use std::time::Duration;

use crate::time::Instant;

/// How fast the past is forgotten: after this long without news an estimate is down to 37 %. Finagle's default,
/// long enough that a slow endpoint is not tried again with every breath.
const DECAY: Duration = Duration::from_secs(10);

/// The least estimate after a failure. Endpoints answer faster than this only next door.
const FAILURE_NANOS_MIN: f64 = 1e6;

/// The largest estimate, 60 s: failures double it, and without a bound it would never come back.
const NANOS_MAX: f64 = 60e9;

/// A peak-sensitive, exponentially weighted moving average of latencies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeakEwma {
    /// As of `at`; zero when nothing was ever measured.
    nanos: f64,
    at: Instant,
}

impl PeakEwma {
    /// The estimate now, in nanoseconds; `None` when nothing was ever measured.
    pub(super) fn nanos(&self, now: Instant) -> Option<f64> {
        (self.nanos > 0.0).then(|| self.nanos * self.kept(now))
    }

    /// Takes in a measured latency.
    pub(super) fn observe(&mut self, latency: Duration, now: Instant) {
        // One nanosecond at least: zero means "never measured".
        let latency = (latency.as_nanos() as f64).clamp(1.0, NANOS_MAX);
        let kept = self.kept(now);
        self.nanos = if latency > self.nanos { latency } else { self.nanos * kept + latency * (1.0 - kept) };
        self.at = now;
    }

    /// Doubles the estimate: errors often come faster than answers and must not attract traffic. One failure is soon
    /// forgiven, a row of them is not.
    pub(super) fn failed(&mut self, now: Instant) {
        let doubled = self.nanos(now).unwrap_or_default() * 2.0;
        self.nanos = doubled.clamp(FAILURE_NANOS_MIN, NANOS_MAX);
        self.at = now;
    }

    fn kept(&self, now: Instant) -> f64 {
        (-now.since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(millis))
    }

    fn millis(ewma: &PeakEwma, now: Instant) -> f64 {
        ewma.nanos(now).expect("measured") / 1e6
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let mut ewma = PeakEwma::default();
        assert_eq!(ewma.nanos(at(0)), None);
        ewma.observe(Duration::from_millis(1), at(0));
        ewma.observe(Duration::from_millis(100), at(1));
        assert!((millis(&ewma, at(1)) - 100.0).abs() < 1e-9);
        ewma.observe(Duration::from_millis(1), at(1001));
        assert!((85.0..95.0).contains(&millis(&ewma, at(1001))));
        assert!((30.0..37.0).contains(&millis(&ewma, at(11_001))), "no news for 10 s: down to 37 %");
    }

    #[test]
    fn failures_in_a_row_add_up_and_stay_bounded() {
        let mut ewma = PeakEwma::default();
        for _ in 0..7 {
            ewma.failed(at(5));
        }
        assert!((millis(&ewma, at(5)) - 64.0).abs() < 1e-9);
        for _ in 0..100 {
            ewma.failed(at(5));
        }
        assert!((millis(&ewma, at(5)) - 60_000.0).abs() < 1e-6);
    }
}
