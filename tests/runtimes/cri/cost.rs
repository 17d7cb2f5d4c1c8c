//! What the links cost when nothing changes. Prints figures; run by hand:
//! `cargo test --release --test integration cost -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::driver::Driver;
use super::link;
use crate::runtimes::containerd_host::{Containerd, K8S, needs_containerd};
use crate::runtimes::follow::Followed;
use crate::support::alone;

const CONTAINERS: usize = 2_000;
const WATCHED: Duration = Duration::from_secs(60);

fn own_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let time = usage.user_time() + usage.system_time();
    Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap())
}

#[test]
#[ignore = "takes minutes and only prints"]
fn of_two_thousand_containers_that_stand_still() {
    needs_containerd!();
    let _machine = alone();
    let containerd = Containerd::start("cri-cost", &[K8S]);
    let driver = Driver::connect(&containerd);
    let pod = driver.run_pod("many", containerd.cgroup());
    for number in 0..CONTAINERS {
        driver.create_container(&pod, &format!("c{number}"), 0, "true", 0);
    }
    let idle = containerd.ticks();
    std::thread::sleep(WATCHED);
    println!(
        "containerd alone: {} ticks in {WATCHED:?}",
        containerd.ticks() - idle
    );

    let native = super::super::containerd::link(&containerd);
    measure("CRI", &containerd, || Followed::start(link(&containerd)));
    measure("containerd", &containerd, || Followed::start(native));
}

fn measure(what: &str, containerd: &Containerd, start: impl FnOnce() -> Followed) {
    let (began, own, theirs) = (Instant::now(), own_cpu(), containerd.ticks());
    let followed = start();
    while followed.living().len() < CONTAINERS + 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "{what}: {} names after {:?}",
        followed.living().len(),
        began.elapsed()
    );
    while followed.status.counts().connects == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "{what}: connected after {:?}; {:?} of CPU, containerd {} ticks",
        began.elapsed(),
        own_cpu() - own,
        containerd.ticks() - theirs
    );
    std::thread::sleep(Duration::from_secs(10));
    let (own, theirs, asked) = (own_cpu(), containerd.ticks(), followed.status.counts());
    std::thread::sleep(WATCHED);
    println!(
        "{what}: in {WATCHED:?} {:?} of CPU, containerd {} ticks, {} questions, {} events",
        own_cpu() - own,
        containerd.ticks() - theirs,
        followed.status.counts().requests - asked.requests,
        followed.status.counts().events - asked.events
    );
}
