//! Settings and times of containers. "No limit" is 0, as the field has it for these families.

use super::family::{Family, From, Value, gauge};
use super::page::Container;
use crate::cgroup::spec::MemorySpec;
use crate::units::{Limit, NS_PER_SEC, Timestamp};

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "container_last_seen",
        "Unix time of the sample that is shown.",
        From::Container(|c| Some(seconds(c.sample.timestamp))),
    ),
    gauge(
        "container_creation_time_seconds",
        "Unix time at which the cgroup was made.",
        From::Container(|c| c.created_at.map(seconds)),
    ),
    gauge(
        "container_start_time_seconds",
        "Unix time at which the container was started; that of its cgroup where no runtime tells.",
        From::Container(|c| c.created_at.map(seconds)),
    ),
    gauge(
        "container_spec_cpu_period",
        "Enforcement period, microseconds.",
        From::Container(|c| c.spec.cpu.as_ref()?.period_us.map(Value::Count)),
    ),
    gauge(
        "container_spec_cpu_quota",
        "CPU time per period, microseconds; absent without a limit.",
        From::Container(|c| c.spec.cpu.as_ref()?.quota_us?.value().map(Value::Count)),
    ),
    gauge(
        "container_spec_cpu_shares",
        "Share of CPU time under contention.",
        From::Container(|c| c.spec.cpu.as_ref()?.shares.map(Value::Count)),
    ),
    gauge(
        "container_spec_memory_limit_bytes",
        "Memory limit; 0 without one. Of the root: the machine's memory.",
        From::Container(|c| limit(c, |memory| memory.limit)),
    ),
    gauge(
        "container_spec_memory_swap_limit_bytes",
        "Limit of memory and swap together (cgroup v1) or of swap (v2); 0 without one.",
        From::Container(|c| {
            limit(c, |memory| {
                memory.memory_and_swap_limit.or(memory.swap_limit)
            })
        }),
    ),
    gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is kept under pressure: soft limit (cgroup v1), memory.low (v2); 0 without a limit.",
        From::Container(|c| limit(c, |memory| memory.reservation)),
    ),
    gauge(
        "container_threads",
        "Threads in the container and below it.",
        From::Count(|s| s.pids.current),
    ),
    gauge(
        "container_threads_max",
        "Threads that it may have; 0 without a limit.",
        From::Container(|c| c.spec.pids.as_ref()?.limit.map(zero_if_unlimited)),
    ),
];

fn seconds(time: Timestamp) -> Value {
    Value::Signed(time.0.div_euclid(NS_PER_SEC.cast_signed()))
}

fn limit(container: &Container, of: fn(&MemorySpec) -> Option<Limit>) -> Option<Value> {
    of(container.spec.memory.as_ref()?).map(zero_if_unlimited)
}

fn zero_if_unlimited(limit: Limit) -> Value {
    Value::Count(limit.value().unwrap_or(0))
}
