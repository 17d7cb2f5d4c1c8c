//! Events outlive their readers, and cgauge: streams are resumed, across `kill -9` too; a journal that
//! is damaged, full or read-only costs what it must and no more.

mod damage;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::agent::{binary, run_to_end};
use crate::support::process::{signal, wait_child};
use crate::support::{
    Address, Agent, Layout, SOON, TestCgroup, needs_cgroups, scaled, shared, skip, wait_until,
};

/// How long containers come and go: a minute where the full tests are run.
fn churn_time() -> Duration {
    let rounds = std::env::var("CGAUGE_CHURN_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok());
    match rounds.unwrap_or(3) {
        ..20 => Duration::from_secs(4),
        20_u32.. => Duration::from_secs(60),
    }
}

/// Numbers that differ from run to run.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
        println!("dice: {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn home(label: &str) -> TestCgroup {
    let v2 = Layout::get().is_pure_v2();
    TestCgroup::in_controllers(label, &[if v2 { "unified" } else { "pids" }])
}

/// Makes and removes cgroups in `home` until told to stop.
fn churn(home: &Path, stop: &AtomicBool) {
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let path = home.join(format!("c{n}"));
        fs::create_dir(&path).unwrap();
        // Fewer in a minute than the history keeps, and than a reader that is cut off can follow.
        let pause = if n.is_multiple_of(4) { 6 } else { 1 };
        std::thread::sleep(Duration::from_millis(pause));
        fs::remove_dir(&path).unwrap();
    }
}

/// Runs `work` while cgroups come and go.
fn while_churning<T>(home: &Path, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| churn(home, &stop));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// An agent in a place of its own: the same socket and state directory over all its lives.
struct Place {
    directory: tempfile::TempDir,
    args: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("cgauge-test-")
            .tempdir()
            .unwrap();
        Self {
            directory,
            args: Vec::new(),
        }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn address(&self) -> Address {
        Address::Unix(self.directory.path().join("http.sock"))
    }

    #[track_caller]
    fn start(&self) -> Agent {
        let mut builder = Agent::builder()
            .listen(self.address())
            .arg("--raw-cgroup-prefix-whitelist=/cgauge-test")
            .arg("--state-dir")
            .arg(self.state());
        for arg in &self.args {
            builder = builder.arg(arg);
        }
        builder.start()
    }
}

fn target(home: &str, more: &str) -> String {
    format!("/api/cgauge/v1/events?container={home}{more}")
}

/// All events below `home` that are remembered: lines and their numbers.
#[track_caller]
fn remembered(agent: &Agent, home: &str) -> Vec<(u64, String)> {
    let answer = agent.http().get(&target(home, "&after=0")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut events = Vec::new();
    for line in answer.text().lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if let Some(id) = value["id"].as_u64() {
            events.push((id, line.to_owned()));
        }
    }
    assert!(events.is_sorted_by(|a, b| a.0 < b.0), "in order");
    events
}

/// A client that is cut off again and again.
#[derive(Default)]
struct Follower {
    position: Option<String>,
    events: Vec<(u64, String)>,
    connections: u32,
}

impl Follower {
    /// Connects, reads up to `number` records, or what comes within `wait`, and breaks off.
    fn follow(&mut self, at: &Address, home: &str, number: u64, wait: Duration) {
        let after = self.position.as_ref().map_or_else(
            || "&after=0".to_owned(),
            |position| format!("&after={position}"),
        );
        let client = crate::support::Client::new(at.clone());
        let Ok(mut stream) = client.stream(&target(home, &format!("&follow=true{after}"))) else {
            return;
        };
        if stream.status != 200 {
            return;
        }
        self.connections += 1;
        let end = Instant::now() + wait;
        for _ in 0..number {
            let left = end.saturating_duration_since(Instant::now());
            // Cut, or nothing more for now.
            let Ok(Some(line)) = stream.next_line(left) else {
                return;
            };
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                panic!("no JSON: {line}")
            };
            assert!(value.get("missed").is_none(), "nothing is missed: {line}");
            if let Some(id) = value["id"].as_u64() {
                self.events.push((id, line));
            }
            self.position = Some(value["position"].as_str().unwrap().to_owned());
        }
    }

    /// Reads the rest and compares.
    #[track_caller]
    fn has_seen_all(&mut self, agent: &Agent, at: &Address, home: &str) {
        let all = wait_until(SOON * 4, "all has come to rest", || {
            let before = remembered(agent, home);
            std::thread::sleep(scaled(Duration::from_millis(200)));
            (remembered(agent, home) == before).then_some(before)
        });
        wait_until(SOON * 4, "the last event is read", || {
            self.follow(at, home, u64::MAX, Duration::from_secs(1));
            (self.events.last().map(|(id, _)| id) == all.last().map(|(id, _)| id)).then_some(())
        });
        let differs = self
            .events
            .iter()
            .zip(&all)
            .find(|(seen, want)| seen != want);
        assert_eq!(differs, None, "every event once, in order");
        assert_eq!(self.events.len(), all.len());
        println!("{} events over {} connections", all.len(), self.connections);
    }
}

#[test]
fn a_reader_that_is_cut_off_again_and_again_sees_every_event_once() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::builder()
        .arg("--raw-cgroup-prefix-whitelist=/cgauge-test")
        .start();
    let home = home("resume");
    agent.wait_container(home.name());
    let at = agent.http().address().clone();
    let mut dice = Dice::new();
    let mut follower = Follower::default();
    while_churning(&home.path(), || {
        let end = Instant::now() + churn_time();
        while Instant::now() < end {
            let number = 1 + dice.below(300);
            let wait = Duration::from_millis(dice.below(200));
            follower.follow(&at, home.name(), number, wait);
        }
    });
    follower.has_seen_all(&agent, &at, home.name());
    assert!(follower.events.len() > 100 && follower.connections > 10);
    // What is told agrees with itself: each container came, then went.
    let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event_type"].clone();
    let creations = follower
        .events
        .iter()
        .filter(|e| kind(&e.1) == "containerCreation")
        .count();
    assert_eq!(
        creations,
        follower.events.len() - creations + 1,
        "all but the home have gone"
    );
}

#[test]
fn nothing_that_was_shown_is_lost_to_kill_9() {
    needs_cgroups!();
    let _machine = shared();
    let place = Place::new();
    let home = home("kill9");
    let mut dice = Dice::new();
    let mut follower = Follower::default();
    let mut agent = place.start();
    agent.wait_container(home.name());
    let mut lives = 1;
    while_churning(&home.path(), || {
        let end = Instant::now() + churn_time();
        while Instant::now() < end || lives < 4 {
            // The reader reads until the very moment.
            let until = Duration::from_millis(50 + dice.below(400));
            std::thread::scope(|scope| {
                let reading = scope.spawn(|| {
                    let end = Instant::now() + until * 2;
                    while Instant::now() < end {
                        follower.follow(&place.address(), home.name(), 200, until);
                    }
                });
                std::thread::sleep(until);
                agent.kill();
                reading.join().unwrap();
            });
            agent = place.start();
            lives += 1;
        }
    });
    println!("{lives} lives");
    follower.has_seen_all(&agent, &place.address(), home.name());
    assert!(follower.events.len() > 100);
    let log = agent.stderr();
    assert!(!log.contains("has lost something"), "{log}");
    // The older API has them, too.
    let past = agent.events_below(home.name());
    assert_eq!(past.len(), follower.events.len());
    // An orderly end loses nothing either, and numbers go on without a leap.
    let last = follower.events.last().unwrap().0;
    agent.stop();
    let agent = place.start();
    agent.wait_container(home.name());
    let after = home.path().join("after");
    fs::create_dir(&after).unwrap();
    agent.wait_container(&format!("{}/after", home.name()));
    fs::remove_dir(&after).unwrap();
    follower.has_seen_all(&agent, &place.address(), home.name());
    let next = follower
        .events
        .iter()
        .map(|e| e.0)
        .find(|id| *id > last)
        .unwrap();
    // Other tests make events, too.
    assert!(next - last < 100_000, "{last} {next}");
}

#[test]
fn the_command_line_follows_across_kill_9() {
    needs_cgroups!();
    let _machine = shared();
    let place = Place::new();
    let home = home("follow");
    let mut agent = place.start();
    agent.wait_container(home.name());
    let mut command = Command::new(binary());
    command
        .args([
            "events",
            "--follow",
            "--json",
            "--subcontainers",
            "--container",
            home.name(),
        ])
        .args(["--server", &place.address().to_flag()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null());
    let mut follower = command.spawn().unwrap();
    let (send, lines) = mpsc::channel();
    let out = BufReader::new(follower.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        out.lines()
            .map_while(Result::ok)
            .for_each(|line| drop(send.send(line)));
    });
    let mut seen: Vec<(u64, String)> = Vec::new();
    let mut read_until = |name: &str| {
        wait_until(SOON, &format!("{name} is printed"), || {
            while let Ok(line) = lines.recv_timeout(Duration::from_millis(10)) {
                let id = serde_json::from_str::<Value>(&line).unwrap()["id"]
                    .as_u64()
                    .unwrap();
                seen.push((id, line));
            }
            seen.iter()
                .any(|(_, line)| line.contains(name))
                .then_some(())
        });
        seen.clone()
    };
    // It has connected once it tells of something.
    let first = wait_until(SOON, "the first event", || {
        let path = home.path().join(format!("a{}", home.name().len()));
        let _ = fs::create_dir(&path);
        std::thread::sleep(Duration::from_millis(50));
        fs::remove_dir(&path).unwrap();
        lines.recv_timeout(Duration::from_millis(100)).ok()
    });
    let first = serde_json::from_str::<Value>(&first).unwrap()["id"]
        .as_u64()
        .unwrap();
    for life in 0..3 {
        fs::create_dir(home.path().join(format!("before-{life}"))).unwrap();
        read_until(&format!("before-{life}"));
        agent.kill();
        fs::create_dir(home.path().join(format!("meanwhile-{life}"))).unwrap();
        agent = place.start();
        read_until(&format!("meanwhile-{life}"));
    }
    fs::create_dir(home.path().join("last")).unwrap();
    let seen = read_until("last");
    let all: Vec<_> = remembered(&agent, home.name())
        .into_iter()
        .filter(|(id, _)| *id > first)
        .collect();
    assert_eq!(seen, all);
    signal(&follower, nix::sys::signal::Signal::SIGINT);
    let status = wait_child(&mut follower, SOON);
    if status.is_none() {
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
    reader.join().unwrap();
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(0),
        "ends well at Ctrl-C"
    );
    for entry in fs::read_dir(home.path()).unwrap().flatten() {
        if entry.path().is_dir() {
            fs::remove_dir(entry.path()).unwrap();
        }
    }
}

#[test]
fn server_sent_events_are_resumed_by_their_ids() {
    needs_cgroups!();
    let _machine = shared();
    let agent = Agent::start();
    let home = home("sse");
    agent.wait_container(home.name());
    let ask = |more: &str| {
        use std::io::{Read, Write};
        let mut connection = agent.http().connect().unwrap();
        let target = target(home.name(), "&after=0&max=1&follow=true");
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: text/event-stream\r\n{more}\r\n"
        );
        connection.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        connection.set_read_timeout(Some(scaled(SOON))).unwrap();
        connection.read_to_string(&mut text).unwrap();
        text
    };
    let first = ask("");
    assert!(
        first.contains("content-type: text/event-stream\r\n"),
        "{first}"
    );
    assert!(first.contains("event: position\nid: "), "{first}");
    let [event] = &remembered(&agent, home.name())[..] else {
        panic!("one event")
    };
    let position = serde_json::from_str::<Value>(&event.1).unwrap()["position"].clone();
    let position = position.as_str().unwrap();
    assert!(
        first.contains(&format!("\nid: {position}\ndata: {}\n\n", event.1)),
        "{first}"
    );
    fs::create_dir(home.path().join("next")).unwrap();
    let second = ask(&format!("Last-Event-ID: {position}\r\n"));
    assert!(
        second.contains("/next\"") && !second.contains(&event.1),
        "{second}"
    );
    let unknown = ask("Last-Event-ID: 0000000000000001-1\r\n");
    assert!(
        unknown.contains("event: missed\ndata: {\"missed\":{\"reason\":\"unknown_position\"}}\n\n"),
        "{unknown}"
    );
    fs::remove_dir(home.path().join("next")).unwrap();
}
