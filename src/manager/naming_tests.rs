#![allow(clippy::unwrap_used)]
use super::*;
use crate::ledger::{Figures, Finality, LedgerRequest};
use crate::runtime::{LinkId, State};

const SECOND: i64 = 1_000_000_000;
const ID: &str = "6bb9be37d1c3e8d8a4e3ad0ff7bb8b4b1c0a3f1a0d1e2f3a4b5c6d7e8f901234";

/// A ledger, names, and who brings them together. Times are seconds.
struct Scene {
    names: Names,
    ledger: Ledger,
    namer: Namer,
    last: u64,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * SECOND)
}

fn path() -> String {
    format!("/docker/{ID}")
}

impl Scene {
    fn new() -> Self {
        Self {
            names: Names::default(),
            ledger: Ledger::new(Default::default(), Arc::default()),
            namer: Namer::default(),
            last: 0,
        }
    }

    fn begin(&mut self, path: &str, when: i64) -> Which {
        self.last += 1;
        let which = Which {
            name: ContainerName::from_request(path),
            incarnation: self.last,
        };
        self.ledger.begin(which.clone(), at(when), false, None);
        self.namer.begin(which.clone(), at(when));
        which
    }

    fn end(&mut self, which: &Which, when: i64) {
        let figures = Figures {
            cpu_ns: Some(10),
            ..Figures::default()
        };
        self.ledger
            .end(which, at(when), figures, Finality::default());
        self.namer.end(which, at(when));
    }

    fn tick(&mut self, now: i64) {
        self.namer.tick(&self.names, &self.ledger, at(now));
    }

    fn life(&self, which: &Which) -> Life {
        let lives = self.ledger.lives(&LedgerRequest::default());
        lives.into_iter().find(|life| life.which == *which).unwrap()
    }

    fn name(&self, which: &Which) -> Option<String> {
        self.life(which).identity?.name.clone()
    }

    fn code(&self, which: &Which) -> Option<i32> {
        self.life(which).exit?.code
    }
}

fn called(runtime: Runtime, name: &str, state: State) -> runtime::Identity {
    runtime::Identity {
        name: Some(name.to_owned()),
        state: Some(state),
        ..runtime::Identity::new(runtime, ID)
    }
}

fn exited(code: i32, reason: &str, when: i64) -> State {
    State::Exited {
        code: Some(code),
        reason: Some(reason.to_owned()),
        finished: Some(at(when)),
    }
}

fn signal(signal: u8) -> Exit {
    Exit {
        code: Some(128 + i32::from(signal)),
        signal: Some(signal),
        reason: None,
    }
}

#[test]
fn a_life_has_the_name_and_the_exit_that_its_runtime_tells() {
    let mut scene = Scene::new();
    let web = scene.begin(&path(), 100);
    scene.tick(100);
    assert_eq!(scene.name(&web), None);
    scene
        .names
        .put(called(Runtime::Docker, "web", State::Running));
    scene.tick(101);
    assert_eq!(scene.name(&web).as_deref(), Some("web"));
    assert_eq!(&*scene.life(&web).workload(), "web");
    scene
        .names
        .put(called(Runtime::Docker, "shop", State::Running));
    scene.tick(102);
    assert_eq!(scene.name(&web).as_deref(), Some("shop"), "renamed");

    scene.end(&web, 110);
    scene.ledger.exited(&web, signal(9));
    let oom = exited(137, "OOMKilled", 109);
    scene.names.put(called(Runtime::Docker, "shop", oom));
    scene.names.remove(Runtime::Docker, ID);
    scene.tick(111);
    let told = Exit {
        reason: Some("OOMKilled".to_owned()),
        ..signal(9)
    };
    assert_eq!(scene.life(&web).exit, Some(told.clone()));
    // What is seen of processes late does not take the reason away.
    scene.ledger.exited(&web, signal(15));
    assert_eq!(scene.life(&web).exit, Some(told));
    let totals = scene.ledger.totals_where(|_| true);
    assert_eq!((totals.len(), &*totals[0].name), (1, "shop"));
    assert_eq!(totals[0].totals.cpu_ns, 10);
}

#[test]
fn told_late_or_before_the_cgroup_goes() {
    let mut scene = Scene::new();
    let late = scene.begin(&path(), 100);
    scene.end(&late, 101);
    scene.tick(101);
    scene
        .names
        .put(called(Runtime::Docker, "web", exited(3, "Error", 101)));
    scene.tick(500);
    assert_eq!(scene.name(&late).as_deref(), Some("web"));
    assert_eq!(scene.code(&late), Some(3));

    let early = scene.begin(&path(), 510);
    let end = exited(4, "Error", 520);
    scene.names.put(called(Runtime::Docker, "web", end));
    scene
        .names
        .put(called(Runtime::Docker, "web", State::Running));
    scene.tick(520);
    assert_eq!(scene.life(&early).exit, None, "it has not gone yet");
    scene.end(&early, 521);
    scene.tick(521);
    assert_eq!(scene.code(&early), Some(4));
    assert_eq!(scene.code(&late), Some(3));
}

#[test]
fn a_container_that_is_started_again_has_an_exit_each_time() {
    let mut scene = Scene::new();
    let mut lives = Vec::new();
    for (code, start) in [(1, 100), (2, 102), (3, 104)] {
        let which = scene.begin(&path(), start);
        scene.end(&which, start + 1);
        scene.names.put(called(
            Runtime::Docker,
            "web",
            exited(code, "Error", start + 1),
        ));
        scene
            .names
            .put(called(Runtime::Docker, "web", State::Running));
        lives.push(which);
    }
    scene.tick(106);
    let codes: Vec<_> = lives.iter().map(|which| scene.code(which)).collect();
    assert_eq!(codes, [Some(1), Some(2), Some(3)]);
    let totals = scene.ledger.totals_where(|_| true);
    let web = totals.iter().find(|of| &*of.name == "web").unwrap();
    assert_eq!((web.totals.lives, web.totals.cpu_ns), (3, 30));
    assert_eq!(totals.len(), 1, "{totals:?}");
}

#[test]
fn the_most_believed_runtime_says_how_it_ended() {
    let mut scene = Scene::new();
    let web = scene.begin(&path(), 100);
    scene.end(&web, 110);
    let docker = exited(137, "OOMKilled", 110);
    let containerd = exited(137, "Error", 110);
    for (runtime, end) in [
        (Runtime::Containerd, containerd.clone()),
        (Runtime::Docker, docker),
        (Runtime::Containerd, containerd),
    ] {
        scene.names.put(called(runtime, "web", State::Running));
        scene.names.put(called(runtime, "web", end));
        scene.tick(111);
    }
    let reason = scene.life(&web).exit.unwrap().reason;
    assert_eq!(reason.as_deref(), Some("OOMKilled"));
}

#[test]
fn only_the_containers_own_cgroup_and_none_of_a_stranger() {
    let mut scene = Scene::new();
    let inside = scene.begin(&format!("/elsewhere/docker/{ID}"), 100);
    let own = scene.begin(&path(), 100);
    let by_path = scene.begin("/machine/box", 100);
    let foreign = scene.begin("/system.slice/ssh.service", 100);
    let user = scene.names.for_link(LinkId {
        of_user: true,
        number: 1,
    });
    user.put(runtime::Identity {
        cgroup: Some("/system.slice/ssh.service".to_owned()),
        ..runtime::Identity::new(Runtime::Podman, "evil")
    });
    scene
        .names
        .put(called(Runtime::Docker, "web", State::Running));
    scene.names.put(runtime::Identity {
        name: Some("box".to_owned()),
        cgroup: Some("/machine/box".to_owned()),
        ..runtime::Identity::new(Runtime::Podman, "b")
    });
    user.put(called(Runtime::Podman, "web", exited(99, "Error", 101)));
    scene.end(&own, 101);
    scene.tick(101);
    assert_eq!(scene.name(&own).as_deref(), Some("web"));
    assert_eq!(scene.code(&own), None, "a user's word");
    assert_eq!(scene.name(&by_path).as_deref(), Some("box"));
    assert_eq!(scene.life(&inside).identity, None);
    assert_eq!(scene.life(&foreign).identity, None);
}

#[test]
fn one_that_ended_while_nobody_looked_has_the_exit_of_that_time() {
    let mut scene = Scene::new();
    let which = scene.begin(&path(), 100);
    scene.end(&which, 900);
    let mut namer = Namer::default();
    namer.ended_unseen(&scene.life(&which));
    // By now it runs again, and ended a second time.
    scene
        .names
        .put(called(Runtime::Docker, "web", exited(1, "Error", 901)));
    namer.tick(&scene.names, &scene.ledger, at(902));
    assert_eq!(
        (scene.name(&which).as_deref(), scene.code(&which)),
        (Some("web"), None)
    );
    scene
        .names
        .put(called(Runtime::Docker, "web", exited(2, "Error", 500)));
    namer.tick(&scene.names, &scene.ledger, at(903));
    assert_eq!(scene.code(&which), Some(2));
}

#[test]
fn what_waits_is_bounded() {
    let mut scene = Scene::new();
    for number in 0..2 * MAX_OVER {
        let which = scene.begin(&format!("/a{number}"), 100);
        scene.namer.end(&which, at(100));
        let end = exited(0, "Completed", i64::try_from(number).unwrap());
        scene.names.put(called(Runtime::Docker, "web", end));
        if number % 1_000 == 0 {
            scene.tick(100);
        }
    }
    scene.tick(100);
    assert_eq!(
        (scene.namer.lives.len(), scene.namer.over.len()),
        (MAX_OVER, MAX_OVER)
    );
    assert!(scene.namer.ends.len() <= MAX_ENDS);
    scene.tick(100 + 601);
    assert!(scene.namer.lives.is_empty() && scene.namer.over.is_empty());
    assert!(scene.namer.ends.is_empty());
}
