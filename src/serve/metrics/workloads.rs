//! What outlives a container: totals by workload, from the ledger.
//!
//! Series of containers end with them, so that nothing lingers. These go on for as long as the ledger
//! keeps the workload, and are few: only of workloads that have something to tell.

use super::encode::Emit;
use super::family::{Family, From, Value, counter};
use super::page::Page;
use crate::ledger::Workload;

/// The most workloads that a page shows, those that ended or were killed in last first.
pub(super) const MAX_WORKLOADS: usize = 1_000;

pub(super) const OOM: &[Family] = &[counter(
    "cgauge_workload_oom_kills_total",
    "OOM kills in all containers that have or had this name; only where there was one.",
    From::Page(|page, emit| {
        each(page, emit, |of| {
            (of.totals.oom_kills > 0).then_some(Value::Count(of.totals.oom_kills))
        });
    }),
)];

pub(super) const CPU: &[Family] = &[counter(
    "cgauge_workload_cpu_usage_seconds_total",
    "CPU time of all containers that have or had this name; only where there was more than one.",
    From::Page(|page, emit| {
        each(page, emit, |of| {
            was_made_again(of).then_some(Value::Nanos(of.totals.cpu_ns))
        });
    }),
)];

pub(super) const LIVES: &[Family] = &[counter(
    "cgauge_workload_containers_total",
    "Containers that have or had this name; only where there was more than one.",
    From::Page(|page, emit| {
        each(page, emit, |of| {
            was_made_again(of).then_some(Value::Count(of.totals.lives))
        });
    }),
)];

fn was_made_again(of: &Workload) -> bool {
    of.totals.lives > 1
}

fn each(page: &Page<'_>, emit: &mut Emit<'_>, figure: fn(&Workload) -> Option<Value>) {
    for workload in &page.workloads {
        emit.sample(&[("workload", &workload.name)], figure(workload));
    }
}

/// Leaves what a page shows, by name.
pub(super) fn shown(mut workloads: Vec<Workload>) -> Vec<Workload> {
    workloads.retain(|of| of.totals.is_of_note());
    if workloads.len() > MAX_WORKLOADS {
        workloads.sort_by_key(|of| std::cmp::Reverse(of.totals.newest));
        workloads.truncate(MAX_WORKLOADS);
        workloads.sort_by(|a, b| a.name.cmp(&b.name));
    }
    workloads
}
