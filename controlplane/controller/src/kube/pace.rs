//! Decides when changes go out. Pure: time is an argument.
//!
//! Structure (gateways, routes, Services) waits for quiet, so that what is applied together is translated together;
//! endpoints never wait.

use std::time::{Duration, Instant};

/// How long a change waits for others. An applied directory comes within it.
pub const QUIET: Duration = Duration::from_millis(5);
/// The longest that a change waits while others keep coming.
pub const WAIT_MAX: Duration = Duration::from_millis(40);

/// Since when changes wait.
#[derive(Debug, Default)]
pub struct Pace {
    waiting: Option<(Instant, Instant)>,
}

impl Pace {
    /// Notes a change of structure.
    pub fn changed(&mut self, now: Instant) {
        let (first, _) = self.waiting.unwrap_or((now, now));
        self.waiting = Some((first, now));
    }

    /// When to take what waits; `None`: nothing does.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.map(|(first, last)| (last + QUIET).min(first + WAIT_MAX))
    }

    /// Whether it is time to take what waits, which then waits no longer.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.waiting = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_waits_for_quiet_but_never_for_ever() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        assert!(!pace.take(at(0)));
        pace.changed(at(0));
        assert!(!pace.take(at(4)));
        pace.changed(at(4));
        assert!(!pace.take(at(8)));
        assert!(pace.take(at(9)));
        assert_eq!(pace.due(), None);
        for ms in 10..100 {
            pace.changed(at(ms));
        }
        assert_eq!(pace.due(), Some(at(50)));
    }
}
