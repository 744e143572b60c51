//! Plain scalars by the YAML 1.2 core schema, as JSON values. `yes`, `on` and `0o`-less octals hold no
//! surprises here: `yes` is a string and `010` is ten.

use serde_json::{Number, Value};

/// What a plain scalar without a tag stands for. `None` for a number that JSON cannot hold.
pub(super) fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    if is_special_float(text) {
        return None;
    }
    if let Some(integer) = integer(text) {
        return integer;
    }
    if is_float(text) {
        return text.parse().ok().and_then(Number::from_f64).map(Value::Number);
    }
    Some(Value::String(text.to_owned()))
}

/// `None` if `text` is not written as an integer; `Some(None)` if it is, but is too large even for a double.
fn integer(text: &str) -> Option<Option<Value>> {
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let exact = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    let number = exact.ok().or_else(|| text.parse().ok().and_then(Number::from_f64));
    Some(number.map(Value::Number))
}

fn radix(digits: &str, radix: u32) -> Option<Option<Value>> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(digits, radix).ok().map(Value::from))
}

fn is_special_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa_fits && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("No", json!("No")),
            ("8080", json!(8080)),
            ("-1", json!(-1)),
            ("+7", json!(7)),
            ("010", json!(10)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0x-1", json!("0x-1")),
            ("+-1", json!("+-1")),
            ("-", json!("-")),
            ("18446744073709551615", json!(18446744073709551615u64)),
            ("99999999999999999999", json!(1e20)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("5.", json!(5.0)),
            ("1e3", json!(1000.0)),
            ("1e", json!("1e")),
            (".", json!(".")),
            ("1.2.3", json!("1.2.3")),
            ("1_000", json!("1_000")),
            ("inf", json!("inf")),
            ("nan", json!("nan")),
            ("10s", json!("10s")),
            ("v1.6.1", json!("v1.6.1")),
            ("2026-01-01", json!("2026-01-01")),
        ] {
            assert_eq!(resolve(text), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_refused() {
        for text in [".inf", "-.Inf", ".nan", "1e999", "0xFFFFFFFFFFFFFFFFF"] {
            assert_eq!(resolve(text), None, "{text:?}");
        }
    }
}
