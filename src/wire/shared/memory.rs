//! `memory` and `hugetlb` of a sample: bytes and counts.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::psi::Psi;
use crate::cgroup::Sample;
use crate::cgroup::plan::page_size_label;
use crate::cgroup::stats::{HugetlbStats, MemoryEvents, NumaStats};
use crate::wire::object::objects;

objects! {
    /// Memory of a sample.
    pub struct Memory<'a>(&'a Sample) |sample| {
        "usage" => sample.memory.usage_bytes,
        "max_usage" => sample.memory.peak_bytes,
        "cache" => sample.memory.file_bytes,
        "rss" => sample.memory.anon_bytes,
        "swap" => sample.memory.swap_bytes,
        "mapped_file" => sample.memory.file_mapped_bytes,
        "working_set" => sample.memory.working_set_bytes(),
        "total_active_file" => sample.memory.active_file_bytes,
        "total_inactive_file" => sample.memory.inactive_file_bytes,
        "file_dirty" => sample.memory.file_dirty_bytes,
        "file_writeback" => sample.memory.file_writeback_bytes,
        "pgscan" => sample.memory.pgscan,
        "pgsteal" => sample.memory.pgsteal,
        "workingset_refault_file" => sample.memory.workingset_refault_file,
        "workingset_refault_anon" => sample.memory.workingset_refault_anon,
        "failcnt" => sample.memory.failcnt,
        "kernel" => sample.memory.kernel_bytes,
        "container_data" => Some(Faults((sample.memory.own_pgfault, sample.memory.own_pgmajfault, Numa(&sample.numa, &OWN)))),
        "hierarchical_data" => Some(Faults((sample.memory.pgfault, sample.memory.pgmajfault, Numa(&sample.numa, &HIERARCHICAL)))),
        "psi" => Some(Psi(&sample.memory_pressure)),
        "events" => Some(Events(&sample.memory_events)),
    }

    /// Page faults, minor and major together, and major.
    struct Faults<'a>((Option<u64>, Option<u64>, Numa<'a>)) |faults| {
        "pgfault" => faults.0,
        "pgmajfault" => faults.1,
        "numa_stats" => Some(faults.2),
    }

    struct Events<'a>(&'a MemoryEvents) |events| {
        "high" => events.high,
        "max" => events.max,
    }

    struct Hugepages<'a>(&'a HugetlbStats) |pages| {
        "usage" => pages.usage_bytes,
        "max_usage" => pages.peak_bytes,
        "failcnt" => pages.failcnt,
    }
}

/// A figure of a NUMA node under its name.
type NumaFigure = (&'static str, fn(&NumaStats) -> Option<u64>);

/// Of the cgroup alone.
const OWN: [NumaFigure; 3] = [
    ("file", |node| node.own_file_bytes),
    ("anon", |node| node.own_anon_bytes),
    ("unevictable", |node| node.own_unevictable_bytes),
];

/// Descendants included.
const HIERARCHICAL: [NumaFigure; 3] = [
    ("file", |node| node.file_bytes),
    ("anon", |node| node.anon_bytes),
    ("unevictable", |node| node.unevictable_bytes),
];

/// Pages by NUMA node: `{"file":{"0":12},…}`. Empty if they are not read.
#[derive(Debug, Clone, Copy)]
struct Numa<'a>(&'a [(u32, NumaStats)], &'static [NumaFigure; 3]);

impl Serialize for Numa<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for &(name, figure) in self.1 {
            if self.0.iter().any(|(_, node)| figure(node).is_some()) {
                map.serialize_entry(name, &Pages(self.0, figure))?;
            }
        }
        map.end()
    }
}

/// One figure of each node, in pages.
struct Pages<'a>(&'a [(u32, NumaStats)], fn(&NumaStats) -> Option<u64>);

impl Serialize for Pages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let page_size = procfs::page_size();
        let nodes = self.0.iter().filter_map(|(number, node)| {
            let bytes = (self.1)(node)?;
            Some((number, bytes.checked_div(page_size)?))
        });
        serializer.collect_map(nodes)
    }
}

/// Huge pages by size: `{"2MB":{…}}`.
#[derive(Debug, Clone, Copy)]
pub struct Hugetlb<'a>(pub &'a [(u64, HugetlbStats)]);

impl Serialize for Hugetlb<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (size, pages) in self.0 {
            map.serialize_entry(&page_size_label(*size), &Hugepages(pages))?;
        }
        map.end()
    }
}
