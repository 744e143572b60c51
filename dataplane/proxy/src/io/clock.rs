//! Monotonic time, read once between two system calls.
//!
//! A request asks for the time some twenty times, most of them within the same microsecond, and each reading costs as
//! much as a small allocation. So a reading holds until a socket is used or another task runs: that is when time
//! passes. What a task computes between two system calls counts from the next reading on.

use std::cell::Cell;
use std::time::Instant as MachineInstant;

use ringway_core::Instant;

thread_local! {
    /// Counts what takes time on this thread.
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Time passes: whoever asks next reads the clock.
pub(super) fn pass() {
    STEPS.set(STEPS.get() + 1);
}

/// A core's clock.
pub(super) struct Clock {
    origin: MachineInstant,
    /// The last reading, and the step at which it was made.
    read: Cell<Option<(u64, Instant)>>,
}

impl Clock {
    /// Counts from an instant.
    pub(super) fn new(origin: MachineInstant) -> Self {
        Self { origin, read: Cell::new(None) }
    }

    /// The time of this step.
    pub(super) fn now(&self) -> Instant {
        let step = STEPS.get();
        match self.read.get() {
            Some((at, time)) if at == step => time,
            _ => {
                let time = Instant::after_origin(self.origin.elapsed());
                self.read.set(Some((step, time)));
                time
            }
        }
    }

    /// The same instant, as the machine counts.
    pub(super) fn machine(&self, at: Instant) -> MachineInstant {
        self.origin + std::time::Duration::from_nanos(at.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_holds_until_time_passes() {
        let clock = Clock::new(MachineInstant::now());
        let first = clock.now();
        while clock.origin.elapsed() <= clock.machine(first).duration_since(clock.origin) {}
        assert_eq!(clock.now(), first);
        pass();
        assert!(clock.now() > first);
    }
}
