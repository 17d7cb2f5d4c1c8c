//! Real OOM kills. `oom` names the cgroup whose limit was hit, `oomKill` the cgroup of the victim, with
//! its pid and name; each once, whichever way the agent heard of it.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::support::{
    Agent, Event, Helper, Layout, SOON, TestCgroup, alone, in_guest, needs_cgroups, not_here,
    shared, skip, wait_until,
};

/// Far above a shell, far below the machine.
const LIMIT_BYTES: u64 = 24 << 20;

/// Ends the test if kills cannot be made, or cannot be read from the kernel's log.
macro_rules! needs_oom {
    (kmsg) => {
        needs_oom!();
        if let Err(error) = std::fs::File::open("/dev/kmsg") {
            skip!("/dev/kmsg: {error}");
        }
        if in_nested_pid_namespace() {
            skip!("the kernel's log has pids of another pid namespace");
        }
    };
    () => {
        needs_cgroups!();
        if Layout::get().with("memory").is_none() {
            skip!("no memory controller");
        }
    };
}

fn in_nested_pid_namespace() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let pids = status
        .lines()
        .find_map(|l| l.strip_prefix("NSpid:"))
        .unwrap_or("");
    pids.split_whitespace().count() > 1
}

/// A cgroup with the limit.
fn limited(label: &str) -> TestCgroup {
    let cgroup = TestCgroup::new(label);
    cgroup.limit_memory(LIMIT_BYTES);
    cgroup
}

/// Kills the only process of the cgroup; its pid.
fn kill_only_process(cgroup: &mut TestCgroup) -> u32 {
    let helper = cgroup.add(Helper::eater());
    let pid = helper.pid();
    helper.go();
    helper.wait(SOON);
    pid
}

fn of_kind(events: &[Event], kind: &str) -> Vec<Event> {
    events.iter().filter(|e| e.kind == kind).cloned().collect()
}

/// Waits for the first kill that is told of below `name`.
#[track_caller]
fn wait_kill(agent: &Agent, name: &str) -> Event {
    wait_until(SOON, &format!("an oomKill below {name}"), || {
        of_kind(&agent.events_below(name), "oomKill")
            .into_iter()
            .next()
    })
}

/// Lets the agent hear of another kill, later than all before, and look at every container again: what
/// it would tell twice it has told by then.
fn settle(agent: &Agent) {
    let mut other = limited("oom-later");
    agent.wait_container(other.name());
    kill_only_process(&mut other);
    wait_kill(agent, other.name());
    let samples = |agent: &Agent| {
        let container = agent.container(other.name(), 1)?;
        Some(container["stats"][0]["timestamp"].as_str()?.to_owned())
    };
    for _ in 0..3 {
        let last = samples(agent);
        wait_until(SOON, "another poll", || {
            samples(agent).filter(|now| Some(now) != last.as_ref())
        });
    }
}

/// Exactly this kill is told of below `name`: hit limit, victim's container, victim.
#[track_caller]
fn assert_told_once(agent: &Agent, below: &str, limit: &str, victim: &str, pid: u32) {
    let events = agent.events_below(below);
    let (ooms, kills) = (of_kind(&events, "oom"), of_kind(&events, "oomKill"));
    assert_eq!(ooms.len(), 1, "oom: {events:#?}");
    assert_eq!(kills.len(), 1, "oomKill: {events:#?}");
    assert_eq!(ooms[0].name, limit, "whose limit was hit");
    assert_eq!(kills[0].name, victim, "where the victim was");
    let data = &kills[0].data["oom"];
    assert_eq!(data["pid"], pid, "{data}");
    assert_eq!(data["process_name"], "sh", "{data}");
    assert_eq!(data["constraint"], "CONSTRAINT_MEMCG", "{data}");
}

#[test]
fn only_process_killed() {
    needs_oom!(kmsg);
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = limited("oom-only");
    agent.wait_container(cgroup.name());
    let pid = kill_only_process(&mut cgroup);
    wait_kill(&agent, cgroup.name());
    settle(&agent);
    assert_told_once(&agent, cgroup.name(), cgroup.name(), cgroup.name(), pid);

    let metric = wait_until(SOON, "the kill is in /metrics", || {
        let text = agent.http().get("/metrics").unwrap().text();
        let id = format!("id=\"{}\"", cgroup.name());
        let line = text
            .lines()
            .find(|l| l.starts_with("container_oom_events_total{") && l.contains(&id))?;
        Some(line.rsplit_once("} ")?.1.split(' ').next()?.to_owned())
    });
    assert_eq!(metric.parse::<f64>().unwrap(), 1.0);

    let name = cgroup.name().to_owned();
    drop(cgroup);
    agent.wait_gone(&name);
    assert_told_once(&agent, &name, &name, &name, pid);
}

#[test]
fn child_killed_parent_survives() {
    needs_oom!(kmsg);
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = limited("oom-child");
    agent.wait_container(cgroup.name());
    let helper = cgroup.add(Helper::parent_of_eater());
    let child: u32 = helper.go_and_read().parse().unwrap();
    wait_kill(&agent, cgroup.name());
    settle(&agent);
    assert_told_once(&agent, cgroup.name(), cgroup.name(), cgroup.name(), child);
}

#[test]
fn limit_of_the_parent_victim_in_the_child() {
    needs_oom!(kmsg);
    let _machine = shared();
    let agent = Agent::start();
    let mut parent = limited("oom-parent");
    let child = parent.child("victim");
    let name = child.name().to_owned();
    agent.wait_container(&name);
    let pid = kill_only_process(child);
    wait_kill(&agent, parent.name());
    settle(&agent);
    assert_told_once(&agent, parent.name(), parent.name(), &name, pid);
}

#[test]
fn kills_before_the_start_are_not_told_as_new() {
    needs_oom!(kmsg);
    let _machine = shared();
    let mut cgroup = limited("oom-before");
    let before = kill_only_process(&mut cgroup);
    let agent = Agent::start();
    agent.wait_container(cgroup.name());
    let after = kill_only_process(&mut cgroup);
    assert_ne!(before, after);
    wait_kill(&agent, cgroup.name());
    settle(&agent);
    assert_told_once(&agent, cgroup.name(), cgroup.name(), cgroup.name(), after);
}

#[test]
fn every_kill_of_many_is_told() {
    needs_oom!(kmsg);
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = limited("oom-many");
    agent.wait_container(cgroup.name());
    let mut pids: Vec<u32> = (0..5).map(|_| kill_only_process(&mut cgroup)).collect();
    settle(&agent);
    let kills = of_kind(&agent.events_below(cgroup.name()), "oomKill");
    let mut told: Vec<u32> = kills
        .iter()
        .map(|k| u32::try_from(k.data["oom"]["pid"].as_u64().unwrap()).unwrap())
        .collect();
    pids.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, pids);
}

/// Of more than 10 kills in 5 s the kernel logs the rest in one line that names no cgroup.
#[test]
fn kills_beyond_the_kernels_full_reports_are_counted() {
    const KILLS: usize = 15;
    needs_oom!(kmsg);
    let _machine = alone();
    let agent = Agent::start();
    let mut cgroup = limited("oom-flood");
    agent.wait_container(cgroup.name());
    let mut pids = BTreeSet::new();
    for _ in 0..KILLS {
        let helper = cgroup.add(Helper::eater());
        pids.insert(u64::from(helper.pid()));
        helper.go_at_once();
        helper.wait(SOON);
        Helper::note_kill();
    }
    settle(&agent);
    let kills = of_kind(&agent.events_below(cgroup.name()), "oomKill");
    assert_eq!(kills.len(), KILLS, "{kills:#?}");
    let told: Vec<u64> = kills
        .iter()
        .filter_map(|k| k.data["oom"]["pid"].as_u64())
        .collect();
    let distinct: BTreeSet<u64> = told.iter().copied().collect();
    assert_eq!(distinct.len(), told.len(), "no victim twice: {told:?}");
    assert!(distinct.is_subset(&pids), "no others: {told:?} of {pids:?}");
}

#[test]
fn a_kill_is_streamed_at_once() {
    needs_oom!(kmsg);
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = limited("oom-stream");
    agent.wait_container(cgroup.name());
    let mut stream = agent.stream_below(cgroup.name());
    let pid = kill_only_process(&mut cgroup);
    let dead = Instant::now();
    let events = stream.collect_until(SOON, |events| events.iter().any(|e| e.kind == "oomKill"));
    println!("told {:?} after the victim was reaped", dead.elapsed());
    let kills = of_kind(&events, "oomKill");
    assert_eq!(kills.len(), 1, "{events:?}");
    assert_eq!(kills[0].data["oom"]["pid"], pid);
}

/// Kills a process in `cgroup` for want of the node's memory: it asks to be the first to go.
fn kill_for_the_node(cgroup: &mut TestCgroup) -> u32 {
    let helper = cgroup.add(Helper::eater_chosen_first());
    let pid = helper.pid();
    helper.go();
    helper.wait(4 * SOON);
    pid
}

/// One kill is told of in `victim`: of this process, for `constraint`, and not for a limit of a container.
#[track_caller]
fn assert_told_of_the_node(agent: &Agent, victim: &str, pid: u32, constraint: &str) {
    let kill = wait_kill(agent, victim);
    settle(agent);
    assert_eq!(kill.data["oom"]["constraint"], constraint, "{kill:?}");
    assert_eq!(kill.data["oom"]["pid"], pid, "{kill:?}");
    assert!(kill.data["oom"].get("oom_memcg").is_none(), "{kill:?}");
    let kills = of_kind(&agent.events_below(victim), "oomKill");
    assert_eq!(kills.len(), 1, "{kills:#?}");
    let all = agent.events_below("/");
    let same = |event: &&Event| event.timestamp == kill.timestamp && event.kind == "oom";
    let limits: Vec<_> = all.iter().filter(same).map(|event| &event.name).collect();
    assert_eq!(limits, ["/"], "no container's limit was hit");
    let lives = crate::ledger::lives(agent, victim);
    let [life] = lives.as_slice() else {
        panic!("{lives:#?}")
    };
    assert_eq!(life["oom_kills"], 1);
    let told = &life["kills"][0];
    assert_eq!(
        (&told["source"], &told["limit_of"]),
        (&"both".into(), &"/".into())
    );
}

#[test]
fn the_node_runs_out_of_memory() {
    needs_oom!(kmsg);
    if !in_guest() {
        not_here!("all of the machine's memory is taken");
    }
    let _machine = alone();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("oom-node");
    agent.wait_container(cgroup.name());
    let pid = kill_for_the_node(&mut cgroup);
    assert_told_of_the_node(&agent, cgroup.name(), pid, "CONSTRAINT_NONE");
    drop(agent);

    // The counters say that it was there, and nothing more.
    let agent = Agent::builder().arg("--kmsg=").start();
    let mut cgroup = TestCgroup::new("oom-node-mute");
    agent.wait_container(cgroup.name());
    kill_for_the_node(&mut cgroup);
    let kill = wait_kill(&agent, cgroup.name());
    settle(&agent);
    assert!(kill.data["oom"].get("constraint").is_none(), "{kill:?}");
    let kills = of_kind(&agent.events_below(cgroup.name()), "oomKill");
    assert_eq!(kills.len(), 1, "{kills:#?}");
}

/// Takes two NUMA nodes. A guest that `.ci/run` starts has one: what two of them print is in the fixtures
/// (`v2_constraints_odd_names.txt`), with a memory policy, which a shell cannot set.
#[test]
fn the_nodes_of_a_cpuset_run_out_of_memory() {
    needs_oom!(kmsg);
    if !in_guest() {
        not_here!("all memory of a NUMA node is taken");
    }
    if !std::path::Path::new("/sys/devices/system/node/node1").exists() {
        not_here!("one NUMA node");
    }
    let _machine = alone();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("oom-cpuset");
    cgroup.write("cpuset", ("cpuset.mems", "1"), ("cpuset.mems", "1"));
    agent.wait_container(cgroup.name());
    let pid = kill_for_the_node(&mut cgroup);
    assert_told_of_the_node(&agent, cgroup.name(), pid, "CONSTRAINT_CPUSET");
}

#[test]
fn kills_are_told_without_the_kernels_log() {
    needs_oom!();
    let _machine = shared();
    let agent = Agent::builder().arg("--kmsg=").start();
    let mut parent = limited("oom-no-kmsg");
    let child = parent.child("victim");
    let name = child.name().to_owned();
    agent.wait_container(&name);
    kill_only_process(child);
    let kill = wait_kill(&agent, parent.name());
    settle(&agent);
    assert_eq!(kill.name, name, "where the victim was");
    assert!(
        kill.data["oom"].get("pid").is_none(),
        "nobody knows the pid: {kill:?}"
    );
    let kills = of_kind(&agent.events_below(parent.name()), "oomKill");
    assert_eq!(kills.len(), 1, "{kills:#?}");
}
