//! `--log-level`: which events are logged. A word that would switch nothing on, or everything off, is refused.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Whose events there are, by the beginnings of their names: `ringway` is all of ours. A test compares with our crates.
const TARGETS: [&str; 9] = [
    "ringway",
    "ringway_config",
    "ringway_controller",
    "ringway_core",
    "ringway_gateway_api",
    "ringway_perf",
    "ringway_proxy",
    "ringway_subscriber",
    // The one library that says much at `debug`; worth having alone, and worth having off.
    "h2",
];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Parses `debug`, `ringway_proxy=debug` or `warn,ringway_proxy=debug,ringway_proxy::tls=trace`. What is not named is
/// logged from `info` on.
pub(crate) fn parse(text: &str) -> Result<Targets, String> {
    let mut others = None;
    let mut named: Vec<(&str, LevelFilter)> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some((target, word)) = part.split_once('=') else {
            if others.replace(level(part)?).is_some() {
                return Err(format!("`{text}` says twice from which level on all is logged"));
            }
            continue;
        };
        let of = target.split("::").next().unwrap_or(target);
        if !TARGETS.contains(&of) {
            return Err(format!("`{target}` logs nothing; {}", instead(of, &TARGETS, "those that do are")));
        }
        if named.iter().any(|(known, _)| *known == target) {
            return Err(format!("`{target}` is named twice"));
        }
        named.push((target, level(word)?));
    }
    Ok(Targets::new().with_default(others.unwrap_or(LevelFilter::INFO)).with_targets(named))
}

fn level(word: &str) -> Result<LevelFilter, String> {
    let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    match word.parse() {
        Ok(level) if known => Ok(level),
        _ if TARGETS.contains(&word) => Err(format!("`{word}` says no level; write {word}=debug")),
        _ => Err(format!("`{word}` is no level; {}", instead(word, &LEVELS, "the levels are"))),
    }
}

fn instead(word: &str, known: &[&str], introduction: &str) -> String {
    // 0.8 takes in a missing letter and swapped ones.
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known, word), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("{introduction} {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[test]
    fn our_crates_are_those_that_the_binary_is_made_of() {
        let manifest = include_str!("../../Cargo.toml");
        let names = manifest.lines().filter_map(|line| line.strip_suffix(".workspace = true"));
        let mut ours: Vec<String> =
            names.filter(|name| name.starts_with("ringway-")).map(|name| name.replace('-', "_")).collect();
        ours.insert(0, "ringway".to_owned());
        ours.sort();
        assert_eq!(TARGETS[..TARGETS.len() - 1], ours);
    }

    #[test]
    fn what_is_named_has_its_level_and_all_else_that_of_the_bare_word() {
        use tracing::Level;
        let filter = parse("warn, ringway_proxy=debug,ringway_proxy::tls=off").unwrap();
        for (target, level, expected) in [
            ("ringway_controller", Level::WARN, true),
            ("ringway_controller", Level::INFO, false),
            ("ringway_proxy::http1", Level::DEBUG, true),
            ("ringway_proxy::tls::stream", Level::ERROR, false),
        ] {
            assert_eq!(filter.would_enable(target, &level), expected, "{target} {level}");
        }
        assert_eq!(parse("INFO").unwrap().default_level(), Some(LevelFilter::INFO));
        let rest = parse("ringway_proxy=debug").unwrap();
        assert!(
            rest.would_enable("ringway_controller", &Level::INFO),
            "one crate does not silence the others"
        );
    }

    #[test]
    fn a_word_that_would_do_nothing_is_refused() {
        for (text, expected) in [
            ("loud", "`loud` is no level; the levels are off, error, warn, info, debug, trace"),
            ("", "`` is no level"),
            ("3", "`3` is no level"),
            ("debgu", "did you mean `debug`?"),
            ("ringway_proxy", "write ringway_proxy=debug"),
            ("info,ringway_prxy=debug", "`ringway_prxy` logs nothing; did you mean `ringway_proxy`?"),
            ("foo=bar", "`foo` logs nothing; those that do are ringway, "),
            ("ringway_proxy=loud", "`loud` is no level"),
            ("ringway_proxy=debug=debug", "`debug=debug` is no level"),
            ("info,debug", "twice"),
            ("h2=off,h2=info", "`h2` is named twice"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
