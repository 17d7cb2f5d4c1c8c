//! `processes` of a sample: tasks, and of the container's own processes what they have open.

use super::history::Point;
use crate::cgroup::stats::ProcessStats;
use crate::wire::object::objects;

objects! {
    /// The tasks of a container. Processes, descriptors and sockets are there if their kind is on.
    pub struct Processes<'a>(Point<'a>) |point| {
        "process_count" => point.sample.processes.processes,
        "fd_count" => point.sample.processes.file_descriptors,
        "socket_count" => point.sample.processes.sockets,
        "threads_current" => point.sample.pids.current,
        "threads_max" => point.info.spec.pids.as_ref().and_then(|pids| pids.limit?.value()),
        "ulimits" => point.sample.processes.max_open_files.map(|_| [OpenFiles(&point.sample.processes)]),
    }

    /// How many files the first process may open.
    struct OpenFiles<'a>(&'a ProcessStats) |processes| {
        "name" => Some("max_open_files"),
        "soft_limit" => processes.max_open_files,
        "hard_limit" => processes.max_open_files_hard,
    }
}

/// The tasks of a container, if they are counted.
pub fn shown(point: Point<'_>) -> Option<Processes<'_>> {
    let counted = point
        .sample
        .pids
        .current
        .or(point.sample.processes.processes);
    counted.map(|_| Processes(point))
}
