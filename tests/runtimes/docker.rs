//! A real Docker.

use std::time::Duration;

use cgauge::cgroup::ContainerName;
use cgauge::runtime::{Health, Identity, Runtime, RuntimeSettings, State};

use super::dockerd::{Dockerd, IMAGE, PROGRAMS, WEB};
use super::place::{FOREVER, missing, needs_runtime};
use super::watched::{RUNTIME_SOON, Watched, at};
use crate::support::{Agent, alone, shared, wait_until};

fn settings(dockerd: &Dockerd) -> RuntimeSettings {
    RuntimeSettings {
        docker: at(&dockerd.socket()),
        env_prefixes: vec!["A_".to_owned()],
        ..RuntimeSettings::none()
    }
}

fn exited(identity: &Identity) -> Option<(Option<i32>, Option<String>)> {
    match &identity.state {
        Some(State::Exited {
            code,
            reason,
            finished: Some(_),
        }) => Some((*code, reason.clone())),
        _ => None,
    }
}

fn ended(code: i32, reason: &str) -> (Option<i32>, Option<String>) {
    (Some(code), Some(reason.to_owned()))
}

#[test]
fn containers_of_docker_bear_their_names() {
    needs_runtime!(missing(&PROGRAMS));
    let _machine = shared();
    let dockerd = Dockerd::start();
    let web = dockerd.run("web", &WEB, &FOREVER);
    dockerd.run("share", &["--network=container:web"], &FOREVER);
    dockerd.run_to_end("old", &[], &["sh", "-c", "exit 5"]);

    // Before us.
    let watched = Watched::start(settings(&dockerd));
    watched.until_up(true);
    let found = watched.named("web").unwrap();
    assert_eq!(
        (found.runtime, found.id.as_str()),
        (Runtime::Docker, web.as_str())
    );
    let image = found.image.clone().unwrap();
    assert_eq!(image.reference, IMAGE);
    let image_id = dockerd.docker(&["image", "inspect", "--format={{.Id}}", IMAGE]);
    assert_eq!(image.digest, Some(image_id));
    assert_eq!(found.labels["app"], "x");
    assert_eq!(found.labels["with.dot"], "a=b");
    assert_eq!(found.env.len(), 1);
    assert_eq!(found.env["A_B"], "1");
    assert_eq!(found.state, Some(State::Running));
    let inspect = |format: &str| dockerd.docker(&["inspect", "--format", format, "web"]);
    assert_eq!(
        found.init_pid.unwrap().to_string(),
        inspect("{{.State.Pid}}")
    );
    assert_eq!(found.oci_runtime.as_deref(), Some("runc"));
    assert_eq!(found.network_mode.as_deref(), Some("host"));
    assert_eq!(found.networks.keys().collect::<Vec<_>>(), ["host"]);
    assert_eq!(found.restart_count, Some(0));
    let (created, started) = (found.created.unwrap(), found.started.unwrap());
    assert!(created < started && started <= cgauge::units::Timestamp::now());
    let driver = found.storage_driver.clone().unwrap();
    assert_eq!(driver, inspect("{{.Driver}}"));
    if driver == "overlay2" {
        assert!(found.writable_layer.clone().unwrap().is_dir());
    }
    watched.until("web", "is healthy", |web| {
        (web.health == Some(Health::Healthy)).then_some(())
    });
    let share = watched.named("share").unwrap();
    assert_eq!(share.network_mode, Some(format!("container:{web}")));
    assert!(share.networks.is_empty());
    assert_eq!(share.health, None);
    let old = watched.named("old").unwrap();
    assert_eq!(exited(&old), Some(ended(5, "Error")));
    assert_eq!(old.init_pid, None);
    assert_eq!(old.network_mode.as_deref(), Some("none"));
    // The id is that of the cgroup's path.
    let path = ContainerName::from_request(&format!("{}/{web}", dockerd.place().cgroup()));
    wait_until(RUNTIME_SOON, "its cgroup", || {
        watched.monitor().exists(&path).ok()
    });

    after_us(&dockerd, &watched);
    how_they_end(&dockerd, &watched);
}

fn after_us(dockerd: &Dockerd, watched: &Watched) {
    let sick = [
        "--health-cmd=false",
        "--health-interval=1s",
        "--health-retries=1",
        "--network=none",
    ];
    let late = dockerd.run("late", &sick, &FOREVER);
    watched.until("late", "runs", |late| {
        (late.state == Some(State::Running) && late.init_pid.is_some()).then_some(())
    });
    watched.until("late", "is unhealthy", |late| {
        (late.health == Some(Health::Unhealthy)).then_some(())
    });
    dockerd.docker(&["rename", "late", "later"]);
    let found = watched.until("later", "is named so", |later| Some(later.id.clone()));
    assert_eq!(found, late);
    assert!(watched.named("late").is_none());
    dockerd.docker(&["pause", "later"]);
    watched.until("later", "is frozen", |later| {
        (later.state == Some(State::Paused)).then_some(())
    });
    dockerd.docker(&["unpause", "later"]);
    watched.until("later", "runs again", |later| {
        (later.state == Some(State::Running)).then_some(())
    });
    let before = watched.named("later").unwrap();
    dockerd.docker(&["restart", "--time=0", "later"]);
    watched.until("later", "has another process", |later| {
        (later.init_pid.is_some() && later.init_pid != before.init_pid).then_some(())
    });
    dockerd.docker(&["rm", "--force", "later"]);
    wait_until(RUNTIME_SOON, "later is gone", || {
        watched.named("later").is_none().then_some(())
    });
    watched.until_id(&late, "is remembered, with how it ended", |later| {
        (exited(later) == Some(ended(137, "Error"))).then_some(())
    });
}

fn how_they_end(dockerd: &Dockerd, watched: &Watched) {
    dockerd.run_to_end("crash", &[], &["sh", "-c", "exit 3"]);
    dockerd.run_to_end("done", &[], &["true"]);
    let memory = ["--memory=16m", "--memory-swap=16m"];
    let eat = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
    dockerd.run_to_end("oom", &memory, &eat);
    for (name, how) in [
        ("crash", ended(3, "Error")),
        ("done", ended(0, "Completed")),
        ("oom", ended(137, "OOMKilled")),
    ] {
        watched.until(name, "has ended", |one| (exited(one)? == how).then_some(()));
    }
    // One that is removed as soon as it ends.
    let options = ["--rm", "--network=none", "--init=false"];
    let brief = dockerd.run("brief", &options, &["sh", "-c", "sleep 0.2; exit 7"]);
    watched.until_id(&brief, "has ended", |one| {
        (exited(one)? == ended(7, "Error")).then_some(())
    });
    wait_until(RUNTIME_SOON, "brief is gone", || {
        watched.named("brief").is_none().then_some(())
    });
    let again = ["--restart=on-failure:2", "--network=none"];
    dockerd.run("again", &again, &["false"]);
    watched.until("again", "was started twice more", |one| {
        (one.restart_count == Some(2) && exited(one)? == ended(1, "Error")).then_some(())
    });
}

/// What the agent's metrics say.
struct Figures {
    up: Option<u64>,
    connects: u64,
    names: u64,
    descriptors: usize,
}

fn figures(agent: &Agent) -> Figures {
    let page = agent.http().get("/metrics").unwrap().text();
    let figure = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ')
            .next()?
            .parse::<f64>()
            .ok()
            .map(|figure| figure as u64)
    };
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
    let sockets = descriptors.flatten().filter(|entry| {
        std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    Figures {
        up: figure("cgauge_runtime_up{"),
        connects: figure("cgauge_runtime_connects_total{").unwrap_or(0),
        names: figure("cgauge_names ").unwrap_or(0),
        descriptors: sockets.count(),
    }
}

#[test]
fn a_docker_that_comes_later_and_stops_under_churn() {
    needs_runtime!(missing(&PROGRAMS));
    // Sockets of the agent are counted.
    let _machine = alone();
    let mut dockerd = Dockerd::new();
    let agent = dockerd.agent().start();
    wait_until(RUNTIME_SOON, "it is said that nobody is there", || {
        (figures(&agent).up == Some(0)).then_some(())
    });
    let target = agent.stderr();
    assert!(target.contains("cannot connect to"), "{target}");

    dockerd.up();
    dockerd.import();
    dockerd.run("stays", &["--network=none"], &FOREVER);
    let before = wait_until(RUNTIME_SOON, "names", || {
        let figures = figures(&agent);
        (figures.up == Some(1) && figures.names == 1).then_some(figures)
    });
    for round in 1..=3 {
        let brief = format!("brief-{round}");
        // Ends while nobody looks.
        let sleep = ["sleep", "1"];
        dockerd.run(&brief, &["--network=none"], &sleep);
        wait_until(RUNTIME_SOON, "the brief one is named", || {
            (figures(&agent).names == before.names + round).then_some(())
        });
        dockerd.down();
        wait_until(RUNTIME_SOON, "the link is down", || {
            (figures(&agent).up == Some(0)).then_some(())
        });
        let down = figures(&agent);
        assert_eq!(down.names, before.names + round, "names stay");
        dockerd.up();
        // A pause is a few seconds at most, since the socket is another one.
        wait_until(Duration::from_secs(10), "names are back", || {
            let figures = figures(&agent);
            (figures.up == Some(1) && figures.connects > before.connects + round - 1).then_some(())
        });
    }
    let after = wait_until(RUNTIME_SOON, "as many sockets as before", || {
        let figures = figures(&agent);
        (figures.descriptors <= before.descriptors).then_some(figures)
    });
    assert_eq!(after.names, before.names + 3);
}
