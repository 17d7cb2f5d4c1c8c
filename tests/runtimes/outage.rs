//! Docker stopped for a long while, with containers that come, end and go before, meanwhile and after:
//! no series of those that live is lost or doubled, in any scrape; names are back soon; nothing
//! leaks.
//!
//! `CGAUGE_TEST_OUTAGE=60` says for how many seconds; by default it is [`OUTAGE`].

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::dockerd::{Client, Dockerd, IMAGE, PROGRAMS};
use super::place::{FOREVER, missing, needs_runtime};
use super::watched::RUNTIME_SOON;
use crate::support::{Agent, TestCgroup, alone, scaled, wait_for, wait_until};

/// How long nobody answers, if the environment does not say.
const OUTAGE: Duration = Duration::from_secs(8);

/// Containers that live all the time.
const STAY: usize = 5;

/// Between two scrapes.
const SCRAPE: Duration = Duration::from_millis(500);

/// Series that stay the same for so long are all there: cgroups are made one hierarchy after another.
const SETTLED: Duration = Duration::from_secs(2);

/// Names are back within this, from when Docker answers again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// What resident memory may rise by: pages of the allocator, not a container's worth for each of the
/// outage's containers.
const MEMORY_SLACK: u64 = 12 << 20;

fn outage() -> Duration {
    let told = std::env::var("CGAUGE_TEST_OUTAGE").ok();
    let seconds = told.and_then(|text| text.parse().ok());
    seconds.map_or(OUTAGE, Duration::from_secs)
}

/// A page of metrics, as far as it matters here.
struct Scrape {
    /// Every series, without its value, as often as it is there.
    series: Vec<String>,
    is_up: bool,
}

impl Scrape {
    fn of(agent: &Agent) -> Self {
        let page = agent.http().get("/metrics").unwrap().text();
        let mut series = Vec::new();
        let mut is_up = false;
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            is_up |= name.starts_with("cgauge_runtime_up{") && value == "1";
            series.push(name.to_owned());
        }
        let distinct: BTreeSet<_> = series.iter().collect();
        assert_eq!(distinct.len(), series.len(), "each series once");
        Self { series, is_up }
    }

    /// The series of these cgroups.
    fn of_cgroups(&self, cgroups: &[String]) -> BTreeSet<String> {
        let labels: Vec<_> = cgroups
            .iter()
            .map(|name| format!("id=\"{name}\""))
            .collect();
        let ours = |line: &&String| labels.iter().any(|label| line.contains(label));
        self.series.iter().filter(ours).cloned().collect()
    }

    /// Whether the container of this name has its CPU time by it.
    fn names(&self, name: &str) -> bool {
        let label = format!("name=\"{name}\"");
        let mut series = self.series.iter();
        series.any(|line| {
            line.starts_with("container_cpu_usage_seconds_total{")
                && line.contains(&label)
                && line.contains(&format!("image=\"{IMAGE}\""))
                && line.contains("container_label_tier=\"db\"")
        })
    }
}

/// What a process holds.
#[derive(Debug)]
struct Holds {
    sockets: usize,
    descriptors: usize,
    resident: u64,
}

impl Holds {
    fn of(agent: &Agent) -> Self {
        let directory = fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
        let targets: Vec<_> = directory
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        let sockets = targets
            .iter()
            .filter(|target| target.to_string_lossy().starts_with("socket:"));
        let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        Self {
            sockets: sockets.count(),
            descriptors: targets.len(),
            resident: kib.parse::<u64>().unwrap() << 10,
        }
    }
}

/// Makes containers and cgroups that are soon gone, until told to stop.
fn churn(client: &Client, stop: &AtomicBool, made: &AtomicU32) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut beside = TestCgroup::new("beside");
        let name = format!("brief-{number}");
        let options = ["run", "--detach", "--rm", "--network=none", "--name", &name];
        let begun = client.try_run(&[&options[..], &[IMAGE, "sleep", "0.5"]].concat());
        made.fetch_add(u32::from(begun), Ordering::Relaxed);
        if !begun {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = beside.remove();
    }
}

#[test]
fn a_docker_stopped_for_long_under_churn() {
    needs_runtime!(missing(&PROGRAMS));
    // What the agent holds is measured.
    let _machine = alone();
    let mut dockerd = Dockerd::start();
    let labels = ["--network=none", "--label=tier=db"];
    let names: Vec<String> = (1..=STAY).map(|number| format!("stays-{number}")).collect();
    let stay: Vec<String> = names
        .iter()
        .map(|name| dockerd.run(name, &labels, &FOREVER))
        .map(|id| format!("{}/{id}", dockerd.place().cgroup()))
        .collect();
    let dies = dockerd.run("dies", &labels, &FOREVER);
    let dies_pid: i32 = dockerd
        .docker(&["inspect", "--format={{.State.Pid}}", &dies])
        .parse()
        .unwrap();
    let agent = dockerd.agent().start();
    let before = settled(&agent, &names, &stay);
    let client = dockerd.client();
    let (stop, made) = (AtomicBool::new(false), AtomicU32::new(0));

    std::thread::scope(|scope| {
        scope.spawn(|| churn(&client, &stop, &made));
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Buffers and caches have the size that churn makes them.
            wait_until(RUNTIME_SOON, "containers come and go", || {
                assert_eq!(Scrape::of(&agent).of_cgroups(&stay), before);
                (made.load(Ordering::Relaxed) >= 3).then_some(())
            });
            let held = Holds::of(&agent);
            let scrapes = stopped(&mut dockerd, &agent, dies_pid, &before, &stay);
            let back = back(&mut dockerd, &agent, &before, &stay);
            stop.store(true, Ordering::Relaxed);
            (held, scrapes, back)
        }));
        stop.store(true, Ordering::Relaxed);
        let (held, scrapes, back) =
            watched.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        let (sockets, after) = wait_until(RUNTIME_SOON, "as many sockets as before", || {
            let now = Holds::of(&agent);
            (now.sockets <= held.sockets).then_some((now.sockets, now))
        });
        println!(
            "stopped for {} s, {} containers made and gone, {scrapes} scrapes: {} series of {STAY} \
             containers in each; names back {:.1} s after Docker answered; sockets {} -> {sockets}, \
             descriptors {} -> {}, resident {} KiB -> {} KiB",
            outage().as_secs(),
            made.load(Ordering::Relaxed),
            before.len(),
            back.as_secs_f64(),
            held.sockets,
            held.descriptors,
            after.descriptors,
            held.resident >> 10,
            after.resident >> 10,
        );
        assert!(
            after.resident <= held.resident + MEMORY_SLACK,
            "{held:?} {after:?}"
        );
    });
}

/// The series of those that stay, once all have their names.
fn settled(agent: &Agent, names: &[String], stay: &[String]) -> BTreeSet<String> {
    let mut last = (Instant::now(), BTreeSet::new());
    wait_until(RUNTIME_SOON, "all have their names", || {
        let scrape = Scrape::of(agent);
        let series = scrape.of_cgroups(stay);
        if series != last.1 {
            last = (Instant::now(), series);
            return None;
        }
        let named = names.iter().all(|name| scrape.names(name));
        (named && last.0.elapsed() > SETTLED).then_some(series)
    })
}

/// Stops Docker, and looks for as long as it is to be away; how often.
fn stopped(
    dockerd: &mut Dockerd,
    agent: &Agent,
    dies: i32,
    before: &BTreeSet<String>,
    stay: &[String],
) -> u32 {
    dockerd.down();
    let begun = Instant::now();
    wait_until(RUNTIME_SOON, "the link is down", || {
        (!Scrape::of(agent).is_up).then_some(())
    });
    // Its shim tells the Docker that comes next, and until then keeps its cgroup.
    kill(Pid::from_raw(dies), Signal::SIGKILL).unwrap();
    let mut scrapes = 0;
    while begun.elapsed() < outage() {
        let scrape = Scrape::of(agent);
        assert_eq!(
            scrape.of_cgroups(stay),
            *before,
            "after {:?}",
            begun.elapsed()
        );
        assert!(!scrape.is_up);
        scrapes += 1;
        std::thread::sleep(SCRAPE);
    }
    scrapes
}

/// Starts Docker again; how long it takes from its first answer until all is told.
fn back(
    dockerd: &mut Dockerd,
    agent: &Agent,
    before: &BTreeSet<String>,
    stay: &[String],
) -> Duration {
    dockerd.up();
    let begun = Instant::now();
    let up = wait_for(BACK_WITHIN, || {
        let scrape = Scrape::of(agent);
        assert_eq!(scrape.of_cgroups(stay), *before, "when it is back");
        scrape.is_up.then(|| begun.elapsed())
    });
    let up = up.unwrap_or_else(|| panic!("no names after {:?}", scaled(BACK_WITHIN)));
    dockerd.run("late", &["--network=none", "--label=tier=db"], &FOREVER);
    wait_until(RUNTIME_SOON, "a new one bears its name", || {
        Scrape::of(agent).names("late").then_some(())
    });
    // How the one ended that died meanwhile; its figures end with its cgroup.
    let exit = "cgauge_container_exit_code{";
    wait_until(RUNTIME_SOON, "how it ended is known", || {
        let scrape = Scrape::of(agent);
        let mut series = scrape.series.iter();
        let told = series.any(|line| line.starts_with(exit) && line.contains("name=\"dies\""));
        (told && !scrape.names("dies")).then_some(())
    });
    assert_eq!(Scrape::of(agent).of_cgroups(stay), *before, "at the end");
    up
}
