//! `cpu` of a sample: times in nanoseconds.

use super::psi::Psi;
use crate::cgroup::Sample;
use crate::cgroup::stats;
use crate::query::CpuRates;
use crate::wire::object::{objects, unless_empty};

objects! {
    /// CPU of a sample.
    pub struct Cpu<'a>(&'a Sample) |sample| {
        "usage" => Some(Usage(sample)),
        "cfs" => Some(Cfs(&sample.cpu)),
        "schedstat" => Some(SchedStat(&sample.sched)),
        "load_average" => sample.load.average_milli,
        "load_d_average" => sample.load.d_average_milli,
        "psi" => Some(Psi(&sample.cpu_pressure)),
    }

    struct Usage<'a>(&'a Sample) |sample| {
        "total" => sample.cpu.usage_ns,
        "per_cpu_usage" => unless_empty(&sample.per_cpu_ns),
        "user" => sample.cpu.user_ns,
        "system" => sample.cpu.system_ns,
    }

    struct Cfs<'a>(&'a stats::CpuStats) |cpu| {
        "periods" => cpu.nr_periods,
        "throttled_periods" => cpu.nr_throttled,
        "throttled_time" => cpu.throttled_ns,
        "bursts_periods" => cpu.nr_bursts,
        "burst_time" => cpu.burst_ns,
    }

    /// Run queue figures; empty if they are not read.
    struct SchedStat<'a>(&'a stats::SchedStats) |sched| {
        "run_time" => sched.run_ns,
        "runqueue_time" => sched.wait_ns,
        "run_periods" => sched.periods,
    }
}

objects! {
    /// `cpu_inst` of a sample: CPU use since the sample before it, in nanocores.
    pub struct CpuInst<'a>(&'a CpuRates) |rates| {
        "usage" => Some(InstUsage(rates)),
    }

    struct InstUsage<'a>(&'a CpuRates) |rates| {
        "total" => Some(rates.total),
        "per_cpu_usage" => unless_empty(&rates.per_cpu),
        "user" => rates.user,
        "system" => rates.system,
    }
}
