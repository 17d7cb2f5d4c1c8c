//! Settings and times of containers. "No limit" is 0, as the field has it for these families.

use super::family::{Family, From, Value, gauge};
use crate::units::{Limit, NS_PER_SEC, Timestamp};
use crate::wire::shared::limit;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "container_last_seen",
        "Unix time of the sample that is shown.",
        From::Container(|c| Some(seconds(c.sample.timestamp))),
    ),
    gauge(
        "container_creation_time_seconds",
        "Unix time at which the container was made; its cgroup where no runtime tells.",
        From::Container(|c| {
            let told = c.identity.as_ref().and_then(|identity| identity.created);
            told.or(c.created_at).map(seconds)
        }),
    ),
    gauge(
        "container_start_time_seconds",
        "Unix time at which the container was started; that of its cgroup where no runtime tells.",
        From::Container(|c| c.started_at().or(c.created_at).map(seconds)),
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
        From::Several(|p, c, emit| {
            let limit = |memory| limit::memory(&c.name, memory, p.machine);
            emit.sample(
                &[],
                c.spec
                    .memory
                    .as_ref()
                    .and_then(limit)
                    .map(zero_if_unlimited),
            );
        }),
    ),
    gauge(
        "container_spec_memory_swap_limit_bytes",
        "Limit of memory and swap together (cgroup v1) or of swap (v2); 0 without one.",
        From::Several(|p, c, emit| {
            let limit = |memory| limit::swap(&c.name, memory, p.machine);
            emit.sample(
                &[],
                c.spec
                    .memory
                    .as_ref()
                    .and_then(limit)
                    .map(zero_if_unlimited),
            );
        }),
    ),
    gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is kept under pressure: soft limit (cgroup v1), memory.low (v2); 0 without a limit.",
        From::Container(|c| c.spec.memory.as_ref()?.reservation.map(zero_if_unlimited)),
    ),
];

/// How many threads it may have.
pub(super) const THREADS_MAX: &[Family] = &[gauge(
    "container_threads_max",
    "Threads that it may have; 0 without a limit.",
    From::Container(|c| c.spec.pids.as_ref()?.limit.map(zero_if_unlimited)),
)];

fn seconds(time: Timestamp) -> Value {
    Value::Signed(time.0.div_euclid(NS_PER_SEC.cast_signed()))
}

fn zero_if_unlimited(limit: Limit) -> Value {
    Value::Count(limit.value().unwrap_or(0))
}
