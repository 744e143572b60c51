//! What a run showed. This is what is written as JSON, compared, gated and reported.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;
use crate::plan::Plan;

/// The version of the JSON form.
pub const FORMAT: u32 = 1;

/// What one run showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`FORMAT`].
    pub format: u32,
    /// Who was measured: a contestant's name, or what the user called it.
    pub name: String,
    /// When, as RFC 3339.
    pub started: String,
    /// On what. Outcomes of unlike machines are not compared.
    pub machine: Machine,
    /// What was to be done.
    pub plan: Plan,
    /// Whether the figures say something about the server.
    pub verdict: Verdict,
    /// Recorded time, in seconds.
    pub elapsed_s: f64,
    /// Requests that were due or sent in it.
    pub sent: u64,
    /// Those that were answered as they should be.
    pub done: u64,
    /// Bytes of bodies or messages, received and sent.
    pub bytes_received: u64,
    /// See `bytes_received`.
    pub bytes_sent: u64,
    /// From when a request was due until its answer was whole. In a closed loop the same as `service`.
    pub latency: Distribution,
    /// From when it was sent.
    pub service: Distribution,
    /// From when it was due, or the first connection became free if all were busy then, until it was sent: the
    /// generator's own delay. Nothing in a closed loop, where a request is due when it is sent.
    pub lag: Distribution,
    /// One a second of recorded time.
    pub seconds: Vec<Second>,
    /// Answers by status (HTTP) or gRPC status.
    pub statuses: BTreeMap<u16, u64>,
    /// What went wrong, by cause: `connect refused`, `reset`, `timeout`, `status 503`, `size`, …
    pub errors: BTreeMap<String, u64>,
    /// What the generator itself used.
    pub generator: Usage,
    /// The share of the recorded time in which the generator's busiest thread ran or waited for a CPU.
    #[serde(default)]
    pub generator_spent: f64,
    /// What the server used, if its processes are known.
    pub server: Option<ServerCost>,
}

/// Whether figures say something about the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Verdict {
    /// They do.
    Valid,
    /// The generator was the limit.
    GeneratorSaturated {
        /// By what it shows.
        because: String,
    },
    /// A closed loop that left the server's core idle: compare it at an equal rate instead.
    ServerNotBusy {
        /// The share of its core that the server used.
        busy: f64,
    },
    /// Nothing was answered.
    NoAnswers,
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => write!(to, "valid"),
            Self::GeneratorSaturated { because } => write!(to, "the generator was the limit: {because}"),
            Self::ServerNotBusy { busy } => {
                write!(to, "the server's core was not full ({:.0} %)", busy * 100.0)
            }
            Self::NoAnswers => write!(to, "nothing was answered"),
        }
    }
}

/// A second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Requests that were answered.
    pub done: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Latency, in microseconds.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p99_us: f64,
    /// See `p50_us`.
    pub p999_us: f64,
    /// See `p50_us`.
    pub max_us: f64,
    /// CPU time of the server, in microseconds.
    pub server_cpu_us: Option<f64>,
    /// Memory of the server, in bytes.
    pub server_rss: Option<u64>,
}

/// CPU time of some processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// In user mode, in microseconds.
    pub user_us: f64,
    /// In the kernel on their behalf, in microseconds.
    pub system_us: f64,
    /// By the kernel's io_uring workers of these processes, in microseconds (part of neither of the others).
    pub io_workers_us: f64,
    /// In user mode and in the kernel together, where it was too short to be divided (part of none of the others).
    #[serde(default)]
    pub undivided_us: f64,
}

/// Of the kernel's ticks of 10 ms, so many must have been counted before they divide what the scheduler counted: with
/// fewer, one tick more or less in user mode moves its share by more than 5 %.
const TICKS_MIN: u64 = 20;

impl Usage {
    /// What the scheduler counted, divided into user mode and kernel as the kernel's ticks are, if they are enough.
    pub(crate) fn divided(ran_us: f64, user_ticks: u64, system_ticks: u64) -> Self {
        let ticks = user_ticks + system_ticks;
        if ticks < TICKS_MIN {
            return Self { undivided_us: ran_us, ..Self::default() };
        }
        let user_us = ran_us * user_ticks as f64 / ticks as f64;
        Self { user_us, system_us: ran_us - user_us, ..Self::default() }
    }

    /// All of it.
    pub fn total_us(&self) -> f64 {
        self.user_us + self.system_us + self.io_workers_us + self.undivided_us
    }

    /// User mode and kernel, if all of it could be divided.
    pub fn division_us(&self) -> Option<(f64, f64)> {
        (self.undivided_us == 0.0).then_some((self.user_us, self.system_us))
    }

    /// That of another beside it.
    pub(crate) fn add(&mut self, other: &Self) {
        self.user_us += other.user_us;
        self.system_us += other.system_us;
        self.io_workers_us += other.io_workers_us;
        self.undivided_us += other.undivided_us;
    }
}

/// What the server used while the run was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// CPU time.
    pub cpu: Usage,
    /// CPU time for each request that was answered, in microseconds.
    pub cpu_us_per_request: f64,
    /// The share of one core that was used.
    pub busy: f64,
    /// Resident memory before the connections were opened, in bytes.
    pub rss_before: u64,
    /// The most that was seen.
    pub rss_max: u64,
    /// At the end, with the connections still open.
    pub rss_after: u64,
    /// Growth by connection, in bytes.
    pub rss_per_connection: f64,
}

/// What a figure depends on besides the contestant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that may be used.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Of the processor's frequency, where it can be read.
    pub governor: Option<String>,
    /// Mitigations of processor faults, as the kernel lists them.
    pub mitigations: BTreeMap<String, String>,
    /// Congestion control of TCP.
    pub congestion: String,
    /// Memory, in bytes.
    pub memory: u64,
    /// The harness's version and profile.
    pub harness: String,
}
