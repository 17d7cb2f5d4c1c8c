//! A name is not an identity: a cgroup made again under the same name is another container.

use jiff::{SignedDuration, Timestamp};

use crate::support::{Agent, Helper, SOON, TestCgroup, needs_cgroups, shared, wait_until};

/// The kernel stamps files with the time of its last tick, 10 ms apart at most.
const CLOCK_STEP: SignedDuration = SignedDuration::from_millis(10);

#[test]
fn made_again_at_once_is_two_containers() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("again");
    agent.wait_container(cgroup.name());
    let helper = cgroup.add(Helper::spinner());
    helper.go();
    wait_until(SOON, "100 ms of CPU time", || {
        (cgroup.cpu_usage_ns() > 100_000_000).then_some(())
    });
    let old = wait_until(SOON, "a sample with that time", || {
        let total =
            agent.container(cgroup.name(), 1)?["stats"][0]["cpu"]["usage"]["total"].as_u64()?;
        (total > 100_000_000).then_some(total)
    });
    let old_created = created(&agent, cgroup.name());

    cgroup.kill_helpers();
    wait_until(SOON, "the cgroup is empty", || {
        let procs =
            |p: std::path::PathBuf| std::fs::read_to_string(p.join("cgroup.procs")).unwrap();
        cgroup
            .paths()
            .into_iter()
            .all(|p| procs(p).is_empty())
            .then_some(())
    });
    let made_again = Timestamp::now();
    cgroup.rmdir_now();
    cgroup.make_again();

    let events = wait_until(SOON, "the second creation", || {
        let events = agent.events_below(cgroup.name());
        (events.iter().filter(|e| e.is_creation()).count() == 2).then_some(events)
    });
    let kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "containerCreation",
            "containerDeletion",
            "containerCreation"
        ]
    );

    let container = wait_until(SOON, "three samples of the new one", || {
        let container = agent.container(cgroup.name(), -1)?;
        let stats = container["stats"].as_array()?.len();
        (stats >= 3).then_some(container)
    });
    for sample in container["stats"].as_array().unwrap() {
        let total = sample["cpu"]["usage"]["total"].as_u64().unwrap();
        assert!(
            total < old / 2,
            "{total} cannot be the new one's: {old} was the old one's"
        );
        let at: Timestamp = sample["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(
            at >= made_again,
            "a sample of {at} is older than the container"
        );
    }
    let new_created = created(&agent, cgroup.name());
    assert!(new_created > old_created, "{old_created} {new_created}");
}

fn created(agent: &Agent, name: &str) -> Timestamp {
    agent.container(name, 0).unwrap()["spec"]["creation_time"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn made_again_many_times_ends_with_one() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let mut cgroup = TestCgroup::new("flicker");
    agent.wait_container(cgroup.name());
    let mut last_made = Timestamp::now();
    for _ in 0..100 {
        cgroup.rmdir_now();
        last_made = Timestamp::now();
        cgroup.make_again();
    }
    wait_until(SOON, "the last one is the one that is shown", || {
        let events = agent.events_below(cgroup.name());
        let lives = events.iter().map(|e| if e.is_creation() { 1 } else { -1 });
        let mut alive = 0;
        for step in lives {
            alive += step;
            assert!(
                (0..=1).contains(&alive),
                "creations and deletions take turns: {events:?}"
            );
        }
        let created = (alive == 1)
            .then(|| agent.container(cgroup.name(), 1))
            .flatten()?;
        let created: Timestamp = created["spec"]["creation_time"].as_str()?.parse().ok()?;
        (created >= last_made - CLOCK_STEP).then_some(())
    });
    // What is shown now is alive: it still gets samples.
    let now = Timestamp::now();
    wait_until(SOON, "a new sample of the last one", || {
        let container = agent.container(cgroup.name(), 1)?;
        let at: Timestamp = container["stats"][0]["timestamp"].as_str()?.parse().ok()?;
        (at > now).then_some(())
    });
    cgroup.remove().unwrap();
    agent.wait_gone(cgroup.name());
}
