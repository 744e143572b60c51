//! Decides when a burst of changes is over, so that a save of many files becomes one change of configuration.
//!
//! Pure: the caller says what it saw and what time it is. A finished save waits a few milliseconds for its siblings; a
//! file that is still being written waits longer, because half a file often parses. Neither waits for ever.

use std::time::{Duration, Instant};

/// How long a finished change waits for others. Editors and `kubectl`-like tools write a directory within it.
pub const QUIET: Duration = Duration::from_millis(5);
/// The longest that a finished change waits while others keep coming.
pub const WAIT_MAX: Duration = Duration::from_millis(40);
/// How long after a write that may not be the last one. With reading and swapping it stays below 100 ms.
pub const WRITING_QUIET: Duration = Duration::from_millis(40);
/// The longest that a file is left alone while it is being written.
pub const WRITING_MAX: Duration = Duration::from_secs(1);

/// What was seen of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A write, and the writer may not be done.
    Writing,
    /// Something whole: a file closed by its writer, renamed, removed.
    Done,
}

/// Changes that were seen and not yet taken.
#[derive(Debug, Default)]
pub struct Settle {
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    first_done: Option<Instant>,
    quiet_until: Instant,
}

impl Settle {
    /// Notes a change.
    pub fn saw(&mut self, seen: Seen, now: Instant) {
        let pending = self.pending.get_or_insert(Pending { first: now, first_done: None, quiet_until: now });
        match seen {
            Seen::Writing => pending.quiet_until = now + WRITING_QUIET,
            Seen::Done => {
                pending.first_done.get_or_insert(now);
                pending.quiet_until = now + QUIET;
            }
        }
    }

    /// When the pending changes are to be taken; `None` if there are none.
    pub fn due(&self) -> Option<Instant> {
        let pending = self.pending?;
        let patience = pending.first_done.map_or(pending.first + WRITING_MAX, |done| done + WAIT_MAX);
        Some(pending.quiet_until.min(patience))
    }

    /// Takes the pending changes if they are due.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.pending = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_finished_change_is_taken_after_a_moment_of_quiet() {
        let start = Instant::now();
        let mut settle = Settle::default();
        assert_eq!(settle.due(), None);
        settle.saw(Seen::Done, start);
        settle.saw(Seen::Done, start + 3 * MS);
        assert!(!settle.take(start + 7 * MS));
        assert!(settle.take(start + 8 * MS));
        assert!(!settle.take(start + 9 * MS), "taken once");
    }

    #[test]
    fn a_stream_of_changes_is_taken_within_the_bound() {
        let start = Instant::now();
        let mut settle = Settle::default();
        let taken = (0..).find(|ms| {
            settle.saw(Seen::Done, start + *ms * MS);
            settle.take(start + *ms * MS)
        });
        assert_eq!(taken, Some(40));
    }

    #[test]
    fn a_file_being_written_waits_longer_until_its_writer_closes_it() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.saw(Seen::Writing, start);
        settle.saw(Seen::Writing, start + 30 * MS);
        assert!(!settle.take(start + 69 * MS));
        settle.saw(Seen::Done, start + 69 * MS);
        assert!(!settle.take(start + 73 * MS));
        assert!(settle.take(start + 74 * MS));
    }

    #[test]
    fn a_writer_that_never_closes_is_not_waited_for_for_ever() {
        let start = Instant::now();
        let mut settle = Settle::default();
        let taken = (0..).find(|ms| {
            settle.saw(Seen::Writing, start + *ms * MS);
            settle.take(start + *ms * MS)
        });
        assert_eq!(taken, Some(1000));

        settle.saw(Seen::Writing, start);
        assert!(settle.take(start + WRITING_QUIET), "a writer that pauses is read");
    }
}
