//! What a figure depends on besides the contestant: the machine's fingerprint. Unlike ones are not compared.

use std::collections::BTreeMap;
use std::fs;

use crate::outcome::Machine;

impl Machine {
    /// This one, as it is now.
    pub fn here() -> Self {
        let text = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
        Self {
            cpu: text("/proc/cpuinfo").as_deref().map_or_else(String::new, processor),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            mitigations: mitigations(),
            congestion: text("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default(),
            memory: text("/proc/meminfo").as_deref().map_or(0, memory),
            harness: format!("{} ({})", env!("CARGO_PKG_VERSION"), profile()),
        }
    }

    /// What differs from another one so that figures of both say nothing beside each other; empty if they do.
    ///
    /// Memory may differ by a tenth: firmware and kernels set aside what they like.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, a: &str, b: &str| {
            if a != b {
                found.push(format!("{what}: {a:?} and {b:?}"));
            }
        };
        compare("processor", &self.cpu, &other.cpu);
        compare("number of processors", &self.cpus.to_string(), &other.cpus.to_string());
        compare("kernel", &self.kernel, &other.kernel);
        compare(
            "frequency governor",
            self.governor.as_deref().unwrap_or("-"),
            other.governor.as_deref().unwrap_or("-"),
        );
        compare("congestion control", &self.congestion, &other.congestion);
        compare("harness", &self.harness, &other.harness);
        for fault in
            self.mitigations.keys().chain(other.mitigations.keys()).collect::<std::collections::BTreeSet<_>>()
        {
            let of =
                |machine: &Self| machine.mitigations.get(fault).cloned().unwrap_or_else(|| "unknown".into());
            compare(&format!("mitigation of {fault}"), &of(self), &of(other));
        }
        if self.memory.abs_diff(other.memory) > self.memory.max(other.memory) / 10 {
            found.push(format!("memory: {} and {} MiB", self.memory >> 20, other.memory >> 20));
        }
        found
    }
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) { "not optimised" } else { "optimised" }
}

/// The processor's name of `/proc/cpuinfo`; architectures that have none there give their part numbers.
fn processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    field("model name")
        .or_else(|| Some(format!("implementer {} part {}", field("CPU implementer")?, field("CPU part")?)))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn mitigations() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let says = fs::read_to_string(entry.path()).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), says.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processors() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(processor("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"), "implementer 0x41 part 0xd0c");
        assert_eq!(processor(""), std::env::consts::ARCH);
    }

    #[test]
    fn a_machine_is_like_itself() {
        let here = Machine::here();
        assert_eq!(here.differences(&here), Vec::<String>::new());
        assert!(here.cpus > 0 && !here.kernel.is_empty());
    }

    #[test]
    fn what_differs_is_named() {
        let one = Machine { cpu: "a".into(), memory: 100 << 20, ..Machine::default() };
        let mut other = Machine { cpu: "b".into(), memory: 95 << 20, ..Machine::default() };
        other.mitigations.insert("spectre_v2".into(), "Vulnerable".into());
        assert_eq!(
            one.differences(&other),
            ["processor: \"a\" and \"b\"", "mitigation of spectre_v2: \"unknown\" and \"Vulnerable\""]
        );
        other.memory = 80 << 20;
        assert_eq!(one.differences(&other).last().unwrap(), "memory: 100 and 80 MiB");
    }
}
