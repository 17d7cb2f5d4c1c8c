//! The machine and its software.

use super::encode::Emit;
use super::family::{Family, From, Value, gauge};
use super::page::Page;
use crate::node::MachineInfo;
use crate::node::memory::MemoryOfType;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "machine_cpu_cores",
        "Logical CPUs online.",
        From::Page(|p, emit| one(p, emit, |m| m.topology.cpus)),
    ),
    gauge(
        "machine_cpu_physical_cores",
        "Physical cores.",
        From::Page(|p, emit| one(p, emit, |m| m.topology.physical_cores)),
    ),
    gauge(
        "machine_cpu_sockets",
        "CPU sockets.",
        From::Page(|p, emit| one(p, emit, |m| m.topology.sockets)),
    ),
    gauge(
        "machine_cpu_books",
        "CPU books (s390x).",
        From::Page(|p, emit| one(p, emit, |m| m.topology.books)),
    ),
    gauge(
        "machine_cpu_drawers",
        "CPU drawers (s390x).",
        From::Page(|p, emit| one(p, emit, |m| m.topology.drawers)),
    ),
    gauge(
        "machine_memory_bytes",
        "Memory.",
        From::Page(|p, emit| one(p, emit, |m| m.memory.memory_bytes)),
    ),
    gauge(
        "machine_swap_bytes",
        "Swap space.",
        From::Page(|p, emit| one(p, emit, |m| m.memory.swap_bytes)),
    ),
    gauge(
        "machine_dimm_count",
        "Memory modules, by type.",
        From::Page(|p, emit| by_type(p, emit, |memory| memory.dimms)),
    ),
    gauge(
        "machine_dimm_capacity_bytes",
        "Memory, by type.",
        From::Page(|p, emit| by_type(p, emit, |memory| memory.capacity_bytes)),
    ),
    gauge(
        "machine_scrape_error",
        "1 if the machine could not be looked at.",
        From::Own(|_| Some(Value::Count(0))),
    ),
    gauge(
        "container_scrape_error",
        "1 while not all containers are known yet.",
        From::Own(|p| Some(Value::Count((!p.complete).into()))),
    ),
    gauge(
        "cadvisor_version_info",
        "Versions, under the name that dashboards know.",
        From::Page(version),
    ),
    gauge(
        "cgauge_build_info",
        "Version of cgauge.",
        From::Page(|p, emit| emit.sample(&[("version", &p.version.cgauge)], Some(Value::Count(1)))),
    ),
];

fn one<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>, figure: fn(&MachineInfo) -> Option<u64>) {
    emit.of(&page.machine_labels);
    emit.sample(&[], figure(page.machine).map(Value::Count));
}

fn by_type<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>, figure: fn(&MemoryOfType) -> u64) {
    emit.of(&page.machine_labels);
    for (kind, memory) in &page.machine.memory_by_type {
        emit.sample(&[("type", kind)], Some(Value::Count(figure(memory))));
    }
}

fn version<'a>(page: &'a Page<'_>, emit: &mut Emit<'a>) {
    let version = page.version;
    let labels: [(&str, &dyn std::fmt::Display); 5] = [
        ("cadvisorRevision", &""),
        ("cadvisorVersion", &version.cgauge),
        ("dockerVersion", &""),
        ("kernelVersion", &version.kernel.as_deref().unwrap_or("")),
        ("osVersion", &version.os.as_deref().unwrap_or("")),
    ];
    emit.sample(&labels, Some(Value::Count(1)));
}
