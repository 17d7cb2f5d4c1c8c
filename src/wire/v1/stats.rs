//! One sample.

use super::network::Network;
use crate::cgroup::stats::CpusetStats;
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::cpu::Cpu;
use crate::wire::shared::fs;
use crate::wire::shared::history::Point;
use crate::wire::shared::identity::{HealthState, health};
use crate::wire::shared::io::DiskIo;
use crate::wire::shared::load::Tasks;
use crate::wire::shared::memory::{Hugetlb, Memory};
use crate::wire::shared::{Empty, network, processes};
use crate::wire::time::rfc3339;

objects! {
    /// What a container used, at one instant.
    pub struct ContainerStats<'a>(Point<'a>) |point| {
        "timestamp" => Some(rfc3339(point.sample.timestamp)),
        "cpu" => Some(Cpu(point.sample)),
        "diskio" => Some(DiskIo((point.sample, point.context))),
        "memory" => Some(Memory(point.sample)),
        "hugetlb" => unless_empty(&point.sample.hugetlb).map(Hugetlb),
        "network" => network::shown(&point.info.name, point.sample).map(|network| Network((network, point.sample.sockets.as_deref()))),
        "filesystem" => fs::shown(point),
        "task_stats" => Some(Tasks(&point.sample.load)),
        "processes" => processes::shown(point),
        "resctrl" => Some(Empty {}),
        "cpuset" => Some(Cpuset(&point.sample.cpuset)),
        "health" => Some(HealthState(health(point))),
    }

    struct Cpuset<'a>(&'a CpusetStats) |cpuset| {
        "memory_migrate" => cpuset.memory_migrate,
    }
}
