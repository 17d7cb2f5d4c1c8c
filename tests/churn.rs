//! Many cgroups at once, again and again: each is told of exactly once, and nothing stays behind.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::support::{
    Agent, Event, Layout, TestCgroup, alone, in_guest, needs_cgroups, not_here, wait_for,
    wait_until,
};

/// A burst: `TOPS` cgroups, each with `MIDDLES` children, each of those with `LEAVES`; 1,000 in all.
const TOPS: usize = 10;
const MIDDLES: usize = 9;
const LEAVES: usize = 10;
const BURST: usize = TOPS * (1 + MIDDLES * (1 + LEAVES));
const _: () = assert!(BURST == 1000);

/// A burst and all its events take an unloaded machine about a second.
const BURST_WITHIN: Duration = Duration::from_secs(60);

/// Descriptors and watches that may differ for what else happens on the machine.
const SLACK: usize = 16;

/// What the resident set may grow by over all rounds after the first: what is remembered of past events and
/// lives (each round adds 2,000 and 1,000) and the allocator's reserve, but not the 1,000 containers of a
/// round.
const RSS_MARGIN_BYTES: usize = 12 << 20;

/// The samples of whatever else is on the machine are not for the resident set of these tests.
const ONLY_OURS: &str = "--raw-cgroup-prefix-whitelist=/cgauge-test";

fn agent() -> Agent {
    Agent::builder().arg(ONLY_OURS).start()
}

fn rounds() -> usize {
    std::env::var("CGAUGE_CHURN_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(3)
}

/// The cgroup of a burst, in few hierarchies: enough to tell one container from three directories.
fn home(label: &str) -> TestCgroup {
    TestCgroup::in_controllers(label, &["cpu", "cpuacct", "memory"])
}

/// The names below the home, parents first.
fn names() -> Vec<String> {
    let mut names = Vec::with_capacity(BURST);
    for top in 0..TOPS {
        names.push(format!("t{top}"));
        for middle in 0..MIDDLES {
            names.push(format!("t{top}/m{middle}"));
            names.extend((0..LEAVES).map(|leaf| format!("t{top}/m{middle}/l{leaf}")));
        }
    }
    names
}

/// Makes `names` in every hierarchy of `home`, as fast as the kernel does.
fn make_all(home: &TestCgroup, names: &[String]) {
    for path in home.paths() {
        for name in names {
            fs::create_dir(path.join(name)).unwrap();
        }
    }
}

fn remove_all(home: &TestCgroup, names: &[String]) {
    for path in home.paths() {
        for name in names.iter().rev() {
            fs::remove_dir(path.join(name)).unwrap();
        }
    }
}

/// What the agent's process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// But for those of cgroup files that it keeps open on purpose, by how busy the machine is.
    descriptors: usize,
    watches: usize,
    rss_bytes: usize,
}

fn held(agent: &Agent) -> Held {
    let page = agent.http().get("/metrics").unwrap().text();
    let own = |family: &str| -> usize {
        page.lines()
            .find_map(|line| line.strip_prefix(family)?.strip_prefix(' '))
            .and_then(|value| value.parse().ok())
            .unwrap()
    };
    let kept = own("cgauge_descriptors");
    let process = procfs::process::Process::new(agent.pid().cast_signed()).unwrap();
    let directory = format!("/proc/{}/fdinfo", agent.pid());
    let watches = fs::read_dir(directory)
        .unwrap()
        .flatten()
        // A descriptor may be closed between the listing and the reading.
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .map(|text| {
            text.lines()
                .filter(|line| line.starts_with("inotify wd:"))
                .count()
        })
        .sum();
    let rss_pages = process.statm().unwrap().resident;
    Held {
        descriptors: process.fd_count().unwrap().saturating_sub(kept),
        watches,
        rss_bytes: usize::try_from(rss_pages * procfs::page_size()).unwrap(),
    }
}

/// Each name has exactly one creation and then exactly one deletion.
#[track_caller]
fn assert_once_each(events: &[Event], home: &str, names: &[String]) {
    let mut told: HashMap<&str, Vec<&str>> = HashMap::new();
    for event in events.iter().filter(|e| e.name != home) {
        told.entry(&event.name).or_default().push(&event.kind);
    }
    let wrong: Vec<_> = names
        .iter()
        .map(|name| format!("{home}/{name}"))
        .filter(|name| {
            told.get(name.as_str())
                .is_none_or(|kinds| *kinds != ["containerCreation", "containerDeletion"])
        })
        .collect();
    let first = wrong.first().map(|name| (name, told.get(name.as_str())));
    assert!(
        wrong.is_empty(),
        "{} of {} are not told of once each, such as {first:?}",
        wrong.len(),
        names.len()
    );
    assert_eq!(told.len(), names.len(), "told of others, too");
}

/// One round: make, see all, remove, see all gone. The stream's events.
fn round(agent: &Agent, home: &TestCgroup, names: &[String]) -> Vec<Event> {
    let mut stream = agent.stream_below(home.name());
    let count = |events: &[Event], kind: &str| {
        events
            .iter()
            .filter(|e| e.kind == kind && e.name != home.name())
            .count()
    };
    make_all(home, names);
    let mut events = stream.collect_until(BURST_WITHIN, |e| {
        count(e, "containerCreation") >= names.len()
    });
    let created = count(&events, "containerCreation");
    assert_eq!(created, names.len(), "creations");
    remove_all(home, names);
    events.extend(stream.collect_until(BURST_WITHIN, |e| {
        count(e, "containerDeletion") >= names.len()
    }));
    // One more than wanted would come now.
    events.extend(stream.next(Duration::from_millis(200)));
    events
}

/// Rounds of bursts, with all that must hold after each and after all.
fn churn(agent: &Agent, label: &str, rounds: usize) {
    let home = home(label);
    agent.wait_container(home.name());
    let names = names();
    let empty = held(agent);
    let mut after_first = None;
    for number in 0..rounds {
        let events = round(agent, &home, &names);
        assert_once_each(&events, home.name(), &names);
        wait_until(BURST_WITHIN, "only the home is left", || {
            (agent.names_below(home.name()) == [home.name()]).then_some(())
        });
        let past = agent.events_below(home.name());
        let past: Vec<_> = past.iter().filter(|e| e.name != home.name()).collect();
        let creations = past.iter().filter(|e| e.is_creation()).count();
        let deletions = past.iter().filter(|e| e.is_deletion()).count();
        assert_eq!(
            (creations, deletions),
            (BURST * (number + 1), BURST * (number + 1)),
            "past events"
        );
        // Containers that have gone are held for a moment, for their last figures.
        let settled = wait_for(BURST_WITHIN, || {
            let now = held(agent);
            let same = now.descriptors <= empty.descriptors + SLACK
                && now.watches <= empty.watches + SLACK
                && after_first
                    .is_none_or(|first: Held| now.rss_bytes <= first.rss_bytes + RSS_MARGIN_BYTES);
            same.then_some(now)
        });
        let now = settled
            .unwrap_or_else(|| panic!("round {number}: from {empty:?} to {:?}", held(agent)));
        println!("round {number}: {now:?}");
        after_first.get_or_insert(now);
    }
}

#[test]
fn bursts_are_told_exactly_and_leave_nothing() {
    needs_cgroups!();
    let _machine = alone();
    let agent = agent();
    churn(&agent, "churn", rounds());
}

/// Lives and deaths too short to be seen are never told by half.
#[test]
fn lives_without_a_breath_are_told_in_pairs() {
    needs_cgroups!();
    let _machine = alone();
    let agent = agent();
    let home = home("breathless");
    agent.wait_container(home.name());
    let names = names();
    make_all(&home, &names);
    remove_all(&home, &names);
    wait_until(
        BURST_WITHIN,
        "as many deletions as creations, and no container left",
        || {
            let events = agent.events_below(home.name());
            let mut open: HashMap<&str, i64> = HashMap::new();
            for event in events.iter().filter(|e| e.name != home.name()) {
                let lives = open.entry(&event.name).or_default();
                *lives += if event.is_creation() { 1 } else { -1 };
                assert!((0..=1).contains(lives), "{event:?} out of turn");
            }
            (open.values().all(|lives| *lives == 0)
                && agent.names_below(home.name()) == [home.name()])
            .then_some(())
        },
    );
}

/// A sysctl that is put back when the test ends.
struct Sysctl {
    path: &'static str,
    before: String,
}

impl Sysctl {
    fn set(path: &'static str, value: &str) -> Self {
        let before = fs::read_to_string(path).unwrap();
        fs::write(path, value).unwrap();
        Self { path, before }
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        fs::write(self.path, self.before.trim_end()).unwrap();
    }
}

#[test]
fn bursts_through_a_queue_of_sixteen_are_told_exactly() {
    needs_cgroups!();
    if !in_guest() {
        not_here!("changes fs.inotify.max_queued_events: only in a guest");
    }
    let _machine = alone();
    let _sysctl = Sysctl::set("/proc/sys/fs/inotify/max_queued_events", "16");
    let agent = agent();
    churn(&agent, "queue", rounds());
}

#[test]
fn bursts_with_too_few_watches_are_told_exactly() {
    needs_cgroups!();
    if !in_guest() {
        not_here!("changes fs.inotify.max_user_watches: only in a guest");
    }
    let _machine = alone();
    let _sysctl = Sysctl::set("/proc/sys/fs/inotify/max_user_watches", "64");
    let agent = Agent::builder()
        .arg(ONLY_OURS)
        .arg("--global-housekeeping-interval=1s")
        .start();
    churn(&agent, "watches", rounds());
    let said = agent.stderr();
    let lines: Vec<_> = said
        .lines()
        .filter(|l| l.contains("max_user_watches"))
        .collect();
    assert_eq!(lines.len(), 1, "says once that watches ran out:\n{said}");
}

#[test]
fn layout_has_what_the_bursts_need() {
    needs_cgroups!();
    assert!(Layout::get().with("memory").is_some() || Layout::get().with("cpu").is_some());
    assert_eq!(names().len(), BURST);
}
