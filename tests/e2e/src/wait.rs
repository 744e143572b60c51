//! Waits for what must become true, with a deadline. The pause between looks only saves the CPU: no test leans on it.

use std::time::{Duration, Instant};

/// How long anything may take before it counts as never. Far beyond what a loaded machine with two cores needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// Looks until there is something to return.
///
/// # Panics
///
/// After [`DEADLINE`], saying what was waited for.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited {DEADLINE:?} in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}
