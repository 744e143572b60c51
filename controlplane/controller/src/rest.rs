//! Decides when memory that changes have used goes back to the system: once changes rest, or have gone on for long.
//!
//! Pure: the caller says what happened and what time it is. Giving back is not for free, and the next change would take
//! it again: so not after each of a hundred changes a second.

use std::time::{Duration, Instant};

/// How long nothing must have changed.
pub const QUIET: Duration = Duration::from_secs(1);
/// The longest that is waited while changes go on.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// Changes after which nothing was given back yet.
#[derive(Debug, Default)]
pub struct Rest {
    due: Option<Instant>,
    latest: Option<Instant>,
}

impl Rest {
    /// Something has changed.
    pub fn changed(&mut self, now: Instant) {
        let latest = *self.latest.get_or_insert(now + WAIT_MAX);
        self.due = Some(latest.min(now + QUIET));
    }

    /// When it is time; `None` if nothing has changed since.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time. Tells so once.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            *self = Self::default();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_when_changes_rest_and_now_and_then_while_they_do_not() {
        let start = Instant::now();
        let mut rest = Rest::default();
        assert!(!rest.take(start) && rest.due().is_none());
        rest.changed(start);
        assert!(!rest.take(start + QUIET / 2));
        assert!(rest.take(start + QUIET));
        assert!(!rest.take(start + 2 * QUIET), "told once");

        let step = QUIET / 100;
        let taken = (0..).find(|count| {
            rest.changed(start + *count * step);
            rest.take(start + *count * step)
        });
        assert_eq!(taken.map(|count| count * step), Some(WAIT_MAX));
    }
}
