//! `processes` of a sample: tasks.

use crate::cgroup::Sample;
use crate::wire::object::objects;

objects! {
    /// The tasks of a container. Processes, descriptors and sockets are not counted on the poll path.
    pub struct Processes<'a>(&'a Sample) |sample| {
        "threads_current" => sample.pids.current,
    }
}

/// The tasks of a container, if the pids controller counts them.
pub fn shown(sample: &Sample) -> Option<Processes<'_>> {
    sample.pids.current.map(|_| Processes(sample))
}
