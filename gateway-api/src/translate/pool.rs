//! Keeps one of several equal values, for whoever holds thousands that hardly differ.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

/// Values that somebody holds, each once. Says nothing of what a value is: only of how often it is in memory.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    values: HashSet<Arc<T>, BuildHasherDefault<DefaultHasher>>,
    /// How many there may be before it is looked which nobody holds any more.
    bound: usize,
}

/// Below this nothing is worth looking for.
const BOUND_MIN: usize = 64;

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { values: HashSet::default(), bound: BOUND_MIN }
    }
}

impl<T: Eq + Hash> Pool<T> {
    /// The value that is equal to this one; itself if it is the first.
    pub(crate) fn share(&mut self, value: Arc<T>) -> Arc<T> {
        match self.values.get(&value) {
            Some(known) => Arc::clone(known),
            None => {
                self.values.insert(Arc::clone(&value));
                value
            }
        }
    }

    /// Lets go of what nobody else holds, whenever there are twice as many as were held the last time.
    pub(crate) fn forget_unused(&mut self) {
        if self.values.len() > self.bound {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.bound = BOUND_MIN.max(2 * self.values.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_what_nobody_holds_is_let_go() {
        let mut pool = Pool::default();
        let first = pool.share(Arc::new("a".to_owned()));
        assert!(Arc::ptr_eq(&first, &pool.share(Arc::new("a".to_owned()))));
        for number in 0..10 * BOUND_MIN {
            pool.share(Arc::new(number.to_string()));
            pool.forget_unused();
        }
        assert!(pool.values.len() <= BOUND_MIN + 1);
        assert!(Arc::ptr_eq(&first, &pool.share(Arc::new("a".to_owned()))), "it was held all the time");
    }
}
