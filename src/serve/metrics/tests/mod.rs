//! Pages of made-up samples.

#![allow(clippy::unwrap_used, clippy::panic)]

mod docs;
mod formats;
mod golden;
mod known;
mod made_up;
mod promtool;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::table::TABLE;
use super::*;
use crate::cgroup::hierarchy::Hierarchies;
use crate::cgroup::kind::{KindSet, MetricKind};
use crate::cgroup::plan::{Plan, ReadOptions};
use crate::cgroup::stats::{DeviceNumber, InterfaceStats, NetworkStats};
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::units::Timestamp;
use known::{OMITTED, REFERENCE};
use made_up::*;
use read::read;

#[test]
fn totals_of_workloads_are_few_and_outlive_containers() {
    let page = page_of(Vec::new());
    for line in [
        r#"cgauge_workload_oom_kills_total{workload="/a"} 3"#,
        r#"cgauge_workload_cpu_usage_seconds_total{workload="/a"} 1.5"#,
        r#"cgauge_workload_containers_total{workload="/a"} 2"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    assert!(!page.contains(r#"workload="/b""#), "nothing to tell");
    let many = (0..2_000).map(|number| workload(&format!("/{number}"), 2, 0));
    assert_eq!(
        workloads::shown(many.collect()).len(),
        workloads::MAX_WORKLOADS
    );
}

fn types(page: &str) -> BTreeMap<&str, &str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect()
}

/// The names of the labels that samples of each family have, but for those of every container and of
/// the machine.
fn labels(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    const BASE: [&str; 9] = [
        "boot_id",
        "container",
        "id",
        "image",
        "machine_id",
        "name",
        "namespace",
        "pod",
        "system_uuid",
    ];
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels, _) in read(page) {
        let names = labels.into_keys().filter(|name| !BASE.contains(&&**name));
        found.entry(name).or_default().extend(names);
    }
    found
}

#[test]
fn every_family_of_the_reference_is_there_with_its_type_and_labels() {
    let page = page_of(vec![
        container("/", spec(), full(1)),
        container("/a", spec(), full(1)),
        known(&its_cgroup(), spec(), full(1), Some(identity())),
    ]);
    let (types, labels) = (types(&page), labels(&page));
    let omitted: BTreeSet<&str> = OMITTED.iter().map(|row| row.0).collect();
    for (name, kind, extra) in REFERENCE {
        if omitted.contains(name) {
            assert!(
                !types.contains_key(name),
                "{name} is there: take it off the list"
            );
            continue;
        }
        assert_eq!(types.get(name), Some(&kind), "{name}");
        let extra: Vec<&str> = extra.to_vec();
        assert_eq!(labels[name].iter().collect::<Vec<_>>(), extra, "{name}");
    }
    for name in omitted {
        assert!(REFERENCE.iter().any(|row| row.0 == name), "{name}");
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
            .all(|family| family.help.is_ascii() && !family.help.contains('"'))
    );
    // What breaks the rule that counters end with "_total", and gauges do not: names of old.
    let odd: Vec<&str> = TABLE
        .iter()
        .filter(|family| (family.r#type == Type::Counter) != family.name.ends_with("_total"))
        .map(|family| family.name)
        .collect();
    assert_eq!(
        odd,
        [
            "container_fs_inodes_total",
            "container_hugetlb_failcnt",
            "container_memory_failcnt",
            "container_network_advance_tcp_stats_total",
            "container_network_tcp6_usage_total",
            "container_network_tcp_usage_total",
            "container_network_udp6_usage_total",
            "container_network_udp_usage_total",
        ]
    );
}

#[test]
fn what_the_kernel_does_not_give_has_no_sample() {
    let nothing = Sample {
        timestamp: Timestamp(T),
        ..Sample::default()
    };
    let unmeasured = container("/a", Spec::default(), nothing).with_layer(None);
    let page = page_of(vec![unmeasured]);
    let known: BTreeSet<String> = read(&page)
        .into_iter()
        .filter(|sample| sample.1.contains_key("id"))
        .map(|(name, _, value)| format!("{name} {value}"))
        .collect();
    assert_eq!(
        known.into_iter().collect::<Vec<_>>(),
        [
            "cgauge_container_info 1",
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
            r#"machine_cpu_books{boot_id="",machine_id="0123",system_uuid=""} 1"#,
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
        let labels = LabelSet::of(&name, None, None, &LabelChoice::default());
        let page = page_of(vec![Container::new(Arc::new(labels), name, Arc::default(), sample, 0, None)]);
        // A carriage return is no line end of this format.
        let samples = read(&page);
        let ids: BTreeSet<&String> = samples.iter().filter_map(|sample| sample.1.get("id")).collect();
        prop_assert_eq!(ids.into_iter().collect::<Vec<_>>(), vec![&shown]);
        prop_assert!(samples.iter().filter_map(|sample| sample.1.get("interface")).all(|read| *read == nic));
    }
}
