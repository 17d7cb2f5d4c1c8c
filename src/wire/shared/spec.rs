//! The parts of `spec`: what a container may use. Versions differ in their order alone.

use serde::{Serialize, Serializer};

use super::{Context, limit, network};
use crate::cgroup::ContainerName;
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec};
use crate::query::ContainerInfo;
use crate::units::Timestamp;
use crate::wire::object::objects;
use crate::wire::time::rfc3339;

objects! {
    /// CPU settings.
    pub struct Cpu<'a>(Option<&'a CpuSpec>) |cpu| {
        "limit" => cpu.and_then(|cpu| cpu.shares),
        "max_limit" => cpu.map(|_| 0),
        "mask" => cpu.and_then(|cpu| cpu.cpus.as_deref()).filter(|cpus| !cpus.is_empty()),
        "quota" => cpu.and_then(|cpu| cpu.quota_us?.value()),
        "period" => cpu.and_then(|cpu| cpu.period_us),
    }

    /// Memory settings; those of `/` are the machine's.
    pub struct Memory<'a>((&'a ContainerName, Option<&'a MemorySpec>, Context<'a>)) |view| {
        "limit" => view.1.and_then(|memory| limit::memory(view.0, memory, view.2.machine)).map(limit::number),
        "reservation" => view.1.and_then(|memory| memory.reservation).map(limit::number).filter(|&bytes| bytes > 0),
        "swap_limit" => view.1.and_then(|memory| limit::swap(view.0, memory, view.2.machine)).map(limit::number).filter(|&bytes| bytes > 0),
    }

    /// Task settings.
    pub struct Processes<'a>(Option<&'a PidsSpec>) |pids| {
        "limit" => pids.and_then(|pids| pids.limit).map(limit::number),
    }
}

/// Whether a network is shown for the container.
pub fn has_network(info: &ContainerInfo) -> bool {
    info.latest
        .as_ref()
        .is_some_and(|sample| network::shown(&info.name, sample).is_some())
}

/// Whether file systems are shown for the container.
pub fn has_filesystem(info: &ContainerInfo, context: Context<'_>) -> bool {
    match info.name.is_root() {
        true => !context.filesystems.is_empty(),
        false => !info.layer.is_empty(),
    }
}

/// A time that is always on the wire; unknown is the year 1.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Option<Timestamp>);

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
