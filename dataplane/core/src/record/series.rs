//! One series for each of the busiest keys, and one for all others. Bounded whatever the configuration holds.
//!
//! Keys are found by the address of their text: a compiled plan names the same shared text for every request, so that
//! finding a series compares no strings and allocates nothing. Never forgets a key that is in use; see [`super`].

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use ringway_config::{ClusterKey, ListenerKey, RouteKey};

use crate::time::Instant;

/// A series without news for this long is forgotten, as Linkerd does.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Keys that are told apart in order to know who is busy. What comes beyond counts as `other`.
const KNOWN_MAX: usize = 16_384;

/// A key that names a series.
pub trait Key: Clone + Ord {
    /// The label's value.
    fn text(&self) -> &str;
}

macro_rules! keys {
    ($($name:ident)*) => {$(
        impl Key for $name {
            fn text(&self) -> &str {
                self.as_str()
            }
        }
    )*};
}
keys! { ListenerKey ClusterKey RouteKey }

/// The series of one kind of key.
#[derive(Debug)]
pub(super) struct Busiest<K, S> {
    series_max: usize,
    series_count: usize,
    known: Vec<Known<K, S>>,
    by_text: BTreeMap<K, usize>,
    /// Holds the key whose text's address it is, so that no other text can get the same one.
    by_address: HashMap<usize, (K, usize), BuildHasherDefault<AddressHasher>>,
    other: S,
}

#[derive(Debug)]
struct Known<K, S> {
    key: K,
    touched: Instant,
    /// Since the last ranking.
    recent: u64,
    series: Option<Box<S>>,
}

impl<K: Key, S: Default> Busiest<K, S> {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            series_max,
            series_count: 0,
            known: Vec::new(),
            by_text: BTreeMap::new(),
            by_address: HashMap::default(),
            other: S::default(),
        }
    }

    /// The series to count an event of this key in.
    pub(super) fn of(&mut self, key: &K, now: Instant) -> &mut S {
        let address = key.text().as_ptr() as usize;
        let place = match self.by_address.get(&address) {
            Some((_, place)) => Some(*place),
            None => self.learn(key, address, now),
        };
        let Some(known) = place.and_then(|place| self.known.get_mut(place)) else { return &mut self.other };
        known.touched = now;
        known.recent += 1;
        known.series.as_deref_mut().unwrap_or(&mut self.other)
    }

    /// Forgets what is idle, and gives the series to those who were busiest since the last time.
    pub(super) fn rank(&mut self, now: Instant) {
        let before = self.known.len();
        self.known.retain(|known| now.since(known.touched) < IDLE_MAX);
        if self.known.len() < before {
            self.series_count = self.known.iter().filter(|known| known.series.is_some()).count();
            self.by_address.clear();
            self.by_text =
                self.known.iter().enumerate().map(|(place, known)| (known.key.clone(), place)).collect();
        }
        let mut waiting: Vec<usize> =
            (0..self.known.len()).filter(|place| self.known[*place].series.is_none()).collect();
        waiting.sort_by_key(|place| std::cmp::Reverse(self.known[*place].recent));
        let mut holding: Vec<usize> =
            (0..self.known.len()).filter(|place| self.known[*place].series.is_some()).collect();
        holding.sort_by_key(|place| self.known[*place].recent);
        let mut holding = holding.into_iter();
        for busy in waiting {
            if self.series_count < self.series_max {
                self.series_count += 1;
            } else {
                // Twice as busy, or two keys alike would take turns and neither would have a history.
                let Some(idle) = holding.next() else { break };
                if self.known[busy].recent <= 2 * self.known[idle].recent {
                    break;
                }
                self.known[idle].series = None;
            }
            self.known[busy].series = Some(Box::default());
        }
        for known in &mut self.known {
            known.recent = 0;
        }
    }

    /// Every series with its key; the one of all others has none.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&K>, &S)> {
        let named = self.known.iter();
        named
            .filter_map(|known| known.series.as_deref().map(|series| (Some(&known.key), series)))
            .chain([(None, &self.other)])
    }

    #[cold]
    fn learn(&mut self, key: &K, address: usize, now: Instant) -> Option<usize> {
        let place = match self.by_text.get(key) {
            Some(place) => *place,
            None if self.known.len() >= KNOWN_MAX => return None,
            None => {
                let series = (self.series_count < self.series_max).then(Box::default);
                self.series_count += usize::from(series.is_some());
                self.known.push(Known { key: key.clone(), touched: now, recent: 0, series });
                self.by_text.insert(key.clone(), self.known.len() - 1);
                self.known.len() - 1
            }
        };
        // Each new configuration may bring new texts for old keys; those of old ones must not be held for ever.
        if self.by_address.len() >= 2 * self.known.len() + 64 {
            self.by_address.clear();
        }
        self.by_address.insert(address, (key.clone(), place));
        Some(place)
    }
}

/// Spreads addresses, which are all even and close together. Not for input that others choose.
#[derive(Debug, Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, number: usize) {
        // Fibonacci hashing; the table takes its index from the low bits and its tag from the high ones.
        let spread = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    fn key(text: &str) -> RouteKey {
        RouteKey::new(text)
    }

    fn shown(busiest: &Busiest<RouteKey, u64>) -> Vec<(&str, u64)> {
        let mut shown: Vec<_> =
            busiest.iter().map(|(key, count)| (key.map_or("other", Key::text), *count)).collect();
        shown.sort_unstable();
        shown
    }

    #[test]
    fn what_exceeds_the_bound_counts_as_other() {
        let mut busiest = Busiest::new(2);
        for text in ["a", "b", "c", "a", "d"] {
            *busiest.of(&key(text), at(0)) += 1;
        }
        assert_eq!(shown(&busiest), [("a", 2), ("b", 1), ("other", 2)]);
    }

    #[test]
    fn a_series_survives_a_configuration_that_brings_new_texts() {
        let mut busiest = Busiest::new(2);
        for _ in 0..1000 {
            *busiest.of(&key("a"), at(0)) += 1;
        }
        assert_eq!(shown(&busiest), [("a", 1000), ("other", 0)]);
        assert!(busiest.by_address.len() <= 66, "old texts are not held");
    }

    #[test]
    fn the_busiest_get_the_series_and_totals_stay() {
        let mut busiest = Busiest::new(1);
        let (a, b) = (key("a"), key("b"));
        *busiest.of(&a, at(0)) += 1;
        for _ in 0..2 {
            *busiest.of(&b, at(0)) += 1;
        }
        busiest.rank(at(1));
        assert_eq!(shown(&busiest), [("a", 1), ("other", 2)], "not twice as busy");
        for _ in 0..3 {
            *busiest.of(&b, at(2)) += 1;
        }
        busiest.rank(at(3));
        *busiest.of(&b, at(4)) += 1;
        *busiest.of(&a, at(4)) += 1;
        assert_eq!(shown(&busiest), [("b", 1), ("other", 6)]);
    }

    #[test]
    fn idle_series_expire_and_make_room() {
        let mut busiest = Busiest::new(1);
        *busiest.of(&key("a"), at(0)) += 1;
        let b = key("b");
        *busiest.of(&b, at(599)) += 1;
        busiest.rank(at(599));
        assert_eq!(shown(&busiest), [("a", 1), ("other", 1)]);
        busiest.rank(at(600));
        *busiest.of(&b, at(601)) += 1;
        assert_eq!(shown(&busiest), [("b", 1), ("other", 1)]);
    }

    #[test]
    fn nothing_grows_past_its_bound() {
        let mut busiest = Busiest::<RouteKey, u64>::new(8);
        for number in 0..KNOWN_MAX + 100 {
            *busiest.of(&key(&number.to_string()), at(0)) += 1;
        }
        assert_eq!(busiest.known.len(), KNOWN_MAX);
        assert!(busiest.by_address.len() <= 2 * KNOWN_MAX + 64);
        assert_eq!(busiest.iter().count(), 9);
        assert_eq!(busiest.iter().map(|(_, count)| count).sum::<u64>(), KNOWN_MAX as u64 + 100);
    }
}
