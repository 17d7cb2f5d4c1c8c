//! The files that a poll reads on cgroup v2, as a table, and their parsers.

use crate::cgroup::format::{
    device, flat_keyed, lines, microseconds, number, pairs, pressure, words,
};
use crate::cgroup::hierarchy::Controller::{Blkio, Cpu, Memory, Pids};
use crate::cgroup::plan::{Parsed, Row};
use crate::cgroup::stats::{MemoryEvents, MemoryStats, NumaStats, Sample};
use crate::cgroup::v1::files::{HugetlbRow, numa_node, single};

/// The table, in the order of reading. `cpu.stat` comes first because it makes the kernel flush its
/// per-CPU figures (`rstat`), which the others then find done.
pub const ROWS: &[Row] = &[
    Row {
        names: &["cpu.stat"],
        controller: Cpu,
        parse: cpu_stat,
    },
    Row {
        names: &["memory.current"],
        controller: Memory,
        parse: memory_current,
    },
    Row {
        names: &["memory.stat"],
        controller: Memory,
        parse: memory_stat,
    },
    Row {
        names: &["memory.peak"],
        controller: Memory,
        parse: memory_peak,
    },
    Row {
        names: &["memory.swap.current"],
        controller: Memory,
        parse: memory_swap_current,
    },
    Row {
        names: &["memory.events"],
        controller: Memory,
        parse: memory_events,
    },
    Row {
        names: &["memory.events.local"],
        controller: Memory,
        parse: memory_events_local,
    },
    Row {
        names: &["io.stat"],
        controller: Blkio,
        parse: io_stat,
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
];

/// The pressure files, which need no controller: a hybrid host has them, too.
pub const PRESSURE_ROWS: &[Row] = &[
    Row {
        names: &["cpu.pressure"],
        controller: Cpu,
        parse: cpu_pressure,
    },
    Row {
        names: &["memory.pressure"],
        controller: Memory,
        parse: memory_pressure,
    },
    Row {
        names: &["io.pressure"],
        controller: Blkio,
        parse: io_pressure,
    },
    Row {
        names: &["irq.pressure"],
        controller: Cpu,
        parse: irq_pressure,
    },
];

/// The hugetlb files of one page size. Reserved pages count as used (since 5.7), as they are taken.
pub const HUGETLB: &[HugetlbRow] = &[
    (&["rsvd.current", "current"], |text, out| {
        single(text, &mut out.usage_bytes)
    }),
    (&["events"], |text, out| {
        out.failcnt = flat_keyed(text)
            .find(|(key, _)| *key == b"max")
            .map(|(_, value)| value);
        Parsed::of(text, out.failcnt.is_some())
    }),
];

fn cpu_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for (key, value) in flat_keyed(text) {
        let cpu = &mut out.cpu;
        match key {
            b"usage_usec" => cpu.usage_ns = microseconds(value),
            b"user_usec" => cpu.user_ns = microseconds(value),
            b"system_usec" => cpu.system_ns = microseconds(value),
            b"nr_periods" => cpu.nr_periods = Some(value),
            b"nr_throttled" => cpu.nr_throttled = Some(value),
            b"throttled_usec" => cpu.throttled_ns = microseconds(value),
            b"nr_bursts" => cpu.nr_bursts = Some(value),
            b"burst_usec" => cpu.burst_ns = microseconds(value),
            _ => continue,
        }
        found = true;
    }
    Parsed::of(text, found)
}

fn memory_current(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.memory.usage_bytes)
}

fn memory_peak(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.memory.peak_bytes)
}

fn memory_swap_current(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.memory.swap_bytes)
}

fn memory_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for (key, value) in flat_keyed(text) {
        if let Some(slot) = memory_stat_slot(&mut out.memory, key) {
            *slot = Some(value);
            found = true;
        }
    }
    Parsed::of(text, found)
}

fn memory_stat_slot<'a>(memory: &'a mut MemoryStats, key: &[u8]) -> Option<&'a mut Option<u64>> {
    Some(match key {
        b"anon" => &mut memory.anon_bytes,
        b"file" => &mut memory.file_bytes,
        b"kernel" => &mut memory.kernel_bytes,
        b"kernel_stack" => &mut memory.kernel_stack_bytes,
        b"pagetables" => &mut memory.pagetables_bytes,
        b"percpu" => &mut memory.percpu_bytes,
        b"sock" => &mut memory.sock_bytes,
        b"vmalloc" => &mut memory.vmalloc_bytes,
        b"shmem" => &mut memory.shmem_bytes,
        b"zswap" => &mut memory.zswap_bytes,
        b"zswapped" => &mut memory.zswapped_bytes,
        b"file_mapped" => &mut memory.file_mapped_bytes,
        b"file_dirty" => &mut memory.file_dirty_bytes,
        b"file_writeback" => &mut memory.file_writeback_bytes,
        b"swapcached" => &mut memory.swapcached_bytes,
        b"anon_thp" => &mut memory.anon_thp_bytes,
        b"inactive_anon" => &mut memory.inactive_anon_bytes,
        b"active_anon" => &mut memory.active_anon_bytes,
        b"inactive_file" => &mut memory.inactive_file_bytes,
        b"active_file" => &mut memory.active_file_bytes,
        b"unevictable" => &mut memory.unevictable_bytes,
        b"slab_reclaimable" => &mut memory.slab_reclaimable_bytes,
        b"slab_unreclaimable" => &mut memory.slab_unreclaimable_bytes,
        b"workingset_refault_anon" => &mut memory.workingset_refault_anon,
        // One figure for both before 5.9; nearly all of it was of file pages.
        b"workingset_refault_file" | b"workingset_refault" => &mut memory.workingset_refault_file,
        b"pgscan" => &mut memory.pgscan,
        b"pgsteal" => &mut memory.pgsteal,
        b"pgfault" => &mut memory.pgfault,
        b"pgmajfault" => &mut memory.pgmajfault,
        _ => return None,
    })
}

fn memory_events(text: &[u8], out: &mut Sample) -> Parsed {
    events(text, &mut out.memory_events)
}

fn memory_events_local(text: &[u8], out: &mut Sample) -> Parsed {
    events(text, &mut out.memory_events_local)
}

fn events(text: &[u8], out: &mut MemoryEvents) -> Parsed {
    let mut found = false;
    for (key, value) in flat_keyed(text) {
        let slot = match key {
            b"low" => &mut out.low,
            b"high" => &mut out.high,
            b"max" => &mut out.max,
            b"oom" => &mut out.oom,
            b"oom_kill" => &mut out.oom_kill,
            b"oom_group_kill" => &mut out.oom_group_kill,
            _ => continue,
        };
        *slot = Some(value);
        found = true;
    }
    Parsed::of(text, found)
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`, with `cost.…` under iocost. A line may
/// be just a device that has had no I/O.
fn io_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for line in lines(text) {
        let mut words = words(line);
        let Some(device) = words.next().and_then(device) else {
            continue;
        };
        for (key, value) in pairs(words) {
            let Some(value) = number(value) else { continue };
            let Some(entry) = out.io_within_bounds(device) else {
                break;
            };
            match key {
                b"rbytes" => entry.bytes.read = Some(value),
                b"wbytes" => entry.bytes.write = Some(value),
                b"dbytes" => entry.bytes.discard = Some(value),
                b"rios" => entry.ops.read = Some(value),
                b"wios" => entry.ops.write = Some(value),
                b"dios" => entry.ops.discard = Some(value),
                b"cost.usage" => entry.cost.usage_ns = microseconds(value),
                b"cost.wait" => entry.cost.wait_ns = microseconds(value),
                b"cost.indebt" => entry.cost.indebt_ns = microseconds(value),
                b"cost.indelay" => entry.cost.indelay_ns = microseconds(value),
                _ => {}
            }
        }
        found = true;
    }
    Parsed::of(text, found)
}

/// Lines `anon N0=12 N1=3`, in bytes, descendants included.
fn memory_numa_stat(text: &[u8], out: &mut Sample) -> Parsed {
    let mut found = false;
    for line in lines(text) {
        let mut words = words(line);
        let slot: fn(&mut NumaStats) -> &mut Option<u64> = match words.next() {
            Some(b"anon") => |node| &mut node.anon_bytes,
            Some(b"file") => |node| &mut node.file_bytes,
            Some(b"unevictable") => |node| &mut node.unevictable_bytes,
            _ => continue,
        };
        for (node, bytes) in pairs(words) {
            if let Some(node) = numa_node(node) {
                *slot(out.numa_mut(node)) = number(bytes);
                found = true;
            }
        }
    }
    Parsed::of(text, found)
}

fn pids_current(text: &[u8], out: &mut Sample) -> Parsed {
    single(text, &mut out.pids.current)
}

fn cpu_pressure(text: &[u8], out: &mut Sample) -> Parsed {
    Parsed::of(text, pressure(text, &mut out.cpu_pressure))
}

fn memory_pressure(text: &[u8], out: &mut Sample) -> Parsed {
    Parsed::of(text, pressure(text, &mut out.memory_pressure))
}

fn io_pressure(text: &[u8], out: &mut Sample) -> Parsed {
    Parsed::of(text, pressure(text, &mut out.io_pressure))
}

fn irq_pressure(text: &[u8], out: &mut Sample) -> Parsed {
    Parsed::of(text, pressure(text, &mut out.irq_pressure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::stats::DeviceNumber;

    #[test]
    fn microseconds_become_nanoseconds() {
        let mut sample = Sample::default();
        let text = b"usage_usec 17\nuser_usec 10\nsystem_usec 7\ncore_sched.force_idle_usec 0\n\
            nr_periods 3\nnr_throttled 2\nthrottled_usec 5\nnr_bursts 0\nburst_usec 0\n";
        assert_eq!(cpu_stat(text, &mut sample), Parsed::Data);
        assert_eq!(sample.cpu.usage_ns, Some(17_000));
        assert_eq!(sample.cpu.throttled_ns, Some(5_000));
        assert_eq!(sample.cpu.nr_bursts, Some(0));
    }

    #[test]
    fn a_kernel_without_a_key_leaves_it_absent() {
        let mut sample = Sample::default();
        assert_eq!(
            memory_stat(b"anon 1\nfile 2\ninactive_file 1\nnew_key 9\n", &mut sample),
            Parsed::Data
        );
        assert_eq!(sample.memory.anon_bytes, Some(1));
        assert_eq!(sample.memory.kernel_bytes, None);
        assert_eq!(
            memory_stat(b"entirely different\n", &mut Sample::default()),
            Parsed::Malformed
        );
        assert_eq!(memory_stat(b"", &mut Sample::default()), Parsed::Empty);
    }

    #[test]
    fn memory_by_node() {
        let mut sample = Sample::default();
        let text = b"anon N0=4096 N3=8192\nfile N0=1 N3=2\nworkingset_nodes N0=3 N3=4\n";
        assert_eq!(memory_numa_stat(text, &mut sample), Parsed::Data);
        let (id, node) = sample.numa[1];
        assert_eq!(
            (id, node.anon_bytes, node.file_bytes),
            (3, Some(8192), Some(2))
        );
        assert_eq!(node.own_anon_bytes, None);
    }

    #[test]
    fn io_lines_with_and_without_figures() {
        let mut sample = Sample::default();
        let text = b"254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n8:16 cost.usage=3 rios=x\n";
        assert_eq!(io_stat(text, &mut sample), Parsed::Data);
        assert_eq!(sample.io.len(), 2, "a device without I/O is left out");
        assert_eq!(
            sample.io[0].device,
            DeviceNumber {
                major: 254,
                minor: 0
            }
        );
        assert_eq!(sample.io[0].bytes.discard, Some(5));
        assert_eq!(sample.io[1].cost.usage_ns, Some(3_000));
        assert_eq!(sample.io[1].ops.read, None);
    }

    #[test]
    fn events_of_all_kernels() {
        let mut sample = Sample::default();
        assert_eq!(
            memory_events(b"low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n", &mut sample),
            Parsed::Data
        );
        assert_eq!(sample.memory_events.oom_kill, Some(4));
        assert_eq!(sample.memory_events.oom_group_kill, None);
    }
}
