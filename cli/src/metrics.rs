//! What the process says of itself and of its configuration, beside what the cores count. Prometheus' text format.
//!
//! `docs/metrics.md` lists every name; a test compares.

use std::fmt::Write;

use ringway_controller::inventory::Effect;
use ringway_controller::standalone::Report;
use ringway_proxy::io::Cause;

/// Numbers that neither a core nor the configuration knows.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) driver: &'static str,
    pub(crate) driver_cause: Cause,
    pub(crate) cores: usize,
    pub(crate) log_lines_dropped: u64,
    /// Messages between cores.
    pub(crate) messages_shed: u64,
    /// Lines of the access log.
    pub(crate) access_lines_failed: u64,
    /// As many files and sockets may be open.
    pub(crate) descriptors_max: u64,
    /// As many client connections may be open.
    pub(crate) connections_max: u64,
}

const METRICS: [(&str, &str, &str); 13] = [
    ("ringway_build_info", "gauge", "Always 1; says the version."),
    ("ringway_driver_info", "gauge", "Always 1; says what carries the sockets, and why."),
    ("ringway_cores", "gauge", "Data threads."),
    ("ringway_config_generation", "gauge", "Counts the configurations that were in force."),
    ("ringway_config_objects", "gauge", "Objects in force."),
    ("ringway_config_problems", "gauge", "What is wrong with the files, by its effect."),
    (
        "ringway_config_rejections_total",
        "counter",
        "How often a file was broken or unreadable and did not count as it was.",
    ),
    ("ringway_listeners_unbound", "gauge", "Listeners without a socket."),
    (
        "ringway_log_lines_dropped_total",
        "counter",
        "Lines of the process log that were dropped because its reader was too slow.",
    ),
    (
        "ringway_access_log_lines_failed_total",
        "counter",
        "Lines of the access log that could not be written: the disk is full, or the reader has gone.",
    ),
    ("ringway_messages_shed_total", "counter", "Messages between cores that found no room."),
    ("ringway_descriptors_max", "gauge", "Descriptors that the process may have open (RLIMIT_NOFILE)."),
    (
        "ringway_connections_max",
        "gauge",
        "Client connections that are let in: `connections_max`, or half of the descriptors if that is less.",
    ),
];

/// Writes these numbers.
pub(crate) fn write(out: &mut String, process: &Process, report: &Report) {
    let count = |effect: Effect| report.problems.iter().filter(|problem| problem.effect == effect).count();
    for (name, kind, help) in METRICS {
        put(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        let mut sample = |labels: &str, value: u64| put(out, format_args!("{name}{labels} {value}\n"));
        match name {
            "ringway_build_info" => sample(concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1),
            "ringway_driver_info" => {
                let (driver, reason) = (process.driver, process.driver_cause.name());
                sample(&format!("{{driver=\"{driver}\",reason=\"{reason}\"}}"), 1);
            }
            "ringway_cores" => sample("", process.cores as u64),
            "ringway_config_generation" => sample("", report.generation),
            "ringway_config_objects" => sample("", report.objects as u64),
            "ringway_config_problems" => {
                for (label, effect) in [
                    ("file_kept", Effect::FileKept),
                    ("file_empty", Effect::FileEmpty),
                    ("object_ignored", Effect::ObjectIgnored),
                    ("warned", Effect::Warned),
                    ("noted", Effect::Noted),
                ] {
                    sample(&format!("{{effect=\"{label}\"}}"), count(effect) as u64);
                }
            }
            "ringway_config_rejections_total" => sample("", report.rejections),
            "ringway_listeners_unbound" => sample("", report.failed_binds.len() as u64),
            "ringway_access_log_lines_failed_total" => sample("", process.access_lines_failed),
            "ringway_messages_shed_total" => sample("", process.messages_shed),
            "ringway_descriptors_max" => sample("", process.descriptors_max),
            "ringway_connections_max" => sample("", process.connections_max),
            _ => sample("", process.log_lines_dropped),
        }
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_metric_as_it_is() {
        let document = include_str!("../../docs/metrics.md");
        let (_, section) = document.split_once("## The process").expect("a section of its own");
        let written: Vec<_> = section.lines().filter(|line| line.starts_with("| `ringway_")).collect();
        let labels = |name: &str| match name {
            "ringway_build_info" => "`version`",
            "ringway_driver_info" => "`driver`, `reason`",
            "ringway_config_problems" => "`effect`",
            _ => "–",
        };
        let rows: Vec<_> = METRICS
            .iter()
            .map(|(name, kind, help)| format!("| `{name}` | {kind} | {} | {help} |", labels(name)))
            .collect();
        assert_eq!(written, rows, "docs/metrics.md should have these rows:\n{}", rows.join("\n"));
    }

    #[test]
    fn the_document_explains_every_reason_of_a_driver() {
        let document = include_str!("../../docs/metrics.md");
        let paragraph =
            document.split("\n\n").find(|text| text.starts_with("`reason` is")).expect("it is there");
        let explained: Vec<_> = paragraph.split('`').skip(3).step_by(2).collect();
        assert_eq!(explained, Cause::ALL.map(Cause::name));
    }

    #[test]
    fn every_metric_has_its_own_value() {
        let report = Report { generation: 7, objects: 5, rejections: 3, ..Report::default() };
        let mut text = String::new();
        let process = Process {
            driver: "epoll",
            driver_cause: Cause::Forbidden,
            cores: 2,
            log_lines_dropped: 11,
            access_lines_failed: 13,
            messages_shed: 17,
            descriptors_max: 1024,
            connections_max: 480,
        };
        write(&mut text, &process, &report);
        for line in [
            "ringway_driver_info{driver=\"epoll\",reason=\"forbidden\"} 1",
            "ringway_cores 2",
            "ringway_config_generation 7",
            "ringway_config_objects 5",
            "ringway_config_problems{effect=\"file_kept\"} 0",
            "ringway_config_problems{effect=\"file_empty\"} 0",
            "ringway_config_rejections_total 3",
            "ringway_log_lines_dropped_total 11",
            "ringway_access_log_lines_failed_total 13",
            "ringway_messages_shed_total 17",
            "ringway_descriptors_max 1024",
            "ringway_connections_max 480",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
    }
}
