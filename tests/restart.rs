//! What cgauge tells after it was down, with a state directory: of containers that live on nothing, of those
//! that have gone their end, once.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{
    Agent, Event, Helper, SOON, TestCgroup, alone, in_guest, needs_cgroups, not_here, shared,
    wait_until,
};

fn start(state: &Path) -> Agent {
    let agent = Agent::builder()
        .arg(format!("--state-dir={}", state.display()))
        .start();
    agent.wait_container("/");
    agent
}

/// Everything that was told at and below `name` of coming and going: the type, and whether it was found
/// later. By cgauge's own API and by the one that clients know, which must agree.
#[track_caller]
fn told(agent: &Agent, name: &str) -> Vec<(String, bool)> {
    let path = format!(
        "/api/cgauge/v1/events?after=0&type=containerCreation,containerDeletion&container={name}"
    );
    let lines = agent.http().get(&path).unwrap().text();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let own: Vec<Event> = lines
        .filter(|line: &Value| line["id"].is_u64())
        .map(|line| Event::from_json(&line))
        .collect();
    let mut known = agent.events_below(name);
    known.retain(|event| event.is_creation() || event.is_deletion());
    let of = |events: &[Event]| -> Vec<_> {
        let while_down = |event: &Event| event.data["container_deletion"]["while_down"] == true;
        let events = events.iter();
        events
            .map(|event| (event.kind.clone(), while_down(event)))
            .collect()
    };
    let (own, mut known) = (of(&own), of(&known));
    if known != own {
        // The newest first.
        known.reverse();
    }
    assert_eq!(own, known, "both APIs tell the same");
    own
}

fn made() -> (String, bool) {
    ("containerCreation".into(), false)
}

fn gone(while_down: bool) -> (String, bool) {
    ("containerDeletion".into(), while_down)
}

/// The lives that the ledger knows of this container, newest first: whether it lives, and whether its end
/// was seen.
fn lives(agent: &Agent, name: &str) -> Vec<(bool, bool)> {
    let path = format!("/api/cgauge/v1/ledger?max=-1&container={name}");
    let lives = agent.json(&path);
    let lives = lives.as_array().unwrap().iter();
    lives
        .map(|life| (life["ended"].is_null(), life["end_unseen"] != true))
        .collect()
}

#[track_caller]
fn wait_told(agent: &Agent, name: &str, wanted: &[(String, bool)]) {
    wait_until(SOON, &format!("{wanted:?} of {name}"), || {
        (told(agent, name).len() >= wanted.len()).then_some(())
    });
    assert_eq!(told(agent, name), wanted, "{name}");
}

#[test]
fn what_lives_on_is_not_told_again_and_what_has_gone_once() {
    needs_cgroups!();
    let _machine = shared();
    let state = tempfile::tempdir().unwrap();
    let stays = TestCgroup::new("stays");
    let mut agent = start(state.path());
    let (mut goes, mut again) = (TestCgroup::new("goes"), TestCgroup::new("again"));
    let (mut left, mut killed) = (TestCgroup::new("left"), TestCgroup::new("killed"));
    for cgroup in [&stays, &goes, &again, &left, &killed] {
        agent.wait_container(cgroup.name());
        wait_told(&agent, cgroup.name(), &[made()]);
    }
    left.add(Helper::sleeper());
    killed.remove().unwrap();
    agent.wait_gone(killed.name());
    wait_told(&agent, killed.name(), &[made(), gone(false)]);

    agent.kill();
    goes.rmdir_now();
    again.rmdir_now();
    again.make_again();
    let new = TestCgroup::new("new");
    let mut agent = start(state.path());
    let check = |agent: &Agent| {
        for of in [&stays, &left] {
            wait_told(agent, of.name(), &[made()]);
            assert_eq!(lives(agent, of.name()), [(true, true)]);
        }
        wait_told(agent, goes.name(), &[made(), gone(true)]);
        assert_eq!(lives(agent, goes.name()), [(false, false)]);
        // The old one goes before the new one comes.
        wait_told(agent, again.name(), &[made(), gone(true), made()]);
        assert_eq!(lives(agent, again.name()), [(true, true), (false, false)]);
        wait_told(agent, new.name(), &[made()]);
        wait_told(agent, killed.name(), &[made(), gone(false)]);
        assert_eq!(lives(agent, killed.name()), [(false, true)]);
    };
    check(&agent);
    // The time is that of finding out: after the end, and not before this run.
    let end = &agent.events_below(goes.name());
    let end = end.iter().find(|event| event.is_deletion()).unwrap();
    assert!(end.data["container_deletion"]["exit_code"] == -1);

    // Nothing more is told by runs that find nothing new, however the one before ended.
    for orderly in [false, true] {
        if orderly {
            agent.stop();
        } else {
            agent.kill();
        }
        agent = start(state.path());
        check(&agent);
    }
}

/// A setting that hides containers is no end of theirs.
#[test]
fn what_is_not_looked_at_for_a_while_has_not_gone() {
    needs_cgroups!();
    let _machine = shared();
    let state = tempfile::tempdir().unwrap();
    let cgroup = TestCgroup::new("hidden");
    let mut agent = start(state.path());
    agent.wait_container(cgroup.name());
    agent.stop();
    let mut agent = Agent::builder()
        .arg(format!("--state-dir={}", state.path().display()))
        .arg("--docker_only")
        .start();
    agent.wait_container("/");
    wait_told(&agent, cgroup.name(), &[made()]);
    agent.stop();
    let agent = start(state.path());
    agent.wait_container(cgroup.name());
    wait_told(&agent, cgroup.name(), &[made()]);
    assert_eq!(lives(&agent, cgroup.name()), [(true, true)]);
}

/// The journal is small, and other containers come and go until it has dropped its beginning.
#[test]
fn a_long_life_outlives_the_records_of_its_beginning() {
    needs_cgroups!();
    if in_guest() {
        not_here!("an emulated CPU takes minutes to fill a journal");
    }
    let _machine = alone();
    let state = tempfile::tempdir().unwrap();
    let long = TestCgroup::new("long");
    let run = || {
        let agent = Agent::builder()
            .arg(format!("--state-dir={}", state.path().display()))
            .arg("--journal-max-size=4MiB")
            .start();
        agent.wait_container(long.name());
        agent
    };
    let mut agent = run();
    let number = |agent: &Agent| {
        let path = format!("/api/cgauge/v1/ledger?max=-1&container={}", long.name());
        agent.json(&path)[0]["number"].as_u64().unwrap()
    };
    let before = number(&agent);
    let dropped = |agent: &Agent| {
        let metrics = agent.http().get("/metrics").unwrap().text();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("cgauge_journal_dropped_segments_total"));
        line.unwrap_or_else(|| panic!("{metrics}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    // Long names fill it sooner.
    let other = TestCgroup::in_controllers("other", &["pids"]);
    let directory = other.path().join("x".repeat(240));
    // Eight segments are one journal: the second has been dropped after the first, too.
    wait_until(
        4 * SOON,
        "the journal has dropped all of its beginning",
        || {
            for _ in 0..100 {
                fs::create_dir(&directory).unwrap();
                fs::remove_dir(&directory).unwrap();
            }
            (dropped(&agent) >= 9.0).then_some(())
        },
    );
    agent.kill();
    let agent = run();
    let created = told(&agent, long.name());
    assert!(created.len() <= 1, "told again: {created:?}");
    assert_eq!(lives(&agent, long.name()), [(true, true)]);
    assert_eq!(number(&agent), before, "the same life");
}
