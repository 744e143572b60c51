//! Decides when a burst of changes is over, so that a save of many files becomes one change of configuration.
//!
//! Pure: the caller says what it saw and what time it is. A finished save waits a few milliseconds for its siblings. A
//! file that is being written is left alone until its writer closes it, because saving begins with an empty file and
//! half a file often parses: whoever reads it then takes objects for deleted. Nothing waits for ever.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a finished change waits for others. Editors and `kubectl`-like tools write a directory within it.
pub const QUIET: Duration = Duration::from_millis(5);
/// The longest that a finished change waits while others keep coming.
pub const WAIT_MAX: Duration = Duration::from_millis(40);
/// How long a name that has just come waits for its writer. A link has none. It stays below the 100 ms for a change.
pub const CREATED_QUIET: Duration = Duration::from_millis(40);
/// The longest that files are left alone while one is being written: a writer that keeps its file open is read then.
pub const WRITING_MAX: Duration = Duration::from_secs(1);
/// The most files that are known to be in writing; one more is taken for a finished change.
pub const WRITING_FILES_MAX: usize = 1024;

/// What was seen of a change to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its name came. Nothing can be lost yet: there was no file before.
    Created,
    /// A write; the file is not whole until its writer closes it.
    Writing,
    /// It is whole: closed by its writer, renamed or removed.
    Whole,
    /// Something that says nothing of a writer, such as new permissions.
    Touched,
}

/// Changes that were seen and not yet taken, of files that are told apart by `F`.
#[derive(Debug)]
pub struct Settle<F> {
    pending: Option<Pending>,
    // With the time at which the writing was first seen.
    writing: BTreeMap<F, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    quiet_until: Instant,
}

impl<F> Default for Settle<F> {
    fn default() -> Self {
        Self { pending: None, writing: BTreeMap::new() }
    }
}

impl<F: Ord> Settle<F> {
    /// Notes a change of a file.
    pub fn saw(&mut self, file: F, seen: Seen, now: Instant) {
        match seen {
            Seen::Created => self.wait(CREATED_QUIET, now),
            Seen::Writing if self.writing.contains_key(&file) => {}
            Seen::Writing if self.writing.len() < WRITING_FILES_MAX => {
                self.writing.insert(file, now);
            }
            Seen::Whole => {
                self.writing.remove(&file);
                self.wait(QUIET, now);
            }
            Seen::Writing | Seen::Touched => self.wait(QUIET, now),
        }
    }

    /// Notes that everything is to be looked at, whatever was seen.
    pub fn asked(&mut self, now: Instant) {
        self.wait(QUIET, now);
    }

    /// When the pending changes are to be taken; `None` if there are none.
    pub fn due(&self) -> Option<Instant> {
        match self.writing.values().min() {
            Some(oldest) => Some(*oldest + WRITING_MAX),
            None => self.pending.map(|pending| pending.quiet_until.min(pending.first + WAIT_MAX)),
        }
    }

    /// Takes the pending changes if they are due.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.pending = None;
            self.writing.clear();
        }
        due
    }

    /// Whether a file is being written, so that what was just read may be half of one.
    pub fn writing(&self) -> bool {
        !self.writing.is_empty()
    }

    fn wait(&mut self, quiet: Duration, now: Instant) {
        let pending = self.pending.get_or_insert(Pending { first: now, quiet_until: now });
        pending.quiet_until = now + quiet;
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
        settle.saw('a', Seen::Whole, start);
        settle.saw('b', Seen::Whole, start + 3 * MS);
        assert!(!settle.take(start + 7 * MS));
        assert!(settle.take(start + 8 * MS));
        assert!(!settle.take(start + 9 * MS), "taken once");
    }

    #[test]
    fn a_stream_of_changes_is_taken_within_the_bound() {
        for seen in [Seen::Whole, Seen::Touched, Seen::Created] {
            let start = Instant::now();
            let mut settle = Settle::default();
            let taken = (0..).find(|ms| {
                settle.saw('a', seen, start + *ms * MS);
                settle.take(start + *ms * MS)
            });
            assert_eq!(taken, Some(40), "{seen:?}");
        }
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone_until_its_writer_closes_it() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.saw('a', Seen::Created, start);
        settle.saw('a', Seen::Writing, start);
        settle.saw('a', Seen::Touched, start + 10 * MS);
        assert!(settle.writing());
        assert!(!settle.take(start + 600 * MS), "a writer may be stopped for long");
        settle.saw('a', Seen::Whole, start + 600 * MS);
        assert!(!settle.writing());
        assert!(settle.take(start + 605 * MS));
    }

    #[test]
    fn a_finished_file_waits_for_another_that_is_being_written() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.saw('a', Seen::Writing, start);
        settle.saw('b', Seen::Whole, start + MS);
        settle.asked(start + 2 * MS);
        assert!(!settle.take(start + 100 * MS));
        settle.saw('a', Seen::Whole, start + 100 * MS);
        assert!(settle.take(start + 105 * MS));
    }

    #[test]
    fn a_writer_that_never_closes_is_not_waited_for_for_ever() {
        let start = Instant::now();
        let mut settle = Settle::default();
        let taken = (0..).find(|ms| {
            settle.saw('a', Seen::Writing, start + *ms * MS);
            settle.take(start + *ms * MS)
        });
        assert_eq!(taken, Some(1000));
        assert!(!settle.writing(), "it is read as it is");
    }

    #[test]
    fn files_beyond_the_bound_are_taken_for_finished() {
        let start = Instant::now();
        let mut settle = Settle::default();
        (0..=WRITING_FILES_MAX).for_each(|file| settle.saw(file, Seen::Writing, start));
        assert_eq!(settle.writing.len(), WRITING_FILES_MAX);
        (0..WRITING_FILES_MAX).for_each(|file| settle.saw(file, Seen::Whole, start));
        assert_eq!(settle.due(), Some(start + QUIET));
    }
}
