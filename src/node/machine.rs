//! What the node is: processors, memory, disks, interfaces, ids.

use std::collections::BTreeMap;

use super::cloud::{self, Cloud};
use super::disks::{self, Disk};
use super::filesystem::FsTable;
use super::ids::{self, Ids};
use super::memory::{self, HugePages, MemoryOfType, MemoryTotals};
use super::nics::{self, Nic};
use super::reader::Reader;
use super::topology::{self, Topology};
use super::{Roots, cpuinfo};
use crate::units::Timestamp;

/// The machine. Whatever the kernel does not tell is absent, never 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MachineInfo {
    /// When this was read.
    pub timestamp: Timestamp,
    /// Maker of the processor, such as `GenuineIntel` or `ARM`.
    pub cpu_vendor: Option<String>,
    /// Highest clock rate in kHz (`cpuinfo_max_freq`); where the kernel does not scale it, the
    /// present one of `/proc/cpuinfo`. Most arm64 virtual machines have neither.
    pub cpu_frequency_khz: Option<u64>,
    /// CPUs, cores, sockets, NUMA nodes and caches.
    pub topology: Topology,
    /// Memory and swap.
    pub memory: MemoryTotals,
    /// Memory modules by type; empty where no memory controller driver is loaded.
    pub memory_by_type: BTreeMap<String, MemoryOfType>,
    /// Huge page pools, smallest pages first.
    pub hugepages: Vec<HugePages>,
    /// Ids of the installation, the hardware and the boot.
    pub ids: Ids,
    /// File systems that answered.
    pub filesystems: Vec<MachineFilesystem>,
    /// Whole disks.
    pub disks: Vec<Disk>,
    /// Network interfaces.
    pub nics: Vec<Nic>,
    /// Cloud, as far as the firmware tells.
    pub cloud: Cloud,
}

/// A file system, without what changes by the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFilesystem {
    /// Its name: see [`super::FsInfo::device`].
    pub device: String,
    /// Type, such as `ext4`.
    pub fs_type: String,
    /// Major device number; 0 if no block device is behind it.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Size in bytes.
    pub capacity_bytes: u64,
    /// Inodes; absent where their number is not fixed.
    pub inodes: Option<u64>,
}

/// Reads the machine.
pub fn read(roots: &Roots, filesystems: &FsTable, reader: &mut Reader) -> MachineInfo {
    let cpuinfo = reader
        .required(&roots.procfs.join("cpuinfo"))
        .unwrap_or_default();
    let cpuinfo = cpuinfo::parse(&cpuinfo);
    let topology = topology::read(roots, &cpuinfo, reader);
    MachineInfo {
        timestamp: Timestamp::now(),
        cpu_frequency_khz: max_frequency_khz(roots, &topology, reader).or(cpuinfo.frequency_khz),
        cpu_vendor: cpuinfo.vendor,
        topology,
        memory: memory::read_totals(roots, reader),
        memory_by_type: memory::read_by_type(roots, reader),
        hugepages: memory::read_hugepages(&roots.sysfs.join("kernel/mm/hugepages"), reader),
        ids: ids::read(roots, reader),
        filesystems: filesystems
            .filesystems
            .iter()
            .map(|fs| MachineFilesystem {
                device: fs.device.clone(),
                fs_type: fs.fs_type.clone(),
                major: fs.major,
                minor: fs.minor,
                capacity_bytes: fs.capacity_bytes,
                inodes: fs.inodes,
            })
            .collect(),
        disks: disks::read(roots, reader),
        nics: nics::read(roots, reader),
        cloud: cloud::read(roots, reader),
    }
}

/// Of the first online CPU: `cpu0` may be off, and on machines with unequal cores it names one kind.
fn max_frequency_khz(roots: &Roots, topology: &Topology, reader: &mut Reader) -> Option<u64> {
    let cores = topology.nodes.iter().flat_map(|node| &node.cores);
    let first = cores.flat_map(|core| &core.threads).min()?;
    let file = format!("devices/system/cpu/cpu{first}/cpufreq/cpuinfo_max_freq");
    reader
        .number(&roots.sysfs.join(file))
        .filter(|&khz| khz > 0)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
