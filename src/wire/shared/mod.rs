//! Shapes that the API versions have in common.

pub mod cpu;
pub mod fs;
pub mod history;
pub mod identity;
pub mod io;
pub mod limit;
pub mod load;
pub mod memory;
pub mod name;
pub mod network;
pub mod processes;
pub mod psi;
pub mod spec;

use std::sync::Arc;

use crate::cgroup::stats::DeviceNumber;
use crate::node::{FsTable, MachineInfo};

/// What a view needs to know beyond its container.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The machine: disk names, and the limits of `/`.
    pub machine: &'a MachineInfo,
    /// The file systems as they were in the last minutes, oldest first: shown for `/`.
    pub filesystems: &'a [Arc<FsTable>],
}

impl Context<'_> {
    /// The name of a block device below `/dev`; `None` if it is no disk of this machine.
    pub fn disk(&self, device: DeviceNumber) -> Option<&str> {
        let disks = &self.machine.disks;
        // They are in this order: see `node::disks::read`.
        let at = disks
            .binary_search_by_key(&(device.major, device.minor), |disk| {
                (disk.major, disk.minor)
            })
            .ok()?;
        disks.get(at).map(|disk| &*disk.name)
    }
}

/// An object of which nothing is known, though it is always there.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Empty {}
