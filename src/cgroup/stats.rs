//! What a container used, at one instant: the same fields and units for cgroup v1 and v2.
//!
//! Every number is an `Option`: `None` means that this kernel, hierarchy or cgroup does not give it,
//! which is not the same as zero. Counters count since the cgroup was made.

use std::sync::Arc;

use super::columns::{Columns, columns};
use super::load::LoadStats;
use super::sockets::SocketStats;
use crate::units::Timestamp;

columns! {
    /// CPU time and bandwidth control. v1: `cpuacct.*`, `cpu.stat`; v2: `cpu.stat`.
    pub struct CpuStats {
        /// CPU time used, nanoseconds. v1 `cpuacct.usage`, v2 `usage_usec`.
        usage_ns,
        /// Of that, in user mode. v1 `cpuacct.stat` `user` (10 ms steps), v2 `user_usec`.
        user_ns,
        /// Of that, in the kernel. v1 `cpuacct.stat` `system` (10 ms steps), v2 `system_usec`.
        system_ns,
        /// Enforcement periods that have passed. v1 and v2 `nr_periods`, while a quota is set.
        nr_periods,
        /// Periods in which the cgroup was throttled. `nr_throttled`.
        nr_throttled,
        /// Time throttled, nanoseconds. v1 `throttled_time`, v2 `throttled_usec`.
        throttled_ns,
        /// Periods in which the cgroup used burst time (since 5.14). `nr_bursts`.
        nr_bursts,
        /// Time used above the quota, nanoseconds (since 5.14). v1 `burst_time`, v2 `burst_usec`.
        burst_ns,
    }

    /// How often a memory limit or protection was met. v2 `memory.events` and `memory.events.local`
    /// (since 5.2); of v1 only `oom_kill` of `memory.oom_control` (since 4.13), which is local.
    pub struct MemoryEvents {
        /// Reclaimed although below `memory.low`.
        low,
        /// Throttled because above `memory.high`.
        high,
        /// Usage was about to go above `memory.max`.
        max,
        /// The limit was hit and an allocation was about to fail.
        oom,
        /// Processes killed by the OOM killer, of whatever scope.
        oom_kill,
        /// Group kills (since 5.17).
        oom_group_kill,
    }

    /// Memory, in bytes unless the name says otherwise. Hierarchical: descendants included.
    pub struct MemoryStats {
        /// Memory charged now. v1 `memory.usage_in_bytes`, v2 `memory.current`; the v2 root has no
        /// such file and shows `anon` + `file`.
        usage_bytes,
        /// The most ever charged. v1 `memory.max_usage_in_bytes`, v2 `memory.peak` (since 5.19).
        peak_bytes,
        /// Swap in use. v1 `total_swap`, v2 `memory.swap.current`.
        swap_bytes,
        /// Kernel memory. v1 `memory.kmem.usage_in_bytes`, v2 `kernel` (since 5.18).
        kernel_bytes,
        /// Times that usage met the limit. v1 `memory.failcnt`; v2 counts this in `events.max`.
        failcnt,
        /// Anonymous memory. v1 `total_rss`, v2 `anon`.
        anon_bytes,
        /// Page cache. v1 `total_cache`, v2 `file`.
        file_bytes,
        /// Page cache that is mapped. v1 `total_mapped_file`, v2 `file_mapped`.
        file_mapped_bytes,
        /// Page cache to be written. v1 `total_dirty`, v2 `file_dirty`.
        file_dirty_bytes,
        /// Page cache being written. v1 `total_writeback`, v2 `file_writeback`.
        file_writeback_bytes,
        /// Shared memory and tmpfs. v1 `total_shmem`, v2 `shmem`.
        shmem_bytes,
        /// Anonymous memory in transparent huge pages. v1 `total_rss_huge`, v2 `anon_thp`.
        anon_thp_bytes,
        /// Inactive anonymous list.
        inactive_anon_bytes,
        /// Active anonymous list.
        active_anon_bytes,
        /// Inactive page cache list: what goes first under pressure.
        inactive_file_bytes,
        /// Active page cache list.
        active_file_bytes,
        /// Memory that cannot be reclaimed (`mlock`).
        unevictable_bytes,
        /// Slab that can be reclaimed (v2).
        slab_reclaimable_bytes,
        /// Slab that cannot (v2).
        slab_unreclaimable_bytes,
        /// Kernel stacks (v2).
        kernel_stack_bytes,
        /// Page tables (v2, since 5.18).
        pagetables_bytes,
        /// Per-CPU kernel data (v2, since 5.14).
        percpu_bytes,
        /// Network buffers (v2).
        sock_bytes,
        /// `vmalloc` memory (v2, since 5.18).
        vmalloc_bytes,
        /// Compressed memory of zswap (v2, since 5.19).
        zswap_bytes,
        /// What zswap holds, uncompressed (v2, since 5.19).
        zswapped_bytes,
        /// Swap cache (v2, since 5.10).
        swapcached_bytes,
        /// Page faults, descendants included. v1 `total_pgfault`, v2 `pgfault`.
        pgfault,
        /// Major page faults, descendants included.
        pgmajfault,
        /// Page faults of this cgroup alone (v1 `pgfault`).
        own_pgfault,
        /// Major page faults of this cgroup alone (v1 `pgmajfault`).
        own_pgmajfault,
        /// Pages scanned for reclaim (v2).
        pgscan,
        /// Pages reclaimed (v2).
        pgsteal,
        /// Refaults of recently evicted anonymous pages (since 5.9).
        workingset_refault_anon,
        /// Refaults of recently evicted file pages. v1 since 5.9; v2 `workingset_refault` before.
        workingset_refault_file,
    }

    /// Tasks. v1 and v2 `pids.current`, `pids.events`.
    pub struct PidsStats {
        /// Tasks (threads count) in the cgroup and below it.
        current,
    }

    /// Settings of `cpuset` that are shown as figures.
    pub struct CpusetStats {
        /// 1 if memory moves with its tasks. v1 `cpuset.memory_migrate`; v2 has no such setting.
        memory_migrate,
    }

    /// Memory on one NUMA node, bytes. v1 `memory.numa_stat` (in pages there), v2 the same (in bytes,
    /// since 5.10, descendants included only).
    pub struct NumaStats {
        /// Anonymous memory, descendants included. v1 `hierarchical_anon`, v2 `anon`.
        anon_bytes,
        /// Page cache, descendants included.
        file_bytes,
        /// Memory that cannot be reclaimed, descendants included.
        unevictable_bytes,
        /// Anonymous memory of the cgroup alone (v1).
        own_anon_bytes,
        /// Page cache of the cgroup alone (v1).
        own_file_bytes,
        /// Memory of the cgroup alone that cannot be reclaimed (v1).
        own_unevictable_bytes,
    }

    /// The container's own processes, without those of the cgroups below it.
    pub struct ProcessStats {
        /// Processes. `cgroup.procs`.
        processes,
        /// Files that they have open. Entries of `/proc/PID/fd`.
        file_descriptors,
        /// Of these, sockets.
        sockets,
        /// How many files the first of them may open. `/proc/PID/limits`, soft limit.
        max_open_files,
        /// How far it may raise that. The hard limit.
        max_open_files_hard,
    }

    /// Sums of `/proc/PID/schedstat` (each process's main thread), descendants included.
    pub struct SchedStats {
        /// Time on a CPU, nanoseconds.
        run_ns,
        /// Time in a run queue, nanoseconds.
        wait_ns,
        /// Times put on a CPU.
        periods,
    }

    /// One line of a pressure file.
    pub struct Stall {
        /// Share of the last 10 s, in hundredths of a percent.
        avg10_centi,
        /// Share of the last 60 s, in hundredths of a percent.
        avg60_centi,
        /// Share of the last 300 s, in hundredths of a percent.
        avg300_centi,
        /// Time stalled, nanoseconds (the kernel counts microseconds).
        total_ns,
    }

    /// I/O operations of one kind by direction. v1 blkio tables have all of these; v2 `io.stat`
    /// knows read, write and discard.
    pub struct IoOps {
        /// Read.
        read,
        /// Written.
        write,
        /// Synchronous (v1).
        sync,
        /// Asynchronous (v1).
        async_,
        /// Discarded.
        discard,
        /// The kernel's own sum (v1).
        total,
    }

    /// `io.cost` of one device (v2 with the iocost controller), nanoseconds.
    pub struct IoCost {
        /// `cost.usage`.
        usage_ns,
        /// `cost.wait`.
        wait_ns,
        /// `cost.indebt`.
        indebt_ns,
        /// `cost.indelay`.
        indelay_ns,
    }

    /// Huge pages of one size. v1 `hugetlb.<size>.*`, v2 the same.
    pub struct HugetlbStats {
        /// In use, bytes. v1 `usage_in_bytes`, v2 `current`.
        usage_bytes,
        /// The most ever in use, bytes (v1 `max_usage_in_bytes`).
        peak_bytes,
        /// Times that usage met the limit. v1 `failcnt`, v2 `events` `max`.
        failcnt,
    }

    /// One network interface, as seen from its namespace. `/proc/PID/net/dev`.
    pub struct InterfaceStats {
        /// Bytes received.
        rx_bytes,
        /// Packets received.
        rx_packets,
        /// Receive errors.
        rx_errors,
        /// Packets dropped on receipt.
        rx_dropped,
        /// Bytes sent.
        tx_bytes,
        /// Packets sent.
        tx_packets,
        /// Send errors.
        tx_errors,
        /// Packets dropped on sending.
        tx_dropped,
    }
}

impl MemoryStats {
    /// Usage without the inactive page cache, bytes: what the field calls the working set.
    pub fn working_set_bytes(&self) -> Option<u64> {
        Some(self.usage_bytes?.saturating_sub(self.inactive_file_bytes?))
    }

    /// What dropping caches would leave, bytes: usage without both page cache lists and without
    /// reclaimable slab (which only v2 tells; on v1 it is counted in, if at all). Anonymous and shared
    /// memory is in it whether or not there is swap to put it in.
    pub fn unreclaimable_bytes(&self) -> Option<u64> {
        let cache = (self.active_file_bytes?)
            .saturating_add(self.inactive_file_bytes?)
            .saturating_add(self.slab_reclaimable_bytes.unwrap_or(0));
        Some(self.usage_bytes?.saturating_sub(cache))
    }
}

/// A pressure file: `{cpu,memory,io,irq}.pressure` (v2, since 4.20; `irq` since 6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks waited at once. `cpu` has it since 5.13, `irq` has only this.
    pub full: Stall,
}

impl Columns for Pressure {
    fn each(&self, visit: &mut impl FnMut(Option<u64>)) {
        self.some.each(visit);
        self.full.each(visit);
    }

    fn each_mut(&mut self, visit: &mut impl FnMut(&mut Option<u64>)) {
        self.some.each_mut(visit);
        self.full.each_mut(visit);
    }
}

/// A block device's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// What a container did on one block device. v1 `blkio.*`, v2 `io.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoStats {
    /// Which device.
    pub device: DeviceNumber,
    /// Bytes transferred. v1 `io_service_bytes`, v2 `rbytes` and so on.
    pub bytes: IoOps,
    /// Operations done. v1 `io_serviced`, v2 `rios` and so on.
    pub ops: IoOps,
    /// Cost model figures.
    pub cost: IoCost,
}

impl IoStats {
    /// Nothing known yet about `device`.
    pub fn new(device: DeviceNumber) -> Self {
        Self {
            device,
            bytes: IoOps::default(),
            ops: IoOps::default(),
            cost: IoCost::default(),
        }
    }
}

impl Columns for IoStats {
    fn each(&self, visit: &mut impl FnMut(Option<u64>)) {
        self.bytes.each(visit);
        self.ops.each(visit);
        self.cost.each(visit);
    }

    fn each_mut(&mut self, visit: &mut impl FnMut(&mut Option<u64>)) {
        self.bytes.each_mut(visit);
        self.ops.each_mut(visit);
        self.cost.each_mut(visit);
    }
}

/// The network of a container: that of the namespace in which its processes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStats {
    /// The namespace's inode: containers with the same number share these figures.
    pub namespace: u64,
    /// Whether it is the host's own namespace. Then the figures are those of the node, and
    /// `interfaces` is empty for every container but `/`.
    pub host: bool,
    /// Every interface but the loopback, in the kernel's order.
    pub interfaces: Vec<(Arc<str>, InterfaceStats)>,
}

/// The most block devices that are kept of one container; a file with more is no kernel's.
pub const MAX_DEVICES: usize = 4_096;

/// The most CPUs: the kernel's own bound (`NR_CPUS`) is not above it anywhere.
pub const MAX_CPUS: usize = 8_192;

/// Everything that one poll of a container found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// When the files were read (wall clock).
    pub timestamp: Timestamp,
    /// CPU.
    pub cpu: CpuStats,
    /// CPU time by CPU, nanoseconds (v1 `cpuacct.usage_percpu`; v2 kernels do not tell).
    pub per_cpu_ns: Vec<u64>,
    /// Memory.
    pub memory: MemoryStats,
    /// Memory events of the cgroup and its descendants (v2 `memory.events`).
    pub memory_events: MemoryEvents,
    /// Memory events of the cgroup itself (v2 `memory.events.local`, v1 `memory.oom_control`).
    pub memory_events_local: MemoryEvents,
    /// Tasks.
    pub pids: PidsStats,
    /// CPU pressure.
    pub cpu_pressure: Pressure,
    /// Memory pressure.
    pub memory_pressure: Pressure,
    /// I/O pressure.
    pub io_pressure: Pressure,
    /// Interrupt pressure.
    pub irq_pressure: Pressure,
    /// Block devices, in the kernel's order.
    pub io: Vec<IoStats>,
    /// Huge pages by page size in bytes.
    pub hugetlb: Vec<(u64, HugetlbStats)>,
    /// Network; `None` when there is no live member, or its namespace may not be looked at.
    pub network: Option<NetworkStats>,
    /// Sockets of that network; `None` unless they are asked for.
    pub sockets: Option<Box<SocketStats>>,
    /// Memory by NUMA node; empty unless it is asked for.
    pub numa: Vec<(u32, NumaStats)>,
    /// Settings of `cpuset`; absent unless asked for.
    pub cpuset: CpusetStats,
    /// Processes; absent unless asked for.
    pub processes: ProcessStats,
    /// Run queue statistics; absent unless asked for.
    pub sched: SchedStats,
    /// What tasks do; absent unless asked for.
    pub load: LoadStats,
}

impl Sample {
    /// Forgets everything but keeps the memory of the lists.
    pub fn clear(&mut self) {
        let Self {
            per_cpu_ns,
            io,
            hugetlb,
            numa,
            ..
        } = self;
        let (mut per_cpu_ns, mut io, mut hugetlb, mut numa) = (
            std::mem::take(per_cpu_ns),
            std::mem::take(io),
            std::mem::take(hugetlb),
            std::mem::take(numa),
        );
        numa.clear();
        per_cpu_ns.clear();
        io.clear();
        hugetlb.clear();
        *self = Self {
            per_cpu_ns,
            io,
            hugetlb,
            numa,
            ..Self::default()
        };
    }

    /// The entry of NUMA node `node`, added if it is new.
    pub fn numa_mut(&mut self, node: u32) -> &mut NumaStats {
        let at = self
            .numa
            .iter()
            .position(|entry| entry.0 == node)
            .unwrap_or_else(|| {
                self.numa.push((node, NumaStats::default()));
                self.numa.len() - 1
            });
        &mut self.numa[at].1
    }

    /// The entry of `device`, added if it is new.
    pub fn io_mut(&mut self, device: DeviceNumber) -> &mut IoStats {
        // From the end: the lines of one device follow one another.
        let at = self
            .io
            .iter()
            .rposition(|entry| entry.device == device)
            .unwrap_or_else(|| {
                self.io.push(IoStats::new(device));
                self.io.len() - 1
            });
        &mut self.io[at]
    }

    /// As [`io_mut`](Self::io_mut) while there are less than [`MAX_DEVICES`].
    pub(super) fn io_within_bounds(&mut self, device: DeviceNumber) -> Option<&mut IoStats> {
        let bounded =
            self.io.len() < MAX_DEVICES || self.io.last().is_some_and(|last| last.device == device);
        bounded.then(|| self.io_mut(device))
    }

    /// The entry of huge pages of `page_size` bytes, added if it is new.
    pub fn hugetlb_mut(&mut self, page_size: u64) -> &mut HugetlbStats {
        let at = self
            .hugetlb
            .iter()
            .position(|entry| entry.0 == page_size)
            .unwrap_or_else(|| {
                self.hugetlb.push((page_size, HugetlbStats::default()));
                self.hugetlb.len() - 1
            });
        &mut self.hugetlb[at].1
    }
}

impl Columns for Sample {
    fn each(&self, visit: &mut impl FnMut(Option<u64>)) {
        self.cpu.each(visit);
        self.memory.each(visit);
        self.memory_events.each(visit);
        self.memory_events_local.each(visit);
        self.pids.each(visit);
        self.cpu_pressure.each(visit);
        self.memory_pressure.each(visit);
        self.io_pressure.each(visit);
        self.irq_pressure.each(visit);
        self.per_cpu_ns.iter().for_each(|&ns| visit(Some(ns)));
        self.io.iter().for_each(|entry| entry.each(visit));
        self.hugetlb.iter().for_each(|(_, entry)| entry.each(visit));
        for (_, interface) in self.network.iter().flat_map(|network| &network.interfaces) {
            interface.each(visit);
        }
        self.cpuset.each(visit);
        self.processes.each(visit);
        self.sched.each(visit);
        self.load.each(visit);
        self.numa.iter().for_each(|(_, entry)| entry.each(visit));
        self.sockets.iter().for_each(|sockets| sockets.each(visit));
    }

    fn each_mut(&mut self, visit: &mut impl FnMut(&mut Option<u64>)) {
        self.cpu.each_mut(visit);
        self.memory.each_mut(visit);
        self.memory_events.each_mut(visit);
        self.memory_events_local.each_mut(visit);
        self.pids.each_mut(visit);
        self.cpu_pressure.each_mut(visit);
        self.memory_pressure.each_mut(visit);
        self.io_pressure.each_mut(visit);
        self.irq_pressure.each_mut(visit);
        for ns in &mut self.per_cpu_ns {
            let mut column = Some(*ns);
            visit(&mut column);
            *ns = column.unwrap_or_default();
        }
        self.io.iter_mut().for_each(|entry| entry.each_mut(visit));
        self.hugetlb
            .iter_mut()
            .for_each(|(_, entry)| entry.each_mut(visit));
        for (_, interface) in self
            .network
            .iter_mut()
            .flat_map(|network| &mut network.interfaces)
        {
            interface.each_mut(visit);
        }
        self.cpuset.each_mut(visit);
        self.processes.each_mut(visit);
        self.sched.each_mut(visit);
        self.load.each_mut(visit);
        self.numa
            .iter_mut()
            .for_each(|(_, entry)| entry.each_mut(visit));
        if let Some(sockets) = &mut self.sockets {
            sockets.each_mut(visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_set_needs_both_its_parts_and_never_goes_below_zero() {
        let mut memory = MemoryStats {
            usage_bytes: Some(10),
            ..MemoryStats::default()
        };
        assert_eq!(memory.working_set_bytes(), None);
        memory.inactive_file_bytes = Some(4);
        assert_eq!(memory.working_set_bytes(), Some(6));
        memory.inactive_file_bytes = Some(40);
        assert_eq!(memory.working_set_bytes(), Some(0));
    }

    #[test]
    fn devices_without_number_are_bounded() {
        let mut sample = Sample::default();
        for minor in 0..100_000 {
            let device = DeviceNumber { major: 8, minor };
            if let Some(entry) = sample.io_within_bounds(device) {
                entry.ops.read = Some(1);
            }
        }
        assert_eq!(sample.io.len(), MAX_DEVICES);
    }

    #[test]
    fn both_walks_visit_the_same_columns_in_the_same_order() {
        let mut sample = Sample {
            per_cpu_ns: vec![1, 2],
            ..Sample::default()
        };
        sample.io_mut(DeviceNumber { major: 8, minor: 0 });
        sample.hugetlb_mut(2 << 20);
        let mut next = 0;
        sample.each_mut(&mut |column| {
            *column = Some(next);
            next += 1;
        });
        let mut seen = Vec::new();
        sample.each(&mut |column| seen.push(column));
        assert_eq!(seen, (0..next).map(Some).collect::<Vec<_>>());
        assert!(next > 100, "only {next} columns");
    }
}
