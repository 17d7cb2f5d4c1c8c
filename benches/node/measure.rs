//! The measurements, in order, and the table.

use std::time::{Duration, Instant};

use cgauge::cgroup::{ContainerName, Hierarchies};

use super::client::{Client, until, value};
use super::floor::Floor;
use super::process::Agent;
use super::tree::{self, Tree};
use super::{Mode, Options};

/// Passes of the floor before cgauge runs, and again behind it.
const FLOOR_PASSES: u32 = 5;

/// Scrapes that the median is of.
const SCRAPES: usize = 20;

/// Two samples are as old as this at most when scraped: every scrape takes new ones.
const FRESH: &str = "/metrics?max_age=0s";

/// The first column of each row and what is in the others.
const HEAD: &str = "\
| N, mode | containers | start → listed ms | CPU s/min | polls/min | CPU µs/poll | floor µs | ratio | RSS, max MB | fds | watches | \
mkdir → visible p50 / p95 ms | rmdir → gone p50 / p95 ms | /metrics p50 ms (kept; fresh) | bytes | stop ms |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

pub fn run(options: &Options, hierarchies: &Hierarchies, top: &ContainerName) {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("cgauge.sock");
    println!("{HEAD}");
    for &size in &options.sizes {
        let tree = Tree::make(hierarchies, top, size);
        let floor = Floor::open(hierarchies, &tree.all);
        for &mode in &options.modes {
            let _ = std::fs::remove_file(&socket);
            let row = measure(options, hierarchies, &tree, &floor, mode, &socket);
            println!("| {size}, {} | {row} |", mode.name());
        }
        println!("  ({:.1} files a container in the floor)", floor.files());
        drop(floor);
        tree.remove(hierarchies);
    }
}

fn measure(
    options: &Options,
    hierarchies: &Hierarchies,
    tree: &Tree,
    floor: &Floor,
    mode: Mode,
    socket: &std::path::Path,
) -> String {
    let floor_before = floor.run(FLOOR_PASSES);
    let client = Client::new(socket);
    let mut flags: Vec<String> = mode.flags().iter().map(|&flag| flag.into()).collect();
    flags.extend(options.flags.iter().cloned());
    let agent = Agent::start(options.cgauge.as_deref(), socket.to_str().unwrap(), &flags);
    let listed = until("start", || client.get("/healthz").is_some());
    let names: Vec<String> = tree.leaves.iter().map(ToString::to_string).collect();
    // The list was complete before the first answer, or this takes its time.
    let last = until("the last container", || {
        names.last().is_none_or(|name| client.knows(name))
    });
    std::thread::sleep(options.period);

    let before = client.metrics();
    let (started, used) = (Instant::now(), agent.cpu());
    std::thread::sleep(options.period);
    let (took, used) = (started.elapsed().as_secs_f64(), agent.cpu() - used);
    let after = client.metrics();
    let polls = value(&after, "cgauge_polls_total") - value(&before, "cgauge_polls_total");
    let containers = value(&after, "cgauge_containers");
    let (rss, _) = agent.memory();
    let (descriptors, watches) = agent.descriptors();

    let (visible, gone) = come_and_go(options.tries, hierarchies, tree, &client);
    let (kept, _) = scrapes(&client, "/metrics");
    let (fresh, bytes) = scrapes(&client, FRESH);
    let (_, most) = agent.memory();
    let stopped = agent.stop();
    let floor_after = floor.run(FLOOR_PASSES);
    let floor = f64::midpoint(floor_before, floor_after);
    let each = used * 1e6 / polls;
    format!(
        "{containers} | {} | {:.2} | {:.0} | {each:.1} | {floor:.1} ({floor_before:.1}, {floor_after:.1}) | {:.2} | \
         {rss:.0}, {most:.0} | {descriptors} | {watches} | {} / {} | {} / {} | {kept:.1}; {fresh:.1} | {bytes} | {}",
        (listed + last).as_millis(),
        used * 60.0 / took,
        polls * 60.0 / took,
        each / floor,
        percentile(&visible, 50),
        percentile(&visible, 95),
        percentile(&gone, 50),
        percentile(&gone, 95),
        stopped.as_millis(),
    )
}

/// Makes a container and waits for it, then removes it and waits until it is no longer there.
fn come_and_go(
    tries: usize,
    hierarchies: &Hierarchies,
    tree: &Tree,
    client: &Client,
) -> (Vec<f64>, Vec<f64>) {
    let (mut visible, mut gone) = (Vec::new(), Vec::new());
    for at in 0..tries {
        let name = tree.pod().child(tree::leaf_name(1_000_000 + at).as_ref());
        let text = name.to_string();
        let started = Instant::now();
        tree::make(hierarchies, &name).unwrap();
        until("a new container", || client.knows(&text));
        visible.push(milliseconds(started.elapsed()));
        let started = Instant::now();
        tree::remove(hierarchies, &name);
        until("a removed container", || !client.knows(&text));
        gone.push(milliseconds(started.elapsed()));
    }
    (visible, gone)
}

/// The median time of a scrape, ms, and the bytes of the last one.
fn scrapes(client: &Client, path: &str) -> (f64, usize) {
    let mut bytes = 0;
    let times: Vec<f64> = (0..SCRAPES)
        .map(|_| {
            let started = Instant::now();
            let (status, body) = client.get(path).unwrap();
            assert_eq!(status, 200);
            bytes = body.len();
            milliseconds(started.elapsed())
        })
        .collect();
    let median = sorted(&times)[times.len() / 2];
    (median, bytes)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn sorted(times: &[f64]) -> Vec<f64> {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times
}

fn percentile(times: &[f64], percent: usize) -> String {
    let times = sorted(times);
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times
        .get(at)
        .map_or("–".into(), |time| format!("{time:.1}"))
}
