//! Every route and version on made-up cgroup v1 and v2 trees, byte for byte but for times and our own
//! version. `CGAUGE_BLESS=1` writes what is expected anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tower_service::Service;

use super::PATIENCE;
use crate::cgroup::kind::{KindSet, MetricKind};
use crate::cgroup::plan::ReadOptions;
use crate::monitor::Monitor;
use crate::node::test_tree::TestTree;
use crate::serve::routes::all;
use crate::serve::routes::api::{Kind, VERSIONS};

const PRESSURE: &str = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=234\n";

const V2: [(&str, &str); 25] = [
    ("cgroup.threads", "7\n"),
    (
        "memory.numa_stat",
        "anon N0=49152\nfile N0=8388608\nunevictable N0=0\n",
    ),
    ("hugetlb.2MB.current", "2097152\n"),
    ("hugetlb.2MB.max", "max\n"),
    ("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
    ("cgroup.procs", ""),
    (
        "cpu.stat",
        "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 3\nthrottled_usec 7000\nnr_bursts 1\nburst_usec 2\n",
    ),
    ("cpu.max", "50000 100000\n"),
    ("cpu.weight", "100\n"),
    ("cpu.pressure", PRESSURE),
    ("cpuset.cpus.effective", "0-1\n"),
    (
        "io.stat",
        "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
    ),
    ("io.pressure", PRESSURE),
    ("memory.current", "9183232\n"),
    ("memory.peak", "10702848\n"),
    ("memory.max", "134217728\n"),
    ("memory.low", "0\n"),
    ("memory.swap.current", "4096\n"),
    ("memory.swap.max", "max\n"),
    (
        "memory.stat",
        "anon 110592\nfile 8388608\nkernel 581632\nfile_mapped 4096\nfile_dirty 8192\nfile_writeback 0\ninactive_file 8388608\nactive_file 12288\npgfault 59281\npgmajfault 3\npgscan 5\npgsteal 4\nworkingset_refault_anon 1\nworkingset_refault_file 2\n",
    ),
    ("memory.events", "low 0\nhigh 5\nmax 6\noom 1\noom_kill 1\n"),
    (
        "memory.events.local",
        "low 0\nhigh 5\nmax 6\noom 1\noom_kill 0\n",
    ),
    ("memory.pressure", PRESSURE),
    ("pids.current", "4\n"),
    ("pids.max", "100\n"),
];

const V1: [(&str, &str); 36] = [
    ("cpu/tasks", "7\n"),
    (
        "memory/memory.numa_stat",
        "file=2048 N0=2048\nanon=12 N0=12\nunevictable=0 N0=0\nhierarchical_file=2049 N0=2049\nhierarchical_anon=13 N0=13\nhierarchical_unevictable=1 N0=1\n",
    ),
    ("cpuset/cpuset.memory_migrate", "1\n"),
    ("hugetlb/cgroup.procs", ""),
    ("hugetlb/hugetlb.2MB.usage_in_bytes", "2097152\n"),
    ("hugetlb/hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
    ("hugetlb/hugetlb.2MB.failcnt", "1\n"),
    ("cpu/cgroup.procs", ""),
    ("cpu/cpu.shares", "2048\n"),
    ("cpu/cpu.cfs_quota_us", "50000\n"),
    ("cpu/cpu.cfs_period_us", "100000\n"),
    (
        "cpu/cpu.stat",
        "nr_periods 10\nnr_throttled 3\nthrottled_time 7000000\nnr_bursts 1\nburst_time 2000\n",
    ),
    ("cpuacct/cgroup.procs", ""),
    ("cpuacct/cpuacct.usage", "2500000000\n"),
    ("cpuacct/cpuacct.usage_percpu", "1500000000 1000000000 \n"),
    ("cpuacct/cpuacct.stat", "user 200\nsystem 50\n"),
    ("cpuset/cgroup.procs", ""),
    ("cpuset/cpuset.cpus", "0-1\n"),
    ("memory/cgroup.procs", ""),
    ("memory/memory.usage_in_bytes", "9183232\n"),
    ("memory/memory.max_usage_in_bytes", "10702848\n"),
    ("memory/memory.limit_in_bytes", "134217728\n"),
    ("memory/memory.soft_limit_in_bytes", "9223372036854771712\n"),
    ("memory/memory.memsw.limit_in_bytes", "268435456\n"),
    ("memory/memory.failcnt", "2\n"),
    ("memory/memory.kmem.usage_in_bytes", "581632\n"),
    (
        "memory/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    ),
    (
        "memory/memory.stat",
        "pgfault 59000\npgmajfault 2\ntotal_cache 8388608\ntotal_rss 110592\ntotal_mapped_file 4096\ntotal_dirty 8192\ntotal_writeback 0\ntotal_swap 4096\ntotal_pgfault 59281\ntotal_pgmajfault 3\ntotal_inactive_file 8388608\ntotal_active_file 12288\n",
    ),
    ("blkio/cgroup.procs", ""),
    (
        "blkio/blkio.throttle.io_service_bytes",
        "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 4096\n254:0 Async 8192\n254:0 Discard 0\n254:0 Total 12288\nTotal 12288\n",
    ),
    (
        "blkio/blkio.throttle.io_serviced",
        "254:0 Read 1\n254:0 Write 2\n254:0 Sync 1\n254:0 Async 2\n254:0 Discard 0\n254:0 Total 3\nTotal 3\n",
    ),
    (
        "blkio/blkio.throttle.io_service_bytes_recursive",
        "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\nTotal 12288\n",
    ),
    (
        "blkio/blkio.throttle.io_serviced_recursive",
        "254:0 Read 1\n254:0 Write 2\n254:0 Total 3\nTotal 3\n",
    ),
    ("pids/cgroup.procs", ""),
    ("pids/pids.current", "4\n"),
    ("pids/pids.max", "100\n"),
];

/// There from the second poll on.
const RATE: &str = "\"usageNanoCores\":0,";

/// The process of `/a`.
const PROCESS: &str = "7\n";

/// The files of `/` and `/a`, below `root`.
fn make(root: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let (directory, file) = file.rsplit_once('/').unwrap_or(("", file));
        for container in ["", "a"] {
            let at = root.join(directory).join(container);
            fs::create_dir_all(&at).unwrap();
            let text = match (file, container) {
                ("cgroup.procs", "a") => PROCESS,
                _ => text,
            };
            fs::write(at.join(file), text).unwrap();
        }
    }
}

fn node() -> TestTree {
    let tree = TestTree::new();
    tree.file("proc/meminfo", "MemTotal: 1000000 kB\nSwapTotal: 2000 kB\n")
        .file("proc/stat", "btime 1700000000\n")
        .file("proc/uptime", "1000.00 5.00\n")
        .file("proc/sys/kernel/osrelease", "6.1.0-test\n")
        .file("root/etc/os-release", "PRETTY_NAME=\"Made Up 1\"\n")
        .file("root/etc/machine-id", "0123\n")
        .file("root/etc/hostname", "made-up\n")
        .file("sys/block/vda/dev", "254:0\n")
        .file("sys/block/vda/size", "100\n")
        .file("sys/block/vda/queue/scheduler", "[none]\n")
        .file("proc/1/ns/net", "of the host")
        .file("proc/7/ns/net", "of /a")
        .file(
            "proc/7/net/dev",
            "h\nh\n eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n",
        )
        .file(
            "proc/7/net/tcp",
            "h\n0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 20\n",
        )
        .file("proc/7/net/tcp6", "h\n")
        .file(
            "proc/7/net/udp",
            "h\n1: 0:44 0:0 07 00000010:00000200 0:0 0 0 0 1 2 f 7\n",
        )
        .file("proc/7/net/udp6", "h\n")
        .file(
            "proc/7/net/snmp",
            "Tcp: RtoMin MaxConn ActiveOpens\nTcp: 200 -1 5\n",
        )
        .file(
            "proc/7/net/netstat",
            "TcpExt: ListenDrops TCPTimeouts\nTcpExt: 3 4\n",
        )
        .file("proc/7/schedstat", "103973341 14628161 433\n")
        .file("proc/7/limits", "Max open files 1024 4096 files\n")
        .file("proc/7/fd/0", "")
        // Not enough of it for a list of processes, whose times would change.
        .file("proc/7/stat", "7 (sh) S 1")
        .cpu(0, 0, 0, "0");
    tree
}

/// A made-up procfs says nothing of ids that only this machine has.
fn made_up(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            out.push('"');
        }
        let is_time = part.len() >= 20 && part.parse::<jiff::Timestamp>().is_ok();
        match part {
            env!("CARGO_PKG_VERSION") => out.push_str("<version>"),
            part if is_time && !part.starts_with("0001") => out.push_str("<time>"),
            part => out.push_str(part),
        }
    }
    out
}

async fn answers(name: &str, files: &[(&str, &str)]) {
    let (cgroups, node) = (tempfile::tempdir().unwrap(), node());
    make(cgroups.path(), files);
    let monitor = Monitor::builder()
        .cgroup_root(cgroups.path())
        .roots(node.roots.clone())
        .read(ReadOptions {
            kinds: KindSet::of(&MetricKind::ALL),
            per_cpu: true,
            huge_page_sizes: vec![2 << 20],
            network: true,
            load: true,
        });
    let monitor = monitor.kmsg(None).start().await.unwrap();
    timeout(PATIENCE, monitor.view().ready()).await.unwrap();
    let mut paths = Vec::new();
    for (version, _, kinds) in VERSIONS {
        for kind in kinds {
            let path = format!("/api/{version}/{}", kind.as_str());
            let query = match kind {
                Kind::Events => "creation_events=true&subcontainers=true",
                _ => "count=1",
            };
            match kind {
                Kind::Docker | Kind::Machine | Kind::Machinestats | Kind::Storage => {
                    paths.push(format!("{path}?{query}"));
                }
                _ => paths.extend([format!("{path}?{query}"), format!("{path}/a?{query}")]),
            }
        }
    }
    paths.extend(["/version", "/stats/summary?only_cpu_and_memory=true"].map(str::to_owned));
    let mut text = String::new();
    for path in paths {
        let request = Request::post(&path);
        let request = request
            .body(Full::<Bytes>::from(Bytes::from_static(
                b"{\"num_stats\":1}",
            )))
            .unwrap();
        let mut service = warp::service(all(&monitor.view(), &Default::default()));
        let answer = timeout(PATIENCE, service.call(request))
            .await
            .unwrap()
            .unwrap();
        let body = timeout(PATIENCE, answer.into_body().collect())
            .await
            .unwrap()
            .unwrap();
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        writeln!(
            text,
            "{path}\n{}\n",
            made_up(body.trim_end()).replace(RATE, "")
        )
        .unwrap();
    }
    monitor.shutdown().await;
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/api")
        .join(format!("golden-tree-{name}.txt"));
    if std::env::var_os("CGAUGE_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap();
    for (golden, text) in golden.lines().zip(text.lines()) {
        assert_eq!(golden, text);
    }
    assert_eq!(golden.len(), text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_cgroup_v2() {
    answers("v2", &V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_cgroup_v1() {
    answers("v1", &V1).await;
}
