//! Whether a count fits a chance, so that a right gateway fails less than once in a thousand million runs.

/// By the Chernoff bound a count as far from its share as `hits` is, on that side, has a chance of at most
/// exp(-times · D), where D is the relative entropy of hits/times against the share. 26.0 = ln(2 · 10^11): two sides
/// of up to a hundred counts a run, together below 10^-9.
const UNLIKELY: f64 = 26.0;

/// Whether `hits` of `times` may be by chance where each had this share. A share of 0 or 1 leaves nothing to chance.
pub fn fits(hits: u64, times: u64, share: f64) -> bool {
    let got = hits as f64 / times as f64;
    let part = |got: f64, share: f64| if got == 0.0 { 0.0 } else { got * (got / share).ln() };
    let entropy = part(got, share) + part(1.0 - got, 1.0 - share);
    times as f64 * entropy <= UNLIKELY
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn what_is_far_from_its_share_does_not_fit() {
        for (hits, share, expected) in [
            (200, 0.2, true),
            (125, 0.2, true),
            (110, 0.2, false),
            (285, 0.2, true),
            (300, 0.2, false),
            (0, 0.0, true),
            (1, 0.0, false),
            (1000, 1.0, true),
            (999, 1.0, false),
        ] {
            assert_eq!(fits(hits, 1000, share), expected, "{hits} of 1000 at {share}");
        }
    }
}
