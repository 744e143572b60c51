//! Numbers for people: three digits that matter, and a unit.

/// What stands where nothing is known.
pub(super) const UNKNOWN: &str = "–";

/// A time that is given in microseconds.
pub(super) fn time(us: f64) -> String {
    match us {
        us if !us.is_finite() => UNKNOWN.to_owned(),
        // The next unit begins where three digits of this one would round up to it.
        us if us < 999.5 => format!("{} µs", digits(us)),
        us if us < 999_500.0 => format!("{} ms", digits(us / 1e3)),
        us => format!("{} s", digits(us / 1e6)),
    }
}

/// Bytes, by powers of 1024.
pub(super) fn bytes(bytes: f64) -> String {
    if !bytes.is_finite() {
        return UNKNOWN.to_owned();
    }
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value.abs() >= 1023.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", digits(value), units[unit])
}

/// A number with its thousands set apart.
pub(super) fn count(number: u64) -> String {
    let plain = number.to_string();
    let mut text = String::new();
    for (at, digit) in plain.char_indices() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many a second.
pub(super) fn rate(a_second: f64) -> String {
    match a_second {
        rate if !rate.is_finite() => UNKNOWN.to_owned(),
        rate if rate < 100.0 => format!("{}/s", digits(rate)),
        rate => format!("{}/s", count(rate.round() as u64)),
    }
}

/// A share of one as per cent.
pub(super) fn share(of_one: f64) -> String {
    match of_one {
        share if !share.is_finite() => UNKNOWN.to_owned(),
        share => format!("{} %", digits(share * 100.0)),
    }
}

/// What `text` makes of a value, or a dash.
pub(super) fn known<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), text)
}

/// Three digits that matter, and no zeros that do not.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_change_their_unit_in_time() {
        let times = [0.0, 0.5, 92.04, 999.4, 999.6, 1_234.0, 99_960.0, 999_600.0, 59_990_000.0, f64::NAN];
        let shown = ["0 µs", "0.5 µs", "92 µs", "999 µs", "1 ms", "1.23 ms", "100 ms", "1 s", "60 s", "–"];
        assert_eq!(times.map(time), shown);
        assert_eq!([0.0, 1023.0, 1024.0, 5.5 * 1048576.0].map(bytes), ["0 B", "1023 B", "1 KiB", "5.5 MiB"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 12.5, 9_999.6].map(rate), ["0/s", "12.5/s", "10,000/s"]);
    }
}
