//! The reading plan: which files a poll reads, in which hierarchy, and what each read has cost.
//!
//! Made once for a host. A row is a file; the rows come from [`v1::files`](super::v1::files) and
//! [`v2::files`](super::v2::files).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::hierarchy::{Controller, Hierarchies, HierarchyId};
use super::stats::{HugetlbStats, Sample};
use super::{v1, v2};

/// A read that takes longer counts as slow. Ordinary ones take microseconds.
pub const SLOW_READ: Duration = Duration::from_millis(10);

/// What a parser made of a file's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// At least one figure.
    Data,
    /// An empty file, which is normal for some (`io.stat` before any I/O).
    Empty,
    /// Text without a single figure that is known.
    Malformed,
}

impl Parsed {
    /// The result of reading `text` when figures were `found` or not.
    pub fn of(text: &[u8], found: bool) -> Self {
        match found {
            true => Self::Data,
            false if text.trim_ascii().is_empty() => Self::Empty,
            false => Self::Malformed,
        }
    }
}

/// How the text of a file becomes figures.
#[derive(Debug, Clone, Copy)]
pub enum Parser {
    /// Writes into the sample.
    Sample(fn(&[u8], &mut Sample) -> Parsed),
    /// Writes into the entry of one huge page size, given in bytes.
    Hugetlb(u64, fn(&[u8], &mut HugetlbStats) -> Parsed),
}

/// A row of the tables in `v1::files` and `v2::files`.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The file, and files that may stand in for it: the first that has data is read.
    pub names: &'static [&'static str],
    /// The v1 controller in whose hierarchy it is (of no meaning on v2).
    pub controller: Controller,
    /// How to read it.
    pub parse: fn(&[u8], &mut Sample) -> Parsed,
}

/// One file of the plan.
#[derive(Debug)]
pub struct File {
    /// Its name, and those of its stand-ins.
    pub names: Vec<String>,
    /// Where it is.
    pub hierarchy: HierarchyId,
    /// How to read it.
    pub parser: Parser,
    /// What reading it has cost so far.
    pub cost: FileCost,
}

impl File {
    /// The name under which its cost is shown.
    pub fn name(&self) -> &str {
        &self.names[0]
    }
}

/// What reading one file has cost, over all containers.
#[derive(Debug, Default)]
pub struct FileCost {
    /// Times read.
    pub reads: AtomicU64,
    /// Time spent, nanoseconds.
    pub nanos: AtomicU64,
    /// Reads that took longer than [`SLOW_READ`].
    pub slow: AtomicU64,
    /// Reads that failed for another reason than absence.
    pub errors: AtomicU64,
    /// Times that the text held nothing known.
    pub malformed: AtomicU64,
}

impl FileCost {
    /// Notes one read.
    pub fn record(&self, took: Duration) {
        self.reads.fetch_add(1, Relaxed);
        self.nanos
            .fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if took > SLOW_READ {
            self.slow.fetch_add(1, Relaxed);
        }
    }
}

/// What to read beyond the base set.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Read CPU time by CPU (v1).
    pub per_cpu: bool,
    /// Page sizes in bytes for which to read hugetlb files.
    pub huge_page_sizes: Vec<u64>,
    /// Read the network of containers.
    pub network: bool,
}

/// The files that a poll reads.
#[derive(Debug)]
pub struct Plan {
    /// The host's hierarchies.
    pub hierarchies: Arc<Hierarchies>,
    /// The files, in the order of reading: CPU first, next to the sample's time stamp.
    pub files: Vec<File>,
    /// Index of the file that tells OOM kills of the cgroup itself.
    pub oom_events: Vec<usize>,
    /// Cost of `/proc/PID/net/dev`.
    pub network_cost: FileCost,
    /// Whether to read the network of containers.
    pub network: bool,
}

impl Plan {
    /// The plan for a host.
    pub fn new(hierarchies: Arc<Hierarchies>, options: &ReadOptions) -> Self {
        let mut files = Vec::new();
        let mut add = |names: Vec<String>, hierarchy: HierarchyId, parser: Parser| {
            files.push(File {
                names,
                hierarchy,
                parser,
                cost: FileCost::default(),
            });
        };
        let names = |row: &Row| row.names.iter().map(|&name| name.to_owned()).collect();
        for row in v1::files::ROWS {
            if row.names == ["cpuacct.usage_percpu"] && !options.per_cpu {
                continue;
            }
            if let Some(hierarchy) = hierarchies.of(row.controller) {
                add(names(row), hierarchy, Parser::Sample(row.parse));
            }
        }
        if let Some(unified) = hierarchies.unified() {
            let pure = hierarchies.iter().all(|(_, hierarchy)| hierarchy.unified);
            // Beside v1 controllers the v2 tree still has what needs no controller.
            let rows = if pure { v2::files::ROWS } else { &[] };
            for row in rows.iter().chain(v2::files::PRESSURE_ROWS) {
                add(names(row), unified, Parser::Sample(row.parse));
            }
        }
        for &size in &options.huge_page_sizes {
            let label = page_size_label(size);
            if let Some(hierarchy) = hierarchies.of(Controller::Hugetlb) {
                for (suffixes, parse) in v1::files::HUGETLB {
                    let names = suffixes
                        .iter()
                        .map(|suffix| format!("hugetlb.{label}.{suffix}"))
                        .collect();
                    add(names, hierarchy, Parser::Hugetlb(size, *parse));
                }
            } else if let (Some(unified), Mode::V2) = (hierarchies.unified(), hierarchies.mode) {
                for (suffixes, parse) in v2::files::HUGETLB {
                    let names = suffixes
                        .iter()
                        .map(|suffix| format!("hugetlb.{label}.{suffix}"))
                        .collect();
                    add(names, unified, Parser::Hugetlb(size, *parse));
                }
            }
        }
        let oom_events = files
            .iter()
            .enumerate()
            .filter(|(_, file)| matches!(file.name(), "memory.events.local" | "memory.oom_control"))
            .map(|(at, _)| at)
            .collect();
        Self {
            hierarchies,
            files,
            oom_events,
            network_cost: FileCost::default(),
            network: options.network,
        }
    }
}

use super::hierarchy::Mode;

/// A huge page size as the kernel writes it in file names: `64KB`, `2MB`, `1GB`.
pub fn page_size_label(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 => format!("{}GB", bytes >> 30),
        _ if bytes >= 1 << 20 => format!("{}MB", bytes >> 20),
        _ => format!("{}KB", bytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_written_as_the_kernel_does() {
        assert_eq!(page_size_label(64 << 10), "64KB");
        assert_eq!(page_size_label(2 << 20), "2MB");
        assert_eq!(page_size_label(1 << 30), "1GB");
    }
}
