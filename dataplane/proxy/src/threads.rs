//! How many data threads there are, and which CPUs they run on.
//!
//! One for each CPU that may be used: the affinity mask, cut by the cgroup's quota. They are pinned only when the CPUs
//! are ours alone (no quota, one thread a CPU): a hundred sidecars that each pin their
//! first thread would all sit on CPU 0.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// More data threads than this make no sense on any machine we know.
const THREADS_MAX: usize = 1024;

/// A CPU to pin to (or none) for each data thread; never empty.
pub(crate) fn plan(threads: Option<usize>, pin: Option<bool>) -> io::Result<Vec<Option<usize>>> {
    let allowed = allowed_cpus()?;
    let quota = cgroup_quota();
    let usable = quota.map_or(allowed.len(), |quota| (quota as usize).clamp(1, allowed.len()));
    let count = threads.unwrap_or(usable).clamp(1, THREADS_MAX);
    let pinned = pin.unwrap_or(quota.is_none() && threads.is_none_or(|threads| threads == allowed.len()));
    Ok((0..count).map(|index| pinned.then(|| allowed[index % allowed.len()])).collect())
}

/// Pins the calling thread; a CPU that has gone is no reason to stop.
pub(crate) fn pin_to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "cannot pin a data thread; it runs unpinned");
    }
}

fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if allowed.is_empty() {
        return Err(io::Error::other("the affinity mask is empty"));
    }
    Ok(allowed)
}

/// CPUs' worth of time that the cgroup grants; `None` is no limit (or no cgroup that can be read).
fn cgroup_quota() -> Option<f64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    if let Some(max) = read("/sys/fs/cgroup/cpu.max") {
        return quota_v2(&max);
    }
    let quota = read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
    let period = read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
    quota_v1(&quota, &period)
}

fn quota_v2(max: &str) -> Option<f64> {
    let (quota, period) = max.trim().split_once(' ')?;
    quota_v1(quota, period)
}

fn quota_v1(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_read_from_both_kinds_of_cgroup() {
        for (max, quota) in [("150000 100000\n", Some(1.5)), ("max 100000\n", None), ("", None)] {
            assert_eq!(quota_v2(max), quota, "{max:?}");
        }
        assert_eq!(quota_v1("-1\n", "100000\n"), None);
        assert_eq!(quota_v1("50000\n", "100000\n"), Some(0.5));
    }

    #[test]
    fn there_is_always_a_thread_and_it_is_pinned_only_if_asked_or_alone() {
        assert_eq!(plan(Some(3), Some(false)).unwrap(), [None; 3]);
        assert!(plan(Some(2), Some(true)).unwrap().iter().all(Option::is_some));
        assert!(!plan(None, None).unwrap().is_empty());
    }
}
