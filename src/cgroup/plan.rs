//! The reading plan: which files a poll reads, in which hierarchy, and what each read has cost.
//!
//! Made once for a host. A row is a file; the rows come from [`v1::files`] and
//! [`v2::files`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::hierarchy::{Controller, Hierarchies, HierarchyId};
use super::kind::{KindSet, MetricKind};
use super::sockets::SOCKET_KINDS;
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
    /// The kind of metrics that it is read for.
    pub kind: MetricKind,
    /// What reading it has cost so far.
    pub cost: FileCost,
    /// Whether a stand-in has had data in any container.
    pub has_stand_in: AtomicBool,
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

/// What to read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The kinds of metrics that are wanted. CPU time, the number of tasks and OOM kills are always
    /// read: they are cheap, and other parts live on them.
    pub kinds: KindSet,
    /// Read CPU time by CPU (v1).
    pub per_cpu: bool,
    /// Page sizes in bytes for which to read hugetlb files.
    pub huge_page_sizes: Vec<u64>,
    /// Read the network of containers.
    pub network: bool,
    /// Read what each task does.
    pub load: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            kinds: KindSet::DEFAULT,
            per_cpu: false,
            huge_page_sizes: Vec::new(),
            network: false,
            load: false,
        }
    }
}

/// What a file of the tables is read for.
fn kind_of(row: &Row) -> MetricKind {
    match (
        row.names.first().copied().unwrap_or_default(),
        row.controller,
    ) {
        ("cpuacct.usage_percpu", _) => MetricKind::PerCpu,
        ("memory.events.local" | "memory.oom_control", _) => MetricKind::OomEvent,
        ("memory.numa_stat", _) => MetricKind::MemoryNuma,
        (name, _) if name.ends_with(".pressure") => MetricKind::Pressure,
        (_, Controller::Cpu | Controller::Cpuacct) => MetricKind::Cpu,
        (_, Controller::Memory) => MetricKind::Memory,
        (_, Controller::Blkio) => MetricKind::DiskIo,
        (_, Controller::Pids) => MetricKind::Process,
        (_, Controller::Cpuset) => MetricKind::Cpuset,
        (_, Controller::Hugetlb) => MetricKind::Hugetlb,
    }
}

impl ReadOptions {
    fn wants(&self, row: &Row) -> bool {
        match kind_of(row) {
            MetricKind::PerCpu => self.per_cpu,
            // `pids.current` alone is of this kind here.
            MetricKind::Cpu | MetricKind::OomEvent | MetricKind::Process => true,
            kind => self.kinds.contains(kind),
        }
    }
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
    /// Indices of the files whose figures say whether a container does anything at all.
    pub pulse: Vec<usize>,
    /// Cost of `/proc/PID/net/dev`.
    pub network_cost: FileCost,
    /// Whether to read the network of containers.
    pub network: bool,
    /// Whether to read what each task does.
    pub load: bool,
    /// Cost of `/proc/TID/stat`.
    pub load_cost: FileCost,
    /// The kinds that are wanted, for what is read beside cgroup files.
    pub kinds: KindSet,
    /// Cost of `/proc/PID/net/{tcp,udp,snmp}` and the like.
    pub sockets_cost: FileCost,
    /// Cost of `/proc/PID/fd`.
    pub processes_cost: FileCost,
    /// Cost of `/proc/PID/schedstat`.
    pub sched_cost: FileCost,
}

impl Plan {
    /// The plan for a host.
    pub fn new(hierarchies: Arc<Hierarchies>, options: &ReadOptions) -> Self {
        let mut files = Vec::new();
        let mut add = |names: Vec<String>, hierarchy, parser, kind| {
            files.push(File {
                names,
                hierarchy,
                parser,
                kind,
                cost: FileCost::default(),
                has_stand_in: AtomicBool::new(false),
            });
        };
        let names = |row: &Row| row.names.iter().map(|&name| name.to_owned()).collect();
        for row in v1::files::ROWS {
            if let Some(hierarchy) = hierarchies.of(row.controller)
                && options.wants(row)
            {
                add(
                    names(row),
                    hierarchy,
                    Parser::Sample(row.parse),
                    kind_of(row),
                );
            }
        }
        if let Some(unified) = hierarchies.unified() {
            let pure = hierarchies.iter().all(|(_, hierarchy)| hierarchy.unified);
            // Beside v1 controllers the v2 tree still has what needs no controller.
            let rows = if pure { v2::files::ROWS } else { &[] };
            let rows = rows.iter().chain(v2::files::PRESSURE_ROWS);
            for row in rows.filter(|row| options.wants(row)) {
                add(names(row), unified, Parser::Sample(row.parse), kind_of(row));
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
                    add(
                        names,
                        hierarchy,
                        Parser::Hugetlb(size, *parse),
                        MetricKind::Hugetlb,
                    );
                }
            } else if let (Some(unified), Mode::V2) = (hierarchies.unified(), hierarchies.mode) {
                for (suffixes, parse) in v2::files::HUGETLB {
                    let names = suffixes
                        .iter()
                        .map(|suffix| format!("hugetlb.{label}.{suffix}"))
                        .collect();
                    add(
                        names,
                        unified,
                        Parser::Hugetlb(size, *parse),
                        MetricKind::Hugetlb,
                    );
                }
            }
        }
        let indices = |names: &[&str]| {
            let all = files.iter().enumerate();
            all.filter(|(_, file): &(_, &File)| names.contains(&file.name()))
                .map(|(at, _)| at)
                .collect()
        };
        let oom_events = indices(&["memory.events.local", "memory.oom_control"]);
        // Beside v1 controllers no file named so is read from the v2 tree, and the other way round.
        let pulse = indices(match hierarchies.of(Controller::Cpuacct) {
            Some(_) => &["cpuacct.usage", "memory.usage_in_bytes", "pids.current"],
            None => &["cpu.stat", "memory.current", "pids.current"],
        });
        Self {
            hierarchies,
            files,
            oom_events,
            pulse,
            network_cost: FileCost::default(),
            network: options.network,
            load: options.load,
            load_cost: FileCost::default(),
            kinds: options.kinds,
            sockets_cost: FileCost::default(),
            processes_cost: FileCost::default(),
            sched_cost: FileCost::default(),
        }
    }

    /// Whether the file at this index is read in every poll that reads more than the pulse, however long
    /// it has stood still: the pulse, and what tells OOM kills.
    pub fn is_always_read(&self, at: usize) -> bool {
        self.pulse.contains(&at) || self.oom_events.contains(&at)
    }

    /// What reading beside cgroup files has cost, by what is read.
    pub fn costs_beside_files(&self) -> impl Iterator<Item = (&'static str, &FileCost)> {
        self.beside_files()
            .into_iter()
            .filter_map(|(name, kinds, cost)| {
                let on = match name {
                    NET_DEV => self.network,
                    TASK_STAT => self.load,
                    _ => kinds.iter().any(|kind| self.kinds.contains(kind)),
                };
                on.then_some((name, cost))
            })
    }

    /// Time spent reading for the kind with this number, nanoseconds. `None` if nothing is read for it
    /// alone.
    pub fn read_ns(&self, kind: usize) -> Option<u64> {
        let files = self
            .files
            .iter()
            .filter(|file| file.kind as usize == kind)
            .map(|file| &file.cost);
        let beside = self
            .beside_files()
            .into_iter()
            .filter(|(_, kinds, _)| {
                kinds
                    .iter()
                    .next()
                    .is_some_and(|first| first as usize == kind)
            })
            .map(|(_, _, cost)| cost);
        files
            .chain(beside)
            .map(|cost| cost.nanos.load(Relaxed))
            .reduce(u64::wrapping_add)
    }

    /// What is read, for which kinds (the first is the one that bears the cost), and its cost.
    fn beside_files(&self) -> [(&'static str, KindSet, &FileCost); 5] {
        const LOAD: KindSet = KindSet::of(&[MetricKind::CpuLoad]);
        const PROCESS: KindSet = KindSet::of(&[MetricKind::Process]);
        const SCHED: KindSet = KindSet::of(&[MetricKind::Sched]);
        const NETWORK: KindSet = KindSet::of(&[MetricKind::Network]);
        [
            (NET_DEV, NETWORK, &self.network_cost),
            ("net/sockets", SOCKET_KINDS, &self.sockets_cost),
            ("fd", PROCESS, &self.processes_cost),
            ("schedstat", SCHED, &self.sched_cost),
            (TASK_STAT, LOAD, &self.load_cost),
        ]
    }
}

/// The file that `Plan::network_cost` is of.
const NET_DEV: &str = "net/dev";

/// The file that `Plan::load_cost` is of.
const TASK_STAT: &str = "stat";

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
