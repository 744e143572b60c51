//! What one thread saw.

use std::collections::BTreeMap;

use crate::cause::Cause;
use crate::distribution::Distribution;
use crate::outcome::{Second, Usage};

/// What one thread saw of the recorded time. Merged at the end.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) sent: u64,
    pub(crate) done: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) latency: Distribution,
    pub(crate) service: Distribution,
    pub(crate) lag: Distribution,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) errors: BTreeMap<Cause, u64>,
    pub(crate) cpu: Cpu,
}

impl Record {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.done += other.done;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.lag.merge(&other.lag);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (cause, count) in &other.errors {
            *self.errors.entry(*cause).or_default() += count;
        }
        self.cpu.usage.add(&other.cpu.usage);
        self.cpu.spent = self.cpu.spent.max(other.cpu.spent);
    }
}

/// One thread's part of a second.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) latency: Distribution,
}

impl Part {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.latency.merge(&other.latency);
    }

    pub(crate) fn second(&self) -> Second {
        Second {
            done: self.done,
            failed: self.failed,
            p50_us: self.latency.percentile_us(50.0),
            p99_us: self.latency.percentile_us(99.0),
            p999_us: self.latency.percentile_us(99.9),
            max_us: self.latency.max_us(),
            server_cpu_us: None,
            server_rss: None,
        }
    }
}

/// What the generator used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) usage: Usage,
    /// The share of the time in which a thread ran or wanted to; of several threads, that of the busiest.
    pub(crate) spent: f64,
}

/// A reading of the calling thread's account with the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    running_ns: u64,
    waiting_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
}

impl Account {
    /// Zeros where the kernel does not tell.
    pub(crate) fn read() -> Self {
        let text =
            |name: &str| std::fs::read_to_string(format!("/proc/thread-self/{name}")).unwrap_or_default();
        let (schedule, stat) = (text("schedstat"), text("stat"));
        let mut times = schedule.split_whitespace().map(|field| field.parse().unwrap_or(0));
        // The command's name, in brackets, may hold anything. User and system time are the 12th and 13th after it.
        let mut ticks = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .skip(11)
            .map(|field| field.parse().unwrap_or(0));
        Self {
            running_ns: times.next().unwrap_or(0),
            waiting_ns: times.next().unwrap_or(0),
            user_ticks: ticks.next().unwrap_or(0),
            system_ticks: ticks.next().unwrap_or(0),
        }
    }

    /// What was used between two readings that many nanoseconds apart.
    pub(crate) fn until(&self, later: &Self, elapsed_ns: u64) -> Cpu {
        let running = later.running_ns.saturating_sub(self.running_ns) as f64;
        let waiting = later.waiting_ns.saturating_sub(self.waiting_ns) as f64;
        let user = later.user_ticks.saturating_sub(self.user_ticks);
        let system = later.system_ticks.saturating_sub(self.system_ticks);
        Cpu {
            usage: Usage::divided(running / 1_000.0, user, system),
            spent: (running + waiting) / elapsed_ns.max(1) as f64,
        }
    }
}
