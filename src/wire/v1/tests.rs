#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde::Serialize;

use super::{ContainerInfo, Event};
use crate::cache::{Limits, Range, Ring};
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec};
use crate::cgroup::stats::{DeviceNumber, InterfaceStats, NetworkStats};
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::event::{self, Constraint, EventKind, OomKill};
use crate::node::MachineInfo;
use crate::node::disks::Disk;
use crate::query;
use crate::units::{Limit, Timestamp};
use crate::wire::shared::Context;

const T: i64 = 1_795_322_901_152_095_492;

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

fn machine() -> MachineInfo {
    let mut machine = MachineInfo::default();
    machine.memory.memory_bytes = Some(4096);
    machine.memory.swap_bytes = Some(0);
    let scheduler = None;
    machine.disks.push(Disk {
        name: "vda".into(),
        major: 254,
        minor: 0,
        size_bytes: 1,
        scheduler,
    });
    machine
}

fn info(name: &str, spec: Spec, samples: &[Sample]) -> query::ContainerInfo {
    let mut ring = Ring::new(Limits::default());
    for sample in samples {
        ring.push(sample);
    }
    query::ContainerInfo {
        name: ContainerName::from_request(name),
        incarnation: 1,
        subcontainers: Vec::new(),
        spec: Arc::new(spec),
        oom_kills: 0,
        layer: Vec::new(),
        identity: None,
        is_elsewhere: false,
        stats: ring.series(Range::default()),
        latest: samples.last().cloned(),
    }
}

fn json(info: &query::ContainerInfo) -> String {
    text(&ContainerInfo((
        info,
        Context {
            machine: &machine(),
            filesystems: &[],
        },
    )))
}

#[test]
fn a_container_of_which_nothing_is_known_has_only_what_is_always_there() {
    assert_eq!(
        json(&info("/a", Spec::default(), &[])),
        r#"{"name":"/a","spec":{"creation_time":"0001-01-01T00:00:00Z","start_time":"0001-01-01T00:00:00Z","has_cpu":false,"cpu":{},"has_memory":false,"memory":{},"has_hugetlb":false,"has_network":false,"has_processes":false,"processes":{},"has_filesystem":false,"has_diskio":false,"has_custom_metrics":false}}"#
    );
    let empty = info(
        "/a",
        Spec::default(),
        &[Sample {
            timestamp: Timestamp(T),
            ..Sample::default()
        }],
    );
    assert_eq!(
        json(&empty).split_once("\"stats\":").unwrap().1,
        r#"[{"timestamp":"2026-11-22T04:48:21.152095492Z","cpu":{"usage":{},"cfs":{},"schedstat":{},"psi":{"full":{},"some":{}}},"diskio":{"psi":{"full":{},"some":{}}},"memory":{"container_data":{"numa_stats":{}},"hierarchical_data":{"numa_stats":{}},"psi":{"full":{},"some":{}},"events":{}},"task_stats":{},"resctrl":{},"cpuset":{},"health":{}}]}"#
    );
}

fn spec() -> Spec {
    Spec {
        created_at: Some(Timestamp(T)),
        cpu: Some(CpuSpec {
            shares: Some(2048),
            quota_us: Some(Limit::Max(50_000)),
            period_us: Some(100_000),
            burst_us: None,
            cpus: Some("0-1".into()),
        }),
        memory: Some(MemorySpec {
            limit: Some(Limit::Max(134_217_728)),
            reservation: Some(Limit::Unlimited),
            memory_and_swap_limit: Some(Limit::Max(268_435_456)),
            ..MemorySpec::default()
        }),
        pids: Some(PidsSpec {
            limit: Some(Limit::Unlimited),
        }),
        has_hugetlb: false,
        has_io: true,
    }
}

#[test]
fn a_spec_has_the_keys_and_the_order_that_clients_know() {
    assert_eq!(
        json(&info("/docker/6b", spec(), &[])),
        r#"{"name":"/docker/6b","spec":{"creation_time":"2026-11-22T04:48:21.152095492Z","start_time":"0001-01-01T00:00:00Z","has_cpu":true,"cpu":{"limit":2048,"max_limit":0,"mask":"0-1","quota":50000,"period":100000},"has_memory":true,"memory":{"limit":134217728,"reservation":18446744073709551615,"swap_limit":268435456},"has_hugetlb":false,"has_network":false,"has_processes":true,"processes":{"limit":18446744073709551615},"has_filesystem":false,"has_diskio":true,"has_custom_metrics":false}}"#
    );
}

#[test]
fn the_root_is_limited_by_the_machine() {
    let json = json(&info("/", spec(), &[]));
    assert!(
        json.contains(r#""memory":{"limit":4096,"reservation":18446744073709551615},"#),
        "{json}"
    );
}

fn full_sample() -> Sample {
    let mut sample = Sample {
        timestamp: Timestamp(T),
        per_cpu_ns: vec![7, 8],
        ..Sample::default()
    };
    sample.cpu.usage_ns = Some(15);
    sample.cpu.user_ns = Some(5);
    sample.cpu.throttled_ns = Some(3);
    sample.cpu_pressure.some.total_ns = Some(12_345_999);
    sample.cpu_pressure.some.avg10_centi = Some(1234);
    sample.memory.usage_bytes = Some(100);
    sample.memory.inactive_file_bytes = Some(30);
    sample.memory.own_pgfault = Some(1);
    sample.memory.pgfault = Some(2);
    sample.memory_events.max = Some(4);
    sample.pids.current = Some(9);
    let known = sample.io_mut(DeviceNumber {
        major: 254,
        minor: 0,
    });
    (known.bytes.read, known.bytes.total) = (Some(512), Some(600));
    known.cost.wait_ns = Some(2_000);
    sample.io_mut(DeviceNumber { major: 9, minor: 1 }).ops.write = Some(0);
    sample.hugetlb_mut(2 << 20).usage_bytes = Some(0);
    sample
}

#[test]
fn figures_are_in_the_units_of_the_wire() {
    let json = json(&info("/a", Spec::default(), &[full_sample()]));
    for part in [
        r#""cpu":{"usage":{"total":15,"per_cpu_usage":[7,8],"user":5},"cfs":{"throttled_time":3},"schedstat":{},"psi":{"full":{},"some":{"total":12345,"avg10":12.34}}},"#,
        r#""diskio":{"io_service_bytes":[{"device":"/dev/vda","major":254,"minor":0,"stats":{"Read":512,"Total":600}}],"io_serviced":[{"device":"","major":9,"minor":1,"stats":{"Write":0}}],"io_cost_wait":[{"device":"/dev/vda","major":254,"minor":0,"stats":{"Count":2}}],"psi":"#,
        r#""memory":{"usage":100,"working_set":70,"total_inactive_file":30,"container_data":{"pgfault":1,"numa_stats":{}},"hierarchical_data":{"pgfault":2,"numa_stats":{}},"psi":{"full":{},"some":{}},"events":{"max":4}},"hugetlb":{"2MB":{"usage":0}},"task_stats":{},"processes":{"threads_current":9},"#,
    ] {
        assert!(json.contains(part), "{part}\nis not in\n{json}");
    }
}

#[test]
fn the_host_network_is_shown_for_the_root_alone() {
    let eth0 = InterfaceStats {
        rx_bytes: Some(1182),
        tx_dropped: Some(0),
        ..InterfaceStats::default()
    };
    let with = |host, interfaces| Sample {
        timestamp: Timestamp(T),
        network: Some(NetworkStats {
            namespace: 5,
            host,
            interfaces,
        }),
        ..Sample::default()
    };
    let own = json(&info(
        "/a",
        Spec::default(),
        &[with(false, vec![("eth0".into(), eth0)])],
    ));
    let network = r#""network":{"name":"eth0","rx_bytes":1182,"tx_dropped":0,"interfaces":[{"name":"eth0","rx_bytes":1182,"tx_dropped":0}],"tcp":{},"tcp6":{},"udp":{},"udp6":{},"tcp_advanced":{}},"#;
    assert!(
        own.contains(network) && own.contains(r#""has_network":true"#),
        "{own}"
    );
    let hosts = json(&info("/a", Spec::default(), &[with(true, Vec::new())]));
    assert!(
        !hosts.contains("\"network\"") && hosts.contains(r#""has_network":false"#),
        "{hosts}"
    );
    let root = json(&info(
        "/",
        Spec::default(),
        &[with(true, vec![("eth0".into(), eth0)])],
    ));
    assert!(root.contains(network), "{root}");
    let none = json(&info("/a", Spec::default(), &[with(false, Vec::new())]));
    assert!(none.contains(r#""network":{"name":"","tcp":{}"#), "{none}");
}

#[test]
fn events_have_the_keys_that_clients_know_first() {
    let event = |kind| event::Event {
        id: 1,
        timestamp: Timestamp(T),
        noticed: Timestamp(T + 1),
        container: ContainerName::from_request("/a"),
        kind,
    };
    let json = |kind| text(&Event((&event(kind), None)));
    assert_eq!(
        json(EventKind::ContainerCreation),
        r#"{"container_name":"/a","timestamp":"2026-11-22T04:48:21.152095492Z","event_type":"containerCreation","event_data":{}}"#
    );
    let data = |kind| {
        json(kind)
            .split_once("\"event_data\":")
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(
        data(EventKind::ContainerDeletion {
            exit_code: None,
            while_down: false
        }),
        r#"{"container_deletion":{"exit_code":-1}}}"#
    );
    assert_eq!(
        data(EventKind::ContainerDeletion {
            exit_code: Some(137),
            while_down: true
        }),
        r#"{"container_deletion":{"exit_code":137,"while_down":true}}}"#
    );
    assert_eq!(data(EventKind::Oom), "{}}");
    assert_eq!(data(EventKind::OomKill(Arc::default())), r#"{"oom":{}}}"#);
    let kill = OomKill {
        pid: Some(7),
        process_name: Some("sh".into()),
        constraint: Some(Constraint::Memcg),
        oom_memcg: Some("/a".into()),
        uid: Some(0),
        ..OomKill::default()
    };
    assert_eq!(
        data(EventKind::OomKill(Arc::new(kill))),
        r#"{"oom":{"pid":7,"process_name":"sh","constraint":"CONSTRAINT_MEMCG","oom_memcg":"/a","uid":0}}}"#
    );
}
