//! The measurements, in order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cgauge::cgroup::{ContainerName, Hierarchies};

use super::Options;
use super::client::{Client, until};
use super::floor::Floor;
use super::home::Home;
use super::process::Agent;
use super::subject::Subject;
use super::table::{Row, Table};
use super::tree::{Load, Tree};
use super::visits;

/// Passes of the floor before a program runs, and again behind it.
const FLOOR_PASSES: u32 = 3;

/// Scrapes that the percentiles of one run are of.
const SCRAPES: usize = 20;

/// The most kills whose events are waited for.
const OOM_KILLS: usize = 10;

pub fn run(options: &Options, hierarchies: &Hierarchies, top: &ContainerName) {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("cgauge.sock");
    let mut table = Table::default();
    for &size in &options.sizes {
        for &load in &options.loads {
            let tree = Tree::make(hierarchies, top, size, load);
            let floor = Floor::open(hierarchies, &tree.all);
            let subjects = Subject::all(options);
            let mut rows: Vec<Vec<Row>> = vec![Vec::new(); subjects.len()];
            for run in 0..options.runs {
                for (subject, rows) in subjects.iter().zip(&mut rows) {
                    if !subject.is_cgauge() && options.peer_runs.is_some_and(|most| run >= most) {
                        continue;
                    }
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
                let of = format!("{size}, {}", load.name());
                table.print(&of, &subject.name(), rows);
            }
            println!("  ({:.1} files a container in the floor)", floor.files());
            drop(floor);
            tree.remove(hierarchies);
        }
    }
}

/// Sets a flag, however a block is left.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
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
    let home = Home::make(hierarchies, tree.top(), &agent);
    let listed = until("start", || client.get("/healthz").is_some());
    let last = tree.leaves.last().map(ToString::to_string);
    let last = last.unwrap_or_default();
    // The list was complete before the first answer, or this takes its time.
    let known = until("the last container", || client.knows(&last));
    let over = AtomicBool::new(false);
    let mut row = std::thread::scope(|scope| {
        let _over = SetOnDrop(&over);
        if tree.load == Load::Churning {
            scope.spawn(|| visits::churn(hierarchies, tree, &over));
        }
        std::thread::sleep(options.settle);
        let mut row = polling(options, subject, &client, &agent, &last);
        latency(options, hierarchies, tree, &client, &mut row);
        scraping(subject, &client, &agent, &mut row);
        row
    });
    let kernel = home.kernel_memory();
    agent.stop(subject.is_cgauge());
    home.remove(hierarchies);
    let floor = f64::midpoint(floor_before, floor.run(FLOOR_PASSES));
    row.add("floor µs", Some(floor));
    row.add("ratio", row.get("CPU µs/poll").map(|each| each / floor));
    row.add("kernel MB", kernel.map(|(held, _)| held));
    row.add("pinned", kernel.and_then(|(_, pinned)| pinned));
    row.add("start → listed ms", Some(milliseconds(listed + known)));
    row
}

/// What it costs to be there.
fn polling(
    options: &Options,
    subject: &Subject,
    client: &Client,
    agent: &Agent,
    last: &str,
) -> Row {
    let containers = subject.containers(client);
    let polls = || subject.polls(client, last, containers);
    let before = polls();
    let (started, used) = (Instant::now(), agent.cpu());
    std::thread::sleep(options.period);
    let (took, used) = (started.elapsed().as_secs_f64(), agent.cpu() - used);
    let polls = polls() - before;
    let (descriptors, watches) = agent.descriptors();
    let mut row = Row::default();
    row.add("containers", Some(containers));
    row.add("CPU s/min", Some(used * 60.0 / took));
    row.add("polls/min", Some(polls * 60.0 / took));
    row.add("CPU µs/poll", (polls > 0.0).then(|| used * 1e6 / polls));
    row.add("RSS MB", Some(agent.resident()));
    row.add("fds", Some(descriptors as f64));
    row.add("watches", Some(watches as f64));
    row
}

/// How long it takes to notice.
fn latency(
    options: &Options,
    hierarchies: &Hierarchies,
    tree: &Tree,
    client: &Client,
    row: &mut Row,
) {
    let (visible, gone) = visits::come_and_go(options.tries, hierarchies, tree, client);
    let kills = visits::oom_kills(options.tries.min(OOM_KILLS), hierarchies, tree, client);
    row.add("mkdir → visible p50 ms", percentile(&visible, 50));
    row.add("p95", percentile(&visible, 95));
    row.add("rmdir → gone p50 ms", percentile(&gone, 50));
    row.add("OOM kill → event p50 ms", percentile(&kills, 50));
}

/// What it costs to be asked: as it comes, and with everything polled for it.
fn scraping(subject: &Subject, client: &Client, agent: &Agent, row: &mut Row) {
    let path = subject.last_polls();
    let before = agent.cpu();
    let (kept, bytes) = scrapes(client, path);
    let used = (agent.cpu() - before) * 1e3 / SCRAPES as f64;
    let before = agent.cpu();
    let fresh = subject.fresh().map(|path| scrapes(client, path).0);
    let used_fresh = (agent.cpu() - before) * 1e3 / SCRAPES as f64;
    row.add("/metrics p50 ms", percentile(&kept, 50));
    row.add("p95 ms", percentile(&kept, 95));
    row.add("CPU ms", Some(used));
    row.add(
        "fresh p50 ms",
        fresh.as_deref().and_then(|fresh| percentile(fresh, 50)),
    );
    row.add("fresh CPU ms", fresh.is_some().then_some(used_fresh));
    row.add("MB", Some(bytes as f64 / 1e6));
    row.add("RSS after MB", Some(agent.resident()));
}

/// The times of scrapes, and the bytes of the last one.
fn scrapes(client: &Client, path: &str) -> (Vec<Duration>, usize) {
    let mut bytes = 0;
    let times = (0..SCRAPES).map(|_| {
        let started = Instant::now();
        let (status, body) = client.get(path).unwrap();
        assert_eq!(status, 200);
        bytes = body.len();
        started.elapsed()
    });
    (times.collect(), bytes)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// In milliseconds.
fn percentile(times: &[Duration], percent: usize) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().map(milliseconds)
}
