//! `spec`: what a container may use.

use serde::{Serialize, Serializer};

use crate::cgroup::ContainerName;
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec};
use crate::query;
use crate::units::Timestamp;
use crate::wire::object::objects;
use crate::wire::shared::{Context, limit, network};
use crate::wire::time::rfc3339;

objects! {
    /// The settings of a container.
    pub struct ContainerSpec<'a>((&'a query::ContainerInfo, Context<'a>)) |view| {
        "creation_time" => Some(Time(view.0.spec.created_at)),
        "start_time" => Some(Time(None)),
        "has_cpu" => Some(view.0.spec.cpu.is_some()),
        "cpu" => Some(Cpu(view.0.spec.cpu.as_ref())),
        "has_memory" => Some(view.0.spec.memory.is_some()),
        "memory" => Some(Memory((&view.0.name, view.0.spec.memory.as_ref(), view.1))),
        "has_hugetlb" => Some(view.0.spec.has_hugetlb),
        "has_network" => Some(has_network(view.0)),
        "has_processes" => Some(view.0.spec.pids.is_some()),
        "processes" => Some(Processes(view.0.spec.pids.as_ref())),
        "has_filesystem" => Some(false),
        "has_diskio" => Some(view.0.spec.has_io),
        "has_custom_metrics" => Some(false),
    }

    struct Cpu<'a>(Option<&'a CpuSpec>) |cpu| {
        "limit" => cpu.and_then(|cpu| cpu.shares),
        "max_limit" => cpu.map(|_| 0),
        "mask" => cpu.and_then(|cpu| cpu.cpus.as_deref()).filter(|cpus| !cpus.is_empty()),
        "quota" => cpu.and_then(|cpu| cpu.quota_us?.value()),
        "period" => cpu.and_then(|cpu| cpu.period_us),
    }

    struct Memory<'a>((&'a ContainerName, Option<&'a MemorySpec>, Context<'a>)) |view| {
        "limit" => view.1.and_then(|memory| limit::memory(view.0, memory, view.2.machine)).map(limit::number),
        "reservation" => view.1.and_then(|memory| memory.reservation).map(limit::number).filter(|&bytes| bytes > 0),
        "swap_limit" => view.1.and_then(|memory| limit::swap(view.0, memory, view.2.machine)).map(limit::number).filter(|&bytes| bytes > 0),
    }

    struct Processes<'a>(Option<&'a PidsSpec>) |pids| {
        "limit" => pids.and_then(|pids| pids.limit).map(limit::number),
    }
}

fn has_network(info: &query::ContainerInfo) -> bool {
    info.latest
        .as_ref()
        .is_some_and(|sample| network::shown(&info.name, sample).is_some())
}

/// A time that is always on the wire; unknown is the year 1.
struct Time(Option<Timestamp>);

/// What clients know as "no time".
const NO_TIME: &str = "0001-01-01T00:00:00Z";

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => rfc3339(time).serialize(serializer),
            None => serializer.serialize_str(NO_TIME),
        }
    }
}
