//! Pages of made-up trees, as they were when somebody last looked at them.
//!
//! `CGAUGE_UPDATE_GOLDEN=1 cargo test golden` writes them anew: then read the difference.

use std::path::Path;

use super::*;
use crate::cgroup::file::FdBudget;
use crate::cgroup::network::NetworkNamespaces;
use crate::cgroup::{Cgroup, ReadContext};

/// The files of a cgroup: name (on v1 with its controller) and text.
type Files = &'static [(&'static str, &'static str)];

const V2: Files = &[
    (
        "cpu.stat",
        "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 30\nnr_throttled 2\nthrottled_usec 45000\nnr_bursts 1\nburst_usec 10\n",
    ),
    ("cpu.max", "50000 100000\n"),
    ("cpu.weight", "100\n"),
    (
        "cpu.pressure",
        "some avg10=1.05 avg60=0.20 avg300=0.00 total=700000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=300000\n",
    ),
    (
        "memory.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=10\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    ),
    (
        "io.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=20\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=15\n",
    ),
    (
        "irq.pressure",
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=33\n",
    ),
    ("memory.current", "104857600\n"),
    ("memory.peak", "209715200\n"),
    ("memory.max", "268435456\n"),
    ("memory.low", "0\n"),
    ("memory.swap.current", "4096\n"),
    ("memory.swap.max", "max\n"),
    (
        "memory.stat",
        "anon 60000000\nfile 40000000\nkernel 1048576\nfile_mapped 5000000\nfile_dirty 4096\nfile_writeback 0\nactive_file 10000000\ninactive_file 30000000\nslab_reclaimable 524288\npgfault 1234\npgmajfault 5\npgscan 6\npgsteal 4\nworkingset_refault_anon 1\nworkingset_refault_file 2\n",
    ),
    (
        "memory.events",
        "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0\n",
    ),
    (
        "memory.events.local",
        "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0\n",
    ),
    (
        "memory.numa_stat",
        "anon N0=59000000 N1=1000000\nfile N0=40000000 N1=0\n",
    ),
    (
        "io.stat",
        "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0 cost.usage=7\n",
    ),
    ("pids.current", "3\n"),
    ("pids.max", "77\n"),
    ("hugetlb.2MB.current", "4194304\n"),
    ("hugetlb.2MB.events", "max 1\n"),
];

const V1: Files = &[
    ("cpuacct/cpuacct.usage", "1500000000\n"),
    ("cpuacct/cpuacct.stat", "user 100\nsystem 50\n"),
    ("cpuacct/cpuacct.usage_percpu", "1000000000 500000000 \n"),
    (
        "cpu/cpu.stat",
        "nr_periods 30\nnr_throttled 2\nthrottled_time 45000000\n",
    ),
    ("cpu/cpu.shares", "1024\n"),
    ("cpu/cpu.cfs_quota_us", "50000\n"),
    ("cpu/cpu.cfs_period_us", "100000\n"),
    ("memory/memory.usage_in_bytes", "104857600\n"),
    ("memory/memory.max_usage_in_bytes", "209715200\n"),
    ("memory/memory.failcnt", "9\n"),
    ("memory/memory.limit_in_bytes", "268435456\n"),
    ("memory/memory.soft_limit_in_bytes", "9223372036854771712\n"),
    (
        "memory/memory.memsw.limit_in_bytes",
        "9223372036854771712\n",
    ),
    ("memory/memory.kmem.usage_in_bytes", "1048576\n"),
    (
        "memory/memory.stat",
        "cache 1\nrss 2\nmapped_file 3\npgfault 11\npgmajfault 1\ninactive_file 5\nactive_file 4\ntotal_cache 40000000\ntotal_rss 60000000\ntotal_mapped_file 5000000\ntotal_swap 4096\ntotal_dirty 4096\ntotal_writeback 0\ntotal_pgfault 1234\ntotal_pgmajfault 5\ntotal_inactive_file 30000000\ntotal_active_file 10000000\n",
    ),
    (
        "memory/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
    ),
    (
        "memory/memory.numa_stat",
        "total=3 N0=2 N1=1\nfile=1 N0=1 N1=0\nanon=2 N0=1 N1=1\nunevictable=0 N0=0 N1=0\nhierarchical_file=10 N0=10 N1=0\nhierarchical_anon=20 N0=10 N1=10\nhierarchical_unevictable=0 N0=0 N1=0\n",
    ),
    (
        "blkio/blkio.throttle.io_service_bytes_recursive",
        "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 12288\n254:0 Async 0\n254:0 Total 12288\nTotal 12288\n",
    ),
    (
        "blkio/blkio.throttle.io_serviced_recursive",
        "254:0 Read 1\n254:0 Write 2\n254:0 Sync 3\n254:0 Async 0\n254:0 Total 3\nTotal 3\n",
    ),
    ("pids/pids.current", "3\n"),
    ("pids/pids.max", "max\n"),
    ("cpuset/cpuset.memory_migrate", "1\n"),
    ("cpuset/cpuset.cpus", "0-1\n"),
    ("hugetlb/hugetlb.2MB.usage_in_bytes", "4194304\n"),
    ("hugetlb/hugetlb.2MB.max_usage_in_bytes", "8388608\n"),
    ("hugetlb/hugetlb.2MB.failcnt", "1\n"),
];

/// A made-up tree with one container `/box` that has these files.
fn tree(files: Files, v1: bool) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    if v1 {
        for controller in [
            "cpu", "cpuacct", "memory", "blkio", "pids", "cpuset", "hugetlb",
        ] {
            put(&format!("{controller}/cgroup.procs"), "");
            put(&format!("{controller}/box/cgroup.procs"), "");
        }
    } else {
        put("cgroup.controllers", "cpu memory io pids hugetlb\n");
        put("box/cgroup.procs", "");
    }
    for (name, text) in files {
        match name.split_once('/') {
            Some((controller, file)) => put(&format!("{controller}/box/{file}"), text),
            None => put(&format!("box/{name}"), text),
        }
    }
    root
}

fn page(files: Files, v1: bool) -> String {
    let root = tree(files, v1);
    let kinds = KindSet::of(&MetricKind::ALL);
    let hierarchies =
        Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(root.path())).unwrap();
    let options = ReadOptions {
        kinds,
        per_cpu: true,
        huge_page_sizes: vec![2 << 20],
        network: true,
        load: true,
    };
    let plan = Arc::new(Plan::new(Arc::new(hierarchies), &options));
    let name = ContainerName::from_request("/box");
    let mut cgroup = Cgroup::new(name.clone(), Arc::clone(&plan), Arc::new(FdBudget::of(100)));
    for (id, _) in plan.hierarchies.iter() {
        cgroup.attach(id, None).unwrap();
    }
    let mut context = ReadContext::new(Arc::new(NetworkNamespaces::new(root.path())));
    let mut sample = Sample::default();
    cgroup.read(&mut context, &mut sample);
    sample.timestamp = Timestamp(T);
    let mut spec = cgroup.read_spec(&mut context);
    spec.created_at = Some(Timestamp(T));
    let labels = LabelSet::of(&name, None, None, &LabelChoice::default());
    let container = Container::new(Arc::new(labels), name, Arc::new(spec), sample, 4, None);
    let page = page_with(vec![container], &everything());
    // cgauge's own figures depend on time.
    let is_own = |line: &str| {
        let name = line
            .trim_start_matches("# HELP ")
            .trim_start_matches("# TYPE ");
        (name.starts_with("cgauge_") && !name.starts_with("cgauge_container_info"))
            || name.starts_with("process_")
    };
    page.lines()
        .filter(|line| !is_own(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn compare(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/metrics")
        .join(name);
    if std::env::var_os("CGAUGE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (want, got)) in golden.lines().zip(page.lines()).enumerate() {
        assert_eq!(got, want, "line {} of {name}", at + 1);
    }
    assert_eq!(page.lines().count(), golden.lines().count(), "{name}");
}

#[test]
fn golden_page_of_cgroup_v1() {
    compare("v1.txt", &page(V1, true));
}

#[test]
fn golden_page_of_cgroup_v2() {
    compare("v2.txt", &page(V2, false));
}
