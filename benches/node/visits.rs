//! Containers that come and go: one by one to be timed, or many to keep the monitor busy.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cgauge::cgroup::hierarchy::Controller;
use cgauge::cgroup::{ContainerName, Hierarchies};

use super::client::{Client, until};
use super::tree::{self, Tree};

/// Between two containers that churn: twenty a second.
const PACE: Duration = Duration::from_millis(50);

/// How many of these are there at once.
const STAY: usize = 40;

/// What a container may use whose process is to be killed, and what that asks for.
const LIMIT: &str = "4194304";
const TOO_MUCH: usize = 64 << 20;

/// Tells this program that it is a process to be killed.
pub const GREEDY: &str = "BENCH_NODE_GREEDY";

/// Times of containers that are made and waited for, and removed and waited for.
pub fn come_and_go(
    tries: usize,
    hierarchies: &Hierarchies,
    tree: &Tree,
    client: &Client,
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut visible, mut gone) = (Vec::new(), Vec::new());
    for at in 0..tries {
        let name = visitor(tree, 1_000_000 + at);
        let text = name.to_string();
        let started = Instant::now();
        tree::make(hierarchies, &name).unwrap();
        until("a new container", || client.knows(&text));
        visible.push(started.elapsed());
        let started = Instant::now();
        tree::remove(hierarchies, &name);
        until("a removed container", || !client.knows(&text));
        gone.push(started.elapsed());
    }
    (visible, gone)
}

/// A leaf that is not of the tree.
fn visitor(tree: &Tree, at: usize) -> ContainerName {
    tree.pod().child(tree::leaf_name(at).as_ref())
}

/// Makes and removes containers beside the tree until `stop`.
pub fn churn(hierarchies: &Hierarchies, tree: &Tree, stop: &AtomicBool) {
    let mut there = std::collections::VecDeque::new();
    let mut next = Instant::now();
    for at in 2_000_000.. {
        if stop.load(Relaxed) {
            break;
        }
        let name = visitor(tree, at);
        tree::make(hierarchies, &name).unwrap();
        there.push_back(name);
        if there.len() > STAY
            && let Some(oldest) = there.pop_front()
        {
            tree::remove(hierarchies, &oldest);
        }
        next += PACE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    for name in there {
        tree::remove(hierarchies, &name);
    }
}

/// Times from the death of a process by the OOM killer to the event of it. Empty where a limit cannot be
/// set, or where no such event comes.
pub fn oom_kills(
    tries: usize,
    hierarchies: &Hierarchies,
    tree: &Tree,
    client: &Client,
) -> Vec<Duration> {
    let mut times = Vec::new();
    for at in 0..tries {
        let name = visitor(tree, 3_000_000 + at);
        tree::make(hierarchies, &name).unwrap();
        let time = oom_kill(hierarchies, &name, client);
        tree::remove(hierarchies, &name);
        let Some(time) = time else { break };
        times.push(time);
    }
    times
}

fn oom_kill(hierarchies: &Hierarchies, name: &ContainerName, client: &Client) -> Option<Duration> {
    let memory = hierarchies
        .of(Controller::Memory)
        .or(hierarchies.unified())?;
    let directory = name.below(&hierarchies.get(memory).root);
    let text = name.to_string();
    until("a new container", || client.knows(&text));
    let limits = ["memory.limit_in_bytes", "memory.max"];
    limits
        .iter()
        .find(|file| fs::write(directory.join(file), LIMIT).is_ok())?;
    // Or it is swapped out.
    let _ = fs::write(directory.join("memory.swap.max"), "0");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .env(GREEDY, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tree::enter(hierarchies, name, victim.id());
    // Its signal to begin.
    drop(victim.stdin.take());
    let status = victim.wait().unwrap();
    let died = Instant::now();
    if status.success() {
        return None; // it was given the memory
    }
    let path = format!("/api/v1.3/events{text}?oom_kill_events=true&historical=true");
    if client.get(&path).is_none_or(|(status, _)| status != 200) {
        return None; // it has no such thing
    }
    until("the event of a kill", || {
        let answer = client.get(&path).map(|(_, body)| body);
        answer.is_some_and(|body| body.windows(9).any(|window| window == b"\"oomKill\""))
    });
    Some(died.elapsed())
}

/// What a process to be killed does, once its input ends.
pub fn be_greedy() -> ! {
    let _ = std::io::stdin().read(&mut [0]);
    let mut memory = vec![0_u8; TOO_MUCH];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::process::exit(i32::from(memory[TOO_MUCH - 4096] == 0));
}
