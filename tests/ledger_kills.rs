//! OOM kills in the ledger: each once, where it was, whatever is lost.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ledger::lives;
use crate::support::agent::run_to_end;
use crate::support::{
    Agent, Helper, Layout, SOON, TestCgroup, alone, needs_cgroups, not_here, skip, wait_for,
    wait_until,
};

/// Far above a shell, far below the machine.
const LIMIT_BYTES: u64 = 24 << 20;

/// The kills that the ledger tells at and below `name`: container, whose limit, pid, source.
fn kills(agent: &Agent, name: &str) -> Vec<(String, String, Option<u64>, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut found = Vec::new();
    for life in lives(agent, name) {
        let kills = life["kills"].as_array().cloned().unwrap_or_default();
        assert_eq!(life["oom_kills"].as_u64(), Some(kills.len() as u64));
        for kill in kills {
            assert_eq!(kill["container"], life["container"]);
            found.push((
                text(&kill["container"]),
                text(&kill["limit_of"]),
                kill["victim"]["pid"].as_u64(),
                text(&kill["source"]),
            ));
        }
    }
    found.sort();
    found
}

/// What was done, as it must be in the ledger: container, whose limit was hit, pid.
#[derive(Debug, Default)]
struct Done(Vec<(String, String, u64)>);

impl Done {
    /// Kills the only process of a container; with `then_remove` the container is removed as soon as the
    /// process is reaped.
    fn kill(&mut self, cgroup: &mut TestCgroup, limit_of: &str, then_remove: bool) {
        let name = cgroup.name().to_owned();
        let helper = cgroup.add(Helper::eater());
        let pid = u64::from(helper.pid());
        helper.go();
        helper.wait(SOON);
        self.0.push((name, limit_of.to_owned(), pid));
        if then_remove {
            cgroup.rmdir_now();
        }
    }
}

/// Ten kills over five containers: three times in a container at its own limit, three in children at
/// their parent's, and four whose containers are removed at once, two of them made again for it.
fn ten_kills(done: &mut Done, parent: &mut TestCgroup, plain: &mut TestCgroup) -> Vec<String> {
    let parent_name = parent.name().to_owned();
    for _ in 0..3 {
        let name = plain.name().to_owned();
        done.kill(plain, &name, false);
    }
    for child in ["a", "b", "c"] {
        parent.child(child);
    }
    let mut names = vec![plain.name().to_owned(), parent_name.clone()];
    for child in parent.children_mut() {
        names.push(child.name().to_owned());
        done.kill(child, &parent_name, false);
    }
    for child in parent.children_mut().iter_mut().take(2) {
        done.kill(child, &parent_name, true);
        child.make_again();
        done.kill(child, &parent_name, true);
    }
    names
}

/// Waits until the ledger tells of `number` kills below each of `names`, and then some, in case it tells of
/// more.
fn wait_kills(
    agent: &Agent,
    names: &[String],
    number: usize,
) -> Vec<(String, String, Option<u64>, String)> {
    let all = || {
        let mut all: Vec<_> = names.iter().flat_map(|name| kills(agent, name)).collect();
        all.sort();
        all.dedup_by(|a, b| a == b && a.2.is_some());
        all
    };
    let came = wait_for(SOON, || (all().len() >= number).then(Instant::now));
    // Who asks compares, and says what is missing.
    let came = came.unwrap_or_else(Instant::now);
    wait_until(SOON, "a further moment", || {
        (came.elapsed() > Duration::from_secs(2)).then_some(())
    });
    all()
}

fn expected(done: &Done) -> Vec<(String, String, Option<u64>)> {
    let mut wanted: Vec<_> = done
        .0
        .clone()
        .into_iter()
        .map(|(a, b, c)| (a, b, Some(c)))
        .collect();
    wanted.sort();
    wanted
}

fn without_source(
    kills: Vec<(String, String, Option<u64>, String)>,
) -> Vec<(String, String, Option<u64>)> {
    kills.into_iter().map(|(a, b, c, _)| (a, b, c)).collect()
}

/// A container for others to be in, and one for itself, each with little memory.
fn parent_and_plain(of: &str) -> (TestCgroup, TestCgroup) {
    let made = ["parent", "plain"].map(|what| {
        let cgroup = TestCgroup::new(&format!("{of}-{what}"));
        cgroup.limit_memory(LIMIT_BYTES);
        cgroup
    });
    made.into()
}

fn needs_kills() -> Result<(), String> {
    if Layout::get().with("memory").is_none() {
        return Err("no memory controller".into());
    }
    fs::File::open("/dev/kmsg").map_err(|e| format!("/dev/kmsg: {e}"))?;
    Ok(())
}

#[test]
fn ten_kills_are_told_once_each_and_outlive_containers_and_cgauge() {
    needs_cgroups!();
    if let Err(reason) = needs_kills() {
        skip!("{reason}");
    }
    let _machine = alone();
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state-dir={}", state.path().display());
    let start = || Agent::builder().arg(&flag).start();
    let mut agent = start();
    let (mut parent, mut plain) = parent_and_plain("ten");
    agent.wait_container(parent.name());
    agent.wait_container(plain.name());
    let mut done = Done::default();
    let names = ten_kills(&mut done, &mut parent, &mut plain);
    let top = [names[0].clone(), names[1].clone()];
    let told = wait_kills(&agent, &top, done.0.len());
    println!("{told:#?}");
    assert_eq!(without_source(told), expected(&done));

    // Killed at once after it has told: what it told is still there.
    agent.kill();
    let agent = start();
    agent.wait_container(plain.name());
    let told = wait_kills(&agent, &top, done.0.len());
    assert_eq!(without_source(told), expected(&done), "after kill -9");
    drop(agent);

    // One more while nobody looks.
    let name = plain.name().to_owned();
    let mut unseen = Done::default();
    unseen.kill(&mut plain, &name, false);
    drop(parent);
    let agent = start();
    agent.wait_container(plain.name());
    let told = wait_kills(&agent, &top, done.0.len() + 1);
    let mut wanted = expected(&done);
    wanted.push((name.clone(), String::new(), None));
    wanted.sort();
    assert_eq!(without_source(told), wanted, "after an orderly restart");
    let of_plain = lives(&agent, &name);
    assert_eq!(of_plain.len(), 1, "one life over three runs: {of_plain:#?}");
    let down: Vec<&Value> = of_plain[0]["kills"].as_array().unwrap().iter().collect();
    assert_eq!(
        down.iter()
            .filter(|kill| kill["while_down"] == true)
            .count(),
        1
    );
    let (code, out, err) = run_to_end(&[
        "why",
        &name,
        &format!("--server={}", agent.http().address().to_flag()),
    ]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("OOM kills  4") && out.contains("while cgauge was not running"),
        "{out}"
    );
    println!("{out}");
}

/// `kill -9` comes in the middle, before all is told, and one more is killed while nobody looks: no kill is
/// lost, and none told twice, neither in the ledger nor by events.
#[test]
fn ten_kills_with_a_crash_in_between_are_told_once_each() {
    needs_cgroups!();
    if let Err(reason) = needs_kills() {
        skip!("{reason}");
    }
    let _machine = alone();
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state-dir={}", state.path().display());
    let start = || Agent::builder().arg(&flag).start();
    let mut agent = start();
    let (mut parent, mut plain) = parent_and_plain("mid");
    for child in ["a", "b", "c"] {
        parent.child(child);
    }
    let (name, parent_name) = (plain.name().to_owned(), parent.name().to_owned());
    agent.wait_container(&name);
    for child in parent.children_mut() {
        agent.wait_container(child.name());
    }
    let mut done = Done::default();
    for child in parent.children_mut() {
        done.kill(child, &parent_name, false);
    }
    done.kill(&mut plain, &name, false);
    done.kill(&mut plain, &name, false);
    agent.kill();
    done.kill(&mut plain, &name, false);
    let agent = start();
    agent.wait_container(&name);
    for child in parent.children_mut().iter_mut().take(2) {
        done.kill(child, &parent_name, true);
        child.make_again();
        done.kill(child, &parent_name, true);
    }
    let top = [name.clone(), parent_name.clone()];
    let told = wait_kills(&agent, &top, done.0.len());
    let mut wanted: Vec<_> = expected(&done).into_iter().map(|kill| kill.0).collect();
    wanted.sort();
    assert_eq!(named(&told), wanted, "{told:#?}");
    for (of, limit_of, pid, _) in told.iter().filter(|kill| kill.2.is_some()) {
        let pid = pid.unwrap();
        assert!(
            done.0.contains(&(of.clone(), limit_of.clone(), pid)),
            "{pid} in {of}"
        );
    }
    let mut events: Vec<String> = top
        .iter()
        .flat_map(|top| agent.events_below(top))
        .filter(|event| event.kind == "oomKill")
        .map(|event| event.name)
        .collect();
    events.sort();
    assert_eq!(events, wanted, "by events");
}

#[test]
fn kills_are_counted_where_they_were_without_the_kernels_log() {
    needs_cgroups!();
    if let Err(reason) = needs_kills() {
        skip!("{reason}");
    }
    let _machine = alone();
    let agent = Agent::builder()
        .arg("--kmsg=")
        .arg("--exit-accounting")
        .start();
    // A container that is removed within a millisecond of its kill is a race without the log, which a
    // machine that others use can lose: nothing may ever be told twice or of another container, and
    // one of these times everything is told.
    for time in 0..3 {
        let (mut parent, mut plain) = parent_and_plain(&format!("mute-{time}"));
        agent.wait_container(parent.name());
        agent.wait_container(plain.name());
        let mut done = Done::default();
        let names = ten_kills(&mut done, &mut parent, &mut plain);
        let top = [names[0].clone(), names[1].clone()];
        let told = wait_kills(&agent, &top, done.0.len());
        let told: Vec<_> = told.into_iter().map(|kill| kill.0).collect();
        let mut missing: Vec<_> = expected(&done).into_iter().map(|kill| kill.0).collect();
        for of in &told {
            let at = missing.iter().position(|wanted| wanted == of);
            missing.remove(at.unwrap_or_else(|| panic!("{of} told once too often: {told:?}")));
        }
        if missing.is_empty() {
            return;
        }
        println!("time {time}: not told: {missing:?}");
    }
    panic!("never all of ten kills");
}

#[test]
fn kills_are_counted_once_while_the_kernels_log_is_overwritten() {
    needs_cgroups!();
    if let Err(reason) = needs_kills() {
        skip!("{reason}");
    }
    let _machine = alone();
    let agent = Agent::builder().arg("--exit-accounting").start();
    let (mut parent, mut plain) = (
        TestCgroup::new("loud-parent"),
        TestCgroup::new("loud-plain"),
    );
    parent.limit_memory(LIMIT_BYTES);
    plain.limit_memory(LIMIT_BYTES);
    agent.wait_container(parent.name());
    agent.wait_container(plain.name());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut done = Done::default();
    let names = std::thread::scope(|scope| {
        let flood = || {
            use std::io::Write;
            let line = format!("<7>cgauge test: {}\n", "x".repeat(900));
            while !stop.load(Ordering::Relaxed) {
                // The kernel takes a few lines of each open file only.
                let log = fs::OpenOptions::new().write(true).open("/dev/kmsg");
                let _ = log.unwrap().write_all(line.as_bytes());
            }
        };
        scope.spawn(flood);
        scope.spawn(flood);
        let names = ten_kills(&mut done, &mut parent, &mut plain);
        stop.store(true, Ordering::Relaxed);
        names
    });
    let top = [names[0].clone(), names[1].clone()];
    let told = wait_kills(&agent, &top, done.0.len());
    let metrics = agent.http().get("/metrics").unwrap().text();
    for line in metrics.lines().filter(|l| l.starts_with("cgauge_kmsg_")) {
        println!("{line}");
    }
    let from_log = told.iter().filter(|kill| kill.2.is_some()).count();
    println!("{from_log} of {} kills were still in the log", told.len());
    let told: Vec<_> = told.into_iter().map(|kill| kill.0).collect();
    let wanted: Vec<_> = expected(&done).into_iter().map(|kill| kill.0).collect();
    assert_eq!(told, wanted);
}

/// Writes to the kernel's log from many sides until nothing is left in it of what was there before.
fn overwrite_kernel_log() {
    use std::io::{Read, Write};
    const MARK: &str = "cgauge test: flood";
    let oldest = || {
        let mut record = [0; 8_192];
        let mut log = fs::File::open("/dev/kmsg").unwrap();
        // The oldest may go between open and read.
        let read = log.read(&mut record).or_else(|_| log.read(&mut record));
        String::from_utf8_lossy(&record[..read.unwrap_or(0)]).into_owned()
    };
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let line = format!("<7>{MARK} {}\n", "x".repeat(900));
                while !over.load(Ordering::Relaxed) {
                    let log = fs::OpenOptions::new().write(true).open("/dev/kmsg");
                    let _ = log.unwrap().write_all(line.as_bytes());
                }
            });
        }
        let full = wait_for(2 * SOON, || oldest().contains(MARK).then_some(()));
        over.store(true, Ordering::Relaxed);
        assert!(full.is_some(), "the log is not overwritten: {}", oldest());
    });
}

/// The reader stands still while the log is overwritten: what it had to say is certainly lost.
#[test]
fn a_kill_whose_record_is_overwritten_is_told_once_and_the_loss_is_told() {
    use nix::sys::signal::{Signal, kill};
    needs_cgroups!();
    if let Err(reason) = needs_kills() {
        skip!("{reason}");
    }
    let _machine = alone();
    let agent = Agent::start();
    let (mut plain, mut parent) = (TestCgroup::new("lost"), TestCgroup::new("lost-parent"));
    plain.limit_memory(LIMIT_BYTES);
    parent.limit_memory(LIMIT_BYTES);
    let child = parent.child("child").name().to_owned();
    agent.wait_container(plain.name());
    agent.wait_container(&child);
    let mut done = Done::default();
    let (name, parent_name) = (plain.name().to_owned(), parent.name().to_owned());
    // One that is still read.
    done.kill(&mut plain, &name, false);
    let top = [name.clone(), parent_name.clone()];
    assert_eq!(without_source(wait_kills(&agent, &top, 1)), expected(&done));
    let metric = |wanted: &str| {
        let metrics = agent.http().get("/metrics").unwrap().text();
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix(wanted)?.strip_prefix(' '));
        line.and_then(|value| value.split(' ').next()?.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no {wanted}: {metrics}"))
    };
    let (gaps, lost) = ("cgauge_kmsg_gaps_total", "cgauge_kmsg_lost_records_total");
    let before = (metric(gaps), metric(lost));

    let pid = nix::unistd::Pid::from_raw(agent.pid().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    let mut unread = Done::default();
    for _ in 0..2 {
        unread.kill(&mut plain, &name, false);
    }
    unread.kill(&mut parent.children_mut()[0], &parent_name, false);
    overwrite_kernel_log();
    kill(pid, Signal::SIGCONT).unwrap();

    let told = wait_kills(&agent, &top, 4);
    println!("{told:#?}");
    let mut wanted = expected(&done);
    wanted.extend(
        unread
            .0
            .iter()
            .map(|(of, ..)| (of.clone(), String::new(), None)),
    );
    wanted.sort();
    assert_eq!(without_source(told.clone()), wanted);
    let counted = told.iter().filter(|kill| kill.3 == "counter").count();
    assert_eq!(counted, 3, "with what is known of them");
    assert!(metric(gaps) > before.0, "the loss is counted");
    assert!(metric(lost) >= before.1 + 10.0, "record by record");
    let log = agent.stderr();
    assert!(
        log.contains("overwrote log records before they were read"),
        "{log}"
    );

    // And it reads on.
    done.kill(&mut plain, &name, false);
    let told = wait_kills(&agent, &top, 5);
    assert_eq!(told.iter().filter(|kill| kill.2.is_some()).count(), 2);
    assert_eq!(told.len(), 5);
}

/// Brings a pod of two containers down as a group; the chosen process is in the first. Gives where each
/// victim was, and its pid.
fn group_kill(agent: &Agent, label: &str) -> (TestCgroup, Vec<(String, u64)>) {
    let mut pod = TestCgroup::new(label);
    pod.limit_memory(LIMIT_BYTES);
    fs::write(pod.path().join("memory.oom.group"), "1").unwrap();
    let mut pids = Vec::new();
    for child in ["a", "b"] {
        let child = pod.child(child);
        agent.wait_container(child.name());
        for _ in 0..2 {
            let name = child.name().to_owned();
            let helper = child.add(Helper::sleeper());
            helper.go();
            pids.push((name, u64::from(helper.pid())));
        }
    }
    let children = pod.children_mut();
    let name = children[0].name().to_owned();
    let helper = children[0].add(Helper::eater());
    pids.push((name.clone(), u64::from(helper.pid())));
    // What was there before is known by a poll.
    let before = agent.container(&name, 1).unwrap()["stats"][0]["timestamp"].clone();
    wait_until(SOON, "a poll with all of them", || {
        let container = agent.container(&name, 1)?;
        (container["stats"][0]["timestamp"] != before).then_some(())
    });
    let eater = children[0].helpers_mut().last_mut().unwrap();
    eater.go();
    eater.wait(SOON);
    pids.sort();
    (pod, pids)
}

fn named(kills: &[(String, String, Option<u64>, String)]) -> Vec<String> {
    kills.iter().map(|kill| kill.0.clone()).collect()
}

/// All processes of a group go down with the first, each counted where it was, though the kernel counts the
/// first one twice: with the kernel's log and without it, also by a later run.
#[test]
fn a_group_kill_is_told_once_of_each_process() {
    needs_cgroups!();
    if !Layout::get().is_pure_v2() {
        not_here!("memory.oom.group is of cgroup v2");
    }
    let _machine = alone();
    for kmsg in ["--kmsg=/dev/kmsg", "--kmsg="] {
        let state = tempfile::tempdir().unwrap();
        let flag = format!("--state-dir={}", state.path().display());
        let start = || Agent::builder().arg(kmsg).arg(&flag).start();
        let mut agent = start();
        let mut pods = Vec::new();
        for _ in 0..3 {
            let (pod, pids) = group_kill(&agent, "group");
            let top = [pod.name().to_owned()];
            let events = fs::read_to_string(pod.path().join("memory.events")).unwrap();
            let told = wait_kills(&agent, &top, pids.len());
            println!("{kmsg}: {events}{told:#?}");
            let wanted: Vec<_> = pids.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(named(&told), wanted, "each counted once, where it was");
            for (name, _, pid, _) in &told {
                let Some(pid) = pid else { continue };
                assert!(pids.contains(&(name.clone(), *pid)), "{pid} in {name}");
            }
            if kmsg == "--kmsg=/dev/kmsg" {
                let known = told.iter().filter(|kill| kill.2.is_some()).count();
                assert_eq!(known, pids.len(), "the log says who");
            }
            pods.push((pod, wanted));
        }
        // What the kernel counted twice is no kill while nobody looked.
        agent.kill();
        let agent = start();
        for (pod, wanted) in &pods {
            agent.wait_container(pod.name());
            let told = wait_kills(&agent, &[pod.name().to_owned()], wanted.len());
            assert_eq!(&named(&told), wanted, "after kill -9");
        }
    }
}

/// A group that goes down while nobody looks is counted as if somebody had.
#[test]
fn a_group_kill_while_down_is_told_once_of_each_process() {
    needs_cgroups!();
    if !Layout::get().is_pure_v2() {
        not_here!("memory.oom.group is of cgroup v2");
    }
    let _machine = alone();
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state-dir={}", state.path().display());
    let start = || Agent::builder().arg(&flag).start();
    let mut agent = start();
    let mut group = TestCgroup::new("group-down");
    group.limit_memory(LIMIT_BYTES);
    fs::write(group.path().join("memory.oom.group"), "1").unwrap();
    agent.wait_container(group.name());
    let name = group.name().to_owned();
    for _ in 0..3 {
        group.add(Helper::sleeper()).go();
    }
    group.add(Helper::eater());
    wait_until(SOON, "it has been polled", || {
        let stats = agent.container(&name, 2)?["stats"].as_array()?.len();
        (stats == 2).then_some(())
    });
    agent.kill();
    let eater = group.helpers_mut().last_mut().unwrap();
    eater.go();
    eater.wait(SOON);
    let agent = start();
    let told = wait_kills(&agent, std::slice::from_ref(&name), 4);
    assert_eq!(named(&told), [name.as_str(); 4]);
    let down = lives(&agent, &name)[0]["kills"].as_array().unwrap().clone();
    assert!(
        down.iter().all(|kill| kill["while_down"] == true),
        "{down:#?}"
    );
}
