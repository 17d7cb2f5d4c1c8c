//! The measurements, in order, and the table.

use std::path::Path;
use std::time::{Duration, Instant};

use cgauge::cgroup::{ContainerName, Hierarchies};

use super::Options;
use super::client::{Client, until};
use super::floor::Floor;
use super::subject::Subject;
use super::tree::{self, Tree};

/// Passes of the floor before a program runs, and again behind it.
const FLOOR_PASSES: u32 = 3;

/// Scrapes that the percentiles of one run are of.
const SCRAPES: usize = 20;

/// What a row shows, in the order of `Row`.
const COLUMNS: [&str; 19] = [
    "containers",
    "start → listed ms",
    "CPU s/min",
    "polls/min",
    "CPU µs/poll",
    "floor µs",
    "ratio",
    "RSS MB",
    "after scrapes",
    "fds",
    "watches",
    "mkdir → visible p50 ms",
    "p95",
    "rmdir → gone p50 ms",
    "/metrics p50 ms",
    "p95",
    "fresh p50 ms",
    "CPU ms/scrape",
    "MB",
];

/// The figures of one run; what a program cannot tell is absent.
type Row = [Option<f64>; COLUMNS.len()];

pub fn run(options: &Options, hierarchies: &Hierarchies, top: &ContainerName) {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("cgauge.sock");
    println!("| N, load | program | {} |", COLUMNS.join(" | "));
    println!("|---|---|{}", "---|".repeat(COLUMNS.len()));
    for &size in &options.sizes {
        for &load in &options.loads {
            let tree = Tree::make(hierarchies, top, size, load);
            let floor = Floor::open(hierarchies, &tree.all);
            let subjects = Subject::all(options);
            let mut rows: Vec<Vec<Row>> = vec![Vec::new(); subjects.len()];
            for _ in 0..options.runs {
                for (subject, rows) in subjects.iter().zip(&mut rows) {
                    rows.push(measure(
                        options,
                        hierarchies,
                        &tree,
                        &floor,
                        subject,
                        &socket,
                    ));
                }
            }
            for (subject, rows) in subjects.iter().zip(&rows) {
                let cells: Vec<String> = (0..COLUMNS.len()).map(|at| cell(rows, at)).collect();
                let (load, name) = (load.name(), subject.name());
                println!("| {size}, {load} | {name} | {} |", cells.join(" | "));
            }
            println!("  ({:.1} files a container in the floor)", floor.files());
            drop(floor);
            tree.remove(hierarchies);
        }
    }
}

/// The median over all runs and, where they differ, the least and the most.
fn cell(rows: &[Row], at: usize) -> String {
    let values: Vec<f64> = rows.iter().filter_map(|row| row[at]).collect();
    let values = sorted(&values);
    let [Some(&least), Some(&most)] = [values.first(), values.last()] else {
        return "–".into();
    };
    let digits = usize::from(most < 10.0) + usize::from(most < 100.0);
    let show = |value: f64| format!("{value:.digits$}");
    let median = show(values[values.len() / 2]);
    if show(least) == show(most) {
        return median;
    }
    format!("{median} ({}–{})", show(least), show(most))
}

fn measure(
    options: &Options,
    hierarchies: &Hierarchies,
    tree: &Tree,
    floor: &Floor,
    subject: &Subject,
    socket: &Path,
) -> Row {
    let floor_before = floor.run(FLOOR_PASSES);
    let (agent, client) = subject.start(options, socket);
    let listed = until("start", || client.get("/healthz").is_some());
    let last = tree
        .leaves
        .last()
        .map(ToString::to_string)
        .unwrap_or_default();
    // The list was complete before the first answer, or this takes its time.
    let known = until("the last container", || client.knows(&last));
    std::thread::sleep(options.period);

    let containers = subject.containers(&client);
    let polls = || subject.polls(&client, &last, containers);
    let before = polls();
    let (started, used) = (Instant::now(), agent.cpu());
    std::thread::sleep(options.period);
    let (took, used) = (started.elapsed().as_secs_f64(), agent.cpu() - used);
    let polls = polls() - before;
    let (rss, _) = agent.memory();
    let (descriptors, watches) = agent.descriptors();

    let (visible, gone) = come_and_go(options.tries, hierarchies, tree, &client);
    let before = agent.cpu();
    let (kept, bytes) = scrapes(&client, "/metrics");
    let scraped = agent.cpu() - before;
    let fresh = subject.fresh().map(|path| scrapes(&client, path).0);
    let (after, _) = agent.memory();
    agent.stop(subject.is_cgauge());
    let floor = f64::midpoint(floor_before, floor.run(FLOOR_PASSES));
    let each = (polls > 0.0).then(|| used * 1e6 / polls);
    [
        Some(containers),
        Some(milliseconds(listed + known)),
        Some(used * 60.0 / took),
        Some(polls * 60.0 / took),
        each,
        Some(floor),
        each.map(|each| each / floor),
        Some(rss),
        Some(after),
        Some(descriptors as f64),
        Some(watches as f64),
        percentile(&visible, 50),
        percentile(&visible, 95),
        percentile(&gone, 50),
        percentile(&kept, 50),
        percentile(&kept, 95),
        fresh.and_then(|fresh| percentile(&fresh, 50)),
        Some(scraped * 1e3 / SCRAPES as f64),
        Some(bytes as f64 / 1e6),
    ]
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

/// The times of scrapes, ms, and the bytes of the last one.
fn scrapes(client: &Client, path: &str) -> (Vec<f64>, usize) {
    let mut bytes = 0;
    let times = (0..SCRAPES).map(|_| {
        let started = Instant::now();
        let (status, body) = client.get(path).unwrap();
        assert_eq!(status, 200);
        bytes = body.len();
        milliseconds(started.elapsed())
    });
    (times.collect(), bytes)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn percentile(times: &[f64], percent: usize) -> Option<f64> {
    let times = sorted(times);
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied()
}
