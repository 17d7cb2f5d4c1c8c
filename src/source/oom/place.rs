//! Where a victim was, when the log does not say: procfs still shows it while it dies.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::OomKill;
use crate::cgroup::hierarchy::Controller;
use crate::cgroup::{ContainerName, Hierarchies, members};

/// The container of a victim that the log does not place: one that went down with others
/// (`memory.oom.group`), or after ten reports in five seconds. `None` if the log says it, and once the
/// process has been reaped; on v1 an ending process is shown nowhere.
pub fn of_victim(
    kill: &OomKill,
    procfs: &Path,
    hierarchies: &Hierarchies,
) -> Option<ContainerName> {
    if kill.task_memcg.is_some() && !kill.group {
        return None;
    }
    let text = fs::read(procfs.join(format!("{}/cgroup", kill.pid?))).ok()?;
    let v1 = hierarchies.of(Controller::Memory);
    let path = members::cgroup_path(&text, v1.map(|_| Controller::Memory.v1_name()))?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    Some(hierarchies.container_of(Controller::Memory, path))
}
