//! One sample, in the shapes of v2.0, v2.1 and `machinestats`.

use crate::cgroup::sockets::SocketStats;
use crate::cgroup::stats::NetworkStats;
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::Empty;
use crate::wire::shared::cpu::{Cpu, CpuInst};
use crate::wire::shared::fs::{self, LayerTotals, List, MachineFsStats};
use crate::wire::shared::history::Point;
use crate::wire::shared::io::DiskIo;
use crate::wire::shared::load::Tasks;
use crate::wire::shared::memory::{Hugetlb, Memory};
use crate::wire::shared::network::{Interfaces, Tcp, TcpAdvanced, Udp, shown};
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
        "network" => network(point).map(|(network, sockets)| Network((Some(network), sockets))),
        "processes" => processes::shown(point),
        "filesystem" => fs::layer(point).map(LayerTotals),
        "load_stats" => point.sample.load.running.map(|_| Tasks(&point.sample.load)),
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
        "network" => Some(Network(network(point).map_or((None, None), |(network, sockets)| (Some(network), sockets)))),
        "has_processes" => Some(processes::shown(point).is_some()),
        "processes" => Some(Processes(point)),
        "has_filesystem" => Some(fs::shown(point).is_some()),
        "filesystem" => fs::shown(point),
        "has_load" => Some(point.sample.load.running.is_some()),
        "load_stats" => Some(Tasks(&point.sample.load)),
        "has_custom_metrics" => Some(false),
        "resctrl" => Some(Empty {}),
    }

    /// What the node used: `machinestats`.
    pub struct MachineStats<'a>(Point<'a>) |point| {
        "timestamp" => Some(rfc3339(point.sample.timestamp)),
        "cpu" => Some(Cpu(point.sample)),
        "cpu_inst" => point.rates.map(CpuInst),
        "memory" => Some(Memory(point.sample)),
        "network" => network(point).map(|(network, sockets)| Network((Some(network), sockets))),
        "filesystem" => fs::of_node(point).map(|table| List(table, MachineFsStats)),
        "load_stats" => point.sample.load.running.map(|_| Tasks(&point.sample.load)),
    }

    /// The network of a container; v2.0 has the object also if there is none.
    struct Network<'a>((Option<&'a NetworkStats>, Option<&'a SocketStats>)) |(network, sockets)| {
        "interfaces" => network.and_then(|network| unless_empty(&network.interfaces)).map(Interfaces),
        "tcp" => Some(Tcp(sockets.map(|sockets| &sockets.tcp))),
        "tcp6" => Some(Tcp(sockets.map(|sockets| &sockets.tcp6))),
        "udp" => Some(Udp(sockets.map(|sockets| &sockets.udp))),
        "udp6" => Some(Udp(sockets.map(|sockets| &sockets.udp6))),
        "tcp_advanced" => Some(TcpAdvanced(sockets)),
    }
}

/// The network of a sample, and its sockets if they are read.
fn network(point: Point<'_>) -> Option<(&NetworkStats, Option<&SocketStats>)> {
    let network = shown(&point.info.name, point.sample)?;
    Some((network, point.sample.sockets.as_deref()))
}
