//! The files that a poll reads on cgroup v1, as a table, and their parsers.

use crate::cgroup::format::{device, flat_keyed, lines, number, pairs, words};
use crate::cgroup::hierarchy::Controller::{Blkio, Cpu, Cpuacct, Cpuset, Memory, Pids};
use crate::cgroup::plan::{Parsed, Row};
use crate::cgroup::stats::{HugetlbStats, IoOps, MAX_CPUS, MemoryStats, NumaStats, Sample};
use crate::units::NS_PER_TICK;

/// The table, in the order of reading.
pub const ROWS: &[Row] = &[
    Row {
        names: &["cpuacct.usage"],
        controller: Cpuacct,
        parse: cpuacct_usage,
    },
    Row {
        names: &["cpuacct.stat"],
        controller: Cpuacct,
        parse: cpuacct_stat,
    },
    Row {
        names: &["cpuacct.usage_percpu"],
        controller: Cpuacct,
        parse: cpuacct_usage_percpu,
    },
    Row {
        names: &["cpu.stat"],
        controller: Cpu,
        parse: cpu_stat,
    },
    Row {
        names: &["memory.usage_in_bytes"],
        controller: Memory,
        parse: memory_usage,
    },
    Row {
        names: &["memory.max_usage_in_bytes"],
        controller: Memory,
        parse: memory_max_usage,
    },
    Row {
        names: &["memory.failcnt"],
        controller: Memory,
        parse: memory_failcnt,
    },
    Row {
        names: &["memory.kmem.usage_in_bytes"],
        controller: Memory,
        parse: memory_kmem_usage,
    },
    Row {
        names: &["memory.stat"],
        controller: Memory,
        parse: memory_stat,
    },
    Row {
        names: &["memory.oom_control"],
        controller: Memory,
        parse: memory_oom_control,
    },
    Row {
        names: IO_SERVICE_BYTES,
        controller: Blkio,
        parse: blkio_io_service_bytes,
    },
    Row {
        names: IO_SERVICED,
        controller: Blkio,
        parse: blkio_io_serviced,
    },
    Row {
        names: &["pids.current"],
        controller: Pids,
        parse: pids_current,
    },
    Row {
        names: &["memory.numa_stat"],
        controller: Memory,
        parse: memory_numa_stat,
    },
    Row {
        names: &["cpuset.memory_migrate"],
        controller: Cpuset,
        parse: cpuset_memory_migrate,
    },
];

/// The scheduler that has the device decides which table is filled: throttling always (since 4.x),
/// BFQ or CFQ while they are in charge.
const IO_SERVICE_BYTES: &[&str] = &[
    "blkio.throttle.io_service_bytes_recursive",
    "blkio.bfq.io_service_bytes_recursive",
    "blkio.io_service_bytes_recursive",
    "blkio.throttle.io_service_bytes",
];
const IO_SERVICED: &[&str] = &[
    "blkio.throttle.io_serviced_recursive",
    "blkio.bfq.io_serviced_recursive",
    "blkio.io_serviced_recursive",
    "blkio.throttle.io_serviced",
];

/// A hugetlb file: what follows `hugetlb.<size>.`, by preference, and its parser.
pub type HugetlbRow = (
    &'static [&'static str],
    fn(&[u8], &mut HugetlbStats) -> Parsed,
);

/// The hugetlb files of one page size. Reserved pages count as used (since 5.7), as they are taken.
pub const HUGETLB: &[HugetlbRow] = &[
    (&["rsvd.usage_in_bytes", "usage_in_bytes"], |text, out| {
        single(text, &mut out.usage_bytes)
    }),
    (
        &["rsvd.max_usage_in_bytes", "max_usage_in_bytes"],
        |text, out| single(text, &mut out.peak_bytes),
    ),
    (&["rsvd.failcnt", "failcnt"], |text, out| {
        single(text, &mut out.failcnt)
    }),
];

/// A file of one number.
pub(in crate::cgroup) fn single(text: &[u8], out: &mut Option<u64>) -> Parsed {
    *out = number(text);
    Parsed::of(text, out.is_some())
}

fn cpuacct_usage(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.cpu.usage_ns)
}

fn cpuacct_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for (key, ticks) in flat_keyed(text) {
        let slot = match key {
            b"user" => &mut out.cpu.user_ns,
            b"system" => &mut out.cpu.system_ns,
            _ => continue,
        };
        *slot = ticks.checked_mul(NS_PER_TICK);
        found = true;
    }
    Parsed::of(text, found)
}

fn cpuacct_usage_percpu(text: &[u8], out: &mut Sample) -> Parsed {
    out.per_cpu_ns.clear();
    for word in words(text) {
        let Some(ns) = number(word).filter(|_| out.per_cpu_ns.len() < MAX_CPUS) else {
            out.per_cpu_ns.clear();
            return Parsed::Malformed;
        };
        out.per_cpu_ns.push(ns);
    }
    Parsed::of(text, !out.per_cpu_ns.is_empty())
}

fn cpu_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for (key, value) in flat_keyed(text) {
        let slot = match key {
            b"nr_periods" => &mut out.cpu.nr_periods,
            b"nr_throttled" => &mut out.cpu.nr_throttled,
            b"throttled_time" => &mut out.cpu.throttled_ns,
            b"nr_bursts" => &mut out.cpu.nr_bursts,
            b"burst_time" => &mut out.cpu.burst_ns,
            _ => continue,
        };
        *slot = Some(value);
        found = true;
    }
    Parsed::of(text, found)
}

fn memory_usage(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.memory.usage_bytes)
}

fn memory_max_usage(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.memory.peak_bytes)
}

fn memory_failcnt(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.memory.failcnt)
}

fn memory_kmem_usage(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.memory.kernel_bytes)
}

/// Each figure is there twice: for the cgroup alone, and (`total_…`, after it) with its descendants.
/// The latter is what v2 shows, so it wins; faults are kept for both.
fn memory_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for (key, value) in flat_keyed(text) {
        let total = key.strip_prefix(b"total_");
        match key {
            b"pgfault" => out.memory.own_pgfault = Some(value),
            b"pgmajfault" => out.memory.own_pgmajfault = Some(value),
            _ => {}
        }
        if let Some(slot) = memory_stat_slot(&mut out.memory, total.unwrap_or(key)) {
            *slot = Some(value);
            found = true;
        }
    }
    Parsed::of(text, found)
}

fn memory_stat_slot<'a>(memory: &'a mut MemoryStats, key: &[u8]) -> Option<&'a mut Option<u64>> {
    Some(match key {
        b"cache" => &mut memory.file_bytes,
        b"rss" => &mut memory.anon_bytes,
        b"rss_huge" => &mut memory.anon_thp_bytes,
        b"shmem" => &mut memory.shmem_bytes,
        b"mapped_file" => &mut memory.file_mapped_bytes,
        b"dirty" => &mut memory.file_dirty_bytes,
        b"writeback" => &mut memory.file_writeback_bytes,
        b"swap" => &mut memory.swap_bytes,
        b"swapcached" => &mut memory.swapcached_bytes,
        b"workingset_refault_anon" => &mut memory.workingset_refault_anon,
        b"workingset_refault_file" => &mut memory.workingset_refault_file,
        b"pgfault" => &mut memory.pgfault,
        b"pgmajfault" => &mut memory.pgmajfault,
        b"inactive_anon" => &mut memory.inactive_anon_bytes,
        b"active_anon" => &mut memory.active_anon_bytes,
        b"inactive_file" => &mut memory.inactive_file_bytes,
        b"active_file" => &mut memory.active_file_bytes,
        b"unevictable" => &mut memory.unevictable_bytes,
        _ => return None,
    })
}

/// `oom_kill_disable`, `under_oom` and, since 4.13, `oom_kill`.
fn memory_oom_control(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for (key, value) in flat_keyed(text) {
        match key {
            b"oom_kill" => out.memory_events_local.oom_kill = Some(value),
            b"under_oom" | b"oom_kill_disable" => {}
            _ => continue,
        }
        found = true;
    }
    Parsed::of(text, found)
}

fn blkio_io_service_bytes(text: &[u8], out: &mut Sample) -> Parsed {
    blkio_table(text, out, |entry| &mut entry.bytes)
}

fn blkio_io_serviced(text: &[u8], out: &mut Sample) -> Parsed {
    blkio_table(text, out, |entry| &mut entry.ops)
}

/// Lines `8:0 Read 123`, and a grand total that is left out. A table without devices is empty: its
/// scheduler has nothing to do with this cgroup.
fn blkio_table(
    text: &[u8],
    out: &mut Sample,
    table: fn(&mut crate::cgroup::stats::IoStats) -> &mut IoOps,
) -> Parsed {
    let mut found = false;
    for line in lines(text) {
        let mut words = words(line);
        let (Some(numbers), Some(operation), Some(value)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (Some(device), Some(value)) = (device(numbers), number(value)) else {
            continue;
        };
        let Some(entry) = out.io_within_bounds(device) else {
            continue;
        };
        let ops = table(entry);
        let slot = match operation {
            b"Read" => &mut ops.read,
            b"Write" => &mut ops.write,
            b"Sync" => &mut ops.sync,
            b"Async" => &mut ops.async_,
            b"Discard" => &mut ops.discard,
            b"Total" => &mut ops.total,
            _ => continue,
        };
        *slot = Some(value);
        found = true;
    }
    if found { Parsed::Data } else { Parsed::Empty }
}

/// Lines `anon=12 N0=10 N1=2`, in pages, and `hierarchical_anon=…` with the descendants.
fn memory_numa_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let page_size = procfs::page_size();
    let mut found = false;
    for line in lines(text) {
        let mut pairs = pairs(words(line));
        let Some((key, _)) = pairs.next() else {
            continue;
        };
        let slot: fn(&mut NumaStats) -> &mut Option<u64> = match key {
            b"anon" => |node| &mut node.own_anon_bytes,
            b"file" => |node| &mut node.own_file_bytes,
            b"unevictable" => |node| &mut node.own_unevictable_bytes,
            b"hierarchical_anon" => |node| &mut node.anon_bytes,
            b"hierarchical_file" => |node| &mut node.file_bytes,
            b"hierarchical_unevictable" => |node| &mut node.unevictable_bytes,
            _ => continue,
        };
        for (node, pages) in pairs {
            if let Some(node) = numa_node(node) {
                *slot(out.numa_mut(node)) = number(pages).and_then(|n| n.checked_mul(page_size));
                found = true;
            }
        }
    }
    Parsed::of(text, found)
}

/// The number of a node that is written as `N3`, as far as kernels count them.
pub(in crate::cgroup) fn numa_node(text: &[u8]) -> Option<u32> {
    /// `NODES_SHIFT` is 10 at most.
    const MAX_NODES: u32 = 1 << 10;
    let node = u32::try_from(number(text.strip_prefix(b"N")?)?).ok()?;
    (node < MAX_NODES).then_some(node)
}

fn cpuset_memory_migrate(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.cpuset.memory_migrate)
}

fn pids_current(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.pids.current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::stats::DeviceNumber;

    #[test]
    fn ticks_become_nanoseconds() {
        let mut sample = Sample::default();
        assert_eq!(
            cpuacct_stat(b"user 7\nsystem 250\n", &mut sample),
            Parsed::Data
        );
        assert_eq!(sample.cpu.user_ns, Some(70_000_000));
        assert_eq!(sample.cpu.system_ns, Some(2_500_000_000));
    }

    #[test]
    fn per_cpu_time_is_all_or_nothing() {
        let mut sample = Sample::default();
        assert_eq!(cpuacct_usage_percpu(b"1 2 3 \n", &mut sample), Parsed::Data);
        assert_eq!(sample.per_cpu_ns, [1, 2, 3]);
        assert_eq!(
            cpuacct_usage_percpu(b"1 x 3\n", &mut sample),
            Parsed::Malformed
        );
        assert!(sample.per_cpu_ns.is_empty());
    }

    #[test]
    fn hierarchical_memory_figures_win_and_own_faults_are_kept() {
        let text = b"cache 1\nrss 2\npgfault 3\npgmajfault 4\ninactive_file 5\n\
            hierarchical_memory_limit 9\ntotal_cache 10\ntotal_rss 20\ntotal_pgfault 30\n\
            total_pgmajfault 40\ntotal_inactive_file 50\n";
        let mut sample = Sample::default();
        assert_eq!(memory_stat(text, &mut sample), Parsed::Data);
        let memory = sample.memory;
        assert_eq!((memory.file_bytes, memory.anon_bytes), (Some(10), Some(20)));
        assert_eq!((memory.pgfault, memory.own_pgfault), (Some(30), Some(3)));
        assert_eq!(
            (memory.pgmajfault, memory.own_pgmajfault),
            (Some(40), Some(4))
        );
        assert_eq!(memory.inactive_file_bytes, Some(50));
        assert_eq!(memory.swap_bytes, None);
    }

    #[test]
    fn memory_by_node_becomes_bytes() {
        let text = b"total=9 N0=5 N1=4\nfile=5 N0=3 N1=2\nanon=x N0=1 N1=x\nhierarchical_total=90 N0=50 N1=40\n\
            hierarchical_file=50 N0=30 N1=20\n";
        let mut sample = Sample::default();
        assert_eq!(memory_numa_stat(text, &mut sample), Parsed::Data);
        let page = procfs::page_size();
        assert_eq!(sample.numa.len(), 2);
        let (id, node) = sample.numa[1];
        assert_eq!(
            (id, node.own_file_bytes, node.file_bytes),
            (1, Some(2 * page), Some(20 * page))
        );
        assert_eq!((node.own_anon_bytes, node.anon_bytes), (None, None));
    }

    #[test]
    fn blkio_tables_join_by_device() {
        let mut sample = Sample::default();
        let bytes = b"8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\n259:1 Read 1\nTotal 12289\n";
        assert_eq!(blkio_io_service_bytes(bytes, &mut sample), Parsed::Data);
        assert_eq!(
            blkio_io_serviced(b"8:0 Read 1\n8:0 Write 2\nTotal 3\n", &mut sample),
            Parsed::Data
        );
        assert_eq!(sample.io.len(), 2);
        assert_eq!(sample.io[0].device, DeviceNumber { major: 8, minor: 0 });
        assert_eq!(sample.io[0].bytes.write, Some(8192));
        assert_eq!(sample.io[0].ops.write, Some(2));
        assert_eq!(sample.io[1].ops.read, None);
        assert_eq!(
            blkio_io_serviced(b"Total 0\n", &mut Sample::default()),
            Parsed::Empty
        );
    }

    #[test]
    fn old_kernels_have_no_kill_counter() {
        let mut sample = Sample::default();
        assert_eq!(
            memory_oom_control(b"oom_kill_disable 0\nunder_oom 0\n", &mut sample),
            Parsed::Data
        );
        assert_eq!(sample.memory_events_local.oom_kill, None);
        memory_oom_control(
            b"oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            &mut sample,
        );
        assert_eq!(sample.memory_events_local.oom_kill, Some(2));
    }
}
