//! A small sorted set in one allocation of its own size. A tree makes room for eleven values at once, and what most
//! routes name is one listener, one backend and one cluster.

/// Sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Few<T>(Box<[T]>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T: Ord> Few<T> {
    /// From lowest to highest.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Whether a value is in it.
    pub(crate) fn contains(&self, value: &T) -> bool {
        self.0.binary_search(value).is_ok()
    }

    /// Values of this set that are not in the other.
    pub(crate) fn difference<'f>(&'f self, other: &'f Self) -> impl Iterator<Item = &'f T> {
        self.0.iter().filter(|value| !other.contains(value))
    }
}

impl<T: Ord> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        Self(values.into_boxed_slice())
    }
}

impl<'f, T> IntoIterator for &'f Few<T> {
    type Item = &'f T;
    type IntoIter = std::slice::Iter<'f, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_holds_each_value_once_and_tells_what_another_lacks() {
        let (a, b): (Few<_>, Few<_>) = ([3, 1, 3, 2].into_iter().collect(), [2, 4].into_iter().collect());
        assert_eq!(a.iter().collect::<Vec<_>>(), [&1, &2, &3]);
        assert_eq!(a.difference(&b).collect::<Vec<_>>(), [&1, &3]);
        assert_eq!(b.difference(&a).collect::<Vec<_>>(), [&4]);
        assert_eq!(a.difference(&Few::default()).count(), 3);
    }
}
