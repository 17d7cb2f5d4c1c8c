//! A pod in gVisor: its containers' processes are in the sandbox's cgroup, and their own are empty.

use std::fs;

use super::containerd_host::{Containerd, K8S, needs_containerd};
use super::cri::driver::Driver;
use super::place::program;
use super::watched::RUNTIME_SOON;
use crate::support::{Agent, Layout, shared, wait_for, wait_until};

/// Works for a while, then sleeps.
const WORK: &str =
    "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec /bin/busybox sleep 100000";

const CPU: &str = "container_cpu_usage_seconds_total{";
const MEMORY: &str = "container_memory_usage_bytes{";
const INFO: &str = "cgauge_container_info{";

/// The samples of a family that have this `id`: labels and values.
fn samples(agent: &Agent, family: &str, id: &str) -> Vec<(String, f64)> {
    let page = agent.http().get("/metrics").unwrap().text();
    let label = format!("id=\"{id}\"");
    let lines = page
        .lines()
        .filter(|line| line.starts_with(family) && line.contains(&label));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn a_pod_in_gvisor_has_no_zeros() {
    needs_containerd!();
    // Debian has runsc, but not the shim, without which containerd runs no pod by it.
    for needed in ["runsc", "containerd-shim-runsc-v1"] {
        if program(needed).is_none() {
            println!("skipped: {needed} is not installed");
            return;
        }
    }
    let _machine = shared();
    let containerd = Containerd::start("gvisor", &[K8S]);
    let driver = Driver::connect(&containerd);
    let pod = driver.run_pod_by("runsc", "shop", containerd.cgroup());
    let web = driver.run_container(&pod, "web", 0, WORK, 0);
    let agent = containerd.agent().start();
    let cgroup = |id: &str| format!("{}/{id}", containerd.cgroup());

    let found = wait_for(RUNTIME_SOON, || {
        let found = samples(&agent, INFO, &cgroup(&web));
        found
            .iter()
            .any(|(labels, _)| labels.contains("isolation=\"kernel\""))
            .then_some(())
    });
    let info = samples(&agent, INFO, &cgroup(&web));
    assert!(found.is_some(), "{info:?}\n{}", containerd.log());
    for hierarchy in &Layout::get().hierarchies {
        let directory = hierarchy.mount.join(cgroup(&web).trim_start_matches('/'));
        let members = fs::read_to_string(directory.join("cgroup.procs"));
        assert_eq!(members.unwrap_or_default(), "", "{}", directory.display());
    }
    // The pod's figures are those of the sandbox's cgroup, the container's those that gVisor tells.
    let total = |id: &str, family: &str| {
        let found = samples(&agent, family, &cgroup(id));
        let values = found.iter().map(|(_, value)| *value);
        (!found.is_empty()).then(|| values.sum::<f64>())
    };
    for (id, family) in [
        (&pod.id, CPU),
        (&pod.id, MEMORY),
        (&web, CPU),
        (&web, MEMORY),
    ] {
        let figure = wait_until(RUNTIME_SOON, "there are figures", || total(id, family));
        assert!(figure > 0.0, "{family} of {id}: {figure}");
    }
    let container = wait_until(RUNTIME_SOON, "a sample", || {
        let container = agent.container(&cgroup(&web), 1)?;
        container["stats"].get(0).is_some().then_some(container)
    });
    let sample = &container["stats"][0];
    assert!(
        sample["cpu"]["usage"]["total"].as_u64() > Some(0),
        "{sample}"
    );
    let memory = &sample["memory"];
    assert!(memory["usage"].as_u64() > Some(0), "{sample}");
    assert!(
        memory["usage"].as_u64() >= memory["working_set"].as_u64(),
        "{sample}"
    );
    // What gVisor does not tell is not nothing.
    for key in ["rss", "cache"] {
        assert_ne!(memory[key].as_u64(), Some(0), "{key}: {sample}");
    }
    assert_ne!(
        memory["hierarchical_data"]["pgfault"].as_u64(),
        Some(0),
        "{sample}"
    );
}
