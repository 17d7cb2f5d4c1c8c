//! `task_stats` and `load_stats` of a sample: tasks by what they do.

use crate::cgroup::load::LoadStats;
use crate::wire::object::objects;

objects! {
    /// Tasks by state; empty if they are not read. How many wait for a disk is not told by their states.
    pub struct Tasks<'a>(&'a LoadStats) |load| {
        "nr_sleeping" => load.sleeping,
        "nr_running" => load.running,
        "nr_stopped" => load.stopped,
        "nr_uninterruptible" => load.uninterruptible,
    }
}
