//! Slips of the pen: which known name a text was probably meant to be.

/// The candidate that `text` was probably meant to be.
pub(super) fn nearest<'c>(text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Longer texts are no slips of the pen, and would cost time.
    let allowed = match text.len() {
        0..=5 => 1,
        6..=9 => 2,
        10..=40 => 3,
        _ => return None,
    };
    candidates
        .map(|candidate| (distance(&text.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed, exchanged or swapped with their neighbour to make one of the
/// other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let exchanged = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = exchanged.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_what_was_meant() {
        let fields = ["backendRefs", "filters", "matches", "name"];
        for (text, expected) in [
            ("backendRef", Some("backendRefs")),
            ("BackendRefs", Some("backendRefs")),
            ("mathces", Some("matches")),
            ("nmae", Some("name")),
            ("nam", Some("name")),
            ("timeouts", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, fields.into_iter()), expected, "{text}");
        }
    }
}
