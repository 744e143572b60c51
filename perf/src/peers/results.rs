//! What all rounds showed, as Markdown to read and JSON to compare.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::agreed::EQUAL;
use super::check;
use super::rows::Unit;
use crate::distribution::Distribution;
use crate::outcome::{Machine, Outcome};
use crate::statistics::{self, Interval};

/// One run, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// In the row's unit.
    pub cost: f64,
    /// Answers a second.
    pub rate: f64,
    /// The share of its core that the server used.
    pub busy: f64,
    /// The most memory that was seen, in bytes.
    pub rss: u64,
    /// Before any connection, in bytes.
    pub rss_at_rest: u64,
    /// Latency, in microseconds.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p99_us: f64,
}

impl Figure {
    pub(crate) fn of(unit: Unit, outcome: &Outcome) -> Option<Self> {
        let server = outcome.server.as_ref()?;
        let cost = match unit {
            Unit::MicrosecondsPerRequest => server.cpu_us_per_request,
            Unit::SecondsPerGib => {
                let gib = (outcome.bytes_received + outcome.bytes_sent) as f64 / f64::from(1 << 30);
                server.cpu.total_us() / 1e6 / gib
            }
            Unit::BytesPerConnection => server.rss_per_connection,
        };
        Some(Self {
            cost,
            rate: outcome.done as f64 / outcome.elapsed_s.max(1e-9),
            busy: server.busy,
            rss: server.rss_max,
            rss_at_rest: server.rss_before,
            p50_us: outcome.latency.percentile_us(50.0),
            p99_us: outcome.latency.percentile_us(99.0),
        })
    }
}

/// A contestant on a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// By round; `None` where a run was disqualified.
    pub rounds: Vec<Option<Figure>>,
    /// Latency of all rounds together.
    pub latency: Distribution,
    /// The cipher and the key exchange of the TLS that the generator has no part in, if there is any.
    #[serde(default)]
    pub agreed: Option<String>,
    /// Why runs were disqualified, and what must be known of the others.
    pub remarks: BTreeMap<String, usize>,
}

impl Entry {
    fn costs(&self) -> Vec<Option<f64>> {
        self.rounds.iter().map(|figure| figure.as_ref().map(|figure| figure.cost)).collect()
    }

    fn median(&self, of: impl Fn(&Figure) -> f64) -> Option<f64> {
        statistics::median(&self.rounds.iter().flatten().map(of).collect::<Vec<_>>())
    }
}

/// A row and who was measured on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// Its name.
    pub name: String,
    /// What costs are counted in.
    pub unit: Unit,
    /// By contestant, in the order in which they were named.
    pub entries: Vec<(String, Entry)>,
}

impl Results {
    /// Whether all that was to be measured was, and counts.
    pub fn sound(&self) -> bool {
        let entries = self.rows.iter().flat_map(|row| &row.entries);
        !self.interrupted
            && entries.into_iter().all(|(_, entry)| {
                entry.rounds.len() == self.rounds && entry.rounds.iter().all(Option::is_some)
            })
    }
}

impl RowResult {
    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, entry)| entry)
    }

    /// The cheapest relay.
    fn floor(&self) -> Option<(&str, &Entry)> {
        self.entries
            .iter()
            .filter(|(name, _)| name.starts_with("floor"))
            .filter_map(|(name, entry)| Some((entry.median(|figure| figure.cost)?, name, entry)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name, entry)| (name.as_str(), entry))
    }

    /// The cost of one against another, within rounds.
    fn ratio(of: &Entry, to: &Entry) -> Option<Interval> {
        statistics::bootstrap(&statistics::ratios(&of.costs(), &to.costs()), 1)
    }

    /// What the medians say against the floor or against nginx.
    pub fn objections(&self) -> Vec<String> {
        let Some(floor) = self.floor().and_then(|(_, entry)| entry.median(|figure| figure.cost)) else {
            return Vec::new();
        };
        if self.unit == Unit::BytesPerConnection {
            return Vec::new();
        }
        let others: Vec<(&str, f64)> = self
            .entries
            .iter()
            .filter(|(name, _)| !name.starts_with("floor"))
            .filter_map(|(name, entry)| Some((name.as_str(), entry.median(|figure| figure.cost)?)))
            .collect();
        let saturated = self.name.starts_with("W1 ") && self.name.ends_with("max");
        check::floor(saturated, floor, &others)
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// When it began, as RFC 3339.
    pub started: String,
    /// The command that makes it again.
    pub command: String,
    /// On what.
    pub machine: Machine,
    /// By contestant.
    pub versions: BTreeMap<String, String>,
    /// What isolation was missing.
    pub missing: Vec<String>,
    /// Rounds.
    pub rounds: usize,
    /// Recorded seconds of each run.
    pub seconds: f64,
    /// Whether it was ended before all was measured.
    #[serde(default)]
    pub interrupted: bool,
    /// In the order in which they ran.
    pub rows: Vec<RowResult>,
}

impl Results {
    /// To read.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        writeln!(to, "# Contestants side by side, {}\n", self.started.get(..10).unwrap_or(&self.started))?;
        writeln!(to, "    {}\n", self.command)?;
        if self.interrupted {
            writeln!(to, "**Interrupted: rows and rounds are missing.**\n")?;
        }
        writeln!(
            to,
            "Each of {} rounds ran all contestants of a row one after another, in turning order, a fresh process each, \
             {} s recorded. CPU time is the proxy's own, user and kernel, of all its threads. Ratios are medians of ratios within \
             rounds, with their 95 % bootstrap interval; what is inside of the noise is no difference. Latency counts from when \
             a request was due, over all rounds together.\n",
            self.rounds, self.seconds
        )?;
        writeln!(to, "| machine | |\n|---|---|")?;
        let machine = &self.machine;
        writeln!(to, "| processor | {}, {} used |", machine.cpu, machine.cpus)?;
        writeln!(to, "| kernel | {}, {} |", machine.kernel, machine.congestion)?;
        writeln!(to, "| harness | {} |", machine.harness)?;
        for (name, version) in &self.versions {
            writeln!(to, "| {name} | {} |", version.replace('|', "/"))?;
        }
        for missing in &self.missing {
            writeln!(to, "| missing | {missing} |")?;
        }
        self.rows.iter().try_for_each(|row| row.write(to))
    }
}

impl RowResult {
    fn write(&self, to: &mut String) -> std::fmt::Result {
        writeln!(to, "\n## {}\n", self.name)?;
        let floor = self.floor();
        writeln!(
            to,
            "| | {} | x nginx | x haproxy | x floor | noise | requests/s | core | p50 us | p99 us | RSS MiB | remarks |",
            self.unit.name()
        )?;
        writeln!(to, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for (name, entry) in &self.entries {
            let ratio = |to: Option<&Entry>| {
                to.and_then(|to| Self::ratio(entry, to)).map_or_else(
                    || "-".to_owned(),
                    |is| format!("**{:.2}** ({:.2}-{:.2})", is.median, is.low, is.high),
                )
            };
            let number = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let digits = if self.unit == Unit::SecondsPerGib { 3 } else { 1 };
            let latency = |per_cent| {
                if entry.latency.count() > 0 {
                    format!("{:.0}", entry.latency.percentile_us(per_cent))
                } else {
                    "-".into()
                }
            };
            let remarks: Vec<String> = entry
                .remarks
                .iter()
                .map(
                    |(remark, times)| {
                        if *times > 1 { format!("{remark} ({times} runs)") } else { remark.clone() }
                    },
                )
                .collect();
            writeln!(
                to,
                "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                number(entry.median(|figure| figure.cost), digits),
                ratio(self.entry("nginx")),
                ratio(self.entry("haproxy")),
                ratio(floor.map(|(_, entry)| entry)),
                statistics::noise_floor(&entry.costs())
                    .map_or_else(|| "-".to_owned(), |noise| format!("{:.0} %", noise * 100.0)),
                number(entry.median(|figure| figure.rate), 0),
                entry
                    .median(|figure| figure.busy)
                    .map_or_else(|| "-".to_owned(), |busy| format!("{:.0} %", busy * 100.0)),
                latency(50.0),
                latency(99.0),
                number(entry.median(|figure| figure.rss as f64 / f64::from(1 << 20)), 1),
                remarks.join("; ").replace('|', "/"),
            )?;
        }
        if self.entries.iter().any(|(_, entry)| entry.agreed.is_some()) {
            let equal = EQUAL.to_string();
            let agreed: Vec<String> = self
                .entries
                .iter()
                .filter_map(|(name, entry)| Some((name, entry.agreed.as_ref()?)))
                .map(|(name, agreed)| {
                    if *agreed == equal { format!("{name} {agreed}") } else { format!("**{name} {agreed}**") }
                })
                .collect();
            writeln!(
                to,
                "\nBehind the first proxy TLS was agreed to be, beside ECDSA P-256: {}.",
                agreed.join("; ")
            )?;
        }
        for objection in self.objections() {
            writeln!(to, "\n**{objection}**")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(costs: &[f64]) -> Entry {
        let figure = |cost: &f64| {
            Some(Figure {
                cost: *cost,
                rate: 1_000.0,
                busy: 0.99,
                rss: 1 << 20,
                rss_at_rest: 1 << 19,
                p50_us: 90.0,
                p99_us: 200.0,
            })
        };
        Entry { rounds: costs.iter().map(figure).collect(), ..Entry::default() }
    }

    #[test]
    fn a_table_has_ratios_to_nginx_and_to_the_cheapest_relay() {
        let row = RowResult {
            name: "W1 HTTP/1.1, max".into(),
            unit: Unit::MicrosecondsPerRequest,
            entries: vec![
                ("nginx".into(), entry(&[16.0, 18.0])),
                ("floor-ring".into(), entry(&[10.0, 11.0])),
                ("floor-epoll".into(), entry(&[12.0, 12.0])),
                ("ringway".into(), entry(&[8.0, 9.0])),
            ],
        };
        let mut text = String::new();
        row.write(&mut text).unwrap();
        assert!(
            text.contains("| ringway | 8.5 | **0.50** (0.50-0.50) | - | **0.81** (0.80-0.82) |"),
            "{text}"
        );
        assert!(text.contains("ringway costs 0.81 x floor: the floor is wrong"), "{text}");
    }

    fn results(entry: Entry) -> Results {
        let row = RowResult {
            name: "W1 HTTP/1.1, max".into(),
            unit: Unit::MicrosecondsPerRequest,
            entries: vec![("nginx".into(), entry)],
        };
        Results {
            started: "2026-03-01T12:00:00Z".into(),
            command: "ringway perf peers".into(),
            machine: Machine::default(),
            versions: BTreeMap::new(),
            missing: Vec::new(),
            rounds: 2,
            seconds: 1.0,
            interrupted: false,
            rows: vec![row],
        }
    }

    #[test]
    fn results_are_sound_if_all_of_it_was_measured_and_counts() {
        let whole = results(entry(&[1.0, 2.0]));
        assert!(whole.sound() && !whole.markdown().contains("Interrupted"));
        assert!(!results(entry(&[1.0])).sound(), "a round did not come");
        assert!(!results(Entry { rounds: vec![None, None], ..Entry::default() }).sound());
        let interrupted = Results { interrupted: true, ..whole };
        assert!(!interrupted.sound());
        assert!(interrupted.markdown().contains("**Interrupted: rows and rounds are missing.**"));
    }

    #[test]
    fn tls_that_is_not_equal_is_told() {
        let mut unlike = results(entry(&[1.0, 2.0]));
        assert!(!unlike.markdown().contains("agreed"));
        let [row] = &mut unlike.rows[..] else { panic!() };
        row.entries[0].1.agreed = Some("AES-128-GCM, X25519".into());
        row.entries.push(("other".into(), entry(&[1.0, 2.0])));
        row.entries[1].1.agreed = Some("AES-256-GCM, X25519".into());
        let text = unlike.markdown();
        assert!(text.contains("P-256: nginx AES-128-GCM, X25519; **other AES-256-GCM, X25519**."), "{text}");
    }

    #[test]
    fn a_disqualified_round_is_missing_from_all_its_ratios() {
        let mut lost = entry(&[8.0, 9.0]);
        lost.rounds[0] = None;
        assert_eq!(RowResult::ratio(&lost, &entry(&[1.0, 3.0])).unwrap().median, 3.0);
    }
}
