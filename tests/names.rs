//! The program on real cgroups, and a Docker that comes, renames, goes and comes back: what has a name
//! and what has none has the same figures, and no series is there twice.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{Agent, Helper, SOON, TestCgroup, needs_cgroups, shared, wait_until};

/// A Docker that knows one container.
struct Docker {
    path: PathBuf,
    shared: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    id: String,
    name: Mutex<String>,
    stopping: Mutex<bool>,
    connections: Mutex<Vec<UnixStream>>,
    followers: Mutex<Vec<UnixStream>>,
}

impl Docker {
    fn start(path: &Path, id: &str, name: &str) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(State {
            id: id.to_owned(),
            name: Mutex::new(name.to_owned()),
            stopping: Mutex::new(false),
            connections: Mutex::default(),
            followers: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut served = Vec::new();
            for stream in listener.incoming().flatten() {
                if *state.stopping.lock() {
                    break;
                }
                state.connections.lock().push(stream.try_clone().unwrap());
                let state = Arc::clone(&state);
                served.push(std::thread::spawn(move || {
                    // An error is the end of the connection.
                    let _ = state.serve(stream);
                }));
            }
            drop(listener);
            for thread in served {
                thread.join().unwrap();
            }
        });
        Self {
            path: path.to_owned(),
            shared,
            thread: Some(thread),
        }
    }

    fn rename(&self, name: &str) {
        *self.shared.name.lock() = name.to_owned();
        let event = json!({
            "Type": "container", "Action": "rename",
            "Actor": {"ID": self.shared.id, "Attributes": {"name": name}},
            "time": 1, "timeNano": 1_000_000_000,
        });
        let line = format!("{event}\n");
        for follower in self.shared.followers.lock().iter_mut() {
            let _ = write!(follower, "{:x}\r\n{line}\r\n", line.len());
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        *self.shared.stopping.lock() = true;
        let _ = UnixStream::connect(&self.path);
        for stream in self.shared.connections.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = std::fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl State {
    fn serve(&self, stream: UnixStream) -> std::io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        while let Some(first) = lines.next().transpose()? {
            while lines
                .next()
                .transpose()?
                .is_some_and(|line| !line.is_empty())
            {}
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            if path.contains("/events") {
                write!(
                    writer,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                )?;
                self.followers.lock().push(writer.try_clone()?);
                continue;
            }
            let (status, body) = match self.answer(&path) {
                Some(body) => ("200 OK", body.to_string()),
                None => (
                    "404 Not Found",
                    json!({"message": "no such thing"}).to_string(),
                ),
            };
            write!(
                writer,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
        Ok(())
    }

    fn answer(&self, path: &str) -> Option<Value> {
        let name = self.name.lock().clone();
        let (id, labels) = (&self.id, json!({"tier": "front", "app.name": "web"}));
        if path.ends_with("/_ping") || path.ends_with("/version") {
            return Some(
                json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}),
            );
        }
        if path.contains("/containers/json") {
            return Some(json!([{
                "Id": id, "Names": [format!("/{name}")], "Image": "sample/busybox:1",
                "Labels": labels, "State": "running", "Created": 1_795_322_869,
            }]));
        }
        path.contains(&format!("/containers/{id}/json")).then(|| {
            json!({
                "Id": id, "Name": format!("/{name}"), "RestartCount": 0, "Image": "sha256:77",
                "Created": "2026-11-22T04:47:49.096708585Z",
                "State": {"Status": "running", "Running": true, "Pid": 1, "StartedAt": "2026-11-22T04:47:49.390526756Z", "FinishedAt": "0001-01-01T00:00:00Z"},
                "Config": {"Image": "sample/busybox:1", "Labels": labels, "Env": ["TEST_VAR=FOO", "SECRET=x"]},
                "HostConfig": {"NetworkMode": "none"}, "NetworkSettings": {"Networks": {}},
            })
        })
    }
}

fn page(agent: &Agent) -> String {
    agent.http().get("/metrics").unwrap().text()
}

/// The families that have samples of this container; no series may be there twice.
fn families(page: &str, id: &str) -> Vec<String> {
    let mut series = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.rsplit_once(' ').unwrap().0;
        assert!(series.insert(name), "twice: {name}");
    }
    let label = format!("id=\"{id}\"");
    let mut found: Vec<String> = page
        .lines()
        .filter(|line| line.contains(&label))
        .map(|line| line.split('{').next().unwrap().to_owned())
        .collect();
    found.dedup();
    found
}

/// The label `name` of the container's memory usage; `None` if it has none.
fn name_of(page: &str, id: &str) -> Option<String> {
    let label = format!("id=\"{id}\"");
    let mut of = page
        .lines()
        .filter(|line| line.starts_with("container_last_seen{") && line.contains(&label));
    let line = of.next().unwrap_or_else(|| panic!("no {id} in\n{page}"));
    assert!(of.next().is_none(), "two of {id}");
    let rest = line.split_once(",name=\"")?.1;
    Some(rest.split_once('"').unwrap().0.to_owned())
}

#[test]
fn a_name_comes_changes_and_stays_and_the_figures_are_always_there() {
    needs_cgroups!();
    let _machine = shared();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let agent = Agent::builder()
        .arg(format!("--docker=unix://{}", socket.display()))
        .arg("--store-container-labels=false")
        .arg("--whitelisted-container-labels=tier")
        .arg("--env-metadata-whitelist=TEST_")
        .start();
    let id = format!("{:064x}", 0xfeed_0000_u64 + u64::from(std::process::id()));
    let mut cgroup = TestCgroup::new("names");
    let child = cgroup.child(&id);
    child.add(Helper::spinner()).go();
    let name = child.name().to_owned();
    agent.wait_container(&name);

    // No runtime: everything but the name.
    let before = page(&agent);
    let had = families(&before, &name);
    assert_eq!(name_of(&before, &name), None);
    assert!(had.len() > 20, "{had:?}");
    let missing = agent.http().get("/api/v1.3/docker/web").unwrap();
    assert_eq!(missing.status, 500, "{}", missing.text());

    // It comes: the name is there, and nothing else has changed.
    let docker = Docker::start(&socket, &id, "web");
    let named = wait_until(SOON, "the name", || {
        let page = page(&agent);
        name_of(&page, &name).map(|found| (found, page))
    });
    assert_eq!(named.0, "web");
    assert_eq!(families(&named.1, &name), had);
    // The list has no environment: it comes with the description.
    let labels = format!(
        "{{container_env_test_var=\"FOO\",container_label_tier=\"front\",id=\"{name}\",image=\"sample/busybox:1\",name=\"web\"}}"
    );
    wait_until(SOON, "all its labels", || {
        page(&agent)
            .contains(&format!("container_last_seen{labels}"))
            .then_some(())
    });
    assert!(!page(&agent).contains("app_name") && !page(&agent).contains("SECRET"));
    let found = agent.json("/api/v1.3/docker/web");
    assert_eq!(found[&name]["aliases"], json!(["web", id]));

    docker.rename("shop");
    wait_until(SOON, "the new name", || {
        (name_of(&page(&agent), &name).as_deref() == Some("shop")).then_some(())
    });

    // It goes: the name stays.
    drop(docker);
    wait_until(SOON, "the link says so", || {
        page(&agent)
            .lines()
            .any(|line| line.starts_with("cgauge_runtime_up{") && line.ends_with(" 0"))
            .then_some(())
    });
    let orphaned = page(&agent);
    assert_eq!(name_of(&orphaned, &name).as_deref(), Some("shop"));
    assert_eq!(families(&orphaned, &name), had);
    let report = agent.http().get("/validate/").unwrap().text();
    assert!(
        report.contains("no names, images, labels or exit codes from it"),
        "{report}"
    );

    // It comes back, and the container has been renamed meanwhile.
    let docker = Docker::start(&socket, &id, "again");
    wait_until(SOON, "the newest name", || {
        let page = page(&agent);
        let named = name_of(&page, &name).as_deref() == Some("again");
        assert_eq!(families(&page, &name), had);
        named.then_some(())
    });
    drop(docker);
}
