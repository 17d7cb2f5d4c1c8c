//! One sample.

use super::network::Network;
use crate::cgroup::{ContainerName, Sample};
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::Context;
use crate::wire::shared::cpu::Cpu;
use crate::wire::shared::io::DiskIo;
use crate::wire::shared::memory::{Hugetlb, Memory};
use crate::wire::shared::network;
use crate::wire::time::rfc3339;

objects! {
    /// What a container used, at one instant.
    pub struct ContainerStats<'a>((&'a ContainerName, &'a Sample, Context<'a>)) |view| {
        "timestamp" => Some(rfc3339(view.1.timestamp)),
        "cpu" => Some(Cpu(view.1)),
        "diskio" => Some(DiskIo((view.1, view.2))),
        "memory" => Some(Memory(view.1)),
        "hugetlb" => unless_empty(&view.1.hugetlb).map(Hugetlb),
        "network" => network::shown(view.0, view.1).map(Network),
        "task_stats" => Some(Empty {}),
        "processes" => view.1.pids.current.map(|_| Processes(view.1)),
        "resctrl" => Some(Empty {}),
        "cpuset" => Some(Empty {}),
        "health" => Some(Empty {}),
    }

    struct Processes<'a>(&'a Sample) |sample| {
        "threads_current" => sample.pids.current,
    }
}

/// An object of which nothing is known, though it is always there.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Empty {}
