//! What the program makes of what containerd and CRI say: in the API and in `/metrics`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::containerd_host::{Containerd, IMAGE, K8S, needs_containerd};
use super::cri::driver::Driver;
use super::follow::SLEEP;
use crate::support::{Agent, SOON, shared, wait_for, wait_until};

/// The series of the containers in a cgroup, without their values.
fn series(agent: &Agent, cgroup: &str) -> Vec<String> {
    let page = agent.http().get("/metrics").unwrap().text();
    let below = format!("id=\"{cgroup}/");
    let ours = page.lines().filter(|line| line.contains(&below));
    let mut series: Vec<_> = ours
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect();
    series.sort();
    series
}

fn up(agent: &Agent, runtime: &str) -> Option<String> {
    let page = agent.http().get("/metrics").unwrap().text();
    let mut lines = page.lines();
    let line = lines.find(|line| {
        line.starts_with("cgauge_runtime_up{") && line.contains(&format!("runtime=\"{runtime}\""))
    })?;
    Some(line.rsplit_once(' ')?.1.to_owned())
}

fn has(line: &str, labels: &[(&str, &str)]) -> bool {
    let mut labels = labels.iter();
    labels.all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
}

#[test]
fn pods_and_containers_bear_their_names() {
    needs_containerd!();
    let _machine = shared();
    let containerd = Containerd::start("program", &["default", K8S]);
    let driver = Driver::connect(&containerd);
    let pod = driver.run_pod("shop", containerd.cgroup());
    let web = driver.run_container(&pod, "web", 1, SLEEP, 0);
    containerd.run_container("default", "plain", &["--label", "tier=db"], SLEEP);
    let agent = containerd.agent().start();
    let cpu = "container_cpu_usage_seconds_total{";

    let cgroup = format!("{}/{web}", containerd.cgroup());
    let wanted = [
        ("container", "web"),
        ("pod", "shop"),
        ("namespace", "prod"),
        ("image", IMAGE),
        ("id", cgroup.as_str()),
    ];
    let found = wait_for(SOON, || {
        let series = series(&agent, containerd.cgroup());
        let mut cpu = series.into_iter().filter(|line| line.starts_with(cpu));
        cpu.find(|line| has(line, &wanted))
    });
    assert!(
        found.is_some(),
        "{:#?}",
        series(&agent, containerd.cgroup())
    );
    let info = agent.wait_container(&cgroup);
    let aliases: Vec<_> = info["aliases"].as_array().into_iter().flatten().collect();
    assert!(aliases.iter().any(|alias| *alias == web.as_str()), "{info}");
    assert_eq!(info["spec"]["image"], IMAGE);
    assert_eq!(info["spec"]["labels"]["app"], "shop");

    // Its path bears no id: containerd itself says whose it is.
    let plain = format!("{}/plain", containerd.cgroup());
    let info = wait_until(SOON, "the plain container has its image", || {
        let info = agent.container(&plain, 1)?;
        (info["spec"]["image"] == IMAGE).then_some(info)
    });
    assert_eq!(info["spec"]["labels"]["tier"], "db");
    assert_eq!(up(&agent, "cri").as_deref(), Some("1"));
    assert_eq!(up(&agent, "containerd").as_deref(), Some("1"));
}

#[test]
fn no_series_is_lost_or_doubled_by_a_restart() {
    needs_containerd!();
    let _machine = shared();
    let mut containerd = Containerd::start("program-restart", &["default", K8S]);
    let driver = Driver::connect(&containerd);
    let pod = driver.run_pod("shop", containerd.cgroup());
    let web = driver.run_container(&pod, "web", 0, SLEEP, 0);
    containerd.run_container("default", "plain", &[], SLEEP);
    drop(driver);
    let agent = containerd.agent().start();
    let named = |series: &[String]| {
        let of = |name: &str, label: (&str, &str)| {
            let id = format!("{}/{name}", containerd.cgroup());
            let mut series = series.iter();
            series.any(|line| has(line, &[("id", &id), label]))
        };
        of(&web, ("container", "web"))
            && of("plain", ("image", IMAGE))
            && of(&pod.id, ("pod", "shop"))
    };
    wait_until(SOON, "the links have told all", || {
        let is_up = |runtime| up(&agent, runtime).as_deref() == Some("1");
        (is_up("cri") && is_up("containerd")).then_some(())
    });
    // Directories are made one hierarchy after another: the series are all there when they stay the same.
    let mut last: Option<(Instant, Vec<String>)> = None;
    let before = wait_until(SOON, "all have their names", || {
        let now = series(&agent, containerd.cgroup());
        match &last {
            Some((since, same)) if *same == now => {
                (named(&now) && since.elapsed() > Duration::from_secs(2)).then_some(now)
            }
            _ => {
                last = Some((Instant::now(), now));
                None
            }
        }
    });
    let distinct: BTreeSet<_> = before.iter().collect();
    assert_eq!(distinct.len(), before.len(), "each series once");

    let cgroup = containerd.cgroup().to_owned();
    containerd.stop();
    wait_until(SOON, "the links are down", || {
        let down = |runtime| up(&agent, runtime).as_deref() == Some("0");
        (down("cri") && down("containerd")).then_some(())
    });
    assert_eq!(series(&agent, &cgroup), before, "while it is stopped");
    containerd.run();
    containerd.run_container("default", "late", &[], SLEEP);
    wait_until(SOON, "the links are up", || {
        let is_up = |runtime| up(&agent, runtime).as_deref() == Some("1");
        (is_up("cri") && is_up("containerd")).then_some(())
    });
    let late = format!("id=\"{cgroup}/late\"");
    wait_until(
        SOON,
        "the new one is named, and the others are as before",
        || {
            let all = series(&agent, &cgroup);
            let (new, old): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|line| line.contains(&late));
            let image = new.iter().any(|line| has(line, &[("image", IMAGE)]));
            (image && old == before).then_some(())
        },
    );
}
