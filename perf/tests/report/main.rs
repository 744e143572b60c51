//! What the reports of `ringway perf` look like, and that nothing from outside can break them.
//!
//! Golden files are written anew with `BLESS=1`. The HTML that is worth a look in a browser is left in the target
//! directory: `cargo test -p ringway-perf --test report` names no file, but `target/tmp/report-*.html` are there.
#![forbid(unsafe_code)]

mod sample;

use std::path::Path;

use ringway_perf::outcome::{Machine, Outcome, Usage, Verdict};
use ringway_perf::report::html::Page;
use ringway_perf::report::progress::Progress;
use ringway_perf::report::terminal::Ink;
use ringway_perf::report::{csv, hgrm, html, json, progress, terminal};

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("the folder is part of the tree");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(known, text, "{name} differs; if that is meant, write it with BLESS=1");
}

fn page(outcomes: &[Outcome]) -> String {
    let command =
        Some("ringway perf run http://127.0.0.1:8080/ --rate 2000 --duration 20s --html report.html");
    html::report(outcomes, Page { title: "A sample: drawn times", command })
}

/// Every set of runs that a report must survive.
fn sets() -> Vec<(&'static str, Vec<Outcome>)> {
    vec![
        ("none", vec![]),
        ("empty", vec![sample::empty("", 100.0)]),
        ("unanswered", vec![sample::unanswered()]),
        ("one-second", vec![sample::run("brief", 10.0, 1, 100.0, 3)]),
        ("one", vec![sample::run("gateway", 2_000.0, 20, 90.0, 1)]),
        ("saturated", vec![sample::saturated("gateway", 2_000.0)]),
        ("ladder", sample::ladder()),
    ]
}

#[test]
fn the_terminal_shows_the_verdict_first_and_both_kinds_of_time() {
    golden("one.txt", &terminal::report(&sample::run("gateway", 2_000.0, 10, 90.0, 1), Ink::Plain));
    golden("unanswered.txt", &terminal::report(&sample::unanswered(), Ink::Plain));
    let mut brief = sample::run("brief", 10.0, 1, 100.0, 3);
    if let Some(server) = &mut brief.server {
        server.cpu = Usage { undivided_us: server.cpu.total_us(), ..Usage::default() };
    }
    golden("brief.txt", &terminal::report(&brief, Ink::Plain));
    golden("summary.txt", &terminal::summary(&[sample::ladder(), vec![sample::unanswered()]].concat()));
}

#[test]
fn a_saturated_generator_is_shouted_first_and_last() {
    let text = terminal::report(&sample::saturated("gateway", 2_000.0), Ink::Plain);
    golden("saturated.txt", &text);
    assert!(text.starts_with("!!!"));
    assert!(text.rsplit("\n\n").next().is_some_and(|last| last.contains("GENERATOR SATURATED")), "{text}");
    let page = page(&[sample::saturated("gateway", 2_000.0)]);
    // In the banner, in tables, in legends and across each chart of latency.
    assert!(page.matches("GENERATOR SATURATED").count() >= 6);
    assert!(!page.contains("banner good"));
}

#[test]
fn one_bad_run_among_good_ones_is_in_the_banner() {
    let page = page(&sample::ladder());
    assert_eq!(
        page.matches(r#"<div class="banner bad" role="alert"><strong>GENERATOR SATURATED"#).count(),
        1
    );
    assert!(!page.contains("banner good"));
}

#[test]
fn unlike_machines_are_not_compared_in_silence() {
    let mut other = sample::run("b", 10.0, 1, 100.0, 3);
    other.machine = Machine { cpus: 64, ..other.machine };
    let page = page(&[sample::run("a", 10.0, 1, 100.0, 3), other]);
    assert!(page.contains("UNLIKE MACHINES") && !page.contains("banner good"));
}

#[test]
fn a_line_of_progress_fits_the_terminal_and_says_what_is_wrong_first() {
    let outcome = sample::run("gateway", 2_000.0, 10, 90.0, 1);
    let mut progress = Progress { plan: &outcome.plan, seconds: 3, last: &outcome.seconds[2], failed: 0 };
    let mut lines = progress::line(&progress, 200);
    progress.failed = 12;
    lines += &progress::line(&progress, 200);
    golden("progress.txt", &lines.replace('\r', "").replace("\x1b[K", "\n"));

    let line = progress::line(&progress, 20);
    let shown = line.strip_prefix('\r').and_then(|line| line.strip_suffix("\x1b[K")).expect("rewritten");
    assert!(shown.chars().count() < 20 && shown.contains("12 FAILED"), "{shown}");
}

#[test]
fn the_percentile_distribution_reads_back() {
    let outcome = sample::run("gateway", 500.0, 4, 90.0, 1);
    let text = hgrm::text(&outcome.latency);
    golden("one.hgrm", &text);
    // As plotters do: of each line that is no comment, the value, the share, the count and the inverse.
    let rows: Vec<Vec<f64>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().map(|cell| cell.parse().ok()).collect())
        .filter(|row: &Vec<f64>| !row.is_empty())
        .collect();
    assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]));
    for row in &rows {
        let value = outcome.latency.percentile_us(row[1] * 100.0) / 1_000.0;
        assert!((row[0] - value).abs() <= value / 500.0 + 0.001, "{row:?}: {value}");
        if let Some(inverse) = row.get(3) {
            assert!((inverse - 1.0 / (1.0 - row[1])).abs() < 0.01 * inverse, "{row:?}");
        }
    }
    let last = rows.last().expect("rows");
    assert_eq!((last[1], last[2] as u64, last.len()), (1.0, outcome.latency.count(), 3));
    assert!(hgrm::text(&sample::empty("", 1.0).latency).contains("Total count    =            0"));
}

#[test]
fn rows_have_a_cell_for_each_column() {
    let outcomes =
        [sample::run("ring, \"way\"", 100.0, 2, 90.0, 1), sample::unanswered(), sample::empty("", 1.0)];
    let (runs, seconds) = (csv::runs(&outcomes).expect("rows"), csv::seconds(&outcomes).expect("rows"));
    golden("runs.csv", &runs);
    golden("seconds.csv", &seconds);
    for (text, rows) in [(runs, 3), (seconds, 12)] {
        assert_eq!(text.lines().count(), rows + 1);
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }
}

#[test]
fn json_reads_back_as_the_same_outcome() {
    for (name, outcomes) in sets() {
        let text = json::several(&outcomes).expect("text");
        let read: Vec<Outcome> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        same(&value(&read), &value(&outcomes)).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
    let outcome = sample::run("gateway", 100.0, 2, 90.0, 1);
    let text = json::one(&outcome).expect("text");
    let read: Outcome = serde_json::from_str(&text).expect("an outcome");
    same(&value(&read), &value(&outcome)).expect("the same");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read["figures"]["latency_us"]["p99.9"], outcome.latency.percentile_us(99.9));
}

#[test]
fn every_page_is_whole_and_stands_alone() {
    for (name, outcomes) in sets() {
        let page = page(&outcomes);
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.html"));
        std::fs::write(place, &page).expect("the target directory takes files");
        balanced(&page).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let lower = page.to_lowercase();
        for never in ["nan", "inf ", "infinity"] {
            let in_figures = |cell: &&str| cell.split_whitespace().any(|word| word == never.trim());
            assert!(!lower.split(['<', '>', '"']).any(|text| in_figures(&text)), "{name}: {never}");
        }
        for load in ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import"] {
            assert!(!lower.contains(load), "{name}: {load}");
        }
        // Coordinates are numbers.
        for attribute in [" x=\"", " y=\"", " d=\"", " cx=\"", " width=\"", " height=\"", " x1=\"", " y2=\""]
        {
            for value in page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                let numeric = |c: char| c.is_ascii_digit() || "ML .-".contains(c);
                assert!(value.chars().all(numeric), "{name}: {attribute}{value}");
            }
        }
        let mut ids: Vec<_> =
            page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let number = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), number, "{name}: an id occurs twice");
        assert_eq!(
            page.matches("role=\"img\"").count(),
            page.matches("<desc").count(),
            "{name}: a chart without words"
        );
    }
}

#[test]
fn what_comes_from_outside_is_text_and_nothing_else() {
    let evil = "</style></title><script>alert('x')</script>\"' onload=\"x\" &amp; \u{1b}[2J\r\n";
    let mut outcome = sample::run(evil, 100.0, 1, 90.0, 1);
    outcome.started = evil.to_owned();
    outcome.plan.target = evil.to_owned();
    outcome.plan.headers = vec![(evil.to_owned(), evil.to_owned())];
    outcome.errors.insert(evil.to_owned(), 3);
    outcome.machine.cpu = evil.to_owned();
    outcome.machine.mitigations.insert(evil.to_owned(), evil.to_owned());
    outcome.verdict = Verdict::GeneratorSaturated { because: evil.to_owned() };
    let outcomes = [outcome.clone(), sample::run("other", 100.0, 1, 90.0, 1)];
    let page = html::report(&outcomes, Page { title: evil, command: Some(evil) });
    balanced(&page).expect("whole");
    assert!(!page.contains("<script") && !page.contains("</style></title>") && !page.contains("\" onload"));
    for text in [terminal::report(&outcome, Ink::Plain), terminal::summary(&outcomes)] {
        assert!(!text.contains(['\u{1b}', '\r']), "{text}");
    }
}

fn value(of: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(of).expect("a value")
}

/// Whether two values are the same, but for the last binary digit of fractions, which JSON's reader may miss.
fn same(one: &serde_json::Value, other: &serde_json::Value) -> Result<(), String> {
    use serde_json::Value::{Array, Number, Object};
    match (one, other) {
        (Array(a), Array(b)) if a.len() == b.len() => a.iter().zip(b).try_for_each(|(a, b)| same(a, b)),
        (Object(a), Object(b)) if a.keys().eq(b.keys()) => {
            a.values().zip(b.values()).try_for_each(|(a, b)| same(a, b))
        }
        (Number(a), Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            if (a - b).abs() <= a.abs() * f64::EPSILON { Ok(()) } else { Err(format!("{a} is not {b}")) }
        }
        _ if one == other => Ok(()),
        _ => Err(format!("{one} is not {other}")),
    }
}

/// Whether every element is closed in turn. `<` and `>` occur in tags only, since all else is escaped.
fn balanced(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for piece in page.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').ok_or_else(|| format!("<{piece} has no end"))?;
        if text.contains('>') {
            return Err(format!("a bare > after <{tag}>"));
        }
        if tag.matches('"').count() % 2 == 1 {
            return Err(format!("<{tag}> has a quote too many"));
        }
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or_default();
        match (tag.starts_with('/'), name) {
            (_, "!DOCTYPE" | "meta") => {}
            (false, name) => open.push(name),
            (true, name) => {
                let last = open.pop();
                if last != Some(name) {
                    return Err(format!("</{name}> closes {last:?}"));
                }
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("never closed: {open:?}")) }
}
