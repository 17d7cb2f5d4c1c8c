//! Pressure stall information (cgroup v2).

use super::family::{Family, From, counter};

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Time in which at least one task waited for a CPU.",
        From::Nanos(|s| s.cpu_pressure.some.total_ns),
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Time in which all tasks waited for a CPU.",
        From::Nanos(|s| s.cpu_pressure.full.total_ns),
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time in which at least one task waited for memory.",
        From::Nanos(|s| s.memory_pressure.some.total_ns),
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Time in which all tasks waited for memory.",
        From::Nanos(|s| s.memory_pressure.full.total_ns),
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Time in which at least one task waited for I/O.",
        From::Nanos(|s| s.io_pressure.some.total_ns),
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Time in which all tasks waited for I/O.",
        From::Nanos(|s| s.io_pressure.full.total_ns),
    ),
    counter(
        "container_pressure_irq_stalled_seconds_total",
        "Time in which all tasks were held up by interrupts.",
        From::Nanos(|s| s.irq_pressure.full.total_ns),
    ),
];
