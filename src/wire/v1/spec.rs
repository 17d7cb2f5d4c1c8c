//! `spec`: what a container may use.

use crate::query;
use crate::wire::object::objects;
use crate::wire::shared::Context;
use crate::wire::shared::identity::{Envs, Labels, created, image, no_stats_reason, started};
use crate::wire::shared::spec::{Cpu, Memory, Processes, Time, has_filesystem, has_network};

objects! {
    /// The settings of a container.
    pub struct ContainerSpec<'a>((&'a query::ContainerInfo, Context<'a>)) |view| {
        "creation_time" => Some(Time(created(view.0))),
        "start_time" => Some(Time(started(view.0))),
        "labels" => view.0.identity.as_deref().and_then(Labels::of),
        "envs" => view.0.identity.as_deref().and_then(Envs::of),
        "has_cpu" => Some(view.0.spec.cpu.is_some()),
        "cpu" => Some(Cpu(view.0.spec.cpu.as_ref())),
        "has_memory" => Some(view.0.spec.memory.is_some()),
        "memory" => Some(Memory((&view.0.name, view.0.spec.memory.as_ref(), view.1))),
        "has_hugetlb" => Some(view.0.spec.has_hugetlb),
        "has_network" => Some(has_network(view.0)),
        "has_processes" => Some(view.0.spec.pids.is_some()),
        "processes" => Some(Processes(view.0.spec.pids.as_ref())),
        "has_filesystem" => Some(has_filesystem(view.0, view.1)),
        "has_diskio" => Some(view.0.spec.has_io),
        "has_custom_metrics" => Some(false),
        "image" => image(view.0),
        "no_stats_reason" => no_stats_reason(view.0),
    }
}
