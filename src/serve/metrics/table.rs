//! All rows, with the kind that switches each.

use std::sync::LazyLock;

use super::family::{Family, Type};
use super::{
    cpu, disk, identity, io, machine, memory, network, numa, own, pressure, process, processes,
    sockets, spec, topology, workloads,
};
use crate::cgroup::kind::MetricKind::{self, *};

/// All families, by name.
pub(super) static TABLE: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let groups: [(Option<MetricKind>, &[Family]); 31] = [
        (Some(Cpu), cpu::FAMILIES),
        (Some(Sched), processes::SCHED),
        (Some(CpuLoad), processes::LOAD),
        (Some(Memory), memory::FAMILIES),
        (Some(OomEvent), memory::OOM),
        (Some(Hugetlb), memory::HUGETLB),
        (Some(MemoryNuma), numa::NUMA),
        (Some(Cpuset), numa::CPUSET),
        (Some(Disk), disk::FAMILIES),
        (Some(DiskIo), io::FAMILIES),
        (Some(Network), network::FAMILIES),
        (Some(Tcp), sockets::TCP),
        (Some(AdvTcp), sockets::ADVANCED),
        (Some(Udp), sockets::UDP),
        (Some(Process), processes::PROCESS),
        (Some(Pressure), pressure::FAMILIES),
        (Some(CpuTopology), topology::FAMILIES),
        (None, spec::FAMILIES),
        (None, identity::FAMILIES),
        (None, identity::RUNTIME),
        (Some(Process), spec::THREADS_MAX),
        (Some(OomEvent), workloads::OOM),
        (Some(Cpu), workloads::CPU),
        (None, workloads::LIVES),
        (None, machine::FAMILIES),
        (None, own::FAMILIES),
        (None, own::RUNTIMES),
        (None, own::SCRAPE),
        (None, own::KINDS),
        (None, own::FILE_FAMILIES),
        (None, process::FAMILIES),
    ];
    let mut table = Vec::new();
    for (kind, families) in groups {
        table.extend(families.iter().map(|family| Family {
            kind,
            // Settings are read when somebody has written to them, not with the sample.
            sampled: kind.is_some() && family.from.is_of_containers(),
            ..*family
        }));
    }
    table.sort_unstable_by_key(|family| family.name);
    table
});

/// A family as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it shows, a sentence.
    pub help: &'static str,
    /// Its type.
    pub r#type: Type,
    /// The kind that switches it; `None`: it is always on.
    pub kind: Option<MetricKind>,
}

/// All families that a page may have, by name.
pub fn families() -> impl Iterator<Item = Row> {
    TABLE.iter().map(|family| Row {
        name: family.name,
        help: family.help,
        r#type: family.r#type,
        kind: family.kind,
    })
}
