//! Where the CPUs are: NUMA nodes, cores, threads, caches, from `/sys/devices/system/{cpu,node}`,
//! with `/proc/cpuinfo` where sysfs has no topology.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::cpu_cache::{self, Cache};
use super::cpuinfo::CpuInfo;
use super::memory::{self, HugePages};
use super::reader::{Cause, Reader};
use super::{Roots, cpu_list};

/// The CPUs of the machine and how they hang together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// NUMA nodes in numeric order. On a kernel without NUMA: one entry for each socket.
    pub nodes: Vec<NumaNode>,
    /// The online CPUs (hardware threads). Absent if neither sysfs nor cpuinfo tells.
    pub cpus: Option<u64>,
    /// Distinct cores that have a CPU online.
    pub physical_cores: Option<u64>,
    /// Distinct sockets (physical packages).
    pub sockets: Option<u64>,
    /// Distinct books (s390x).
    pub books: Option<u64>,
    /// Distinct drawers (s390x).
    pub drawers: Option<u64>,
}

/// One NUMA node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumaNode {
    /// Number of the node, or of the socket on a kernel without NUMA.
    pub id: u32,
    /// Memory of the node in bytes; absent without NUMA.
    pub memory_bytes: Option<u64>,
    /// Huge page pools of the node.
    pub hugepages: Vec<HugePages>,
    /// The cores that have a CPU online, by lowest CPU number. Empty on memory-only nodes.
    pub cores: Vec<Core>,
    /// Caches shared by all CPUs of the node.
    pub caches: Vec<Cache>,
    /// `distance`: relative cost of reaching each node's memory, in node order; 10 is local.
    pub distances: Vec<u64>,
}

/// One physical core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// `core_id`, unique within a socket (on some machines only within a die).
    pub id: u32,
    /// The online CPUs of the core, ascending.
    pub threads: Vec<u32>,
    /// Caches that only this core uses.
    pub caches: Vec<Cache>,
    /// Caches that this core shares with some, but not all, cores of the node.
    pub uncore_caches: Vec<Cache>,
    /// `physical_package_id`: the socket.
    pub socket: u32,
    /// `book_id` (s390x).
    pub book: Option<u32>,
    /// `drawer_id` (s390x).
    pub drawer: Option<u32>,
}

/// The place of one online CPU.
#[derive(Debug, Clone, Copy)]
struct Place {
    socket: u32,
    core: u32,
    book: Option<u32>,
    drawer: Option<u32>,
    key: CoreKey,
}

/// What tells two cores apart. A core id alone does not: every socket numbers its cores anew, and
/// so does every die of some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CoreKey {
    /// The lowest of the CPUs that the kernel says share the core.
    FirstSibling(u32),
    /// Socket, die and core id, where there is no sibling list.
    Ids(u32, u32, u32),
}

/// Reads the topology of the online CPUs.
pub fn read(roots: &Roots, cpuinfo: &CpuInfo, reader: &mut Reader) -> Topology {
    let online = online_cpus(roots, cpuinfo, reader);
    if online.is_empty() {
        reader.problem(
            &cpu_root(roots).join("online"),
            Cause::Unexpected("any CPU, and neither does cpuinfo"),
        );
        return Topology::default();
    }
    let places: BTreeMap<u32, Place> = online
        .iter()
        .map(|&cpu| (cpu, place(roots, cpuinfo, cpu, reader)))
        .collect();
    let count = |distinct: BTreeSet<u32>| (!distinct.is_empty()).then_some(distinct.len() as u64);
    Topology {
        nodes: numa_nodes(roots, &places, reader),
        cpus: Some(online.len() as u64),
        physical_cores: Some(
            places
                .values()
                .map(|p| p.key)
                .collect::<BTreeSet<_>>()
                .len() as u64,
        ),
        sockets: count(places.values().map(|p| p.socket).collect()),
        books: count(places.values().filter_map(|p| p.book).collect()),
        drawers: count(places.values().filter_map(|p| p.drawer).collect()),
    }
}

fn cpu_root(roots: &Roots) -> PathBuf {
    roots.sysfs.join("devices/system/cpu")
}

fn online_cpus(roots: &Roots, cpuinfo: &CpuInfo, reader: &mut Reader) -> BTreeSet<u32> {
    let root = cpu_root(roots);
    let path = root.join("online");
    if let Some(text) = reader.text(&path) {
        match cpu_list::parse(&text) {
            Some(cpus) if !cpus.is_empty() => return cpus,
            _ => reader.problem(&path, Cause::Unexpected("a list of CPUs such as 0-3")),
        }
    }
    // cpu0 cannot be switched off on most machines and then has no such file.
    let listed: BTreeSet<u32> = reader
        .numbered(&root, "cpu")
        .into_iter()
        .filter(|cpu| {
            reader
                .text(&root.join(format!("cpu{cpu}/online")))
                .as_deref()
                != Some("0")
        })
        .collect();
    if listed.is_empty() {
        cpuinfo.processors.keys().copied().collect()
    } else {
        listed
    }
}

fn place(roots: &Roots, cpuinfo: &CpuInfo, cpu: u32, reader: &mut Reader) -> Place {
    let dir = cpu_root(roots).join(format!("cpu{cpu}/topology"));
    let mut id = |name: &str| -> Option<u32> {
        let text = reader.text(&dir.join(name))?;
        // -1: the firmware did not say.
        text.parse().ok()
    };
    let said = cpuinfo.processors.get(&cpu).copied().unwrap_or_default();
    let socket = id("physical_package_id").or(said.package).unwrap_or(0);
    let core_id = id("core_id").or(said.core);
    let die = id("die_id").unwrap_or(0);
    let book = id("book_id").or(said.book);
    let drawer = id("drawer_id").or(said.drawer);
    let siblings = reader
        .text(&dir.join("thread_siblings_list"))
        .and_then(|text| cpu_list::parse(&text)?.first().copied());
    // A CPU about which nothing is known is a core of its own.
    let core = core_id.unwrap_or(cpu);
    let key = siblings.map_or(CoreKey::Ids(socket, die, core), CoreKey::FirstSibling);
    Place {
        socket,
        core,
        book,
        drawer,
        key,
    }
}

fn numa_nodes(roots: &Roots, places: &BTreeMap<u32, Place>, reader: &mut Reader) -> Vec<NumaNode> {
    let root = roots.sysfs.join("devices/system/node");
    let ids = reader.numbered(&root, "node");
    if ids.is_empty() {
        return sockets_as_nodes(roots, places, reader);
    }
    ids.into_iter()
        .map(|id| {
            let dir = root.join(format!("node{id}"));
            let cpus: BTreeSet<u32> = reader
                .text(&dir.join("cpulist"))
                .and_then(|text| cpu_list::parse(&text))
                .unwrap_or_else(|| reader.numbered(&dir, "cpu").into_iter().collect());
            let distances = reader.text(&dir.join("distance")).unwrap_or_default();
            NumaNode {
                memory_bytes: memory::read_numa_total(&dir, reader),
                hugepages: memory::read_hugepages(&dir.join("hugepages"), reader),
                distances: distances
                    .split_whitespace()
                    .filter_map(|d| d.parse().ok())
                    .collect(),
                ..node_of(roots, id, &cpus, places, reader)
            }
        })
        .collect()
}

fn sockets_as_nodes(
    roots: &Roots,
    places: &BTreeMap<u32, Place>,
    reader: &mut Reader,
) -> Vec<NumaNode> {
    let mut sockets: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (&cpu, place) in places {
        sockets.entry(place.socket).or_default().insert(cpu);
    }
    sockets
        .into_iter()
        .map(|(id, cpus)| node_of(roots, id, &cpus, places, reader))
        .collect()
}

/// Cores and caches of a node; the rest is the caller's.
fn node_of(
    roots: &Roots,
    id: u32,
    cpus: &BTreeSet<u32>,
    places: &BTreeMap<u32, Place>,
    reader: &mut Reader,
) -> NumaNode {
    let mut cores: BTreeMap<CoreKey, Core> = BTreeMap::new();
    for &cpu in cpus {
        // Offline CPUs have no place.
        let Some(place) = places.get(&cpu) else {
            continue;
        };
        let core = cores.entry(place.key).or_insert_with(|| Core {
            id: place.core,
            threads: Vec::new(),
            caches: Vec::new(),
            uncore_caches: Vec::new(),
            socket: place.socket,
            book: place.book,
            drawer: place.drawer,
        });
        core.threads.push(cpu);
    }
    let mut cores: Vec<Core> = cores.into_values().collect();
    cores.sort_by(|a, b| a.threads.cmp(&b.threads));
    let online: BTreeSet<u32> = cores
        .iter()
        .flat_map(|core| core.threads.iter().copied())
        .collect();
    let mut caches: Vec<Cache> = Vec::new();
    for core in &mut cores {
        let Some(&first) = core.threads.first() else {
            continue;
        };
        for shared in cpu_cache::read(&cpu_root(roots).join(format!("cpu{first}/cache")), reader) {
            match shared.reach(&core.threads, &online) {
                cpu_cache::Reach::Core => core.caches.push(shared.cache),
                cpu_cache::Reach::Some => core.uncore_caches.push(shared.cache),
                cpu_cache::Reach::Node => {
                    if !caches.contains(&shared.cache) {
                        caches.push(shared.cache);
                    }
                }
            }
        }
    }
    NumaNode {
        id,
        memory_bytes: None,
        hugepages: Vec::new(),
        cores,
        caches,
        distances: Vec::new(),
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
