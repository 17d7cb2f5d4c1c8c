//! From a directory in a cgroup hierarchy to an answer over HTTP: what is shown is what the kernel says.

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{
    Agent, Helper, Layout, SOON, TestCgroup, needs_cgroups, shared, skip, wait_until,
};

/// A sample that was read wholly after this call, and the kernel's own word from before and after it.
///
/// The first sample stamped after the first look may have been read before it, so the second is taken.
fn sample_between<T>(agent: &Agent, name: &str, mut kernel: impl FnMut() -> T) -> (T, Value, T) {
    let before = kernel();
    let now = Timestamp::now();
    let sample = wait_until(SOON, &format!("two new samples of {name}"), || {
        let container = agent.container(name, -1)?;
        let samples = container["stats"].as_array()?;
        samples
            .iter()
            .filter(|s| {
                s["timestamp"]
                    .as_str()
                    .unwrap()
                    .parse::<Timestamp>()
                    .unwrap()
                    > now
            })
            .nth(1)
            .cloned()
    });
    (before, sample, kernel())
}

#[test]
fn root_is_shown_with_its_real_children() {
    needs_cgroups!();
    let _machine = shared();
    let cgroup = TestCgroup::new("tree");
    let agent = Agent::start();
    let root = agent.wait_container("/");
    assert_eq!(root["name"], "/");
    let children: Vec<_> = root["subcontainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert!(children.contains(&cgroup.name()), "{children:?}");
    assert!(
        children.iter().all(|c| c.matches('/').count() == 1),
        "direct children only: {children:?}"
    );
    assert!(children.is_sorted(), "{children:?}");
    // Each cgroup below the root that stays is a container, whoever made it.
    for entry in std::fs::read_dir(cgroup.path().parent().unwrap())
        .unwrap()
        .flatten()
    {
        let name = format!("/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() && !name.starts_with("/cgauge-test-") {
            wait_until(SOON, &format!("{name} is shown, or gone"), || {
                (agent.container(&name, 0).is_some() || !entry.path().exists()).then_some(())
            });
        }
    }
}

#[test]
fn cpu_counter_is_the_kernels() {
    needs_cgroups!();
    if Layout::get().with("cpuacct").is_none() {
        skip!("no cpuacct hierarchy");
    }
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("cpu");
    cgroup.add(Helper::spinner()).go();
    agent.wait_container(cgroup.name());
    let (before, sample, after) = sample_between(&agent, cgroup.name(), || cgroup.cpu_usage_ns());
    let total = sample["cpu"]["usage"]["total"].as_u64().unwrap();
    assert!(before < after, "the spinner spins: {before} {after}");
    assert!(
        (before..=after).contains(&total),
        "{before} <= {total} <= {after}"
    );
}

#[test]
fn memory_and_pids_are_the_kernels() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("memory");
    cgroup.limit_memory(64 << 20);
    cgroup.add(Helper::sleeper()).go();
    agent.wait_container(cgroup.name());
    let usage = || {
        let text = cgroup.read("memory", "memory.usage_in_bytes", "memory.current");
        text.parse::<u64>().unwrap()
    };
    wait_until(
        SOON,
        "a sample while usage stands still, which says the same",
        || {
            let (before, sample, after) = sample_between(&agent, cgroup.name(), usage);
            let shown = sample["memory"]["usage"].as_u64().unwrap();
            let (low, high) = (before.min(after), before.max(after));
            assert!(
                before != after || shown == before,
                "{low} <= {shown} <= {high}"
            );
            (before == after && before > 0).then_some(())
        },
    );
}

#[test]
fn spec_is_what_the_kernel_files_say() {
    needs_cgroups!();
    for controller in ["cpu", "memory", "pids", "cpuset"] {
        if Layout::get().with(controller).is_none() {
            skip!("no {controller} controller");
        }
    }
    let _machine = shared();
    let agent = Agent::start();
    let cgroup = TestCgroup::new("spec");
    cgroup.write("cpu", ("cpu.shares", "512"), ("cpu.weight", "50"));
    cgroup.write(
        "cpu",
        ("cpu.cfs_period_us", "50000"),
        ("cpu.max", "20000 50000"),
    );
    if !Layout::get().is_pure_v2() {
        cgroup.write("cpu", ("cpu.cfs_quota_us", "20000"), ("", ""));
    }
    cgroup.limit_memory(48 << 20);
    cgroup.write("pids", ("pids.max", "77"), ("pids.max", "77"));
    cgroup.write("cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"));
    let expected_shares = if Layout::get().is_pure_v2() {
        2 + (50 - 1) * 262_142 / 9999
    } else {
        512
    };

    // Writes are noticed within milliseconds, one by one.
    let spec = wait_until(SOON, "the spec has all that was written", || {
        let spec = agent.container(cgroup.name(), 0)?["spec"].clone();
        (spec["cpu"]["limit"] == expected_shares
            && spec["cpu"]["quota"] == 20_000
            && spec["cpu"]["period"] == 50_000
            && spec["cpu"]["mask"] == "0"
            && spec["memory"]["limit"] == 48 << 20
            && spec["processes"]["limit"] == 77)
            .then_some(spec)
    });
    assert_eq!(spec["has_cpu"], true);
    assert_eq!(spec["has_memory"], true);
    assert_eq!(spec["has_processes"], true);
    let created: Timestamp = spec["creation_time"].as_str().unwrap().parse().unwrap();
    let age = Timestamp::now().duration_since(created);
    assert!(
        age.as_secs() >= -1 && age.as_secs() < 600,
        "made {age} ago: {spec}"
    );

    cgroup.limit_memory(40 << 20);
    wait_until(SOON, "a changed limit is seen", || {
        let changed = agent.container(cgroup.name(), 0)?;
        (changed["spec"]["memory"]["limit"] == 40 << 20).then_some(())
    });
}

#[test]
fn containers_come_and_go_with_their_cgroups() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("come-and-go");
    agent.wait_container(cgroup.name());
    let inner = cgroup.child("a").child("b").name().to_owned();
    agent.wait_container(&inner);
    let events = agent.events_below(cgroup.name());
    assert_eq!(
        events
            .iter()
            .filter(|e| e.name == inner && e.is_creation())
            .count(),
        1,
        "{events:?}"
    );
    cgroup.remove().unwrap();
    agent.wait_gone(cgroup.name());
    agent.wait_gone(&inner);
    assert_eq!(agent.names_below(cgroup.name()), [""; 0]);
    let deleted: Vec<_> = wait_until(SOON, "three deletions", || {
        let events = agent.events_below(cgroup.name());
        let deleted: Vec<_> = events.into_iter().filter(|e| e.is_deletion()).collect();
        (deleted.len() >= 3).then_some(deleted)
    });
    assert_eq!(
        deleted.len(),
        3,
        "one for each container, however many hierarchies: {deleted:?}"
    );
    assert_eq!(
        deleted[0].data["container_deletion"]["exit_code"], -1,
        "a raw cgroup has no exit code"
    );
}

#[test]
fn containers_that_were_there_before_the_start_are_shown() {
    needs_cgroups!();
    let _machine = shared();
    let mut cgroup = TestCgroup::new("before");
    let inner = cgroup.child("inner").name().to_owned();
    let agent = Agent::start();
    agent.wait_container(&inner);
    let events = agent.events_below(cgroup.name());
    let created: Vec<_> = events
        .iter()
        .filter(|e| e.is_creation())
        .map(|e| e.name.as_str())
        .collect();
    assert_eq!(created.len(), 2, "{events:?}");
    assert!(created.contains(&cgroup.name()) && created.contains(&inner.as_str()));
}

#[test]
fn subcontainers_end_at_the_separator() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("prefix");
    let wanted = [
        cgroup.child("foo").name().to_owned(),
        cgroup.children_of("foo", "x"),
    ];
    let other = cgroup.child("foobar").name().to_owned();
    for name in wanted.iter().chain([&other]) {
        agent.wait_container(name);
    }
    let mut names = agent.names_below(&wanted[0]);
    names.sort();
    assert_eq!(names, wanted);
}

#[test]
fn a_container_of_one_hierarchy_is_a_container() {
    needs_cgroups!();
    if Layout::get().is_pure_v2() {
        crate::support::not_here!("there is only one hierarchy");
    }
    let _machine = shared();
    let agent = Agent::start();
    for controller in ["memory", "cpu", "pids"] {
        if Layout::get().with(controller).is_some() {
            let cgroup = TestCgroup::in_controllers(controller, &[controller]);
            let container = agent.wait_container(cgroup.name());
            assert_eq!(
                container["spec"]["has_memory"],
                controller == "memory",
                "{container}"
            );
        }
    }
}

#[test]
fn samples_are_in_order_and_counted() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let cgroup = TestCgroup::new("samples");
    let all = wait_until(SOON, "six samples", || {
        let container = agent.container(cgroup.name(), -1)?;
        let stats = container["stats"].as_array()?.clone();
        (stats.len() >= 6).then_some(stats)
    });
    let times: Vec<Timestamp> = all
        .iter()
        .map(|s| s["timestamp"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    let two = agent.container(cgroup.name(), 2).unwrap();
    assert_eq!(two["stats"].as_array().unwrap().len(), 2);
    let none = agent.container(cgroup.name(), 0).unwrap();
    assert!(none["stats"].as_array().is_none_or(Vec::is_empty), "{none}");
}

#[test]
fn unknown_names_are_an_error_that_names_them() {
    let _machine = shared();
    let agent = Agent::start();
    let response = agent
        .http()
        .get("/api/v1.3/containers/no/such/thing")
        .unwrap();
    assert_eq!(response.status, 500);
    assert!(
        response
            .text()
            .contains("unknown container \"/no/such/thing\""),
        "{}",
        response.text()
    );
}

#[test]
fn machine_and_health_are_answered() {
    let _machine = shared();
    let agent = Agent::start();
    let health = agent.http().get("/healthz").unwrap();
    assert_eq!((health.status, health.text().as_str()), (200, "ok"));
    let machine = agent.json("/api/v1.3/machine");
    let cores = std::fs::read_to_string("/proc/cpuinfo")
        .unwrap()
        .matches("processor\t:")
        .count();
    assert_eq!(machine["num_cores"], cores, "{machine}");
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .unwrap();
    let total: u64 = total.trim().trim_end_matches(" kB").parse().unwrap();
    assert_eq!(machine["memory_capacity"], total * 1024);
}

#[test]
fn metrics_have_the_container_with_the_kernels_values() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let cgroup = TestCgroup::new("metrics");
    cgroup.limit_memory(32 << 20);
    agent.wait_container(cgroup.name());
    let line = wait_until(SOON, "the limit is in /metrics", || {
        let response = agent.http().get("/metrics").unwrap();
        assert_eq!(response.status, 200);
        let id = format!("id=\"{}\"", cgroup.name());
        let text = response.text();
        text.lines()
            .find(|l| l.starts_with("container_spec_memory_limit_bytes{") && l.contains(&id))
            .map(str::to_owned)
    });
    // The value, before a time stamp if there is one.
    let value = line
        .rsplit_once("} ")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(value.parse::<f64>().unwrap(), f64::from(32 << 20), "{line}");
}
