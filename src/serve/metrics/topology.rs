//! How the machine's CPUs and memory hang together.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::encode::Emit;
use super::family::{Family, From, Value, gauge};
use super::page::Page;
use crate::node::cpu_cache::Cache;
use crate::units::BYTES_PER_KB;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "machine_cpu_cache_capacity_bytes",
        "Size of the CPU caches of a core, or (without a core) of a node.",
        From::Page(caches),
    ),
    gauge(
        "machine_thread_siblings_count",
        "CPUs of the core that a CPU is of.",
        From::Page(siblings),
    ),
    gauge(
        "machine_node_memory_capacity_bytes",
        "Memory of a NUMA node.",
        From::Page(memory),
    ),
    gauge(
        "machine_node_hugepages_count",
        "Huge pages of a NUMA node, by size in KiB.",
        From::Page(hugepages),
    ),
    gauge(
        "machine_node_distance",
        "Relative cost of reaching the memory of another NUMA node.",
        From::Page(distances),
    ),
];

/// A core's id, with its socket where another socket of the node has the same.
struct CoreId {
    id: u32,
    socket: Option<u32>,
}

impl Display for CoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.socket {
            Some(socket) => write!(f, "{socket}.{}", self.id),
            None => self.id.fmt(f),
        }
    }
}

fn core_ids(
    node: &crate::node::topology::NumaNode,
) -> impl Fn(&crate::node::topology::Core) -> CoreId {
    let distinct: BTreeSet<u32> = node.cores.iter().map(|core| core.id).collect();
    let ambiguous = distinct.len() < node.cores.len();
    move |core| CoreId {
        id: core.id,
        socket: ambiguous.then_some(core.socket),
    }
}

fn caches<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>) {
    emit.of(&page.machine_labels);
    for node in &page.machine.topology.nodes {
        let id = core_ids(node);
        let mut shown = BTreeSet::new();
        let mut show = |core: &dyn Display, cache: &Cache| {
            // Two caches of one core may be alike (and two dies may number their cores alike).
            if shown.insert((core.to_string(), cache.kind.clone(), cache.level)) {
                let labels: [(&str, &dyn Display); 4] = [
                    ("core_id", core),
                    ("level", &cache.level),
                    ("node_id", &node.id),
                    ("type", &cache.kind),
                ];
                emit.sample(&labels, Some(Value::Count(cache.size_bytes)));
            }
        };
        for core in &node.cores {
            for cache in core.caches.iter().chain(&core.uncore_caches) {
                show(&id(core), cache);
            }
        }
        for cache in &node.caches {
            show(&"", cache);
        }
    }
}

fn siblings<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>) {
    emit.of(&page.machine_labels);
    for node in &page.machine.topology.nodes {
        let id = core_ids(node);
        for core in &node.cores {
            let count = Some(Value::Count(core.threads.len() as u64));
            for thread in &core.threads {
                emit.sample(
                    &[
                        ("core_id", &id(core)),
                        ("node_id", &node.id),
                        ("thread_id", thread),
                    ],
                    count,
                );
            }
        }
    }
}

fn memory<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>) {
    emit.of(&page.machine_labels);
    for node in &page.machine.topology.nodes {
        emit.sample(
            &[("node_id", &node.id)],
            node.memory_bytes.map(Value::Count),
        );
    }
}

fn hugepages<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>) {
    emit.of(&page.machine_labels);
    for node in &page.machine.topology.nodes {
        for pool in &node.hugepages {
            emit.sample(
                &[
                    ("node_id", &node.id),
                    ("page_size", &(pool.page_size_bytes / BYTES_PER_KB)),
                ],
                Some(Value::Count(pool.pages)),
            );
        }
    }
}

fn distances<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>) {
    emit.of(&page.machine_labels);
    let nodes = &page.machine.topology.nodes;
    for node in nodes {
        // The columns are in the order of the nodes.
        for (target, &distance) in nodes.iter().zip(&node.distances) {
            emit.sample(
                &[("node_id", &node.id), ("target_node_id", &target.id)],
                Some(Value::Count(distance)),
            );
        }
    }
}
