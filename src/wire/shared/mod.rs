//! Shapes that the API versions have in common.

pub mod cpu;
pub mod io;
pub mod limit;
pub mod memory;
pub mod network;
pub mod psi;

/// What a view needs to know beyond its container.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The machine: disk names, and the limits of `/`.
    pub machine: &'a crate::node::MachineInfo,
}

impl Context<'_> {
    /// The name of a block device below `/dev`; `None` if it is no disk of this machine.
    pub fn disk(&self, device: crate::cgroup::stats::DeviceNumber) -> Option<&str> {
        let found = |disk: &&crate::node::disks::Disk| {
            disk.major == device.major && disk.minor == device.minor
        };
        self.machine
            .disks
            .iter()
            .find(found)
            .map(|disk| &*disk.name)
    }
}
