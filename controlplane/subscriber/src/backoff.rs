//! How long to wait before the next attempt. Pure: the chance is an argument.

use std::time::Duration;

use crate::limits::{PAUSE_MAX, PAUSE_MIN};

/// Twice as long after each failure, and each time another while, so that a thousand proxies that lose one controller do
/// not come to the next one at the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: PAUSE_MIN }
    }
}

impl Backoff {
    /// How long to wait now. `chance` is from 0 to 1.
    pub(crate) fn pause(&mut self, chance: f64) -> Duration {
        let longest = self.next;
        self.next = (2 * longest).min(PAUSE_MAX);
        longest.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_all_the_same() {
        let (mut least, mut most) = (Backoff::default(), Backoff::default());
        let pauses: Vec<_> = (0..10).map(|_| (least.pause(0.0), most.pause(1.0))).collect();
        assert_eq!(pauses[0], (PAUSE_MIN / 2, PAUSE_MIN));
        assert_eq!(pauses[1], (PAUSE_MIN, 2 * PAUSE_MIN));
        assert_eq!(pauses[9], (PAUSE_MAX / 2, PAUSE_MAX));
    }
}
