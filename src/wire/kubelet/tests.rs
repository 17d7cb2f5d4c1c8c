#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::summary::{Scope, Summary};
use super::{Node, resource};
use crate::cache::{Limits, Range, Ring};
use crate::cgroup::spec::MemorySpec;
use crate::cgroup::stats::{InterfaceStats, NetworkStats};
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::query::ContainerInfo;
use crate::units::{Limit, Timestamp};

const SECOND: i64 = 1_000_000_000;
const POD: &str = "/kubepods/burstable/pod1b9f2e0a-5c3d";
const ID: &str = "6bb9be375ebd";

fn info(name: &str, network: bool) -> ContainerInfo {
    let mut ring = Ring::new(Limits::default());
    let mut sample = Sample::default();
    for second in [100, 102] {
        sample.timestamp = Timestamp(second * SECOND);
        sample.cpu.usage_ns = Some(second as u64 * 500_000_000);
        sample.memory.usage_bytes = Some(1000);
        sample.memory.inactive_file_bytes = Some(400);
        sample.memory.swap_bytes = Some(7);
        sample.cpu_pressure.some.total_ns = Some(9_000);
        sample.network = network.then(|| NetworkStats {
            namespace: 1,
            host: false,
            interfaces: vec![(
                "eth0".into(),
                InterfaceStats {
                    rx_bytes: Some(11),
                    ..InterfaceStats::default()
                },
            )],
        });
        ring.push(&sample);
    }
    ContainerInfo {
        name: ContainerName::from_request(name),
        incarnation: 1,
        subcontainers: Vec::new(),
        spec: Arc::new(Spec {
            created_at: Some(Timestamp(90 * SECOND)),
            memory: Some(MemorySpec {
                limit: Some(Limit::Max(2000)),
                swap_limit: Some(Limit::Max(50)),
                ..MemorySpec::default()
            }),
            ..Spec::default()
        }),
        oom_kills: 0,
        layer: Vec::new(),
        identity: None,
        is_elsewhere: false,
        stats: ring.series(Range::default()),
        latest: Some(sample),
    }
}

fn node() -> Node {
    let mut node = Node::new("n1".into(), Some(Timestamp(SECOND)));
    node.add(info("/", false));
    node.add(info("/kubepods", false));
    node.add(info("/system.slice/kubelet.service", false));
    node.add(info("/other", false));
    node.add(info(POD, false));
    node.add(info(&format!("{POD}/{ID}"), true));
    node
}

#[test]
fn pods_are_grouped_by_their_cgroups() {
    let scope = Scope {
        only_cpu_and_memory: false,
        filesystems: None,
    };
    let text = serde_json::to_string(&Summary((&node(), scope))).unwrap();
    let cpu = r#""cpu":{"time":"1970-01-01T00:01:42Z","usageNanoCores":500000000,"usageCoreNanoSeconds":51000000000,"psi":{"full":{},"some":{"total":9000}}}"#;
    let memory = r#""memory":{"time":"1970-01-01T00:01:42Z","availableBytes":1400,"usageBytes":1000,"workingSetBytes":600}"#;
    let swap =
        r#""swap":{"time":"1970-01-01T00:01:42Z","swapAvailableBytes":43,"swapUsageBytes":7}"#;
    let started = r#""startTime":"1970-01-01T00:01:30Z""#;
    let all = format!("{started},{cpu},{memory},{swap}");
    let network = r#""network":{"time":"1970-01-01T00:01:42Z","name":"eth0","rxBytes":11,"interfaces":[{"name":"eth0","rxBytes":11}]}"#;
    assert_eq!(
        text,
        format!(
            r#"{{"node":{{"nodeName":"n1","systemContainers":[{{"name":"kubelet",{all}}},{{"name":"pods",{all}}}],"startTime":"1970-01-01T00:00:01Z",{cpu},{memory},{swap}}},"pods":[{{"podRef":{{"name":"","namespace":"","uid":"1b9f2e0a-5c3d"}},{started},"containers":[{{"name":"{ID}",{all}}}],{cpu},{memory},{network},{swap}}}]}}"#
        )
    );
    let reduced = Scope {
        only_cpu_and_memory: true,
        ..scope
    };
    let text = serde_json::to_string(&Summary((&node(), reduced))).unwrap();
    assert!(!text.contains("network") && text.contains(cpu), "{text}");
}

#[test]
fn the_resource_page_has_a_family_only_where_there_are_samples() {
    let page = resource::page(&node());
    for line in [
        format!(
            "container_cpu_usage_seconds_total{{container=\"{ID}\",namespace=\"\",pod=\"1b9f2e0a-5c3d\"}} 51 102000"
        ),
        format!(
            "container_start_time_seconds{{container=\"{ID}\",namespace=\"\",pod=\"1b9f2e0a-5c3d\"}} 90"
        ),
        format!(
            "container_swap_limit_bytes{{container=\"{ID}\",namespace=\"\",pod=\"1b9f2e0a-5c3d\"}} 50 102000"
        ),
        "node_memory_working_set_bytes 600 102000".into(),
        "pod_swap_usage_bytes{namespace=\"\",pod=\"1b9f2e0a-5c3d\"} 7 102000".into(),
        "resource_scrape_error 0".into(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert_eq!(
        resource::page(&Node::default()).lines().last(),
        Some("resource_scrape_error 1")
    );
    assert!(!resource::page(&Node::default()).contains("container_"));
}
