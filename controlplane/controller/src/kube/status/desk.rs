//! Which status is to be looked at next. Pure: time is an argument.
//!
//! An object is on the desk once, however often it is marked; it is not handed out while it is being written, nor
//! sooner after its last write than [`REST`]; and so many are under way at once. So a Gateway that a thousand routes
//! attach to within a second is written a few times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ringway_gateway_api::objects::ObjectKey;

/// Writes under way at once.
pub const WRITES_MAX: usize = 16;
/// Writes that begin within [`WINDOW`]: the API server has others to serve.
pub const WRITES_IN_WINDOW_MAX: usize = 40;
/// See [`WRITES_IN_WINDOW_MAX`].
pub const WINDOW: Duration = Duration::from_millis(100);
/// From one write of an object to the next.
pub const REST: Duration = Duration::from_millis(100);
/// The first wait after a write failed; it doubles up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What waits to be looked at.
#[derive(Debug, Default)]
pub struct Desk {
    due: BTreeMap<ObjectKey, Instant>,
    busy: BTreeSet<ObjectKey>,
    rests: BTreeMap<ObjectKey, Instant>,
    failures: BTreeMap<ObjectKey, u32>,
    /// Since when writes are counted, and how many began since.
    window: Option<(Instant, usize)>,
}

impl Desk {
    /// Has an object looked at from then on; the earliest mark counts.
    pub fn mark(&mut self, key: ObjectKey, at: Instant) {
        let at = self.rests.get(&key).map_or(at, |rest| at.max(*rest));
        let due = self.due.entry(key).or_insert(at);
        *due = at.min(*due);
    }

    /// Takes the next object that is due, which is busy from then on.
    pub fn take(&mut self, now: Instant) -> Option<ObjectKey> {
        let (since, begun) = self.window.filter(|(since, _)| now < *since + WINDOW).unwrap_or((now, 0));
        if self.busy.len() >= WRITES_MAX || begun >= WRITES_IN_WINDOW_MAX {
            return None;
        }
        let is_due = |(key, at): &(&ObjectKey, &Instant)| **at <= now && !self.busy.contains(*key);
        let key = self.due.iter().find(is_due)?.0.clone();
        self.due.remove(&key);
        self.busy.insert(key.clone());
        self.window = Some((since, begun + 1));
        Some(key)
    }

    /// Nothing had to be written, or it was.
    pub fn done(&mut self, key: &ObjectKey, written: bool, now: Instant) {
        self.busy.remove(key);
        self.failures.remove(key);
        self.rests.retain(|_, rest| *rest > now);
        if !written && let Some((_, begun)) = &mut self.window {
            *begun = begun.saturating_sub(1);
        }
        if written {
            self.rests.insert(key.clone(), now + REST);
            if let Some(due) = self.due.get_mut(key) {
                *due = (*due).max(now + REST);
            }
        }
    }

    /// It could not be written: it is looked at again.
    pub fn failed(&mut self, key: &ObjectKey, now: Instant) {
        self.busy.remove(key);
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = RETRY.0.saturating_mul(1 << (*failures).min(10)).min(RETRY.1);
        *failures = failures.saturating_add(1);
        self.due.insert(key.clone(), now + wait);
    }

    /// When something is due next; `None`: nothing before a write ends.
    pub fn wake(&self) -> Option<Instant> {
        if self.busy.len() >= WRITES_MAX {
            return None;
        }
        let due = self.due.iter().filter(|(key, _)| !self.busy.contains(*key)).map(|(_, at)| *at).min()?;
        let full = self.window.filter(|(_, begun)| *begun >= WRITES_IN_WINDOW_MAX);
        Some(full.map_or(due, |(since, _)| due.max(since + WINDOW)))
    }

    /// Forgets what waits; what is under way ends.
    pub fn clear(&mut self) {
        self.due.clear();
        self.failures.clear();
    }

    /// How many objects wait.
    pub fn waiting(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use ringway_gateway_api::objects::Kind;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Gateway, "ns", name)
    }

    #[test]
    fn an_object_is_written_once_at_a_time_and_rests_between() {
        let start = Instant::now();
        let mut desk = Desk::default();
        desk.mark(key("a"), start);
        desk.mark(key("a"), start);
        assert_eq!(desk.take(start), Some(key("a")));
        desk.mark(key("a"), start);
        assert_eq!(desk.take(start), None, "it is busy");
        desk.done(&key("a"), true, start);
        assert_eq!(desk.take(start), None, "it rests");
        assert_eq!(desk.wake(), Some(start + REST));
        assert_eq!(desk.take(start + REST), Some(key("a")));
        desk.done(&key("a"), false, start + REST);
        assert_eq!(desk.wake(), None);
    }

    #[test]
    fn what_fails_is_tried_again_ever_later() {
        let start = Instant::now();
        let mut desk = Desk::default();
        desk.mark(key("a"), start);
        desk.take(start);
        desk.failed(&key("a"), start);
        assert_eq!(desk.wake(), Some(start + RETRY.0));
        desk.take(start + RETRY.0);
        desk.failed(&key("a"), start);
        assert_eq!(desk.wake(), Some(start + 2 * RETRY.0));
    }

    #[test]
    fn so_many_begin_in_a_window() {
        let start = Instant::now();
        let mut desk = Desk::default();
        (0..2 * WRITES_IN_WINDOW_MAX).for_each(|at| desk.mark(key(&at.to_string()), start));
        let mut taken = 0;
        while let Some(key) = desk.take(start) {
            desk.done(&key, true, start);
            taken += 1;
        }
        assert_eq!((taken, desk.wake()), (WRITES_IN_WINDOW_MAX, Some(start + WINDOW)));
        assert!(desk.take(start + WINDOW).is_some());
    }

    #[test]
    fn so_many_are_under_way_at_once() {
        let start = Instant::now();
        let mut desk = Desk::default();
        (0..WRITES_MAX + 1).for_each(|at| desk.mark(key(&at.to_string()), start));
        let taken: Vec<_> = std::iter::from_fn(|| desk.take(start)).collect();
        assert_eq!((taken.len(), desk.waiting(), desk.wake()), (WRITES_MAX, 1, None));
        desk.done(&taken[0], false, start);
        assert!(desk.take(start).is_some());
    }
}
