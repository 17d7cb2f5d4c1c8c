//! Memory by NUMA node, and whether it moves with its tasks.

use super::encode::Emit;
use super::family::{Family, From, Value, gauge};
use super::page::{Container, Page};

/// Memory by NUMA node.
pub(super) const NUMA: &[Family] = &[gauge(
    "container_memory_numa_pages",
    "Pages of memory on a NUMA node.",
    From::Several(pages),
)];

/// Settings of `cpuset`.
pub(super) const CPUSET: &[Family] = &[gauge(
    "container_memory_migrate",
    "1 if memory moves with its tasks to the memory nodes they may use (cgroup v1).",
    From::Count(|s| s.cpuset.memory_migrate),
)];

fn pages(page: &Page<'_>, container: &Container, emit: &mut Emit<'_>) {
    for (node, memory) in &container.sample.numa {
        for (scope, kind, bytes) in [
            ("container", "anon", memory.own_anon_bytes),
            ("container", "file", memory.own_file_bytes),
            ("container", "unevictable", memory.own_unevictable_bytes),
            ("hierarchy", "anon", memory.anon_bytes),
            ("hierarchy", "file", memory.file_bytes),
            ("hierarchy", "unevictable", memory.unevictable_bytes),
        ] {
            let pages = bytes.and_then(|bytes| bytes.checked_div(page.page_size));
            emit.sample(
                &[("node", node), ("scope", &scope), ("type", &kind)],
                pages.map(Value::Count),
            );
        }
    }
}
