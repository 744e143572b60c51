//! Durations as Gateway API writes them (GEP-2257): `1h30m`, `500ms`, `0s`.

use std::time::Duration;

/// Reads a duration: one to four parts of up to five digits each. `None`: it is not one.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let count: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let (part, after) = if let Some(after) = unit.strip_prefix("ms") {
            (Duration::from_millis(count), after)
        } else if let Some(after) = unit.strip_prefix('s') {
            (Duration::from_secs(count), after)
        } else if let Some(after) = unit.strip_prefix('m') {
            (Duration::from_secs(count * 60), after)
        } else {
            (Duration::from_secs(count * 3600), unit.strip_prefix('h')?)
        };
        sum += part;
        rest = after;
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_gep_2257() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("10s500ms", Some(10_500)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("100000s", None),
            ("1s1s1s1s1s", None),
            ("1d", None),
        ] {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
