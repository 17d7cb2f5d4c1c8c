//! The link against an engine that is made up: a well one, and every kind of sick one.

#![allow(clippy::unwrap_used, clippy::panic)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::fake::{Engine, Sick, id, podman_version};
use super::*;
use crate::runtime::names::{NameLimits, Names};
use crate::runtime::supervise::{self, Absence};
use crate::runtime::{Health, LinkState, State};

/// How long anything may take here.
const SOON: Duration = Duration::from_secs(20);

/// What a question may take: short, for those that are not answered.
const TIMEOUT: Duration = Duration::from_millis(300);

struct Run {
    names: Arc<Names>,
    status: Arc<LinkStatus>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Run {
    fn start(engine: &Engine) -> Self {
        let endpoint = Endpoint::Unix(engine.path());
        let env = vec!["A_".to_owned()];
        let link = EngineLink::new(Runtime::Docker, endpoint.clone(), env, TIMEOUT);
        let names = Arc::new(Names::new(NameLimits::default()));
        let status = LinkStatus::new(Runtime::Docker, "fake");
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (names, status, stop) = (names.clone(), status.clone(), stop.clone());
            async move {
                supervise::run(link, &endpoint, Absence::IsFailure, &names, &status, &stop).await;
            }
        });
        Self {
            names,
            status,
            stop,
            task,
        }
    }

    async fn until(&self, what: &str, look: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + SOON;
        while !look(self) {
            assert!(
                tokio::time::Instant::now() < end,
                "not in time: {what}; {:?}",
                self.status
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn connected(&self) {
        self.until("connected", |run| run.status.is_up() == Some(true))
            .await;
    }

    /// The reason of a failure.
    async fn why(&self) -> String {
        self.until("failed", |run| run.status.is_up() == Some(false))
            .await;
        match self.status.state().0 {
            LinkState::Failed { why } => why,
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, number: u32) -> Arc<Identity> {
        self.names.get(&id(number)).unwrap()
    }

    fn state(&self, number: u32) -> Option<State> {
        self.names.get(&id(number))?.state.clone()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn exited(code: i32, reason: &str) -> impl Fn(Option<State>) -> bool {
    let reason = Some(reason.to_owned());
    move |state| matches!(state, Some(State::Exited { code: Some(found), reason: why, .. }) if found == code && why == reason)
}

#[tokio::test]
async fn what_was_there_before_what_comes_and_what_goes() {
    let engine = Engine::start();
    engine.add(1, "web");
    engine.add(2, "db");
    let run = Run::start(&engine);
    run.connected().await;
    let web = run.get(1);
    assert_eq!(web.name.as_deref(), Some("web"));
    assert_eq!(web.image.as_ref().unwrap().reference, "bb:1.0");
    assert_eq!(web.labels["app"], "web");
    assert_eq!(web.env.keys().collect::<Vec<_>>(), ["A_B"]);
    assert_eq!(web.state, Some(State::Running));
    assert_eq!(web.init_pid, Some(1001));
    assert_eq!(run.names.living().len(), 2);

    engine.add(3, "new");
    engine.event("create", 3, json!({}));
    engine.event("start", 3, json!({}));
    run.until("the new one", |run| run.names.get(&id(3)).is_some())
        .await;

    engine.change(3, |one| one["Name"] = json!("/renamed"));
    engine.event("rename", 3, json!({"name": "renamed"}));
    run.until("renamed", |run| {
        run.get(3).name.as_deref() == Some("renamed")
    })
    .await;

    engine.change(3, |one| {
        one["State"]["Health"] = json!({"Status": "healthy"})
    });
    engine.event("health_status: healthy", 3, json!({}));
    run.until("healthy", |run| run.get(3).health == Some(Health::Healthy))
        .await;

    let networks = json!({"front": {"IPAddress": "10.0.0.7"}, "back": {"IPAddress": ""}});
    engine.change(3, |one| one["NetworkSettings"]["Networks"] = networks);
    engine.raw_event(&json!({
        "Type": "network", "Action": "connect",
        "Actor": {"ID": "n", "Attributes": {"container": id(3)}},
    }));
    run.until("its networks", |run| run.get(3).networks.len() == 2)
        .await;
    assert_eq!(run.get(3).networks["front"].as_deref(), Some("10.0.0.7"));
    assert_eq!(run.get(3).networks["back"], None);

    engine.remove(2);
    engine.event("destroy", 2, json!({}));
    run.until("gone", |run| run.names.living().len() == 2).await;
    assert!(run.names.get(&id(2)).is_some(), "kept for a while");
    run.end().await;
    engine.until_open(0).await;
}

#[tokio::test]
async fn why_it_died_is_known_even_if_it_is_removed_at_once() {
    let engine = Engine::start();
    for number in 1..=3 {
        engine.add(number, "x");
    }
    let run = Run::start(&engine);
    run.connected().await;
    engine.remove(1);
    engine.remove(2);
    engine.event("die", 1, json!({"exitCode": "3"}));
    engine.event("destroy", 1, json!({}));
    engine.event("oom", 2, json!({}));
    engine.event("die", 2, json!({"exitCode": "137"}));
    engine.event("destroy", 2, json!({}));
    engine.change(3, |one| {
        one["State"] =
            json!({"Status": "exited", "ExitCode": 0, "FinishedAt": "2026-11-22T16:57:23.5Z"});
    });
    engine.event("die", 3, json!({"exitCode": "0"}));
    run.until("the crashed", |run| exited(3, "Error")(run.state(1)))
        .await;
    run.until("the killed", |run| exited(137, "OOMKilled")(run.state(2)))
        .await;
    run.until("the done", |run| exited(0, "Completed")(run.state(3)))
        .await;
    run.until("one is left", |run| run.names.living().len() == 1)
        .await;
    assert_eq!(run.get(1).init_pid, None);
    run.end().await;
}

#[tokio::test]
async fn what_happens_while_many_are_looked_at_is_not_lost() {
    let engine = Engine::start();
    for number in 1..=50 {
        engine.add(number, "x");
    }
    engine.slow(Duration::from_millis(5));
    let run = Run::start(&engine);
    run.until("the list", |run| run.names.len() == 50).await;
    assert_eq!(run.status.counts().connects, 0, "names are there before");
    engine.add(60, "late");
    engine.event("start", 60, json!({}));
    engine.remove(50);
    engine.event("destroy", 50, json!({}));
    run.connected().await;
    run.until("the late one", |run| run.names.get(&id(60)).is_some())
        .await;
    run.until("50 are there", |run| run.names.living().len() == 50)
        .await;
    run.end().await;
}

#[tokio::test]
async fn an_engine_started_again_is_listed_again_and_nothing_leaks() {
    let engine = Engine::start();
    engine.add(1, "stays");
    engine.add(2, "goes");
    let run = Run::start(&engine);
    run.connected().await;
    for round in 1..=3_u64 {
        engine.drop_connections();
        engine.remove(2);
        engine.add(10 + u32::try_from(round).unwrap(), "new");
        run.until("again", |run| run.status.counts().connects > round)
            .await;
        assert_eq!(run.names.living().len() as u64, 1 + round);
        assert!(engine.open() <= 2, "{} connections", engine.open());
    }
    run.end().await;
    engine.until_open(0).await;
}

#[tokio::test]
async fn a_sick_engine_costs_nobody_anything_and_is_said_to_be_sick() {
    let all = [
        (Sick::Silent, "did not answer /version within"),
        (Sick::HangsAt("/events"), "did not answer"),
        (Sick::HangsAt("/containers/json"), "did not answer"),
        (Sick::Says(b"SSH-2.0-OpenSSH_9.2\r\n"), "cannot be used"),
        (
            Sick::Says(b"\x15\x03\x01\x00\x02\x02\x0a"),
            "cannot be used",
        ),
        (Sick::Says(b""), "closed the connection"),
        (
            Sick::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
            "closed",
        ),
        (
            Sick::Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            "closed",
        ),
        (
            Sick::Says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nab"),
            "cannot be used",
        ),
        (
            Sick::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}}"),
            "cannot be used: trailing characters",
        ),
        (
            Sick::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            "neither Docker nor Podman",
        ),
        (
            Sick::Says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nauthz!"),
            "403 Forbidden: authz!",
        ),
        (Sick::Announces(50 << 20), "more than 33554432 bytes"),
        (Sick::Sends(50 << 20), "more than 33554432 bytes"),
        (Sick::Lists(b"{\"message\":1}"), "no list"),
        (Sick::Lists(b"[{\"Id\":"), "cannot be used"),
    ];
    // Each takes a second, for the pause before it is tried again.
    let all = all.map(|(sick, part_of_why)| is_sick(sick, part_of_why));
    futures_util::future::join_all(all).await;
}

async fn is_sick(sick: Sick, part_of_why: &str) {
    let engine = Engine::start();
    engine.add(1, "web");
    engine.get_sick(Some(sick));
    let run = Run::start(&engine);
    let why = run.why().await;
    assert!(why.contains(part_of_why), "{sick:?}: {why}");
    assert!(engine.sent() < 34 << 20, "{sick:?}: {}", engine.sent());
    engine.get_sick(None);
    run.connected().await;
    assert_eq!(run.get(1).name.as_deref(), Some("web"));
    // Sick once more: what was told stays.
    engine.get_sick(Some(sick));
    engine.drop_connections();
    run.until("failed again", |run| run.status.counts().failures >= 2)
        .await;
    assert_eq!(run.names.living().len(), 1, "{sick:?}");
    run.end().await;
    engine.until_open(0).await;
}

#[tokio::test]
async fn nobody_there_or_a_socket_without_an_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let engine = Engine::at(&path, false);
    let run = Run::start(&engine);
    let why = run.why().await;
    assert!(
        why.contains("cannot connect to") && why.contains("is the runtime running"),
        "{why}"
    );
    run.end().await;
}

#[tokio::test]
async fn garbage_among_events_and_a_line_without_an_end() {
    for (garbage, part_of_why) in [
        (b"{\"Type\":\n".to_vec(), "/events with what cannot be used"),
        (vec![b'x'; 3 << 20], "a line of more than"),
    ] {
        let engine = Engine::start();
        engine.add(1, "web");
        let run = Run::start(&engine);
        run.connected().await;
        engine.raw(garbage);
        let why = run.why().await;
        assert!(why.contains(part_of_why), "{why}");
        run.until("connected again", |run| run.status.counts().connects == 2)
            .await;
        run.end().await;
    }
}

#[tokio::test]
async fn one_container_that_hangs_does_not_hide_the_others() {
    let engine = Engine::start();
    for number in 1..=9 {
        engine.add(number, "x");
    }
    engine.hang(2);
    engine.hang(5);
    let run = Run::start(&engine);
    run.connected().await;
    assert_eq!(run.status.counts().failures, 0);
    assert_eq!(run.names.living().len(), 9);
    assert!(run.get(9).init_pid.is_some() && run.get(2).init_pid.is_none());
    run.end().await;

    // Too many in a row are a reason to give up, once.
    for number in 1..=4 {
        engine.hang(number);
    }
    let run = Run::start(&engine);
    let why = run.why().await;
    assert!(why.contains("did not answer /containers/…/json"), "{why}");
    run.connected().await;
    assert!(run.get(9).init_pid.is_some());
    run.end().await;
}

#[tokio::test]
async fn an_engine_that_cannot_describe_one_container_describes_the_others() {
    let engine = Engine::start();
    engine.add(1, "well");
    engine.add(2, "odd");
    engine.change(2, |one| {
        *one = json!({"Id": id(2), "Name": 7, "State": [], "Config": null, "Created": {}});
    });
    let run = Run::start(&engine);
    run.connected().await;
    assert_eq!(run.get(1).name.as_deref(), Some("well"));
    assert_eq!(run.names.living().len(), 2);
    run.end().await;
}

#[tokio::test]
async fn podman_where_docker_was_looked_for() {
    let engine = Engine::start();
    engine.version(podman_version());
    engine.add(1, "inpod");
    engine.change(1, |one| {
        one["Pod"] = json!("p0d");
        one["ImageName"] = json!("localhost/bb:1.0");
        one["Image"] = json!("ab".repeat(32));
    });
    let run = Run::start(&engine);
    run.connected().await;
    let found = run.get(1);
    assert_eq!(found.runtime, Runtime::Podman);
    let image = found.image.clone().unwrap();
    assert_eq!(image.reference, "localhost/bb:1.0");
    assert_eq!(image.digest, Some(format!("sha256:{}", "ab".repeat(32))));
    let pod = found.pod.clone().unwrap();
    assert_eq!((pod.name.as_str(), pod.uid.as_str()), ("mypod", "p0d"));
    assert_eq!(pod.container.as_deref(), Some("inpod"));
    run.end().await;
}

#[tokio::test]
async fn asks_nothing_while_nothing_happens() {
    let engine = Engine::start();
    for number in 1..=2_000 {
        engine.add(number, "x");
    }
    let run = Run::start(&engine);
    run.connected().await;
    assert_eq!(run.names.living().len(), 2_000);
    let asked = run.status.counts().requests;
    assert_eq!(asked, 2_000 + 3, "version, events, list, and one each");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(run.status.counts().requests, asked);
    assert_eq!(engine.open(), 2);
    run.end().await;
}
