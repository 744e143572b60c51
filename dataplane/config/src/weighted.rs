//! Chooses by weight. Pure: the caller supplies the chance.

use std::num::NonZeroU32;

use serde::Serialize;

/// Choices with at least one positive weight, so picking cannot fail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weighted<T> {
    choices: Vec<(T, u32)>,
    total: NonZeroU32,
}

impl<T> Weighted<T> {
    /// `None` when there is no positive weight (or the sum overflows): the caller must decide what that means.
    pub fn new(choices: Vec<(T, u32)>) -> Option<Self> {
        let total = choices.iter().try_fold(0u32, |sum, (_, weight)| sum.checked_add(*weight))?;
        Some(Self { choices, total: NonZeroU32::new(total)? })
    }

    /// Maps 32 random bits onto the choices in proportion to their weights.
    pub fn pick(&self, random: u32) -> &T {
        let mut point = ((u64::from(random) * u64::from(self.total.get())) >> 32) as u32;
        for (choice, weight) in &self.choices {
            if point < *weight {
                return choice;
            }
            point -= weight;
        }
        unreachable!("point < total, and the weights add up to total")
    }

    /// Every choice with its weight, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&T, u32)> {
        self.choices.iter().map(|(choice, weight)| (choice, *weight))
    }

    /// The same weights over other values.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Weighted<U> {
        let mut f = f;
        let choices = self.choices.iter().map(|(choice, weight)| (f(choice), *weight)).collect();
        Weighted { choices, total: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_over_the_whole_range_of_chance() {
        let weighted = Weighted::new(vec![("a", 1), ("none", 0), ("b", 3)]).unwrap();
        let mut counts = [0; 3];
        for step in 0..4096u32 {
            match *weighted.pick(step << 20) {
                "a" => counts[0] += 1,
                "b" => counts[1] += 1,
                _ => counts[2] += 1,
            }
        }
        assert_eq!(counts, [1024, 3072, 0]);
    }

    #[test]
    fn nothing_to_pick_is_no_value() {
        assert_eq!(Weighted::<()>::new(vec![]), None);
        assert_eq!(Weighted::new(vec![((), 0)]), None);
        assert_eq!(Weighted::new(vec![((), u32::MAX), ((), 1)]), None);
    }
}
