//! Pages of made-up samples.

#![allow(clippy::unwrap_used, clippy::panic)]

mod known;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::page::TABLE;
use super::*;
use crate::cgroup::hierarchy::Hierarchies;
use crate::cgroup::plan::{Plan, ReadOptions};
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec};
use crate::cgroup::stats::{DeviceNumber, InterfaceStats, NetworkStats};
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::node::disks::Disk;
use crate::node::memory::MemoryOfType;
use crate::node::{MachineInfo, VersionInfo};
use crate::self_metrics::{KmsgState, SelfMetrics};
use crate::units::{Limit, Timestamp};
use known::KNOWN;
use read::read;

const T: i64 = 1_795_322_901_152_095_492;

fn plan() -> Plan {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
    let hierarchies =
        Hierarchies::detect("/proc".as_ref(), "/".as_ref(), Some(root.path())).unwrap();
    Plan::new(
        Arc::new(hierarchies),
        &ReadOptions {
            network: true,
            ..ReadOptions::default()
        },
    )
}

fn machine() -> MachineInfo {
    let mut machine = MachineInfo::default();
    machine.memory.memory_bytes = Some(25_274_793_984);
    machine.memory.swap_bytes = Some(0);
    machine.memory_by_type.insert(
        "DDR4".into(),
        MemoryOfType {
            capacity_bytes: 1 << 34,
            dimms: 2,
        },
    );
    machine.topology.cpus = Some(2);
    machine.topology.physical_cores = Some(2);
    machine.topology.sockets = Some(1);
    machine.ids.machine_id = Some("0123".into());
    machine.disks.push(Disk {
        name: "vda".into(),
        major: 254,
        minor: 0,
        size_bytes: 1,
        scheduler: None,
    });
    machine
}

fn version() -> VersionInfo {
    VersionInfo {
        kernel: Some("6.1.0".into()),
        os: Some("Some \"OS\" 3".into()),
        cgauge: "1.2.3",
    }
}

fn page_of(containers: Vec<Container>) -> String {
    let (machine, version, own, plan) = (machine(), version(), SelfMetrics::default(), plan());
    own.set_kmsg_state(KmsgState::Following);
    let mut page = Page::new(containers, &machine, &version, &own, &plan);
    page.process = Process::read();
    String::from_utf8(page.encode()).unwrap()
}

fn container(name: &str, spec: Spec, sample: Sample) -> Container {
    Container::new(
        ContainerName::from_request(name),
        Arc::new(spec),
        sample,
        0,
        Some(Timestamp(T)),
    )
}

fn spec() -> Spec {
    Spec {
        created_at: Some(Timestamp(T)),
        cpu: Some(CpuSpec {
            shares: Some(1024),
            quota_us: Some(Limit::Max(50_000)),
            period_us: Some(100_000),
            ..CpuSpec::default()
        }),
        memory: Some(MemorySpec {
            limit: Some(Limit::Max(1 << 27)),
            reservation: Some(Limit::Unlimited),
            swap_limit: Some(Limit::Unlimited),
            ..MemorySpec::default()
        }),
        pids: Some(PidsSpec {
            limit: Some(Limit::Unlimited),
        }),
        has_hugetlb: false,
        has_io: true,
    }
}

/// Every figure that there is is `n`.
fn full(n: u64) -> Sample {
    use crate::cgroup::columns::Columns;
    let mut sample = Sample {
        timestamp: Timestamp(T),
        ..Sample::default()
    };
    sample.io_mut(DeviceNumber {
        major: 254,
        minor: 0,
    });
    sample.hugetlb_mut(2 << 20);
    let interfaces = vec![("eth0".into(), InterfaceStats::default())];
    sample.network = Some(NetworkStats {
        namespace: 7,
        host: false,
        interfaces,
    });
    sample.each_mut(&mut |column| *column = Some(n));
    sample
}

fn types(page: &str) -> BTreeMap<&str, &str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect()
}

#[test]
fn every_known_family_is_there_with_its_type() {
    let page = page_of(vec![container("/a", spec(), full(1))]);
    let types = types(&page);
    for (name, kind) in KNOWN {
        assert_eq!(types.get(name), Some(&kind), "{name}");
    }
}

#[test]
fn families_are_sorted_and_grouped_and_no_series_is_there_twice() {
    let page = page_of(vec![
        container("/", spec(), full(2)),
        container("/a", spec(), full(1)),
    ]);
    let headers: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|t| t.0)
        .collect();
    assert!(headers.is_sorted_by(|a, b| a < b));
    let samples = read(&page);
    let mut families: Vec<&str> = samples.iter().map(|sample| &*sample.0).collect();
    families.dedup();
    assert_eq!(
        families, headers,
        "each family in one piece, none without samples"
    );
    let series: BTreeSet<_> = samples
        .iter()
        .map(|(name, labels, _)| (name, labels))
        .collect();
    assert_eq!(series.len(), samples.len());
    assert!(
        TABLE
            .iter()
            .all(|family| !family.help.contains(['\n', '\\']) && family.help.ends_with('.'))
    );
    assert!(
        TABLE
            .iter()
            .all(|family| (family.kind.as_str() == "counter")
                == (family.name.ends_with("_total") || family.name.ends_with("failcnt")))
    );
}

#[test]
fn what_the_kernel_does_not_give_has_no_sample() {
    let nothing = Sample {
        timestamp: Timestamp(T),
        ..Sample::default()
    };
    let page = page_of(vec![container("/a", Spec::default(), nothing)]);
    let known: BTreeSet<String> = read(&page)
        .into_iter()
        .filter(|sample| sample.1.contains_key("id"))
        .map(|(name, _, value)| format!("{name} {value}"))
        .collect();
    assert_eq!(
        known.into_iter().collect::<Vec<_>>(),
        [
            "container_creation_time_seconds 1795322901",
            "container_last_seen 1795322901",
            "container_oom_events_total 0",
            "container_start_time_seconds 1795322901",
        ]
    );
}

fn lines<'a>(page: &'a str, families: &[&str]) -> Vec<&'a str> {
    page.lines()
        .filter(|line| {
            families
                .iter()
                .any(|name| line.split(['{', ' ']).next() == Some(name))
        })
        .collect()
}

#[test]
fn a_container_of_cgroup_v1() {
    let mut sample = Sample {
        timestamp: Timestamp(T),
        per_cpu_ns: vec![190_681_449, 0],
        ..Sample::default()
    };
    sample.cpu.usage_ns = Some(190_681_449);
    sample.cpu.user_ns = Some(70_000_000);
    sample.memory.failcnt = Some(0);
    (sample.memory.own_pgfault, sample.memory.pgfault) = (Some(1), Some(2));
    let io = sample.io_mut(DeviceNumber {
        major: 254,
        minor: 0,
    });
    (io.bytes.read, io.bytes.sync, io.bytes.total) = (Some(512), Some(0), Some(512));
    let page = page_of(vec![container("/docker/6b", spec(), sample)]);
    let wanted = [
        "container_blkio_device_usage_total",
        "container_cpu_usage_seconds_total",
        "container_cpu_user_seconds_total",
        "container_fs_reads_bytes_total",
        "container_memory_failcnt",
        "container_memory_failures_total",
        "container_spec_cpu_quota",
        "container_spec_memory_limit_bytes",
        "container_spec_memory_swap_limit_bytes",
    ];
    assert_eq!(
        lines(&page, &wanted),
        [
            r#"container_blkio_device_usage_total{device="/dev/vda",id="/docker/6b",major="254",minor="0",operation="Read"} 512"#,
            r#"container_blkio_device_usage_total{device="/dev/vda",id="/docker/6b",major="254",minor="0",operation="Sync"} 0"#,
            r#"container_blkio_device_usage_total{device="/dev/vda",id="/docker/6b",major="254",minor="0",operation="Total"} 512"#,
            r#"container_cpu_usage_seconds_total{cpu="cpu00",id="/docker/6b"} 0.190681449"#,
            r#"container_cpu_usage_seconds_total{cpu="cpu01",id="/docker/6b"} 0"#,
            r#"container_cpu_user_seconds_total{id="/docker/6b"} 0.07"#,
            r#"container_fs_reads_bytes_total{device="/dev/vda",id="/docker/6b"} 512"#,
            r#"container_memory_failcnt{id="/docker/6b"} 0"#,
            r#"container_memory_failures_total{failure_type="pgfault",id="/docker/6b",scope="container"} 1"#,
            r#"container_memory_failures_total{failure_type="pgfault",id="/docker/6b",scope="hierarchy"} 2"#,
            r#"container_spec_cpu_quota{id="/docker/6b"} 50000"#,
            r#"container_spec_memory_limit_bytes{id="/docker/6b"} 134217728"#,
            r#"container_spec_memory_swap_limit_bytes{id="/docker/6b"} 0"#,
        ]
    );
}

#[test]
fn a_container_of_cgroup_v2() {
    let mut sample = Sample {
        timestamp: Timestamp(T),
        ..Sample::default()
    };
    sample.cpu.usage_ns = Some(0);
    sample.cpu.nr_periods = Some(3);
    sample.memory.pgfault = Some(2);
    sample.memory_events.oom_group_kill = Some(1);
    sample.cpu_pressure.some.total_ns = Some(12_345_000);
    for minor in [1, 2] {
        sample.io_mut(DeviceNumber { major: 9, minor }).cost.wait_ns = Some(2_000);
    }
    let page = page_of(vec![container("/a", Spec::default(), sample)]);
    let wanted = [
        "container_cpu_cfs_periods_total",
        "container_cpu_usage_seconds_total",
        "container_fs_io_cost_wait_seconds_total",
        "container_memory_events_oom_group_kill_total",
        "container_memory_failures_total",
        "container_pressure_cpu_waiting_seconds_total",
    ];
    assert_eq!(
        lines(&page, &wanted),
        [
            r#"container_cpu_usage_seconds_total{cpu="total",id="/a"} 0"#,
            r#"container_fs_io_cost_wait_seconds_total{device="9:1",id="/a"} 0.000002"#,
            r#"container_fs_io_cost_wait_seconds_total{device="9:2",id="/a"} 0.000002"#,
            r#"container_memory_events_oom_group_kill_total{id="/a"} 1"#,
            r#"container_memory_failures_total{failure_type="pgfault",id="/a",scope="hierarchy"} 2"#,
            r#"container_pressure_cpu_waiting_seconds_total{id="/a"} 0.012345"#,
        ],
        "without a quota there are no periods, and unknown devices stay apart"
    );
}

#[test]
fn machine_and_versions() {
    let page = page_of(Vec::new());
    assert_eq!(
        lines(
            &page,
            &[
                "cadvisor_version_info",
                "cgauge_build_info",
                "machine_cpu_books",
                "machine_dimm_count",
                "machine_memory_bytes",
                "cgauge_kmsg_state"
            ]
        ),
        [
            r#"cadvisor_version_info{cadvisorRevision="",cadvisorVersion="1.2.3",dockerVersion="",kernelVersion="6.1.0",osVersion="Some \"OS\" 3"} 1"#,
            r#"cgauge_build_info{version="1.2.3"} 1"#,
            r#"cgauge_kmsg_state{state="off"} 0"#,
            r#"cgauge_kmsg_state{state="following"} 1"#,
            r#"cgauge_kmsg_state{state="unavailable"} 0"#,
            r#"machine_dimm_count{boot_id="",machine_id="0123",system_uuid="",type="DDR4"} 2"#,
            r#"machine_memory_bytes{boot_id="",machine_id="0123",system_uuid=""} 25274793984"#,
        ]
    );
}

#[test]
fn the_root_is_limited_by_the_machine() {
    let page = page_of(vec![container("/", spec(), Sample::default())]);
    assert_eq!(
        lines(
            &page,
            &[
                "container_spec_memory_limit_bytes",
                "container_spec_memory_swap_limit_bytes"
            ]
        ),
        [
            r#"container_spec_memory_limit_bytes{id="/"} 25274793984"#,
            r#"container_spec_memory_swap_limit_bytes{id="/"} 0"#,
        ]
    );
}

#[test]
fn a_network_is_shown_once() {
    let with = |name: &str, namespace: u64, host: bool| {
        let interfaces = vec![(
            "eth0".into(),
            InterfaceStats {
                rx_bytes: Some(1),
                ..InterfaceStats::default()
            },
        )];
        let network = Some(NetworkStats {
            namespace,
            host,
            interfaces,
        });
        container(
            name,
            Spec::default(),
            Sample {
                network,
                ..Sample::default()
            },
        )
    };
    let page = page_of(vec![
        with("/pod/b/deep", 7, false),
        with("/pod/b", 7, false),
        with("/pod/a", 7, false),
        with("/host", 1, true),
        with("/", 1, true),
        with("/other", 8, false),
    ]);
    let shown: Vec<String> = read(&page)
        .into_iter()
        .filter(|sample| sample.0 == "container_network_receive_bytes_total")
        .map(|sample| sample.1["id"].clone())
        .collect();
    assert_eq!(shown, ["/", "/other", "/pod/a"]);
}

proptest! {
    #[test]
    fn hostile_names_read_back(elements in proptest::collection::vec("[^/\0]{1,12}|[\"\\\\\n\r{},= ]{1,6}", 1..4), nic in any::<String>()) {
        use std::os::unix::ffi::OsStrExt;
        let name = elements.iter().fold(ContainerName::root(), |name, element| name.child(std::ffi::OsStr::from_bytes(element.as_bytes())));
        let shown = name.to_string();
        let mut sample = full(3);
        if let Some(network) = &mut sample.network {
            network.interfaces[0].0 = nic.as_str().into();
        }
        let own = SelfMetrics::default();
        let (machine, version, plan) = (machine(), version(), plan());
        let page = Page::new(vec![Container::new(name, Arc::default(), sample, 0, None)], &machine, &version, &own, &plan);
        let page = String::from_utf8(page.encode()).unwrap();
        // A carriage return is no line end of this format.
        let samples = read(&page);
        let ids: BTreeSet<&String> = samples.iter().filter_map(|sample| sample.1.get("id")).collect();
        prop_assert_eq!(ids.into_iter().collect::<Vec<_>>(), vec![&shown]);
        prop_assert!(samples.iter().filter_map(|sample| sample.1.get("interface")).all(|read| *read == nic));
    }
}

/// The judge that users have. Not installed everywhere: then this says so and passes, unless all
/// tests were asked for.
#[test]
fn promtool_finds_nothing_to_say() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(
            std::env::var_os("CGAUGE_TEST_ALL").is_none(),
            "promtool is not installed"
        );
        eprintln!("skipped: promtool is not installed");
        return;
    };
    let page = page_of(vec![
        container("/", spec(), full(1)),
        container("/a\n\"\\", spec(), full(u64::MAX)),
    ]);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    // Names that the field has used for ten years break its rules; ours must not.
    const KNOWN_PREFIXES: [&str; 3] = ["container_", "machine_", "cadvisor_"];
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| !KNOWN_PREFIXES.iter().any(|prefix| line.starts_with(prefix)))
        .collect();
    assert!(ours.is_empty(), "{said}");
}
