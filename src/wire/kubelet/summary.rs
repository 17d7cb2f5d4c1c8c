//! `/stats/summary`.

use serde::{Serialize, Serializer};

use super::{Member, Node, Pod};
use crate::cgroup::Sample;
use crate::cgroup::stats::{InterfaceStats, NetworkStats, Pressure, Stall};
use crate::node::disk_usage::LayerUsage;
use crate::node::{FsInfo, FsTable};
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::fs::available_bytes;
use crate::wire::shared::spec::Time;
use crate::wire::time::rfc3339;

/// What is asked for: everything, or only CPU and memory. And the root file system.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Whether everything but CPU, memory and swap is left out.
    pub only_cpu_and_memory: bool,
    /// The file systems as last measured.
    pub filesystems: Option<&'a FsTable>,
}

impl<'a> Scope<'a> {
    fn holding(self, layer: &LayerUsage) -> Option<&'a FsInfo> {
        self.filesystems?.by_device(layer.device.as_deref()?)
    }

    fn root_fs(self) -> Option<&'a FsInfo> {
        self.filesystems?.by_label("root").next()
    }

    fn full<T>(self, part: Option<T>) -> Option<T> {
        part.filter(|_| !self.only_cpu_and_memory)
    }
}

objects! {
    /// The whole answer.
    pub struct Summary<'a>((&'a Node, Scope<'a>)) |view| {
        "node" => Some(NodeStats(view)),
        "pods" => Some(List(|| view.0.pods.iter().map(move |pod| PodStats((pod, view.1))))),
    }

    struct NodeStats<'a>((&'a Node, Scope<'a>)) |view| {
        "nodeName" => Some(view.0.name.as_str()),
        "systemContainers" => (!view.0.system.is_empty()).then_some(List(|| {
            view.0.system.iter().map(|(name, member)| ContainerStats((name, member, Scope { only_cpu_and_memory: true, ..view.1 })))
        })),
        "startTime" => Some(Time(view.0.booted)),
        "cpu" => view.0.root.as_ref().and_then(cpu),
        "memory" => view.0.root.as_ref().and_then(memory),
        "io" => view.1.full(view.0.root.as_ref().and_then(io)),
        "network" => view.1.full(view.0.root.as_ref().and_then(network)),
        "fs" => view.1.full(view.1.root_fs()).map(FsStats),
        "swap" => view.0.root.as_ref().and_then(swap),
    }

    struct PodStats<'a>(((&'a String, &'a Pod), Scope<'a>)) |view| {
        "podRef" => Some(PodRef(view.0)),
        "startTime" => Some(Time(view.0.1.own.as_ref().and_then(|own| own.info.spec.created_at))),
        "containers" => Some(List(|| {
            view.0.1.containers.iter().map(move |(id, member)| ContainerStats((id, member, view.1)))
        })),
        "cpu" => view.0.1.own.as_ref().and_then(cpu),
        "memory" => view.0.1.own.as_ref().and_then(memory),
        "io" => view.1.full(view.0.1.own.as_ref().and_then(io)),
        // The pod's own cgroup has no process to look through: its containers share its network.
        "network" => view.1.full(view.0.1.sandbox.iter().chain(view.0.1.containers.values()).find_map(network)),
        "process_stats" => view.1.full(view.0.1.own.as_ref().and_then(processes)),
        "swap" => view.0.1.own.as_ref().and_then(swap),
    }

    /// Name and namespace are empty where no runtime told.
    struct PodRef<'a>((&'a String, &'a Pod)) |pod| {
        "name" => Some(pod.1.name().unwrap_or_default()),
        "namespace" => Some(pod.1.namespace()),
        "uid" => Some(pod.0.as_str()),
    }

    struct ContainerStats<'a>((&'a str, &'a Member, Scope<'a>)) |view| {
        "name" => Some(view.0),
        "startTime" => Some(Time(view.1.started())),
        "cpu" => cpu(view.1),
        "memory" => memory(view.1),
        "io" => view.2.full(io(view.1)),
        "rootfs" => view.2.full(view.1.info.layer.last()).map(|layer| RootFs((layer, view.2))),
        "swap" => swap(view.1),
    }

    struct Cpu<'a>((&'a Member, &'a Sample)) |view| {
        "time" => Some(rfc3339(view.1.timestamp)),
        "usageNanoCores" => view.0.rates.as_ref().map(|rates| rates.total),
        "usageCoreNanoSeconds" => view.1.cpu.usage_ns,
        "psi" => psi(&view.1.cpu_pressure),
    }

    struct Memory<'a>((&'a Member, &'a Sample)) |view| {
        "time" => Some(rfc3339(view.1.timestamp)),
        "availableBytes" => view.0.available_bytes(),
        "usageBytes" => view.1.memory.usage_bytes,
        "workingSetBytes" => view.1.memory.working_set_bytes(),
        "rssBytes" => view.1.memory.anon_bytes,
        "pageFaults" => view.1.memory.pgfault,
        "majorPageFaults" => view.1.memory.pgmajfault,
        "psi" => psi(&view.1.memory_pressure),
    }

    struct Io<'a>(&'a Sample) |sample| {
        "time" => Some(rfc3339(sample.timestamp)),
        "psi" => psi(&sample.io_pressure),
    }

    struct Swap<'a>((&'a Member, &'a Sample)) |view| {
        "time" => Some(rfc3339(view.1.timestamp)),
        "swapAvailableBytes" => view.0.swap_available_bytes(),
        "swapUsageBytes" => view.1.memory.swap_bytes,
    }

    struct Processes(u64) |tasks| {
        "process_count" => Some(tasks),
    }

    struct Network<'a>((&'a Sample, &'a NetworkStats)) |view| {
        "time" => Some(rfc3339(view.0.timestamp)),
        "name" => Some(view.1.interfaces.first().map_or("", |(name, _)| name)),
        "rxBytes" => first(view.1, |stats| stats.rx_bytes),
        "rxErrors" => first(view.1, |stats| stats.rx_errors),
        "txBytes" => first(view.1, |stats| stats.tx_bytes),
        "txErrors" => first(view.1, |stats| stats.tx_errors),
        "interfaces" => unless_empty(&view.1.interfaces).map(|list| List(move || {
            list.iter().map(|(name, stats)| Interface((name, stats)))
        })),
    }

    struct Interface<'a>((&'a str, &'a InterfaceStats)) |view| {
        "name" => Some(view.0),
        "rxBytes" => view.1.rx_bytes,
        "rxErrors" => view.1.rx_errors,
        "txBytes" => view.1.tx_bytes,
        "txErrors" => view.1.tx_errors,
    }

    struct FsStats<'a>(&'a FsInfo) |fs| {
        "time" => Some(rfc3339(fs.timestamp)),
        "availableBytes" => Some(fs.available_bytes),
        "capacityBytes" => Some(fs.capacity_bytes),
        "usedBytes" => Some(fs.usage_bytes),
        "inodesFree" => fs.inodes_free,
        "inodes" => fs.inodes,
        "inodesUsed" => fs.inodes.zip(fs.inodes_free).map(|(all, free)| all.saturating_sub(free)),
    }

    /// A container's writable layer: the file system is that which it shares with others, what is used of
    /// it is its own.
    struct RootFs<'a>((&'a LayerUsage, Scope<'a>)) |(layer, scope)| {
        "time" => Some(rfc3339(layer.measured)),
        "availableBytes" => available_bytes(layer, scope.holding(layer)),
        "capacityBytes" => layer.limit_bytes.or(scope.holding(layer).map(|fs| fs.capacity_bytes)),
        "usedBytes" => Some(layer.usage_bytes),
        "inodesFree" => scope.holding(layer).and_then(|fs| fs.inodes_free),
        "inodes" => scope.holding(layer).and_then(|fs| fs.inodes),
        "inodesUsed" => layer.inodes,
    }

    /// Pressure: totals in nanoseconds, shares in percent.
    struct Psi<'a>(&'a Pressure) |pressure| {
        "full" => Some(PsiLine(&pressure.full)),
        "some" => Some(PsiLine(&pressure.some)),
    }

    struct PsiLine<'a>(&'a Stall) |stall| {
        "total" => stall.total_ns,
        "avg10" => stall.avg10_centi.map(percent),
        "avg60" => stall.avg60_centi.map(percent),
        "avg300" => stall.avg300_centi.map(percent),
    }
}

/// What an iterator gives, as a list.
#[derive(Clone, Copy)]
struct List<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

fn percent(centi: u64) -> f64 {
    centi as f64 / 100.0
}

fn psi(pressure: &Pressure) -> Option<Psi<'_>> {
    (*pressure != Pressure::default()).then_some(Psi(pressure))
}

fn cpu(member: &Member) -> Option<Cpu<'_>> {
    let sample = member.info.latest.as_ref()?;
    sample.cpu.usage_ns.map(|_| Cpu((member, sample)))
}

fn memory(member: &Member) -> Option<Memory<'_>> {
    let sample = member.info.latest.as_ref()?;
    sample.memory.usage_bytes.map(|_| Memory((member, sample)))
}

fn io(member: &Member) -> Option<Io<'_>> {
    let sample = member.info.latest.as_ref()?;
    psi(&sample.io_pressure).map(|_| Io(sample))
}

fn swap(member: &Member) -> Option<Swap<'_>> {
    let sample = member.info.latest.as_ref()?;
    sample.memory.swap_bytes.map(|_| Swap((member, sample)))
}

fn processes(member: &Member) -> Option<Processes> {
    member.info.latest.as_ref()?.pids.current.map(Processes)
}

fn network(member: &Member) -> Option<Network<'_>> {
    let sample = member.info.latest.as_ref()?;
    let shown = crate::wire::shared::network::shown(&member.info.name, sample)?;
    Some(Network((sample, shown)))
}

fn first(network: &NetworkStats, figure: fn(&InterfaceStats) -> Option<u64>) -> Option<u64> {
    network
        .interfaces
        .first()
        .and_then(|(_, stats)| figure(stats))
}
