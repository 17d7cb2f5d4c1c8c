//! One directory of a container: opened when it is needed, and known by its inode.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::cgroup::file::{Kept, open_directory, open_in};
use crate::cgroup::hierarchy::HierarchyId;
use crate::cgroup::name::ContainerName;
use crate::cgroup::plan::Plan;

/// A directory of the container in one hierarchy.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) inode: u64,
    /// Opened when files are opened in it, and the inode compared. Kept, if the budget allows, until
    /// it has not been needed for a while: while all of its files are open, it is not.
    pub(super) handle: Option<Handle>,
    /// Whether it was needed in this poll, and the poll at which it was last.
    pub(super) needed: bool,
    pub(super) needed_at: u32,
}

#[derive(Debug)]
pub(super) enum Handle {
    Kept(Kept),
    ForNow(OwnedFd),
}

impl Directory {
    /// The open directory, opened now if it is not.
    pub(super) fn handle(
        &mut self,
        name: &ContainerName,
        plan: &Plan,
        hierarchy: HierarchyId,
    ) -> Result<BorrowedFd<'_>, Errno> {
        let handle = match self.handle.take() {
            Some(handle) => handle,
            None => {
                let opened = open_directory(&name.below(&plan.hierarchies.get(hierarchy).root))?;
                if fstat(&opened)?.st_ino != self.inode {
                    return Err(Errno::ENOENT);
                }
                Handle::ForNow(opened)
            }
        };
        self.needed = true;
        let handle: &Handle = self.handle.insert(handle);
        Ok(match handle {
            Handle::Kept(kept) => kept.as_fd(),
            Handle::ForNow(fd) => fd.as_fd(),
        })
    }

    pub(super) fn open(
        &mut self,
        name: &ContainerName,
        plan: &Plan,
        hierarchy: HierarchyId,
        file: &str,
    ) -> Result<OwnedFd, Errno> {
        open_in(self.handle(name, plan, hierarchy)?, file)
    }
}
