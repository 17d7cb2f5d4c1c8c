//! A reader that does not read costs the others nothing.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::support::{
    Agent, Event, Layout, SOON, TestCgroup, needs_cgroups, scaled, shared, wait_until,
};

/// Enough events to fill the socket buffer of a reader that never reads.
const CGROUPS: usize = 4000;

/// Made and removed in parts, so that the machine is not asked to hold them all.
const AT_ONCE: usize = 500;

#[test]
fn a_stream_that_never_reads_disturbs_nobody() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let home = TestCgroup::in_controllers(
        "streams",
        &[if Layout::get().is_pure_v2() {
            "unified"
        } else {
            "pids"
        }],
    );
    agent.wait_container(home.name());
    let target = "/api/v1.3/events/?all_events=true&subcontainers=true&stream=true";
    let _idle: Vec<_> = (0..3)
        .map(|_| agent.http().request_and_ignore(target).unwrap())
        .collect();
    let mut reader = agent.stream_below(home.name());

    let count = |events: &[Event], kind: &str| {
        events
            .iter()
            .filter(|e| e.kind == kind && e.name != home.name())
            .count()
    };
    let mut told: HashMap<String, (usize, usize)> = HashMap::new();
    for part in 0..CGROUPS / AT_ONCE {
        let paths: Vec<_> = (0..AT_ONCE)
            .map(|n| home.path().join(format!("c{part}-{n}")))
            .collect();
        paths.iter().for_each(|p| fs::create_dir(p).unwrap());
        let mut events = reader.collect_until(SOON, |e| count(e, "containerCreation") >= AT_ONCE);
        paths.iter().for_each(|p| fs::remove_dir(p).unwrap());
        events.extend(reader.collect_until(SOON, |e| count(e, "containerDeletion") >= AT_ONCE));
        for event in events.iter().filter(|e| e.name != home.name()) {
            let counts = told.entry(event.name.clone()).or_default();
            if event.is_creation() {
                counts.0 += 1
            } else {
                counts.1 += 1
            }
        }
        // Those who ask are answered meanwhile.
        assert_eq!(agent.http().get("/healthz").unwrap().status, 200);
    }
    assert_eq!(told.len(), CGROUPS, "the reader saw every container");
    let odd = told.iter().find(|(_, counts)| **counts != (1, 1));
    assert_eq!(odd, None, "each came and went once");
    assert!(
        reader.next(scaled(Duration::from_millis(50))).is_none(),
        "and nothing else"
    );
    wait_until(SOON, "only the home is left", || {
        (agent.names_below(home.name()).len() == 1).then_some(())
    });
    // Dropping the agent now checks that idle streams do not hold up its end.
}
