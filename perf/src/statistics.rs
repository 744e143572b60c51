//! What may be said of measurements: medians, intervals of them, and how far apart equal things come out.
//!
//! Pure, and the same for the same seed. Ratios are taken within a round, between runs that stood beside each other:
//! what the machine did to a whole round then cancels out.

/// A median and where it would lie, with 95 % confidence, if all were measured anew.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// The median of what was measured.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether all of it lies above a value.
    pub fn above(&self, value: f64) -> bool {
        self.low > value
    }

    /// Whether all of it lies below a value.
    pub fn below(&self, value: f64) -> bool {
        self.high < value
    }
}

/// The middle value; of an even number the mean of the two middle ones. `None` of nothing, or where a value is not a number.
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(middle(&sorted))
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// How often the values are drawn anew. Beyond this the ends move by less than their own third digit.
const RESAMPLES: usize = 2_000;

/// The median and its 95 % interval, by drawing as many values from the given ones, with repetition, again and again.
pub fn bootstrap(values: &[f64], seed: u64) -> Option<Interval> {
    let whole = median(values)?;
    let mut chance = Chance(seed);
    let mut drawn = vec![0.0; values.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| values[chance.below(values.len())]);
            drawn.sort_by(f64::total_cmp);
            middle(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |share: f64| medians[((medians.len() - 1) as f64 * share).round() as usize];
    Some(Interval { median: whole, low: at(0.025), high: at(0.975) })
}

/// Ratios round by round. Rounds in which either is missing or not above zero are left out.
pub fn ratios(measured: &[Option<f64>], against: &[Option<f64>]) -> Vec<f64> {
    let usable = |value: &Option<f64>| value.filter(|value| value.is_finite() && *value > 0.0);
    measured.iter().zip(against).filter_map(|(a, b)| Some(usable(a)? / usable(b)?)).collect()
}

/// How far apart a contestant comes out from itself: the 95th percentile of |ratio - 1| over pairs of its own
/// neighbouring rounds. Differences below this are noise. `None` with fewer than two rounds.
///
/// Neighbouring rounds are further apart in time than contestants of one round, so this errs on the careful side.
pub fn noise_floor(rounds: &[Option<f64>]) -> Option<f64> {
    let values: Vec<f64> =
        rounds.iter().filter_map(|value| value.filter(|value| value.is_finite() && *value > 0.0)).collect();
    let mut apart: Vec<f64> =
        values.windows(2).map(|pair| (pair[0].max(pair[1]) / pair[0].min(pair[1])) - 1.0).collect();
    apart.sort_by(f64::total_cmp);
    let last = apart.len().checked_sub(1)?;
    Some(apart[(last as f64 * 0.95).round() as usize])
}

/// Which contestant runs when: each round starts one further on, so that none is always first or always after the same.
///
/// Every second turn of the circle goes backwards: otherwise each would always follow the same neighbour.
pub fn order(contestants: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contestants).map(|place| (place + round) % contestants.max(1)).collect();
    if contestants > 0 && (round / contestants) % 2 == 1 {
        order.reverse();
    }
    order
}

/// Numbers drawn from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::NAN, 1.0]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn an_interval_holds_its_median_and_repeats_for_its_seed() {
        let values = [0.9, 1.1, 0.95, 1.0, 1.05, 0.99, 1.02];
        let interval = bootstrap(&values, 7).unwrap();
        assert!(interval.low <= interval.median && interval.median <= interval.high, "{interval:?}");
        assert!(interval.low >= 0.9 && interval.high <= 1.1, "{interval:?}");
        assert_eq!(bootstrap(&values, 7), Some(interval));
        assert_eq!(bootstrap(&[2.0], 1), Some(Interval { median: 2.0, low: 2.0, high: 2.0 }));
    }

    #[test]
    fn intervals_hold_the_true_median_about_as_often_as_they_say() {
        // 200 experiments of 11 values drawn evenly between 0 and 1: the true median is 0.5.
        let mut chance = Chance(42);
        let held = (0..200)
            .filter(|experiment| {
                let values: Vec<f64> = (0..11).map(|_| chance.next() as f64 / u64::MAX as f64).collect();
                let interval = bootstrap(&values, *experiment).unwrap();
                interval.low <= 0.5 && 0.5 <= interval.high
            })
            .count();
        assert!((180..=200).contains(&held), "{held} of 200");
    }

    #[test]
    fn a_real_difference_is_outside_of_the_interval() {
        let slower = [1.2, 1.25, 1.18, 1.22, 1.3, 1.21];
        assert!(bootstrap(&slower, 1).unwrap().above(1.0));
        assert!(!bootstrap(&[0.9, 1.2, 1.0, 0.8, 1.1], 1).unwrap().above(1.0));
    }

    #[test]
    fn rounds_without_a_pair_are_left_out() {
        let measured = [Some(2.0), None, Some(3.0), Some(f64::NAN)];
        let against = [Some(1.0), Some(1.0), Some(2.0), Some(1.0)];
        assert_eq!(ratios(&measured, &against), [2.0, 1.5]);
    }

    #[test]
    fn noise_is_how_far_equals_come_apart() {
        assert_eq!(noise_floor(&[Some(1.0)]), None);
        assert_eq!(noise_floor(&[Some(1.0), Some(1.0), Some(1.0)]), Some(0.0));
        let floor = noise_floor(&[Some(1.0), Some(1.1), Some(1.0)]).unwrap();
        assert!((floor - 0.1).abs() < 1e-9);
    }

    #[test]
    fn each_contestant_is_in_each_place_equally_often() {
        let mut places = [[0; 3]; 3];
        for round in 0..6 {
            let order = order(3, round);
            order.iter().enumerate().for_each(|(place, who)| places[*who][place] += 1);
        }
        assert_eq!(places, [[2; 3]; 3]);
        assert!(order(0, 5).is_empty());
    }
}
