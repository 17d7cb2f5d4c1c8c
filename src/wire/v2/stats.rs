//! One sample, in the shapes of v2.0, v2.1 and `machinestats`.

use crate::cgroup::stats::NetworkStats;
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::Empty;
use crate::wire::shared::cpu::{Cpu, CpuInst};
use crate::wire::shared::fs::{self, FsStats, List, MachineFsStats};
use crate::wire::shared::history::Point;
use crate::wire::shared::io::DiskIo;
use crate::wire::shared::memory::{Hugetlb, Memory};
use crate::wire::shared::network::{Interfaces, shown};
use crate::wire::shared::processes::{self, Processes};
use crate::wire::time::rfc3339;

objects! {
    /// What a container used, as v2.1 tells it.
    pub struct ContainerStats<'a>(Point<'a>) |point| {
        "timestamp" => Some(rfc3339(point.sample.timestamp)),
        "cpu" => point.info.spec.cpu.as_ref().map(|_| Cpu(point.sample)),
        "cpu_inst" => point.rates.map(CpuInst),
        "diskio" => point.info.spec.has_io.then_some(DiskIo((point.sample, point.context))),
        "memory" => point.info.spec.memory.as_ref().map(|_| Memory(point.sample)),
        "hugetlb" => unless_empty(&point.sample.hugetlb).map(Hugetlb),
        "network" => shown(&point.info.name, point.sample).map(|network| Network(Some(network))),
        "processes" => processes::shown(point.sample),
        "resctrl" => Some(Empty {}),
    }

    /// What a container used, as v2.0 tells it: each part after whether there is one.
    pub struct DeprecatedContainerStats<'a>(Point<'a>) |point| {
        "timestamp" => Some(rfc3339(point.sample.timestamp)),
        "has_cpu" => Some(point.info.spec.cpu.is_some()),
        "cpu" => Some(Cpu(point.sample)),
        "cpu_inst" => point.rates.map(CpuInst),
        "has_diskio" => Some(point.info.spec.has_io),
        "diskio" => Some(DiskIo((point.sample, point.context))),
        "has_memory" => Some(point.info.spec.memory.is_some()),
        "memory" => Some(Memory(point.sample)),
        "has_hugetlb" => Some(!point.sample.hugetlb.is_empty()),
        "hugetlb" => unless_empty(&point.sample.hugetlb).map(Hugetlb),
        "has_network" => Some(shown(&point.info.name, point.sample).is_some()),
        "network" => Some(Network(shown(&point.info.name, point.sample))),
        "has_processes" => Some(processes::shown(point.sample).is_some()),
        "processes" => Some(Processes(point.sample)),
        "has_filesystem" => Some(fs::shown(point).is_some()),
        "filesystem" => fs::shown(point).map(|table| List(table, FsStats)),
        "has_load" => Some(false),
        "load_stats" => Some(Empty {}),
        "has_custom_metrics" => Some(false),
        "resctrl" => Some(Empty {}),
    }

    /// What the node used: `machinestats`.
    pub struct MachineStats<'a>(Point<'a>) |point| {
        "timestamp" => Some(rfc3339(point.sample.timestamp)),
        "cpu" => Some(Cpu(point.sample)),
        "cpu_inst" => point.rates.map(CpuInst),
        "memory" => Some(Memory(point.sample)),
        "network" => shown(&point.info.name, point.sample).map(|network| Network(Some(network))),
        "filesystem" => fs::shown(point).map(|table| List(table, MachineFsStats)),
    }

    /// The network of a container; v2.0 has the object also if there is none.
    struct Network<'a>(Option<&'a NetworkStats>) |network| {
        "interfaces" => network.and_then(|network| unless_empty(&network.interfaces)).map(Interfaces),
        "tcp" => Some(Empty {}),
        "tcp6" => Some(Empty {}),
        "udp" => Some(Empty {}),
        "udp6" => Some(Empty {}),
        "tcp_advanced" => Some(Empty {}),
    }
}
