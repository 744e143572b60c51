//! What processes cost: CPU time and memory, read from `/proc` while they run.
//!
//! CPU time is what the scheduler counted in nanoseconds; the coarser counts of the kernel only divide it into user and
//! system, where there are enough of them. Threads that have ended keep what they were last seen with, so sums never go
//! back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use crate::engine::Progress;
use crate::outcome::{ServerCost, Usage};

/// Which processes are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// These and all that descend from them.
    Trees(Vec<u32>),
    /// All of a cgroup and of those below it: a directory under `/sys/fs/cgroup`.
    Cgroup(PathBuf),
}

impl Watched {
    /// The processes, as they are now. Those that have ended are missing without an error.
    fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        match self {
            Self::Trees(roots) => roots.iter().for_each(|root| descend(*root, &mut found)),
            Self::Cgroup(directory) => below(directory, &mut found),
        }
        found
    }
}

/// The process and what descends from it.
fn descend(process: u32, found: &mut Vec<u32>) {
    if found.contains(&process) {
        return;
    }
    found.push(process);
    for thread in threads(process) {
        let children =
            fs::read_to_string(format!("/proc/{process}/task/{thread}/children")).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .for_each(|child| descend(child, found));
    }
}

/// The processes of a cgroup and of those below it.
fn below(directory: &Path, found: &mut Vec<u32>) {
    let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), found);
        }
    }
}

fn threads(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Counts the CPU time of processes.
#[derive(Debug)]
pub struct Watch {
    watched: Watched,
    /// By thread, as it was last seen.
    seen: BTreeMap<u32, Account>,
}

impl Watch {
    /// Watches these. An error if there is nothing to watch.
    pub fn new(watched: Watched) -> io::Result<Self> {
        if watched.processes().is_empty() {
            let what = match &watched {
                Watched::Trees(roots) => format!("no process {roots:?}"),
                Watched::Cgroup(directory) => format!("no processes in the cgroup {}", directory.display()),
            };
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        Ok(Self { watched, seen: BTreeMap::new() })
    }

    /// What the kernel has counted since the processes began.
    pub fn account(&mut self) -> Account {
        for process in self.watched.processes() {
            for thread in threads(process) {
                if let Some(account) = thread_account(process, thread) {
                    self.seen.insert(thread, account);
                }
            }
        }
        self.seen.values().fold(Account::default(), |sum, thread| Account {
            ran_us: sum.ran_us + thread.ran_us,
            user_ticks: sum.user_ticks + thread.user_ticks,
            system_ticks: sum.system_ticks + thread.system_ticks,
            io_workers_us: sum.io_workers_us + thread.io_workers_us,
        })
    }

    /// Resident memory in bytes, exactly: the kernel walks the page tables for it, so not while latency is recorded.
    pub fn memory(&self) -> u64 {
        self.watched
            .processes()
            .into_iter()
            .map(|process| exact_memory(process).unwrap_or_else(|| quick_memory(process)))
            .sum()
    }

    /// Resident memory in bytes, to within some pages for each processor.
    pub fn quick_memory(&self) -> u64 {
        self.watched.processes().into_iter().map(quick_memory).sum()
    }
}

fn thread_account(process: u32, thread: u32) -> Option<Account> {
    let directory = format!("/proc/{process}/task/{thread}");
    let stat = ThreadStat::parse(&fs::read_to_string(format!("{directory}/stat")).ok()?)?;
    let ran = fs::read_to_string(format!("{directory}/schedstat")).ok();
    let ran_ns = ran.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Some(stat.account(ran_ns))
}

/// What the kernel has counted for some threads, since each began. Only differences are divided into user mode and
/// kernel: a share of all that a process ever did says nothing about the last second of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    /// By the scheduler, io_uring's workers left out.
    ran_us: f64,
    user_ticks: u64,
    system_ticks: u64,
    io_workers_us: f64,
}

impl Account {
    /// What was used until a later reading.
    pub fn until(&self, later: &Self) -> Usage {
        let user_ticks = later.user_ticks.saturating_sub(self.user_ticks);
        let system_ticks = later.system_ticks.saturating_sub(self.system_ticks);
        Usage {
            io_workers_us: (later.io_workers_us - self.io_workers_us).max(0.0),
            ..Usage::divided((later.ran_us - self.ran_us).max(0.0), user_ticks, system_ticks)
        }
    }
}

/// What `/proc/PID/task/TID/stat` says of CPU time.
#[derive(Debug, PartialEq, Eq)]
struct ThreadStat {
    io_worker: bool,
    user_ticks: u64,
    system_ticks: u64,
}

/// The kernel's unit in `stat`: `USER_HZ`, which is 100 on every machine that Linux runs on today.
const TICK_US: f64 = 10_000.0;

impl ThreadStat {
    /// The name stands in brackets and may hold anything, brackets too.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        // `man 5 proc`: state is field 3, utime 14, stime 15.
        let mut fields = after.split_whitespace().skip(11);
        Some(Self {
            io_worker: name.starts_with("iou-"),
            user_ticks: fields.next()?.parse().ok()?,
            system_ticks: fields.next()?.parse().ok()?,
        })
    }

    /// With what the scheduler counted; without it, the ticks say that too.
    fn account(&self, ran_ns: Option<u64>) -> Account {
        let ticks = self.user_ticks + self.system_ticks;
        let ran_us = ran_ns.map_or(ticks as f64 * TICK_US, |ran| ran as f64 / 1_000.0);
        if self.io_worker {
            return Account { io_workers_us: ran_us, ..Account::default() };
        }
        Account { ran_us, user_ticks: self.user_ticks, system_ticks: self.system_ticks, io_workers_us: 0.0 }
    }
}

fn exact_memory(process: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn quick_memory(process: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{process}/statm")).ok();
    let pages = pages.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Takes down what a server costs while the engine runs: its `see` is what the engine tells where it is.
#[derive(Debug)]
pub struct Meter {
    watch: Watch,
    memory_before: u64,
    memory_max: u64,
    memory_after: u64,
    connections: usize,
    /// When the first and the last recorded moment were, and what was counted until then.
    recorded: Option<[(Instant, Account); 2]>,
    /// The same, when the last whole second was over.
    until: Account,
}

impl Meter {
    /// For these processes.
    pub fn new(watched: Watched) -> io::Result<Self> {
        let mut watch = Watch::new(watched)?;
        let until = watch.account();
        let memory = watch.memory();
        Ok(Self {
            watch,
            memory_before: memory,
            memory_max: memory,
            memory_after: memory,
            connections: 0,
            recorded: None,
            until,
        })
    }

    /// Looks at the processes, as far as the moment asks for it.
    pub fn see(&mut self, progress: &mut Progress<'_>) {
        match progress {
            Progress::Starting => self.memory_before = self.watch.memory(),
            Progress::Connected { connections } => self.connections = *connections,
            Progress::Recording => {
                self.until = self.watch.account();
                self.recorded = Some([(Instant::now(), self.until); 2]);
            }
            Progress::Second { second, .. } => {
                let now = self.watch.account();
                let memory = self.watch.quick_memory();
                second.server_cpu_us = Some(self.until.until(&now).total_us());
                second.server_rss = Some(memory);
                self.until = now;
                self.memory_max = self.memory_max.max(memory);
            }
            Progress::Ended => {
                let account = self.watch.account();
                if let Some([_, last]) = &mut self.recorded {
                    *last = (Instant::now(), account);
                }
                self.memory_after = self.watch.memory();
                self.memory_max = self.memory_max.max(self.memory_after);
            }
        }
    }

    /// What the run cost the server, for so many answered requests.
    pub fn cost(&self, done: u64) -> Option<ServerCost> {
        let [(from, before), (to, after)] = self.recorded?;
        let cpu = before.until(&after);
        let elapsed_us = (to - from).as_secs_f64() * 1e6;
        let grown = self.memory_after.saturating_sub(self.memory_before);
        Some(ServerCost {
            cpu,
            cpu_us_per_request: cpu.total_us() / done.max(1) as f64,
            busy: if elapsed_us > 0.0 { cpu.total_us() / elapsed_us } else { 0.0 },
            rss_before: self.memory_before,
            rss_max: self.memory_max,
            rss_after: self.memory_after,
            rss_per_connection: grown as f64 / self.connections.max(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::outcome::Second;

    #[test]
    fn a_name_may_hold_brackets() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 70 0 0 20 0 4 0 1 2 3";
        assert_eq!(
            ThreadStat::parse(line),
            Some(ThreadStat { io_worker: false, user_ticks: 30, system_ticks: 70 })
        );
        assert_eq!(ThreadStat::parse("7 (cut"), None);
    }

    #[test]
    fn nanoseconds_are_divided_as_the_ticks_between_two_readings_are() {
        let stat = |user_ticks, system_ticks| ThreadStat { io_worker: false, user_ticks, system_ticks };
        // All that came before was in user mode; what is measured was not.
        let before = stat(500, 0).account(Some(5_000_000_000));
        let after = stat(510, 30).account(Some(5_400_000_000));
        let used = before.until(&after);
        assert_eq!(used.division_us(), Some((100_000.0, 300_000.0)));
        assert_eq!(used.total_us(), 400_000.0);
        assert_eq!(stat(1, 3).account(None).ran_us, 40_000.0);
        let worker = ThreadStat { io_worker: true, ..stat(1, 3) };
        assert_eq!(Account::default().until(&worker.account(Some(1_000))).io_workers_us, 1.0);
    }

    #[test]
    fn what_is_too_short_for_ticks_has_a_total_only() {
        let stat = |user_ticks, system_ticks| ThreadStat { io_worker: false, user_ticks, system_ticks };
        let used = stat(0, 0).account(Some(1_000_000)).until(&stat(0, 1).account(Some(9_000_000)));
        assert_eq!((used.total_us(), used.division_us()), (8_000.0, None));
        let used = stat(0, 0).account(Some(0)).until(&stat(10, 9).account(Some(190_000_000)));
        assert_eq!((used.total_us(), used.division_us()), (190_000.0, None));
    }

    /// A process of its own, since others of this one come and go with the tests beside this.
    #[test]
    fn work_of_a_process_is_seen() {
        let works = r#"read go; kept=$(head -c 8388608 /dev/zero | tr '\0' x); echo grown; read go"#;
        let mut child = Command::new("/bin/sh")
            .args(["-c", works])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut meter = Meter::new(Watched::Trees(vec![child.id()])).unwrap();
        assert_eq!(meter.cost(1), None, "nothing was recorded");
        meter.see(&mut Progress::Starting);
        meter.see(&mut Progress::Connected { connections: 2 });
        meter.see(&mut Progress::Recording);
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "grown\n");
        let mut second = Second::default();
        meter.see(&mut Progress::Second { index: 0, second: &mut second });
        meter.see(&mut Progress::Ended);
        drop(child.stdin.take());
        child.wait().unwrap();
        let cost = meter.cost(10).unwrap();
        assert!(cost.cpu.total_us() > 1_000.0 && cost.busy > 0.0, "{cost:?}");
        assert_eq!(cost.cpu_us_per_request, cost.cpu.total_us() / 10.0);
        assert!(cost.rss_per_connection > 3e6, "{cost:?}");
        assert!(second.server_cpu_us.unwrap() > 1_000.0 && second.server_rss.unwrap() > 8 << 20);
    }

    #[test]
    fn nothing_to_watch_is_an_error() {
        let error = Watch::new(Watched::Cgroup("/nowhere".into())).unwrap_err();
        assert_eq!(error.to_string(), "no processes in the cgroup /nowhere");
    }
}
