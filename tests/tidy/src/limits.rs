//! `docs/limits.md` and the code state the same limits and the same defaults.

use crate::Tree;

const SOURCE: &str = "dataplane/core/src/limits.rs";

/// A limit as a reader of the table sees it.
fn shown(name: &str, value: &str) -> String {
    let number = |text: &str| match text.replace('_', "").split_once("<<") {
        Some((base, shift)) => {
            base.trim().parse::<u64>().expect("a number") << shift.trim().parse::<u32>().expect("a number")
        }
        None => text
            .replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name}: this check does not know {text:?}")),
    };
    let inner = |call: &str| Some(value.strip_prefix(call)?.strip_suffix(')')?.to_owned());
    if value.ends_with("::MAX") {
        return "no limit".to_owned();
    }
    if let Some(seconds) = inner("Duration::from_secs(") {
        return format!("{} s", number(&seconds));
    }
    if let Some(millis) = inner("Duration::from_millis(") {
        return format!("{} ms", number(&millis));
    }
    let plain = number(value);
    match name.contains("bytes") || name.ends_with("window") {
        true if plain.is_multiple_of(1 << 20) => format!("{} MiB", plain >> 20),
        true if plain.is_multiple_of(1 << 10) => format!("{} KiB", plain >> 10),
        true => format!("{plain} B"),
        false => grouped(plain),
    }
}

/// `50000` as `50,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// What stands between two texts of the source.
fn between(source: &str, start: &str, end: &str) -> String {
    let rest = source.split_once(start).unwrap_or_else(|| panic!("{SOURCE} has no {start:?}")).1;
    rest.split_once(end).expect("it ends").0.to_owned()
}

/// The names of all limits.
fn fields(source: &str) -> Vec<String> {
    let body = between(source, "pub struct Limits {", "\n}");
    let fields = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
    let fields: Vec<_> = fields.map(|(name, _)| name.to_owned()).collect();
    assert!(!fields.is_empty(), "{SOURCE} has limits");
    fields
}

#[test]
fn every_limit_is_held_by_some_code() {
    let tree = Tree::read();
    let sources = tree.below("dataplane/core/src").chain(tree.below("dataplane/proxy/src"));
    let texts: Vec<_> = sources.filter(|path| *path != SOURCE).map(|path| tree.text(path)).collect();
    for field in fields(&tree.text(SOURCE)) {
        let used = format!("limits.{field}");
        assert!(texts.iter().any(|text| text.contains(&used)), "nothing in the data plane reads {used}");
    }
}

#[test]
fn the_table_of_limits_is_the_code() {
    let tree = Tree::read();
    let source = tree.text(SOURCE);
    let defaults = between(&source, "impl Default for Limits {", "\n}\n");

    let document = tree.text("docs/limits.md");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    for field in &fields(&source) {
        let value = defaults
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{field}: "))?.strip_suffix(','))
            .unwrap_or_else(|| panic!("{SOURCE}: {field} has no default on one line"));
        let row = rows.iter().find(|row| row[0] == format!("`{field}`"));
        let row = row.unwrap_or_else(|| panic!("docs/limits.md has no row for `{field}`"));
        assert_eq!(row[1], shown(field, value), "docs/limits.md: the default of `{field}`");
    }
}

#[test]
fn defaults_are_shown_with_their_unit() {
    assert_eq!(shown("header_bytes_max", "64 << 10"), "64 KiB");
    assert_eq!(shown("http2_connection_window", "1 << 20"), "1 MiB");
    assert_eq!(shown("idle_timeout", "Duration::from_secs(3_600)"), "3600 s");
    assert_eq!(shown("connections_max", "50_000"), "50,000");
    assert_eq!(shown("requests_per_connection_max", "u64::MAX"), "no limit");
}
