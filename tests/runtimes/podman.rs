//! A real Podman: by its service, and by its files while there is none.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cgauge::runtime::{Health, LinkState, Runtime, RuntimeSettings, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::place::{FOREVER, Place, missing, needs_runtime, program, run, succeed};
use super::watched::{RUNTIME_SOON, Watched, at};
use crate::support::{Agent, shared, wait_for, wait_until};

/// What the tests need. Not crun: it refuses cgroups that are partly v1 and partly v2.
const PROGRAMS: [&str; 4] = ["podman", "conmon", "runc", "busybox"];

const IMAGE: &str = "localhost/bb:1.0";

struct Podman {
    service: Option<Child>,
    place: Place,
}

impl Podman {
    fn new() -> Self {
        let place = Place::new("podman");
        // Its own limits may be higher than those of whoever runs the tests.
        let limits = r#"default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]"#;
        fs::write(
            place.path("containers.conf"),
            format!("[containers]\n{limits}\n"),
        )
        .unwrap();
        let podman = Self {
            service: None,
            place,
        };
        let archive = podman.place.image();
        podman.podman(&["import", archive.to_str().unwrap(), IMAGE]);
        podman
    }

    fn socket(&self) -> PathBuf {
        self.place.path("podman.sock")
    }

    fn storage(&self) -> PathBuf {
        self.place.path("storage")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("podman").unwrap());
        command
            // The monitor of a container leaves a file there when it runs out of memory.
            .current_dir(self.place.path(""))
            .env("CONTAINERS_CONF", self.place.path("containers.conf"))
            .env("TMPDIR", self.place.path(""))
            .arg("--root")
            .arg(self.storage())
            .arg("--runroot")
            .arg(self.place.path("run"))
            .arg("--tmpdir")
            .arg(self.place.path("tmp"))
            .args([
                "--cgroup-manager=cgroupfs",
                "--events-backend=file",
                "--runtime=runc",
            ])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn podman(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    /// Starts a container in the background; its id.
    #[track_caller]
    fn run(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        // What outlives the command must not keep its pipes.
        let id = self.place.path(&format!("{name}.id"));
        let begin = [
            "run",
            "--detach",
            "--name",
            name,
            "--cidfile",
            id.to_str().unwrap(),
        ];
        let mut podman = self.command(&[&begin, options, &[IMAGE], command].concat());
        let log = fs::File::create(self.place.path("run.log")).unwrap();
        let status = podman.stdout(Stdio::null()).stderr(log).status().unwrap();
        let log = fs::read_to_string(self.place.path("run.log")).unwrap();
        assert!(status.success(), "{podman:?}: {status}\n{log}");
        fs::read_to_string(id).unwrap()
    }

    fn parent(&self) -> String {
        format!("--cgroup-parent={}", self.place.cgroup())
    }

    fn up(&mut self) {
        let _ = fs::remove_file(self.socket());
        let socket = format!("unix://{}", self.socket().display());
        let log = fs::File::create(self.place.path("service.log")).unwrap();
        let child = self
            .command(&["system", "service", "--time=0", &socket])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.service = Some(child);
        wait_until(RUNTIME_SOON, "the service listens", || {
            std::os::unix::net::UnixStream::connect(self.socket()).ok()
        });
    }

    fn down(&mut self) {
        let Some(mut child) = self.service.take() else {
            return;
        };
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        if wait_for(Duration::from_secs(10), || child.try_wait().ok().flatten()).is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(self.socket());
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.down();
        run(&mut self.command(&["pod", "rm", "--all", "--force", "--time=0"]));
        run(&mut self.command(&["rm", "--all", "--force", "--time=0"]));
    }
}

fn settings(podman: &Podman) -> RuntimeSettings {
    RuntimeSettings {
        podman: at(&podman.socket()),
        podman_storage: Some(podman.storage()),
        env_prefixes: vec!["A_".to_owned()],
        ..RuntimeSettings::none()
    }
}

#[test]
fn containers_of_podman_bear_their_names() {
    needs_runtime!(missing(&PROGRAMS));
    let _machine = shared();
    let mut podman = Podman::new();
    podman.up();
    let parent = podman.parent();
    let options = [
        &parent,
        "--network=host",
        "--label=app=x",
        "--env=A_B=1",
        "--health-cmd=true",
        "--health-interval=disable",
    ];
    let web = podman.run("web", &options, &FOREVER);
    // Making a pod builds the image of its pause container.
    let create = [
        "pod",
        "create",
        "--name=mypod",
        "--network=host",
        "--share=net",
        &parent,
    ];
    let pod = podman.podman(&create);
    podman.run("inpod", &["--pod=mypod"], &FOREVER);

    let watched = Watched::start(settings(&podman));
    watched.until_up(true);
    let found = watched.named("web").unwrap();
    assert_eq!(
        (found.runtime, found.id.as_str()),
        (Runtime::Podman, web.as_str())
    );
    let image = found.image.clone().unwrap();
    assert_eq!(image.reference, IMAGE);
    assert!(image.digest.unwrap().starts_with("sha256:"));
    assert_eq!(found.labels["app"], "x");
    assert_eq!(found.env.keys().collect::<Vec<_>>(), ["A_B"]);
    assert_eq!(found.state, Some(State::Running));
    let inspect = |format: &str| podman.podman(&["inspect", "--format", format, "web"]);
    assert_eq!(
        found.init_pid.unwrap().to_string(),
        inspect("{{.State.Pid}}")
    );
    assert_eq!(found.network_mode.as_deref(), Some("host"));
    assert_eq!(found.oci_runtime.as_deref(), Some("runc"));
    assert_eq!(
        found.cgroup,
        Some(format!("{}/libpod-{web}", podman.place.cgroup()))
    );
    assert_eq!(
        found.storage_driver.clone().unwrap(),
        inspect("{{.Driver}}")
    );
    if found.storage_driver.as_deref() == Some("overlay") {
        assert!(found.writable_layer.clone().unwrap().is_dir());
    }
    let inpod = watched.named("inpod").unwrap();
    let its = inpod.pod.clone().unwrap();
    assert_eq!(
        (its.name.as_str(), its.uid.as_str()),
        ("mypod", pod.as_str())
    );
    assert_eq!(its.container.as_deref(), Some("inpod"));
    let living = watched.monitor().names().living();
    let infra = living.iter().find(|one| one.is_sandbox).unwrap();
    let its = infra.pod.clone().unwrap();
    assert_eq!((its.name.as_str(), its.container), ("mypod", None));

    // After us.
    podman.podman(&["rename", "web", "web2"]);
    watched.until("web2", "is named so", |one| (one.id == web).then_some(()));
    run(&mut podman.command(&["healthcheck", "run", "web2"]));
    watched.until("web2", "is healthy", |one| {
        (one.health == Some(Health::Healthy)).then_some(())
    });
    let shared = ["--network=container:web2", &parent];
    let share = podman.run("share", &shared, &FOREVER);
    watched.until("share", "shares the network", |one| {
        (one.network_mode == Some(format!("container:{web}"))).then_some(())
    });
    podman.podman(&["rm", "--force", "--time=0", "share"]);
    wait_until(RUNTIME_SOON, "share is gone", || {
        watched.named("share").is_none().then_some(())
    });
    watched.until_id(&share, "is remembered", |one| {
        (one.name.as_deref() == Some("share")).then_some(())
    });
    let exit = ["sh", "-c", "exit 3"];
    podman.run("crash", &["--network=none", &parent], &exit);
    watched.until("crash", "has ended", |one| match &one.state {
        Some(State::Exited {
            code: Some(3),
            reason: Some(reason),
            ..
        }) if reason == "Error" => Some(()),
        _ => None,
    });
    let eat = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
    podman.run("oom", &["--memory=16m", "--network=none", &parent], &eat);
    // On cgroup v1 this Podman does not say that it was for want of memory.
    watched.until("oom", "was killed", |one| {
        matches!(
            one.state,
            Some(State::Exited {
                code: Some(137),
                ..
            })
        )
        .then_some(())
    });

    without_its_service(&mut podman, &watched, &web);
}

fn without_its_service(podman: &mut Podman, watched: &Watched, web: &str) {
    podman.down();
    let by_files = || match watched.monitor().links()[0].state().0 {
        LinkState::Connected { version } if version.starts_with("files in ") => Some(()),
        _ => None,
    };
    wait_until(RUNTIME_SOON, "the files are read", by_files);
    let found = watched.named("web2").unwrap();
    assert_eq!(found.labels["app"], "x", "what was known stays");
    let parent = podman.parent();
    podman.run(
        "quiet",
        &["--network=host", "--env=A_C=1", &parent],
        &FOREVER,
    );
    watched.until("quiet", "is named by the files", |one| {
        let image = one.image.as_ref()?;
        (image.reference == IMAGE && one.network_mode.as_deref() == Some("host")).then_some(())
    });
    podman.podman(&["rename", "web2", "web3"]);
    watched.until("web3", "is named so", |one| (one.id == web).then_some(()));
    podman.podman(&["rm", "--force", "--time=0", "quiet"]);
    wait_until(RUNTIME_SOON, "quiet is gone", || {
        watched.named("quiet").is_none().then_some(())
    });
    podman.up();
    watched.until("web3", "is known to run", |one| {
        (one.state == Some(State::Running)).then_some(())
    });
}

#[test]
fn what_is_served_of_podmans_containers() {
    needs_runtime!(missing(&PROGRAMS));
    let _machine = shared();
    let mut podman = Podman::new();
    podman.up();
    let parent = podman.parent();
    let options = [&parent, "--network=host", "--label=app=x"];
    let web = podman.run("web", &options, &FOREVER);
    let create = [
        "pod",
        "create",
        "--name=mypod",
        "--network=host",
        "--share=net",
        &parent,
    ];
    podman.podman(&create);
    podman.run("inpod", &["--pod=mypod"], &FOREVER);
    let mut builder =
        Agent::builder().arg(format!("--podman=unix://{}", podman.socket().display()));
    for other in [
        "--docker=",
        "--containerd=",
        "--cri=",
        "--crio=",
        "--user-runtimes=",
    ] {
        builder = builder.arg(other);
    }
    let agent = builder.start();
    // A container's CPU time, if it has all of these labels, in exactly one cgroup.
    let has = |labels: &[&str]| {
        let page = agent.http().get("/metrics").unwrap().text();
        let lines = page.lines();
        let cpu = lines.filter(|line| line.starts_with("container_cpu_usage_seconds_total{"));
        let ours = cpu.filter(|line| labels.iter().all(|label| line.contains(label)));
        let cgroup = |line: &str| Some(line.split_once(",id=\"")?.1.split('"').next()?.to_owned());
        let cgroups: BTreeSet<_> = ours.filter_map(cgroup).collect();
        assert!(cgroups.len() < 2, "{labels:?}: {cgroups:?}");
        cgroups.into_iter().next()
    };
    let image = format!("image=\"{IMAGE}\"");
    let cgroup = format!("{}/libpod-{web}", podman.place.cgroup());
    let labels = ["name=\"web\"", &image, "container_label_app=\"x\""];
    let found = wait_until(RUNTIME_SOON, "web bears its labels", || has(&labels));
    assert_eq!(found, cgroup);
    let in_pod = [
        "name=\"inpod\"",
        &image,
        "pod=\"mypod\"",
        "container=\"inpod\"",
    ];
    wait_until(RUNTIME_SOON, "inpod is in its pod", || has(&in_pod));

    // By its cgroup, and by its name, for which only the API v2 has words.
    let v1 = agent.wait_container(&cgroup);
    let v2 = &agent.json("/api/v2.1/spec/web?type=podman")[&cgroup];
    for told in [&v1, v2] {
        assert_eq!(told["aliases"], json!(["web", web]), "{told}");
        assert_eq!(told["namespace"], "podman");
    }
    for spec in [&v1["spec"], v2] {
        assert_eq!(spec["image"], IMAGE);
        assert_eq!(spec["labels"]["app"], "x");
    }
    assert_eq!(v1["id"], web);

    podman.podman(&["rename", "web", "shop"]);
    wait_until(RUNTIME_SOON, "the new name", || {
        has(&["name=\"shop\"", &image])
    });
    assert_eq!(has(&["name=\"web\""]), None);
    podman.down();
    wait_until(RUNTIME_SOON, "nobody answers", || {
        let page = agent.http().get("/metrics").unwrap().text();
        let mut lines = page.lines();
        lines
            .any(|line| line.starts_with("cgauge_runtime_up{") && line.ends_with(" 0"))
            .then_some(())
    });
    assert_eq!(
        has(&["name=\"shop\"", &image]),
        Some(cgroup),
        "what was known stays"
    );
}
