//! How many instructions the hot decisions take, counted by callgrind: the same whatever else the machine is doing, so
//! that a change can be held to it.
//!
//! `cargo bench --profile fast -p ringway-bench --bench counted -- --count` counts and holds every case against
//! `bench/instructions.tsv`; `--update` instead of `--count` writes that file. Without either, each case runs once.
#![expect(clippy::print_stdout, reason = "what was counted is its output")]

#[path = "samples/objects.rs"]
mod objects;
#[path = "samples/routes.rs"]
#[expect(dead_code, reason = "the names of tables are `route`'s")]
mod routes;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ringway_config::{Balance, Endpoint, differing};
use ringway_core::http1::encode::{Persistence, request_head, response_head};
use ringway_core::http1::{BodyFraming, parse_request, parse_response};
use ringway_core::limits::Limits;
use ringway_core::{Balancer, Compiled, Decision, Instant, RequestHead, ResponseHead, Scheme};
use ringway_gateway_api::World;
use ringway_gateway_api::translate::{Slices, translate};

use self::routes::{Hosts, arrival, config, route, view};

/// How much more than the baseline is a regression. The allocator and hashing with drawn keys move counts by tenths of
/// this.
const TOLERANCE: f64 = 0.03;

/// How often what is short is done, so that the count of the loop around it does not show.
const TIMES: usize = 1_000;

/// What is counted: prepared when called, and then done once by what it returns.
type Case = fn() -> Box<dyn FnMut()>;

const CASES: [(&str, Case); 12] = [
    ("parse a request head", parse_requests),
    ("encode a request head", encode_requests),
    ("parse a response head", parse_responses),
    ("encode a response head", encode_responses),
    ("route among 10", || decide(10)),
    ("route among 1,000", || decide(1_000)),
    ("route among 10,000", || decide(10_000)),
    ("pick among 100 endpoints", pick),
    ("translate 1,000 routes", || translated(1_000)),
    ("translate 5,000 routes", || translated(5_000)),
    ("diff of 5,000 routes", diff),
    ("compile one change of 5,000 routes", compile),
];

const REQUEST: &[u8] = b"GET /api/v1/items?limit=20 HTTP/1.1\r\nhost: www.example.com\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\naccept-language: en\r\naccept-encoding: gzip, br\r\n\
cookie: session=0123456789abcdef\r\nx-request-id: 6f1c2d\r\nconnection: keep-alive\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nserver: backend\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: application/json\r\n\
content-length: 1024\r\ncache-control: no-store\r\nvary: accept-encoding\r\n\r\n";

fn request() -> RequestHead {
    let mut head = RequestHead::new();
    parse_request(REQUEST, &Limits::default(), Scheme::Http, &mut head)
        .expect("is well formed")
        .expect("is whole");
    head
}

fn parse_requests() -> Box<dyn FnMut()> {
    let (limits, mut head) = (Limits::default(), request());
    Box::new(move || {
        for _ in 0..TIMES {
            let parsed = parse_request(black_box(REQUEST), &limits, Scheme::Http, &mut head);
            assert!(matches!(parsed, Ok(Some(_))));
        }
    })
}

fn encode_requests() -> Box<dyn FnMut()> {
    let (head, mut out) = (request(), Vec::with_capacity(4_096));
    Box::new(move || {
        for _ in 0..TIMES {
            out.clear();
            request_head(black_box(&head), BodyFraming::None, Persistence::Implied, &mut out);
            black_box(&out);
        }
    })
}

fn response() -> ResponseHead {
    let mut head = ResponseHead::new();
    parse_response(RESPONSE, &Limits::default(), &request().method, &mut head)
        .expect("is well formed")
        .expect("is whole");
    head
}

fn parse_responses() -> Box<dyn FnMut()> {
    let (limits, method, mut head) = (Limits::default(), request().method, response());
    Box::new(move || {
        for _ in 0..TIMES {
            let parsed = parse_response(black_box(RESPONSE), &limits, &method, &mut head);
            assert!(matches!(parsed, Ok(Some(_))));
        }
    })
}

fn encode_responses() -> Box<dyn FnMut()> {
    let (head, mut out) = (response(), Vec::with_capacity(4_096));
    Box::new(move || {
        for _ in 0..TIMES {
            out.clear();
            response_head(black_box(&head), BodyFraming::Length(1_024), Persistence::Implied, &mut out);
            black_box(&out);
        }
    })
}

fn decide(routes: usize) -> Box<dyn FnMut()> {
    let view = view(Compiled::from_nothing(&config(routes, Hosts::One)));
    let arrival = arrival();
    let mut head = RequestHead::new();
    head.set_authority(&Hosts::One.of(0), None);
    head.set_path(&format!("/api/v1/app-{}/users/1234", routes / 2));
    Box::new(move || {
        for _ in 0..TIMES {
            assert!(matches!(view.decide(black_box(&arrival), &head, 0), Decision::Forward(_)));
        }
    })
}

fn pick() -> Box<dyn FnMut()> {
    let endpoints: Vec<Endpoint> =
        (1..=100u8).map(|last| Endpoint { address: ([10, 0, 0, last], 8080).into() }).collect();
    let mut balancer = Balancer::new(Balance::PeakEwma, false);
    balancer.update(&endpoints);
    let now = Instant::after_origin(std::time::Duration::from_secs(1));
    Box::new(move || {
        for draw in 0..TIMES as u64 {
            // Spread over all 64 bits, as drawn numbers are.
            let draw = draw.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let pick = balancer.pick(black_box(draw), now, &[]).expect("there are endpoints");
            balancer.started(pick.endpoint);
            balancer.finished(pick.endpoint);
        }
    })
}

fn translated(routes: usize) -> Box<dyn FnMut()> {
    let objects = objects::objects(routes);
    let (world, slices, options) = (World::of(&objects), Slices::of_objects(&objects), objects::options());
    Box::new(move || {
        black_box(translate(black_box(&world), &slices, &options));
    })
}

fn diff() -> Box<dyn FnMut()> {
    let before = config(5_000, Hosts::Own).routes;
    let mut after = before.clone();
    let changed = route(2_500, Hosts::Own, 1);
    after.insert(changed.key().clone(), changed);
    Box::new(move || assert_eq!(differing(black_box(&before), &after).len(), 1))
}

fn compile() -> Box<dyn FnMut()> {
    let mut config = config(5_000, Hosts::Own);
    let compiled = Compiled::from_nothing(&config);
    let changed = route(2_500, Hosts::Own, 1);
    config.routes.insert(changed.key().clone(), changed);
    let after = std::sync::Arc::new(config);
    Box::new(move || {
        black_box(compiled.next(black_box(&after)));
    })
}

/// What callgrind counts in: it knows the function by its name.
#[inline(never)]
fn counted(case: &mut dyn FnMut()) {
    case();
    black_box(());
}

fn main() -> ExitCode {
    judgement_is_sound();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let Some(place) = arguments.iter().position(|argument| argument == "--once") {
        let name = arguments.get(place + 1).map_or("", String::as_str);
        let (_, case) = CASES.iter().find(|(known, _)| *known == name).expect("named by ourselves");
        counted(&mut case());
        return ExitCode::SUCCESS;
    }
    if !asked("--count") && !asked("--update") {
        for (name, case) in CASES {
            counted(&mut case());
            println!("{name}: ran once; --count counts");
        }
        return ExitCode::SUCCESS;
    }
    let mut counts = Vec::new();
    for (name, _) in CASES {
        match count(name) {
            Ok(instructions) => counts.push((name, instructions)),
            Err(why) => {
                eprintln!("{name}: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    if asked("--update") {
        let lines: Vec<String> = counts.iter().map(|(name, count)| format!("{name}\t{count}\n")).collect();
        std::fs::write(baseline(), lines.concat()).expect("the file is part of the tree");
        println!("written to {}", baseline().display());
        return ExitCode::SUCCESS;
    }
    let known = std::fs::read_to_string(baseline()).unwrap_or_default();
    let (text, holds) = judge(&parsed(&known), &counts);
    print!("{text}");
    if holds {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "If that is meant, write the baseline anew and say in the commit why it is worth it:\n  \
         cargo bench --profile fast -p ringway-bench --bench counted -- --update"
    );
    ExitCode::FAILURE
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.tsv")
}

/// The instructions of one case, by this program under callgrind.
fn count(name: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = std::env::temp_dir().join(format!("ringway-counted-{}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=counted::counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["--once", name])
        .output()
        .map_err(|error| format!("cannot run valgrind ({error}); it is the package of that name"))?;
    let profile = std::fs::read_to_string(&out).unwrap_or_default();
    let _nothing_there = std::fs::remove_file(&out);
    if !run.status.success() {
        return Err(format!("{}: {}", run.status, String::from_utf8_lossy(&run.stderr)));
    }
    match total(&profile) {
        Some(instructions) if instructions > 0 => Ok(instructions),
        _ => Err("callgrind counted nothing: was `counted` inlined?".to_owned()),
    }
}

/// Of what callgrind writes.
fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

fn parsed(baseline: &str) -> BTreeMap<&str, u64> {
    let lines = baseline.lines().filter_map(|line| line.split_once('\t'));
    lines.filter_map(|(name, count)| Some((name, count.parse().ok()?))).collect()
}

/// A line for each case, and whether all of them hold.
fn judge(baseline: &BTreeMap<&str, u64>, counts: &[(&str, u64)]) -> (String, bool) {
    let (mut text, mut holds) = (String::new(), true);
    for (name, now) in counts {
        let (change, word) = match baseline.get(name) {
            None => {
                holds = false;
                (String::new(), "NOT IN THE BASELINE")
            }
            Some(before) => {
                let change = *now as f64 / *before as f64 - 1.0;
                let word = if change > TOLERANCE {
                    holds = false;
                    "MORE"
                } else if change < -TOLERANCE {
                    "less: --update keeps it so"
                } else {
                    ""
                };
                (format!("{:+.1} %", change * 100.0), word)
            }
        };
        let line = format!("{name:<36} {now:>12} {change:>8}  {word}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    (text, holds)
}

/// A benchmark has no tests of its own: it sees to itself whenever it runs.
fn judgement_is_sound() {
    let baseline = parsed("a\t100\nb\t100\n");
    assert!(judge(&baseline, &[("a", 102), ("b", 50)]).1);
    let (text, holds) = judge(&baseline, &[("a", 104), ("b", 100)]);
    assert!(!holds && text.contains("MORE"), "{text}");
    assert!(!judge(&baseline, &[("c", 1)]).1, "what has no baseline does not pass");
    assert_eq!(total("version: 1\nsummary: 0\ntotals: 42\n"), Some(42));
}
