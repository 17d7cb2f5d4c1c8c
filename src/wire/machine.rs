//! `machine` (every API version) and `attributes` (v2): [`MachineInfo`] as JSON.
//!
//! Keys and their order are those that clients of the older monitor know. Its keys are always
//! there, and typed clients count on that: what is absent inside prints as `0`, `""` or, for the
//! cloud, `Unknown`. Only keys that it leaves out too (`num_books`, `book_id` …) are left out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::time;
use crate::node::cloud::Provider;
use crate::node::cpu_cache;
use crate::node::memory;
use crate::node::topology;
use crate::node::{self, VersionInfo};
use crate::units::{BYTES_PER_KB, Timestamp};

/// Every file system that is measured by `statvfs`.
pub const VFS: &str = "vfs";

/// What stands for a cloud or instance type that is not known.
const UNKNOWN: &str = "Unknown";

/// `MachineInfo`.
#[derive(Debug, Serialize)]
pub struct MachineInfo<'a> {
    #[serde(serialize_with = "time::serialize")]
    timestamp: Timestamp,
    vendor_id: &'a str,
    num_cores: u64,
    num_physical_cores: u64,
    num_sockets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_books: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_drawers: Option<u64>,
    cpu_frequency_khz: u64,
    memory_capacity: u64,
    swap_capacity: u64,
    memory_by_type: BTreeMap<&'a str, MemoryType>,
    nvm: Nvm,
    hugepages: Nullable<HugePages>,
    machine_id: &'a str,
    system_uuid: &'a str,
    boot_id: &'a str,
    filesystems: Nullable<Filesystem<'a>>,
    disk_map: BTreeMap<String, Disk<'a>>,
    network_devices: Vec<Nic<'a>>,
    topology: Vec<Node<'a>>,
    cloud_provider: &'a str,
    instance_type: &'a str,
    instance_id: &'a str,
}

/// `Attributes`: versions and machine in one, of API v2.
#[derive(Debug, Serialize)]
pub struct Attributes<'a> {
    kernel_version: &'a str,
    container_os_version: &'a str,
    docker_version: &'a str,
    docker_api_version: &'a str,
    cadvisor_version: &'a str,
    num_cores: u64,
    cpu_frequency_khz: u64,
    memory_capacity: u64,
    machine_id: &'a str,
    system_uuid: &'a str,
    hugepages: Nullable<HugePages>,
    filesystems: Nullable<Filesystem<'a>>,
    disk_map: BTreeMap<String, Disk<'a>>,
    network_devices: Vec<Nic<'a>>,
    topology: Vec<Node<'a>>,
    cloud_provider: &'a str,
    instance_type: &'a str,
}

/// A list that is `null` when empty: so it always was for these keys.
#[derive(Debug, Serialize)]
struct Nullable<T>(Option<Vec<T>>);

impl<T> FromIterator<T> for Nullable<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let items: Vec<T> = items.into_iter().collect();
        Self((!items.is_empty()).then_some(items))
    }
}

#[derive(Debug, Serialize)]
struct MemoryType {
    capacity: u64,
    dimm_count: u64,
}

/// Persistent memory. Its library is not used; the key has always been there.
#[derive(Debug, Default, Serialize)]
struct Nvm {
    memory_mode_capacity: u64,
    #[serde(rename = "app direct_mode_capacity")]
    app_direct_mode_capacity: u64,
    avg_power_budget: u64,
}

#[derive(Debug, Serialize)]
struct HugePages {
    /// In kB.
    page_size: u64,
    num_pages: u64,
}

#[derive(Debug, Serialize)]
struct Filesystem<'a> {
    device: &'a str,
    capacity: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    inodes: u64,
    has_inodes: bool,
}

#[derive(Debug, Serialize)]
struct Disk<'a> {
    name: &'a str,
    major: u32,
    minor: u32,
    size: u64,
    scheduler: &'a str,
}

#[derive(Debug, Serialize)]
struct Nic<'a> {
    name: &'a str,
    mac_address: &'a str,
    speed: u64,
    mtu: u64,
}

#[derive(Debug, Serialize)]
struct Node<'a> {
    node_id: u32,
    memory: u64,
    hugepages: Nullable<HugePages>,
    cores: Vec<Core<'a>>,
    caches: Nullable<Cache<'a>>,
    distances: Nullable<u64>,
}

#[derive(Debug, Serialize)]
struct Core<'a> {
    core_id: u32,
    thread_ids: &'a [u32],
    caches: Nullable<Cache<'a>>,
    uncore_caches: Nullable<Cache<'a>>,
    socket_id: u32,
    // Strings, though they are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    book_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drawer_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Cache<'a> {
    id: u32,
    size: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    level: u32,
}

impl<'a> From<&'a node::MachineInfo> for MachineInfo<'a> {
    fn from(machine: &'a node::MachineInfo) -> Self {
        let topology = &machine.topology;
        let by_type = machine.memory_by_type.iter().map(|(kind, memory)| {
            let memory = MemoryType {
                capacity: memory.capacity_bytes,
                dimm_count: memory.dimms,
            };
            (kind.as_str(), memory)
        });
        Self {
            timestamp: machine.timestamp,
            vendor_id: text(&machine.cpu_vendor),
            num_cores: topology.cpus.unwrap_or(0),
            num_physical_cores: topology.physical_cores.unwrap_or(0),
            num_sockets: topology.sockets.unwrap_or(0),
            num_books: topology.books,
            num_drawers: topology.drawers,
            cpu_frequency_khz: machine.cpu_frequency_khz.unwrap_or(0),
            memory_capacity: machine.memory.memory_bytes.unwrap_or(0),
            swap_capacity: machine.memory.swap_bytes.unwrap_or(0),
            memory_by_type: by_type.collect(),
            nvm: Nvm::default(),
            hugepages: hugepages(&machine.hugepages),
            machine_id: text(&machine.ids.machine_id),
            system_uuid: text(&machine.ids.system_uuid),
            boot_id: text(&machine.ids.boot_id),
            filesystems: filesystems(machine),
            disk_map: disk_map(machine),
            network_devices: network_devices(machine),
            topology: topology.nodes.iter().map(numa_node).collect(),
            cloud_provider: cloud_provider(machine),
            instance_type: instance_type(machine),
            instance_id: text(&machine.cloud.instance_id),
        }
    }
}

impl<'a> Attributes<'a> {
    /// The attributes of a machine with this software.
    pub fn new(machine: &'a node::MachineInfo, version: &'a VersionInfo) -> Self {
        Self {
            kernel_version: text(&version.kernel),
            container_os_version: version.os.as_deref().unwrap_or(UNKNOWN),
            docker_version: "",
            docker_api_version: "",
            cadvisor_version: version.cgauge,
            num_cores: machine.topology.cpus.unwrap_or(0),
            cpu_frequency_khz: machine.cpu_frequency_khz.unwrap_or(0),
            memory_capacity: machine.memory.memory_bytes.unwrap_or(0),
            machine_id: text(&machine.ids.machine_id),
            system_uuid: text(&machine.ids.system_uuid),
            hugepages: hugepages(&machine.hugepages),
            filesystems: filesystems(machine),
            disk_map: disk_map(machine),
            network_devices: network_devices(machine),
            topology: machine.topology.nodes.iter().map(numa_node).collect(),
            cloud_provider: cloud_provider(machine),
            instance_type: instance_type(machine),
        }
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("")
}

fn hugepages(pools: &[memory::HugePages]) -> Nullable<HugePages> {
    let pool = |pool: &memory::HugePages| HugePages {
        page_size: pool.page_size_bytes / BYTES_PER_KB,
        num_pages: pool.pages,
    };
    pools.iter().map(pool).collect()
}

fn filesystems(machine: &node::MachineInfo) -> Nullable<Filesystem<'_>> {
    machine
        .filesystems
        .iter()
        .map(|fs| Filesystem {
            device: &fs.device,
            capacity: fs.capacity_bytes,
            kind: VFS,
            inodes: fs.inodes.unwrap_or(0),
            has_inodes: fs.inodes.is_some(),
        })
        .collect()
}

fn disk_map(machine: &node::MachineInfo) -> BTreeMap<String, Disk<'_>> {
    machine
        .disks
        .iter()
        .map(|disk| {
            let entry = Disk {
                name: &disk.name,
                major: disk.major,
                minor: disk.minor,
                size: disk.size_bytes,
                scheduler: disk.scheduler.as_deref().unwrap_or("none"),
            };
            (format!("{}:{}", disk.major, disk.minor), entry)
        })
        .collect()
}

fn network_devices(machine: &node::MachineInfo) -> Vec<Nic<'_>> {
    machine
        .nics
        .iter()
        .map(|nic| Nic {
            name: &nic.name,
            mac_address: text(&nic.mac),
            speed: nic.speed_mbit.unwrap_or(0),
            mtu: nic.mtu_bytes.unwrap_or(0),
        })
        .collect()
}

fn numa_node(node: &topology::NumaNode) -> Node<'_> {
    Node {
        node_id: node.id,
        memory: node.memory_bytes.unwrap_or(0),
        hugepages: hugepages(&node.hugepages),
        cores: node
            .cores
            .iter()
            .map(|core| Core {
                core_id: core.id,
                thread_ids: &core.threads,
                caches: caches(&core.caches),
                uncore_caches: caches(&core.uncore_caches),
                socket_id: core.socket,
                book_id: core.book.map(|id| id.to_string()),
                drawer_id: core.drawer.map(|id| id.to_string()),
            })
            .collect(),
        caches: caches(&node.caches),
        distances: node.distances.iter().copied().collect(),
    }
}

fn caches(caches: &[cpu_cache::Cache]) -> Nullable<Cache<'_>> {
    caches
        .iter()
        .map(|cache| Cache {
            id: cache.id,
            size: cache.size_bytes,
            kind: &cache.kind,
            level: cache.level,
        })
        .collect()
}

fn cloud_provider(machine: &node::MachineInfo) -> &'static str {
    match machine.cloud.provider {
        Some(Provider::Aws) => "AWS",
        Some(Provider::Azure) => "Azure",
        Some(Provider::Gce) => "GCE",
        None => UNKNOWN,
    }
}

fn instance_type(machine: &node::MachineInfo) -> &str {
    machine.cloud.instance_type.as_deref().unwrap_or(UNKNOWN)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
pub(super) mod tests;
