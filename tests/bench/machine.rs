//! The machine that is measured on: what somebody has to know who reads the figures.

use std::fs;

use anyhow::{Context as _, Result};

/// The time of one CPU so far, in ticks: what another guest of the host's took away, and all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    stolen: u64,
    all: u64,
}

impl CpuTime {
    pub(crate) fn now(cpu: usize) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let name = format!("cpu{cpu}");
        let line = stat
            .lines()
            .find(|line| line.split(' ').next() == Some(&name));
        let line = line.with_context(|| format!("/proc/stat has no {name}"))?;
        // User, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
        let fields: Vec<u64> = line
            .split(' ')
            .skip(1)
            .take(8)
            .map(|field| field.parse().context("/proc/stat has a word for a number"))
            .collect::<Result<_>>()?;
        Ok(Self {
            stolen: fields.get(7).copied().unwrap_or_default(),
            all: fields.iter().sum(),
        })
    }

    /// The share that was taken away since.
    fn stolen_since(self, earlier: Self) -> f64 {
        let all = (self.all - earlier.all).max(1);
        (self.stolen - earlier.stolen) as f64 / all as f64
    }
}

/// A paragraph about the machine, and this run on its CPU.
pub(crate) fn describe(cpu: usize, begun: CpuTime) -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let stolen = CpuTime::now(cpu)?.stolen_since(begun) * 100.0;
    Ok(format!(
        "{model}, Linux {}; caches of CPU {cpu}: {}.\n\
         Mitigations: {}.\n\
         {stolen:.1} % of the CPU's time was taken away by the machine's host.\n",
        release.trim(),
        caches(cpu),
        mitigations(),
    ))
}

/// The data caches, the nearest first.
fn caches(cpu: usize) -> String {
    let read = |index: usize, what: &str| {
        let file = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}/{what}");
        fs::read_to_string(file)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let known: Vec<String> = (0..8)
        .filter(|index| read(*index, "type").is_some_and(|kind| kind != "Instruction"))
        .filter_map(|index| {
            Some(format!(
                "L{} {}",
                read(index, "level")?,
                read(index, "size")?
            ))
        })
        .collect();
    if known.is_empty() {
        "unknown".to_owned()
    } else {
        known.join(", ")
    }
}

/// What the kernel does against this processor's faults, which costs calls and returns.
fn mitigations() -> String {
    let mut known: Vec<String> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .into_iter()
        .flatten()
        .filter_map(|file| {
            let file = file.ok()?;
            let text = fs::read_to_string(file.path()).ok()?;
            let name = file.file_name().to_string_lossy().into_owned();
            Some(format!(
                "{name}: {}",
                text.trim().strip_prefix("Mitigation: ")?
            ))
        })
        .collect();
    known.sort();
    if known.is_empty() {
        "none".to_owned()
    } else {
        known.join("; ")
    }
}
