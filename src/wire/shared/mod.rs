//! Shapes that the API versions have in common.

pub mod cpu;
pub mod io;
pub mod limit;
pub mod memory;
pub mod network;
pub mod psi;

use crate::cgroup::stats::DeviceNumber;
use crate::node::MachineInfo;

/// What a view needs to know beyond its container.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The machine: disk names, and the limits of `/`.
    pub machine: &'a MachineInfo,
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
