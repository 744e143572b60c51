//! Sizes and durations as people write them: `64KiB`, `1m30s`. A number without its unit is refused, not guessed.

use std::time::Duration;

/// Bytes: a plain number, or one with `KiB`, `MiB`, `GiB` (1024) or `kB`, `MB`, `GB` (1000).
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(format!("`{unit}` is no unit of size; use B, KiB, MiB, GiB, kB, MB or GB")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no size, such as 64KiB"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is more than can be counted"))
}

/// A duration: numbers with `h`, `m`, `s` or `ms`, such as `1m30s`; or `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split(rest);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let number: u64 = number.parse().map_err(|_| format!("`{text}` is no duration, such as 1m30s"))?;
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "" => return Err(format!("`{text}` has no unit; use h, m, s or ms, such as {number}s")),
            _ => return Err(format!("`{unit}` is no unit of time; use h, m, s or ms")),
        };
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("`{text}` is more than can be counted"))?;
        rest = next;
    }
    if text.is_empty() { Err("a duration is missing, such as 1m30s".to_owned()) } else { Ok(total) }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024_and_of_1000() {
        for (text, expected) in
            [("0", 0), ("17", 17), ("17B", 17), ("64KiB", 65_536), ("2MiB", 2 << 20), ("64kB", 64_000)]
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in
            ["", "KiB", "64K", "64 KiB", "-1", "1.5MiB", "99999999999999999999", "18446744073709551615KiB"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_add_up_and_need_their_units() {
        for (text, millis) in
            [("0", 0), ("0s", 0), ("250ms", 250), ("10s", 10_000), ("1m30s", 90_000), ("1h1ms", 3_600_001)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1d", "-1s", "1.5s", "1s2", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("10").unwrap_err(), "`10` has no unit; use h, m, s or ms, such as 10s");
    }
}
