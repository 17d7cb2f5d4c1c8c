//! What the program serves of the containers of a real Docker.

use std::process::Command;

use serde_json::{Value, json};

use super::dockerd::{Dockerd, IMAGE, PROGRAMS, WEB};
use super::place::{FOREVER, missing, needs_runtime, program, run};
use super::watched::RUNTIME_SOON;
use crate::support::agent::run_to_end;
use crate::support::{Agent, Event, shared, wait_for, wait_until};

/// What `web` writes into its layer.
const WRITTEN: u64 = 4 << 20;

/// More than a layer has of its own: directories and mount points.
const LITTLE: u64 = 1 << 20;

/// A Docker, and a program that asks it and no other runtime.
struct Site {
    // Dropped in this order: the program has to end well while there are containers.
    agent: Agent,
    dockerd: Dockerd,
}

impl Site {
    fn start(dockerd: Dockerd) -> Self {
        let agent = dockerd
            .agent()
            .arg("--disk-usage=walk")
            .arg("--env-metadata-whitelist=A_")
            .start();
        Self { agent, dockerd }
    }

    /// The container's own name in the program: its cgroup.
    fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.dockerd.place().cgroup())
    }

    fn page(&self) -> String {
        self.agent.http().get("/metrics").unwrap().text()
    }

    /// What `/api/v1.3/docker/<asked>` says, if that is one container.
    fn v1(&self, asked: &str) -> Option<(String, Value)> {
        let answer = self.ask(asked);
        let Value::Object(all) = answer.ok()? else {
            panic!("{asked}: no map");
        };
        assert_eq!(all.len(), 1, "{asked}: {:?}", all.keys());
        all.into_iter().next()
    }

    /// The same; else the status and the message.
    fn ask(&self, asked: &str) -> Result<Value, (u16, String)> {
        let target = format!("/api/v1.3/docker/{asked}");
        let answer = self.agent.http().get(&target).unwrap();
        match answer.status {
            200 => Ok(answer.json()),
            status => Err((status, answer.text().trim_end().to_owned())),
        }
    }

    /// Waits until `look` finds something in `/metrics`, and shows what there is of `name` if it does not.
    #[track_caller]
    fn until<T>(&self, name: &str, what: &str, look: impl Fn(&Page) -> Option<T>) -> T {
        let found = wait_for(RUNTIME_SOON, || look(&Page(self.page())));
        found.unwrap_or_else(|| {
            let page = self.page();
            let label = format!("name=\"{name}\"");
            let ours: Vec<_> = page.lines().filter(|line| line.contains(&label)).collect();
            panic!("not so: {name}: {what}\n{}", ours.join("\n"))
        })
    }

    /// Waits until it is shown how a container ended: in `/metrics`, and in place of its figures.
    #[track_caller]
    fn until_ended(&self, name: &str, code: i32, reason: &str) {
        self.until(name, &format!("ended: {code}, {reason}"), |page| {
            let (labels, value) = page.only("cgauge_container_exit_code", name)?;
            (value == f64::from(code) && has(&labels, "reason", reason)).then_some(())
        });
        self.until(name, "is shown as ended", |page| {
            (page.only("cgauge_container_running", name)?.1 == 0.0).then_some(())
        });
        let begins = format!(
            "failed to get Docker container {name:?} with error: container {name:?} in \"docker\" namespace has ended "
        );
        let ends = format!(" s ago with exit code {code} ({reason})");
        // Its cgroup may be there for another moment.
        let (status, message) =
            wait_until(RUNTIME_SOON, "its cgroup is gone", || self.ask(name).err());
        assert_eq!(status, 404, "{message}");
        assert!(
            message.starts_with(&begins) && message.ends_with(&ends),
            "{message}"
        );
    }
}

/// A page of metrics.
struct Page(String);

impl Page {
    /// The labels and values of a family's series that have the name of a container.
    fn of(&self, family: &str, name: &str) -> Vec<(String, f64)> {
        let lines = self.0.lines();
        let series = lines.filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'));
        series
            .filter_map(|rest| rest.rsplit_once("} "))
            .filter(|(labels, _)| has(labels, "name", name))
            .map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// The one series of the family that has the name.
    fn only(&self, family: &str, name: &str) -> Option<(String, f64)> {
        let mut series = self.of(family, name);
        assert!(series.len() < 2, "{family} of {name}: {series:?}");
        series.pop()
    }
}

/// Whether there is this label among these, no value of which has a quote in it.
fn has(labels: &str, name: &str, value: &str) -> bool {
    let label = format!("{name}=\"{value}\"");
    labels
        .split_inclusive("\",")
        .any(|one| one.trim_end_matches(',') == label)
}

fn newest(container: &Value) -> Option<&Value> {
    container["stats"].as_array()?.last()
}

#[test]
fn what_is_served_of_dockers_containers() {
    needs_runtime!(missing(&PROGRAMS));
    let _machine = shared();
    let dockerd = Dockerd::start();
    let web = dockerd.run("web", &WEB, &FOREVER);
    let sick = [
        "--network=none",
        "--health-cmd=false",
        "--health-interval=1s",
        "--health-retries=1",
    ];
    let alone = dockerd.run("alone", &sick, &FOREVER);
    // Before the program comes, which measures at once, and again after a minute.
    let write = "busybox dd if=/dev/zero of=/written bs=1024k count=4";
    dockerd.docker(&["exec", "web", "sh", "-c", write]);
    dockerd.run_to_end("old", &[], &["sh", "-c", "exit 5"]);
    let site = Site::start(dockerd);

    described(&site, &web);
    in_metrics(&site, &web);
    networks(&site, &web, &alone);
    disk_usage(&site, &web);
    how_they_end(&site, &alone);
    in_the_ledger(&site);
    renamed_and_removed(&site, &web);
}

fn described(site: &Site, web: &str) {
    let (path, found) = wait_until(RUNTIME_SOON, "web is healthy", || {
        let (path, found) = site.v1("web")?;
        (newest(&found)?["health"] == json!({"status": "healthy"})).then_some((path, found))
    });
    assert_eq!(path, site.cgroup(web));
    assert_eq!(found["name"], path);
    assert_eq!(found["id"], web);
    assert_eq!(found["aliases"], json!(["web", web]));
    assert_eq!(found["namespace"], "docker");
    let labels = json!({"app": "x", "with.dot": "a=b"});
    let envs = json!({"a_b": "1"});
    let v2 = site.agent.json("/api/v2.1/spec/web?type=docker");
    let v2 = &v2[&path];
    assert_eq!(v2["aliases"], found["aliases"]);
    assert_eq!(v2["namespace"], "docker");
    for spec in [&found["spec"], v2] {
        assert_eq!(spec["image"], IMAGE);
        assert_eq!(spec["labels"], labels);
        assert_eq!(spec["envs"], envs);
        assert_eq!(spec["has_cpu"], true);
        let time = |key: &str| spec[key].as_str().unwrap().to_owned();
        let inspect = |format: &str| site.dockerd.docker(&["inspect", "--format", format, "web"]);
        assert_eq!(time("creation_time"), inspect("{{.Created}}"));
        assert_eq!(time("start_time"), inspect("{{.State.StartedAt}}"));
    }
    // By its id, and by what that begins with.
    for asked in [web, &web[..12]] {
        assert_eq!(site.v1(asked).unwrap().0, path);
    }
    let (status, message) = site.ask("nosuch").unwrap_err();
    assert_eq!(status, 500, "{message}");
}

fn in_metrics(site: &Site, web: &str) {
    let cpu = "container_cpu_usage_seconds_total";
    // A series for each processor where the kernel has them, else one of the total.
    let series = site.until("web", "has all its labels", |page| {
        let series = page.of(cpu, "web");
        let (labels, _) = series.first()?;
        has(labels, "container_label_app", "x").then_some(series)
    });
    for (name, value) in [
        ("id", site.cgroup(web).as_str()),
        ("image", IMAGE),
        ("container_label_with_dot", "a=b"),
        ("container_env_a_b", "1"),
    ] {
        for (labels, _) in &series {
            assert!(has(labels, name, value), "{name}: {labels}");
        }
    }
    assert!(series.iter().map(|(_, seconds)| seconds).sum::<f64>() > 0.0);
    assert!(!site.page().contains("SECRET"));
    assert!(!site.page().to_lowercase().contains("env_secret"));
    for (name, healthy) in [("web", 1.0), ("alone", 0.0)] {
        site.until(name, "has its health", |page| {
            (page.only("container_health_state", name)?.1 == healthy).then_some(())
        });
        site.until(name, "runs", |page| {
            (page.only("cgauge_container_running", name)?.1 == 1.0).then_some(())
        });
    }
}

/// The host's network is the host's; `alone` has nothing but its loopback, then more.
fn networks(site: &Site, web: &str, alone: &str) {
    let received = "container_network_receive_bytes_total";
    let page = Page(site.page());
    for (name, id) in [("web", web), ("alone", alone)] {
        assert_eq!(page.of(received, name), []);
        let (_, found) = site.v1(name).unwrap();
        let interfaces = &newest(&found).unwrap()["network"]["interfaces"];
        assert!(
            interfaces.as_array().is_none_or(Vec::is_empty),
            "{name}: {interfaces}"
        );
        let asked = format!("/api/v2.1/spec/{name}?type=docker");
        let v2 = &site.agent.json(&asked)[site.cgroup(id)];
        assert_eq!(found["spec"]["has_network"], v2["has_network"]);
        assert_eq!(v2["has_network"], name == "alone", "{name}");
    }
    // It gets an interface of its own.
    let init = ["inspect", "--format={{.State.Pid}}", "alone"];
    let namespace = format!("/proc/{}/ns/net", site.dockerd.docker(&init));
    let mut cable = Command::new(program("nsenter").unwrap_or_default());
    cable.arg(format!("--net={namespace}"));
    cable.args("ip link add eth0 type veth peer name lo1".split(' '));
    if !run(&mut cable).status.success() {
        println!("skipped: an interface of its own: {cable:?} fails");
        return;
    }
    site.until("alone", "has its interface", |page| {
        let (labels, _) = page.only(received, "alone")?;
        has(&labels, "interface", "eth0").then_some(())
    });
    assert_eq!(Page(site.page()).of(received, "web"), []);
}

fn disk_usage(site: &Site, web: &str) {
    let inspect = |format: &str| site.dockerd.docker(&["inspect", "--format", format, "web"]);
    if inspect("{{.Driver}}") != "overlay2" {
        println!("skipped: disk usage: Docker does not use overlay2 here");
        return;
    }
    let family = "container_fs_usage_bytes";
    let (labels, usage) = site.until("web", "what it has written is known", |page| {
        page.only(family, "web")
            .filter(|(_, usage)| *usage >= WRITTEN as f64)
    });
    assert!(usage < (WRITTEN + LITTLE) as f64, "{usage}");
    assert!(has(&labels, "id", &site.cgroup(web)), "{labels}");
    assert!(has(&labels, "image", IMAGE), "{labels}");
    site.until("alone", "has written nothing", |page| {
        Some(page.only(family, "alone")?.1).filter(|usage| *usage < LITTLE as f64)
    });
    // A sample tells what was known when it was taken.
    let v1 = wait_until(RUNTIME_SOON, "a sample of after that", || {
        let (_, found) = site.v1("web")?;
        let layer = newest(&found)?["filesystem"].get(0)?.clone();
        assert_eq!(found["spec"]["has_filesystem"], true);
        Some(layer)
    });
    assert_eq!(v1["usage"].as_f64(), Some(usage));
    let v2 = site.agent.json("/api/v2.1/stats/web?type=docker&count=1");
    let v2 = &v2[site.cgroup(web)]["stats"][0]["filesystem"];
    assert_eq!(v2["totalUsageBytes"], v1["usage"]);
}

fn how_they_end(site: &Site, alone: &str) {
    // It had ended before there was a program.
    site.until_ended("old", 5, "Error");
    let dockerd = &site.dockerd;
    dockerd.run_to_end("crash", &[], &["sh", "-c", "exit 3"]);
    site.until_ended("crash", 3, "Error");
    let memory = ["--memory=16m", "--memory-swap=16m"];
    let eat = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
    dockerd.run_to_end("oom", &memory, &eat);
    site.until_ended("oom", 137, "OOMKilled");
    // One that has been seen while it ran.
    dockerd.docker(&["kill", "alone"]);
    site.until_ended("alone", 137, "Error");
    site.until("alone", "its figures are gone", |page| {
        let left = page.of("container_cpu_usage_seconds_total", "alone");
        left.is_empty().then_some(())
    });
    let path = site.cgroup(alone);
    let told = wait_until(RUNTIME_SOON, "the event of its end", || {
        let mut events = site.agent.events_below(&path).into_iter();
        events.find(Event::is_deletion)
    });
    assert_eq!(told.data, json!({"container_deletion": {"exit_code": 137}}));
    let whose = json!({"name": "alone", "id": alone, "image": IMAGE});
    assert_eq!(told.identity, whose);
    // As a person sees it, and that of one of which Docker knows nothing any more.
    dockerd.run_to_end("brief", &["--rm"], &["sh", "-c", "sleep 0.5; exit 7"]);
    wait_until(RUNTIME_SOON, "the events in words", || {
        let server = site.agent.http().address().to_flag();
        let below = site.dockerd.place().cgroup();
        let asked = [
            "events",
            "--subcontainers",
            "--max=1000",
            "--container",
            below,
        ];
        let (_, text, _) = run_to_end(&[&asked[..], &["--server", &server]].concat());
        let has = |kind: &str, rest: &str| {
            let mut lines = text.lines();
            lines.any(|line| line.contains(kind) && line.contains(rest))
        };
        let own = format!("{path}  name=alone");
        (has("containerCreation", &own)
            && has("containerDeletion", &format!("{own}  exit_code=137"))
            && has("containerDeletion", "  name=brief  exit_code=7")
            && has("oomKill", "  name=oom  pid="))
        .then_some(())
    });
}

/// What became of them, and of one that is started again so fast that nobody sees it stand still.
fn in_the_ledger(site: &Site) {
    let again = ["--restart=on-failure:2", "--network=none"];
    let again = site.dockerd.run("again", &again, &["sh", "-c", "exit 6"]);
    let short = ["--rm", "--network=none"];
    let short = (site.dockerd).run("short", &short, &["sh", "-c", "sleep 0.2; exit 7"]);
    for (name, number, code, reason) in [
        ("crash", 1, 3, "Error"),
        ("oom", 1, 137, "OOMKilled"),
        ("alone", 1, 137, "Error"),
        ("again", 3, 6, "Error"),
        ("short", 1, 7, "Error"),
    ] {
        let lives = || {
            let asked = format!("/api/cgauge/v1/ledger?max=-1&name={name}");
            site.agent.json(&asked).as_array().cloned().unwrap()
        };
        let told = |life: &Value| {
            let exit = &life["exit"];
            life["identity"]["name"] == name && exit["code"] == code && exit["reason"] == reason
        };
        let found = wait_for(RUNTIME_SOON, || {
            let lives = lives();
            (lives.len() == number && lives.iter().all(told)).then_some(lives)
        });
        let found = found.unwrap_or_else(|| panic!("{name}: {:#?}", lives()));
        for life in found {
            assert_eq!(life["workload"], name);
            assert_eq!(life["identity"]["image"], IMAGE);
        }
    }
    for id in [again, short] {
        let asked = format!("/api/cgauge/v1/ledger?max=-1&name={id}");
        let lives = site.agent.json(&asked);
        assert!(lives[0]["ended"].is_string(), "{lives}");
    }
    site.until("again", "its totals", |page| {
        let line = "cgauge_workload_containers_total{workload=\"again\"} 3";
        page.0.lines().any(|found| found == line).then_some(())
    });
    let server = format!("--server={}", site.agent.http().address().to_flag());
    let (code, out, err) = run_to_end(&["why", "oom", &server]);
    assert_eq!(code, Some(0), "{err}");
    for part in ["oom", IMAGE, "137", "OOMKilled"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

fn renamed_and_removed(site: &Site, web: &str) {
    let memory = "container_memory_usage_bytes";
    let path = site.cgroup(web);
    site.dockerd.docker(&["rename", "web", "shop"]);
    let (labels, _) = site.until("shop", "the new name", |page| page.only(memory, "shop"));
    assert!(has(&labels, "id", &path), "{labels}");
    assert_eq!(Page(site.page()).of(memory, "web"), []);
    let (found, info) = site.v1("shop").unwrap();
    assert_eq!((&found, &info["aliases"]), (&path, &json!(["shop", web])));
    assert_eq!(site.ask("web").unwrap_err().0, 500);

    site.dockerd.docker(&["rm", "--force", "shop"]);
    site.agent.wait_gone(&path);
    site.until("shop", "is in no figure", |page| {
        page.of(memory, "shop").is_empty().then_some(())
    });
    assert!(!site.page().contains(&format!("id=\"{path}\"")));
    // How it ended is remembered, although Docker knows nothing of it any more.
    site.until_ended("shop", 137, "Error");
    let all = site.agent.json("/api/v1.3/docker");
    assert_eq!(all, json!({}), "nothing else runs");
}
