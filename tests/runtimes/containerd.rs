//! containerd's own API.

use std::time::Duration;

use cgauge::runtime::{ContainerdLink, Endpoint, State};

use super::containerd_host::{Containerd, IMAGE, needs_containerd};
use super::follow::{Followed, SLEEP, wait_for_sleep};
use crate::support::{SOON, shared, wait_until};

pub fn link(containerd: &Containerd) -> ContainerdLink {
    let endpoint = Endpoint::Unix(containerd.socket());
    let prefixes = vec!["SHOWN_".to_owned()];
    ContainerdLink::new(endpoint, Vec::new(), prefixes, Duration::from_secs(10))
}

#[test]
fn containers_before_us_and_after_us_until_they_are_removed() {
    needs_containerd!();
    let _machine = shared();
    let containerd = Containerd::start("native", &["default", "other"]);
    let options = [
        "--label",
        "tier=web",
        "--env",
        "SHOWN_ID=7",
        "--env",
        "SECRET=x",
    ];
    containerd.run_container("default", "before", &options, SLEEP);

    let followed = Followed::start(link(&containerd));
    followed.wait_connected();
    let before = followed.names.get("before").unwrap();
    assert_eq!(before.name.as_deref(), Some("before"));
    assert_eq!(before.runtime_namespace.as_deref(), Some("default"));
    assert_eq!(before.labels.get("tier").map(String::as_str), Some("web"));
    assert_eq!(before.env.get("SHOWN_ID").map(String::as_str), Some("7"));
    assert_eq!(before.env.len(), 1, "{:?}", before.env);
    assert_eq!(before.oci_runtime.as_deref(), Some("io.containerd.runc.v2"));
    assert_eq!(before.state, Some(State::Running));
    let cgroup = format!("{}/before", containerd.cgroup());
    assert_eq!(before.cgroup.as_deref(), Some(cgroup.as_str()));
    assert!(before.created.is_some());
    let pid = before.init_pid.unwrap();
    wait_for_sleep(pid);

    // What is asked for each container after the listing.
    let (layer, digest) = followed.wait("before", "its layer and its image", |one| {
        Some((one.writable_layer.clone()?, one.image.clone()?.digest?))
    });
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert_eq!(before.image.as_ref().unwrap().reference, IMAGE);
    std::fs::write(format!("/proc/{pid}/root/tmp/mark"), "here").unwrap();
    assert_eq!(std::fs::read(layer.join("tmp/mark")).unwrap(), b"here");

    containerd.run_container("other", "after", &[], SLEEP);
    let started = followed.wait("after", "a container made after us runs", |one| {
        (one.state == Some(State::Running) && one.init_pid.is_some()).then_some(one.started)?
    });
    let created = followed.names.get("after").unwrap().created.unwrap();
    assert!(started >= created, "{started:?} {created:?}");

    let _ = containerd.ctr("default", &["containers", "label", "before", "tier=db"]);
    followed.wait("before", "the new label", |one| {
        (one.labels.get("tier")? == "db").then_some(())
    });
    let _ = containerd.ctr("other", &["tasks", "pause", "after"]);
    followed.wait("after", "it is paused", |one| {
        (one.state == Some(State::Paused)).then_some(())
    });
    let _ = containerd.ctr("other", &["tasks", "resume", "after"]);
    followed.wait("after", "it runs again", |one| {
        (one.state == Some(State::Running)).then_some(())
    });

    containerd.end_container("default", "before");
    containerd.ctr("default", &["containers", "delete", "before"]);
    wait_until(SOON, "the removed one is gone", || {
        (followed.living() == ["after"]).then_some(())
    });
    let gone = followed.names.get("before").unwrap();
    assert!(
        matches!(
            gone.state,
            Some(State::Exited {
                code: Some(137),
                ..
            })
        ),
        "{gone:?}"
    );
}

#[test]
fn why_it_died() {
    needs_containerd!();
    let _machine = shared();
    let containerd = Containerd::start("native-exit", &["default"]);
    containerd.run_container("default", "crashed-before", &[], "exit 4");
    wait_until(SOON, "its task stopped", || {
        let said = containerd.ctr("default", &["tasks", "list"]);
        said.contains("STOPPED").then_some(())
    });
    let followed = Followed::start(link(&containerd));
    followed.wait_connected();
    let code = |name: &str| {
        followed.wait(name, "its end", |one| match &one.state {
            Some(State::Exited {
                code,
                reason,
                finished: Some(_),
            }) => Some((code.unwrap(), reason.clone())),
            _ => None,
        })
    };
    assert_eq!(code("crashed-before"), (4, None));
    containerd.run_container("default", "crashed", &[], "exit 7");
    assert_eq!(code("crashed"), (7, None));
    // An exec that ends is not the container's end.
    containerd.run_container("default", "alive", &[], SLEEP);
    let exec = [
        "tasks",
        "exec",
        "--exec-id",
        "e1",
        "alive",
        "/bin/busybox",
        "true",
    ];
    containerd.ctr("default", &exec);

    let limit = ["--memory-limit", "16777216"];
    let eat = "x=0123456789abcdef; while :; do x=$x$x; done";
    containerd.run_container("default", "hungry", &limit, eat);
    let killed = followed.wait("hungry", "the kernel killed it", |one| match &one.state {
        Some(State::Exited { code, reason, .. }) => Some((code.unwrap(), reason.clone()?)),
        _ => None,
    });
    assert_eq!(killed, (137, "OOMKilled".to_owned()));
    assert_eq!(
        followed.names.get("alive").unwrap().state,
        Some(State::Running)
    );
}

#[test]
fn a_restart_under_churn_loses_and_doubles_nothing() {
    needs_containerd!();
    let _machine = shared();
    let mut containerd = Containerd::start("native-restart", &["default"]);
    for name in ["stays", "dies", "removed"] {
        containerd.run_container("default", name, &["--label", "a=b"], SLEEP);
    }
    let followed = Followed::start(link(&containerd));
    followed.wait_connected();
    assert_eq!(followed.living(), ["dies", "removed", "stays"]);
    let layer = followed.wait("stays", "its layer", |one| one.writable_layer.clone());
    let dies = followed.names.get("dies").unwrap().init_pid.unwrap();
    wait_until(SOON, "one connection", || {
        (containerd.connections() == 1).then_some(())
    });

    for round in 0..5 {
        containerd.stop();
        wait_until(SOON, "the link noticed", || {
            (followed.status.counts().failures > round).then_some(())
        });
        assert_eq!(
            followed.names.get("stays").unwrap().writable_layer.as_ref(),
            Some(&layer)
        );
        if round == 0 {
            // Its shim tells the containerd that comes next.
            let pid = nix::unistd::Pid::from_raw(i32::try_from(dies).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        containerd.run();
        containerd.run_container("default", &format!("new-{round}"), &[], SLEEP);
        followed.wait(&format!("new-{round}"), "a new one runs", |one| {
            (one.state == Some(State::Running)).then_some(())
        });
        if round == 1 {
            containerd.end_container("default", "removed");
            containerd.ctr("default", &["containers", "delete", "removed"]);
        }
    }
    let expected = ["dies", "new-0", "new-1", "new-2", "new-3", "new-4", "stays"];
    wait_until(SOON, "all that are there, each once", || {
        (followed.living() == expected).then_some(())
    });
    let stays = followed.names.get("stays").unwrap();
    assert_eq!(stays.labels.get("a").map(String::as_str), Some("b"));
    assert_eq!(stays.state, Some(State::Running));
    assert_eq!(stays.writable_layer.as_ref(), Some(&layer));
    // How, only a shim that outlived it can tell: containerd 2 has none then.
    followed.wait("dies", "it died meanwhile", |one| {
        matches!(one.state, Some(State::Exited { .. })).then_some(())
    });
    wait_until(SOON, "still one connection", || {
        (containerd.connections() == 1).then_some(())
    });
}
