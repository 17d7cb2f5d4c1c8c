//! The process of cgauge, under the names that every exporter uses.

use procfs::process::LimitValue;

use super::family::{Family, From, Value, counter, gauge};
use super::page::Page;
use crate::cgroup::sockets::counter_of;
use crate::units::{NS_PER_SEC, NS_PER_TICK};

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// CPU time, nanoseconds. `utime` and `stime` of `/proc/self/stat`.
    pub cpu_ns: u64,
    /// Open files: entries of `/proc/self/fd`.
    pub open_fds: Option<u64>,
    /// How many it may open; absent without a limit. `/proc/self/limits`.
    pub max_fds: Option<u64>,
    /// Address space, bytes.
    pub virtual_bytes: u64,
    /// How large it may be, bytes; absent without a limit. `/proc/self/limits`.
    pub virtual_max_bytes: Option<u64>,
    /// Bytes received in its network namespace. `IpExt InOctets` of `/proc/self/net/netstat`.
    pub received_bytes: Option<u64>,
    /// Bytes sent in its network namespace, `OutOctets`.
    pub sent_bytes: Option<u64>,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// When it was started, nanoseconds since the Unix epoch.
    pub started_ns: Option<u64>,
}

impl Process {
    /// Looks at this process. `None` where there is no procfs.
    pub fn read() -> Option<Self> {
        let process = procfs::process::Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limits = process.limits().ok();
        let number = |limit| match limit {
            LimitValue::Value(value) => Some(value),
            LimitValue::Unlimited => None,
        };
        let netstat = std::fs::read("/proc/self/net/netstat").unwrap_or_default();
        let octets = |name| counter_of(&netstat, b"IpExt", name);
        let booted = procfs::boot_time_secs().ok();
        Some(Self {
            cpu_ns: (stat.utime + stat.stime).saturating_mul(NS_PER_TICK),
            open_fds: process
                .fd_count()
                .ok()
                .and_then(|count| u64::try_from(count).ok()),
            max_fds: limits
                .as_ref()
                .and_then(|limits| number(limits.max_open_files.soft_limit)),
            virtual_max_bytes: limits
                .as_ref()
                .and_then(|limits| number(limits.max_address_space.soft_limit)),
            received_bytes: octets(b"InOctets"),
            sent_bytes: octets(b"OutOctets"),
            virtual_bytes: stat.vsize,
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            started_ns: booted.map(|s| {
                (s * NS_PER_SEC).saturating_add(stat.starttime.saturating_mul(NS_PER_TICK))
            }),
        })
    }
}

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "process_cpu_seconds_total",
        "CPU time used by cgauge.",
        From::Own(|p| of(p, |me| Some(Value::Nanos(me.cpu_ns)))),
    ),
    gauge(
        "process_open_fds",
        "Files open.",
        From::Own(|p| of(p, |me| me.open_fds.map(Value::Count))),
    ),
    gauge(
        "process_max_fds",
        "Files that may be open.",
        From::Own(|p| of(p, |me| me.max_fds.map(Value::Count))),
    ),
    gauge(
        "process_virtual_memory_bytes",
        "Address space.",
        From::Own(|p| of(p, |me| Some(Value::Count(me.virtual_bytes)))),
    ),
    gauge(
        "process_virtual_memory_max_bytes",
        "Address space that it may have; absent without a limit.",
        From::Own(|p| of(p, |me| me.virtual_max_bytes.map(Value::Count))),
    ),
    counter(
        "process_network_receive_bytes_total",
        "Bytes received in the network namespace of cgauge.",
        From::Own(|p| of(p, |me| me.received_bytes.map(Value::Count))),
    ),
    counter(
        "process_network_transmit_bytes_total",
        "Bytes sent in the network namespace of cgauge.",
        From::Own(|p| of(p, |me| me.sent_bytes.map(Value::Count))),
    ),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory.",
        From::Own(|p| of(p, |me| Some(Value::Count(me.resident_bytes)))),
    ),
    gauge(
        "process_threads",
        "Threads.",
        From::Own(|p| of(p, |me| Some(Value::Count(me.threads)))),
    ),
    gauge(
        "process_start_time_seconds",
        "Unix time at which cgauge was started.",
        From::Own(|p| of(p, |me| me.started_ns.map(Value::Nanos))),
    ),
];

fn of(page: &Page<'_>, figure: fn(&Process) -> Option<Value>) -> Option<Value> {
    page.process.as_ref().and_then(figure)
}
