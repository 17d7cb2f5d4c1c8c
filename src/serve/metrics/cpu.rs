//! CPU time and bandwidth control.

use super::encode::Emit;
use super::family::{Family, From, Value, counter};
use super::page::{Container, Page};

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "container_cpu_usage_seconds_total",
        "CPU time used. By CPU where the kernel tells (cgroup v1), else in total.",
        From::Several(usage),
    ),
    counter(
        "container_cpu_user_seconds_total",
        "CPU time used in user mode.",
        From::Nanos(|s| s.cpu.user_ns),
    ),
    counter(
        "container_cpu_system_seconds_total",
        "CPU time used in the kernel.",
        From::Nanos(|s| s.cpu.system_ns),
    ),
    counter(
        "container_cpu_cfs_periods_total",
        "Enforcement periods that have passed while a CPU quota was set.",
        From::Container(|c| quota(c)?.sample.cpu.nr_periods.map(Value::Count)),
    ),
    counter(
        "container_cpu_cfs_throttled_periods_total",
        "Enforcement periods in which the container was throttled.",
        From::Container(|c| quota(c)?.sample.cpu.nr_throttled.map(Value::Count)),
    ),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Time for which the container was throttled.",
        From::Container(|c| quota(c)?.sample.cpu.throttled_ns.map(Value::Nanos)),
    ),
    counter(
        "container_cpu_cfs_burst_periods_total",
        "Enforcement periods in which the container used saved-up CPU time.",
        From::Container(|c| quota(c)?.sample.cpu.nr_bursts.map(Value::Count)),
    ),
    counter(
        "container_cpu_cfs_burst_seconds_total",
        "CPU time used above the quota.",
        From::Container(|c| quota(c)?.sample.cpu.burst_ns.map(Value::Nanos)),
    ),
];

/// The container, if a CPU quota is set: without one the kernel's counters stand still.
fn quota(container: &Container) -> Option<&Container> {
    container
        .spec
        .cpu
        .as_ref()?
        .quota_us?
        .value()
        .map(|_| container)
}

fn usage(page: &Page<'_>, container: &Container, emit: &mut Emit<'_>) {
    let sample = &container.sample;
    if sample.per_cpu_ns.is_empty() || !page.shows_each_cpu() {
        emit.sample(&[("cpu", &"total")], sample.cpu.usage_ns.map(Value::Nanos));
        return;
    }
    for (cpu, &ns) in sample.per_cpu_ns.iter().enumerate() {
        emit.sample(
            &[("cpu", &format_args!("cpu{cpu:02}"))],
            Some(Value::Nanos(ns)),
        );
    }
}
