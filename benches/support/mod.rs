//! Texts of kernel files for the benches: as an ordinary, busy container of a 6.x node has them.
#![allow(dead_code)] // each bench takes what it needs

use std::fmt::Write as _;

/// `memory.stat` of cgroup v2, every line of a 6.1 kernel.
pub fn memory_stat_v2() -> String {
    const KEYS: &str = "anon file kernel kernel_stack pagetables sec_pagetables percpu sock vmalloc \
        shmem file_mapped file_dirty file_writeback swapcached anon_thp file_thp shmem_thp \
        inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable \
        slab_unreclaimable slab workingset_refault_anon workingset_refault_file \
        workingset_activate_anon workingset_activate_file workingset_restore_anon \
        workingset_restore_file workingset_nodereclaim pgscan pgsteal pgscan_kswapd pgscan_direct \
        pgsteal_kswapd pgsteal_direct pgfault pgmajfault pgrefill pgactivate pgdeactivate pglazyfree \
        pglazyfreed thp_fault_alloc thp_collapse_alloc";
    figures(KEYS)
}

/// `memory.stat` of cgroup v1, every line of a 6.x kernel.
pub fn memory_stat_v1() -> String {
    const KEYS: &str = "cache rss rss_huge shmem mapped_file dirty writeback workingset_refault_anon \
        workingset_refault_file swap swapcached pgpgin pgpgout pgfault pgmajfault inactive_anon \
        active_anon inactive_file active_file unevictable";
    let own = figures(KEYS);
    let mut text = own.clone();
    text.push_str("hierarchical_memory_limit 9223372036854771712\n");
    text.push_str("hierarchical_memsw_limit 9223372036854771712\n");
    for line in own.lines() {
        let _ = writeln!(text, "total_{line}");
    }
    text
}

/// A line `key figure` for each key; figures from none to gigabytes.
fn figures(keys: &str) -> String {
    let mut text = String::new();
    for (at, key) in (0_u64..).zip(keys.split_whitespace()) {
        let figure = (at * 2_654_435_761) % 4_294_967_296;
        let figure = if at.is_multiple_of(3) { 0 } else { figure };
        let _ = writeln!(text, "{key} {figure}");
    }
    text
}

/// `cpu.stat` of cgroup v2 with a quota.
pub const CPU_STAT_V2: &str = "\
usage_usec 3200957046
user_usec 2505751227
system_usec 695205818
nice_usec 324234766
core_sched.force_idle_usec 0
nr_periods 182643
nr_throttled 1290
throttled_usec 86123456
nr_bursts 0
burst_usec 0
";

/// `cpu.stat` of cgroup v1.
pub const CPU_STAT_V1: &str =
    "nr_periods 182643\nnr_throttled 1290\nthrottled_time 86123456789\nnr_bursts 0\nburst_time 0\n";

/// `io.stat`: four disks.
pub const IO_STAT: &str = "\
259:0 rbytes=1459200000 wbytes=314773504 rios=19200 wios=35300 dbytes=50331648 dios=3021
259:1 rbytes=8192 wbytes=0 rios=2 wios=0 dbytes=0 dios=0
8:16 rbytes=98765432 wbytes=12345678 rios=4321 wios=1234 dbytes=0 dios=0
254:3 rbytes=1048576 wbytes=4096 rios=256 wios=1 dbytes=0 dios=0
";

/// `blkio.throttle.io_service_bytes_recursive` of cgroup v1: two disks.
pub const BLKIO: &str = "\
259:0 Read 1459200000
259:0 Write 314773504
259:0 Sync 1773973504
259:0 Async 0
259:0 Discard 50331648
259:0 Total 1824305152
8:16 Read 98765432
8:16 Write 12345678
8:16 Sync 111111110
8:16 Async 0
8:16 Discard 0
8:16 Total 111111110
Total 1935416262
";

/// A pressure file.
pub const PRESSURE: &str = "\
some avg10=1.59 avg60=12.47 avg300=43.17 total=665889822
full avg10=0.00 avg60=0.31 avg300=1.02 total=5889822
";

/// What the kernel log has before and at an OOM kill.
pub const KMSG_KILL: &[u8] =
    b"3,8123,93281234567,-;Memory cgroup out of memory: Killed process 51234 \
(java) total-vm:8123456kB, anon-rss:2097152kB, file-rss:0kB, shmem-rss:0kB, UID:1000 \
pgtables:4608kB oom_score_adj:985\n";

/// An ordinary record, with its properties.
pub const KMSG_OTHER: &[u8] =
    b"6,8120,93281000000,-;eth0: Link is Up - 10Gbps/Full - flow control off\n \
SUBSYSTEM=net\n DEVICE=n2\n";

/// The files of one container on cgroup v2.
pub fn files_v2() -> Vec<(&'static str, String)> {
    let events = "low 0\nhigh 12\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n";
    vec![
        ("cpu.stat", CPU_STAT_V2.to_owned()),
        ("memory.current", "1073741824\n".to_owned()),
        ("memory.peak", "2147483648\n".to_owned()),
        ("memory.swap.current", "0\n".to_owned()),
        ("memory.stat", memory_stat_v2()),
        ("memory.events", events.to_owned()),
        ("memory.events.local", events.to_owned()),
        ("io.stat", IO_STAT.to_owned()),
        ("pids.current", "42\n".to_owned()),
        ("cpu.pressure", PRESSURE.to_owned()),
        ("memory.pressure", PRESSURE.to_owned()),
        ("io.pressure", PRESSURE.to_owned()),
        ("cgroup.procs", String::new()),
    ]
}
