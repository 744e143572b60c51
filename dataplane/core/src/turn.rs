//! When a core is so busy that what its connections send had better leave together, at the end of an event-loop turn.
//!
//! Sent one by one between the work on requests, each send finds the kernel's code out of the caches and may have to wake
//! its receiver anew; together they do not. That costs a copy, and a moment: worth it only where turns are full.

use std::time::Duration;

use crate::Instant;

/// The time in which sends are counted while they leave at once.
const SPAN: Duration = Duration::from_millis(1);
/// So many within that, and turns are taken to be full.
const BUSY_SENDS: u32 = 40;
/// A turn with fewer is not full.
const FULL_TURN: usize = 4;
/// So many of those in a row, and sends leave at once again.
const SLACK_TURNS: u32 = 16;

/// What is known of a core's turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    full: bool,
    /// They are taken to be full whatever comes.
    always: bool,
    /// Since when sends are counted, and how many there were.
    since: Instant,
    sends: u32,
    /// Turns in a row that were not full.
    slack: u32,
}

impl Turns {
    /// Turns that are full whatever comes: for simulations, which have less to do.
    pub fn always_full() -> Self {
        Self { full: true, always: true, ..Self::default() }
    }

    /// Something is to be sent now: whether it waits for the end of the turn.
    pub fn puts_off(&mut self, now: Instant) -> bool {
        if self.full {
            return true;
        }
        if now.since(self.since) > SPAN {
            (self.since, self.sends) = (now, 0);
        }
        self.sends += 1;
        if self.sends >= BUSY_SENDS {
            (self.full, self.slack) = (true, 0);
        }
        self.full
    }

    /// A turn has ended, in which so many sends were put off.
    pub fn ended(&mut self, sends: usize) {
        self.slack = if sends < FULL_TURN { self.slack + 1 } else { 0 };
        if self.slack >= SLACK_TURNS && !self.always {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Instant {
        Instant::ORIGIN + Duration::from_micros(micros)
    }

    #[test]
    fn thirty_thousand_sends_a_second_leave_at_once() {
        let mut turns = Turns::default();
        assert!((0..10_000).all(|send| !turns.puts_off(micros(33 * send))));
    }

    #[test]
    fn a_hundred_thousand_wait_until_turns_are_no_longer_full() {
        let mut turns = Turns::default();
        let first = (0..1000).position(|send| turns.puts_off(micros(10 * send)));
        assert_eq!(first, Some(BUSY_SENDS as usize - 1));
        for _ in 0..3 {
            (1..SLACK_TURNS).for_each(|_| turns.ended(1));
            // One full turn among them, and the count begins anew.
            turns.ended(FULL_TURN);
        }
        assert!(turns.puts_off(micros(20_000)));
        (0..SLACK_TURNS).for_each(|_| turns.ended(FULL_TURN - 1));
        assert!(!turns.puts_off(micros(20_001)));
    }

    #[test]
    fn a_simulation_puts_off_all_that_it_sends() {
        let mut turns = Turns::always_full();
        for turn in 0..2 * u64::from(SLACK_TURNS) {
            assert!(turns.puts_off(micros(1_000_000 * turn)));
            turns.ended(1);
        }
    }
}
