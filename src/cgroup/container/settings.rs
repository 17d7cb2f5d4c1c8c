//! What a container is set to, and when it was made.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::stat::{fstat, fstatat};

use super::{Cgroup, ReadContext};
use crate::cgroup::hierarchy::{Controller, HierarchyId, Mode};
use crate::cgroup::spec::{MemorySpec, Spec};
use crate::cgroup::{v1, v2};
use crate::units::Timestamp;

impl Cgroup {
    /// Reads the settings, and when the cgroup was made.
    pub fn read_spec(&mut self, context: &mut ReadContext) -> Spec {
        let plan = Arc::clone(&self.plan);
        let hierarchies = &plan.hierarchies;
        let buffer = &mut context.buffer;
        let created_at = self.created_at();
        let present: Vec<bool> = self.directories.iter().map(Option::is_some).collect();
        let mut text = |hierarchy: HierarchyId, name: &str| {
            let directory = self.directories[hierarchy.index()].as_mut()?;
            let fd = directory.open(&self.name, &plan, hierarchy, name).ok()?;
            buffer.read(fd).ok().map(<[u8]>::to_vec)
        };
        let has = |controller| {
            hierarchies
                .of(controller)
                .is_some_and(|id| present[id.index()])
        };
        let mut spec = match (hierarchies.mode, hierarchies.unified()) {
            (Mode::V2, Some(unified)) => v2::spec::read(|name| text(unified, name)),
            _ => v1::spec::read(has, |controller: Controller, name| {
                text(hierarchies.of(controller)?, name)
            }),
        };
        if self.name.is_root() && spec.memory.is_none() && hierarchies.mode == Mode::V2 {
            spec.memory = Some(MemorySpec::default());
        }
        spec.created_at = created_at;
        self.end_poll();
        spec
    }

    /// The oldest modification time of what the kernel made with the cgroup. The kernel stamps these
    /// when they are first looked at, so this is right only for those seen early; there is no better.
    pub(super) fn created_at(&mut self) -> Option<Timestamp> {
        let mut oldest: Option<Timestamp> = None;
        let plan = Arc::clone(&self.plan);
        for (directory, id) in self.directories.iter_mut().zip((0_u8..).map(HierarchyId)) {
            let Some(directory) = directory else { continue };
            let Ok(handle) = directory.handle(&self.name, &plan, id) else {
                continue;
            };
            let of_directory = fstat(handle).ok();
            let of_file = ["cgroup.clone_children", "cgroup.events"]
                .iter()
                .find_map(|&name| fstatat(handle, name, nix::fcntl::AtFlags::empty()).ok());
            for stat in of_directory.into_iter().chain(of_file) {
                let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
                let time = UNIX_EPOCH
                    + Duration::new(seconds, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
                let time = Timestamp::from(time);
                oldest = Some(oldest.map_or(time, |known| known.min(time)));
            }
        }
        oldest
    }
}
