//! Memory, its events, OOM kills and huge pages.

use super::encode::Emit;
use super::family::{Family, From, Value, counter, gauge};
use super::page::{Container, Page};
use crate::cgroup::plan::page_size_label;
use crate::cgroup::stats::HugetlbStats;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "container_memory_usage_bytes",
        "Memory charged, page cache included.",
        From::Count(|s| s.memory.usage_bytes),
    ),
    gauge(
        "container_memory_max_usage_bytes",
        "The most memory ever charged.",
        From::Count(|s| s.memory.peak_bytes),
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Memory charged without the inactive page cache.",
        From::Count(|s| s.memory.working_set_bytes()),
    ),
    gauge(
        "container_memory_total_active_file_bytes",
        "Active page cache.",
        From::Count(|s| s.memory.active_file_bytes),
    ),
    gauge(
        "container_memory_total_inactive_file_bytes",
        "Inactive page cache.",
        From::Count(|s| s.memory.inactive_file_bytes),
    ),
    gauge(
        "container_memory_cache",
        "Page cache, bytes.",
        From::Count(|s| s.memory.file_bytes),
    ),
    gauge(
        "container_memory_rss",
        "Anonymous memory, bytes.",
        From::Count(|s| s.memory.anon_bytes),
    ),
    gauge(
        "container_memory_mapped_file",
        "Page cache that is mapped, bytes.",
        From::Count(|s| s.memory.file_mapped_bytes),
    ),
    gauge(
        "container_memory_swap",
        "Swap in use, bytes.",
        From::Count(|s| s.memory.swap_bytes),
    ),
    gauge(
        "container_memory_kernel_usage",
        "Kernel memory, bytes.",
        From::Count(|s| s.memory.kernel_bytes),
    ),
    gauge(
        "container_memory_file_dirty_bytes",
        "Page cache to be written.",
        From::Count(|s| s.memory.file_dirty_bytes),
    ),
    gauge(
        "container_memory_file_writeback_bytes",
        "Page cache being written.",
        From::Count(|s| s.memory.file_writeback_bytes),
    ),
    counter(
        "container_memory_failcnt",
        "Times that usage met the limit (cgroup v1; v2 counts this in container_memory_events_max_total).",
        From::Count(|s| s.memory.failcnt),
    ),
    counter(
        "container_memory_failures_total",
        "Page faults.",
        From::Several(faults),
    ),
    counter(
        "container_memory_pgscan_total",
        "Pages scanned for reclaim.",
        From::Count(|s| s.memory.pgscan),
    ),
    counter(
        "container_memory_pgsteal_total",
        "Pages reclaimed.",
        From::Count(|s| s.memory.pgsteal),
    ),
    counter(
        "container_memory_workingset_refault_file_total",
        "Refaults of recently evicted file pages.",
        From::Count(|s| s.memory.workingset_refault_file),
    ),
    counter(
        "container_memory_workingset_refault_anon_total",
        "Refaults of recently evicted anonymous pages.",
        From::Count(|s| s.memory.workingset_refault_anon),
    ),
    counter(
        "container_memory_events_low_total",
        "Times that memory was reclaimed although below memory.low.",
        From::Count(|s| s.memory_events.low),
    ),
    counter(
        "container_memory_events_high_total",
        "Times that the container was throttled because above memory.high.",
        From::Count(|s| s.memory_events.high),
    ),
    counter(
        "container_memory_events_max_total",
        "Times that usage was about to go above memory.max.",
        From::Count(|s| s.memory_events.max),
    ),
    counter(
        "container_memory_events_oom_total",
        "Times that the limit was hit and an allocation was about to fail.",
        From::Count(|s| s.memory_events.oom),
    ),
    counter(
        "container_memory_events_oom_kill_total",
        "Processes killed by the OOM killer in the container and below it.",
        From::Count(|s| s.memory_events.oom_kill),
    ),
    counter(
        "container_memory_events_oom_group_kill_total",
        "Times that the OOM killer killed a group.",
        From::Count(|s| s.memory_events.oom_group_kill),
    ),
    gauge(
        "container_memory_unreclaimable_bytes",
        "Memory charged that dropping caches would not free: usage without page cache and reclaimable slab.",
        From::Count(|s| s.memory.unreclaimable_bytes()),
    ),
];

/// OOM kills.
pub(super) const OOM: &[Family] = &[counter(
    "container_oom_events_total",
    "Processes of the container killed by the OOM killer, of whatever scope.",
    From::Container(|c| Some(Value::Count(c.oom_kills))),
)];

/// Huge pages.
pub(super) const HUGETLB: &[Family] = &[
    gauge(
        "container_hugetlb_usage_bytes",
        "Huge pages in use.",
        From::Several(|_, c, emit| hugetlb(c, emit, |p| p.usage_bytes)),
    ),
    gauge(
        "container_hugetlb_max_usage_bytes",
        "The most huge pages ever in use.",
        From::Several(|_, c, emit| hugetlb(c, emit, |p| p.peak_bytes)),
    ),
    counter(
        "container_hugetlb_failcnt",
        "Times that the use of huge pages met its limit.",
        From::Several(|_, c, emit| hugetlb(c, emit, |p| p.failcnt)),
    ),
];

fn faults(_: &Page<'_>, container: &Container, emit: &mut Emit<'_>) {
    let memory = &container.sample.memory;
    for (failure_type, scope, count) in [
        ("pgfault", "container", memory.own_pgfault),
        ("pgfault", "hierarchy", memory.pgfault),
        ("pgmajfault", "container", memory.own_pgmajfault),
        ("pgmajfault", "hierarchy", memory.pgmajfault),
    ] {
        emit.sample(
            &[("failure_type", &failure_type), ("scope", &scope)],
            count.map(Value::Count),
        );
    }
}

fn hugetlb(container: &Container, emit: &mut Emit<'_>, figure: fn(&HugetlbStats) -> Option<u64>) {
    for (size, pages) in &container.sample.hugetlb {
        emit.sample(
            &[("pagesize", &page_size_label(*size))],
            figure(pages).map(Value::Count),
        );
    }
}
