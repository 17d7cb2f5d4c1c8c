//! A Docker of a test's own: its daemon, the containerd that it starts, and the command that asks it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::place::{Place, program, run, succeed};
use super::watched::RUNTIME_SOON;
use crate::support::agent::AgentBuilder;
use crate::support::{Agent, wait_for, wait_until};

/// What the tests need.
pub const PROGRAMS: [&str; 5] = ["dockerd", "docker", "containerd", "runc", "busybox"];

/// The image that is made.
pub const IMAGE: &str = "cgauge-test/bb:1.0";

/// Options of a container of which there is much to tell.
pub const WEB: [&str; 7] = [
    "--network=host",
    "--label=app=x",
    "--label=with.dot=a=b",
    "--env=A_B=1",
    "--env=SECRET=2",
    "--health-cmd=true",
    "--health-interval=1s",
];

/// A Docker's command, which asks whether anybody answers or not.
#[derive(Clone)]
pub struct Client {
    socket: PathBuf,
    config: PathBuf,
}

impl Client {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("docker").unwrap());
        command
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_CONFIG", &self.config)
            .arg("--host")
            .arg(format!("unix://{}", self.socket.display()))
            .args(arguments);
        command
    }

    /// Asks; whether it was done.
    pub fn try_run(&self, arguments: &[&str]) -> bool {
        run(&mut self.command(arguments)).status.success()
    }
}

pub struct Dockerd {
    child: Option<Child>,
    bridge: Option<Bridge>,
    place: Place,
}

/// A bridge of a test's own, for containers' cables. Gone when dropped.
struct Bridge {
    name: String,
}

impl Bridge {
    /// Makes one, with an address that is unlikely to be another's; else what does not work.
    fn make() -> Result<Self, String> {
        let pid = std::process::id();
        let bridge = Self {
            name: format!("cgt{pid}"),
        };
        let address = format!("10.{}.{}.1/24", 200 + pid % 50, pid / 50 % 250);
        let name = bridge.name.as_str();
        for arguments in [
            &["link", "add", name, "type", "bridge"][..],
            &["address", "add", &address, "dev", name],
            &["link", "set", name, "up"],
        ] {
            let mut ip = Command::new(program("ip").ok_or("ip is not installed")?);
            let output = run(ip.args(arguments));
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{ip:?}: {}", error.trim_end()));
            }
        }
        Ok(bridge)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(ip) = program("ip") {
            run(Command::new(ip).args(["link", "delete", &self.name]));
        }
    }
}

impl Dockerd {
    /// A place for one.
    pub fn new() -> Self {
        let place = Place::new("docker");
        // Containers outlive the daemon, as on a node that is set up well. The key would go to /etc.
        let config = serde_json::json!({
            "live-restore": true,
            "deprecated-key-path": place.path("key.json"),
        });
        fs::write(place.path("daemon.json"), config.to_string()).unwrap();
        Self {
            child: None,
            bridge: None,
            place,
        }
    }

    /// Started, with the image, and with networks that have nothing to do with those of the machine: no
    /// packet is forwarded, and no rule is made. Else what does not work.
    pub fn with_networks() -> Result<Self, String> {
        let mut dockerd = Self::new();
        dockerd.bridge = Some(Bridge::make()?);
        dockerd.up();
        dockerd.import();
        Ok(dockerd)
    }

    /// Started, with the image.
    pub fn start() -> Self {
        let mut dockerd = Self::new();
        dockerd.up();
        dockerd.import();
        dockerd
    }

    pub fn import(&self) {
        let archive = self.place.image();
        self.docker(&["import", archive.to_str().unwrap(), IMAGE]);
    }

    pub fn socket(&self) -> PathBuf {
        self.place.path("docker.sock")
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Starts the daemon, and waits until it answers.
    pub fn up(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.place.path("log"))
            .unwrap();
        let child = Command::new(program("dockerd").unwrap())
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--config-file")
            .arg(self.place.path("daemon.json"))
            .arg("--data-root")
            .arg(self.place.path("data"))
            .arg("--exec-root")
            .arg(self.place.path("exec"))
            .arg("--pidfile")
            .arg(self.place.path("pid"))
            .arg(format!(
                "--bridge={}",
                self.bridge.as_ref().map_or("none", |bridge| &bridge.name)
            ))
            .args(["--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .arg("--userland-proxy=false")
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent", self.place.cgroup()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_until(RUNTIME_SOON, "dockerd answers", || {
            if let Some(Some(status)) = self.child.as_mut().map(|one| one.try_wait().unwrap()) {
                let log = fs::read_to_string(self.place.path("log")).unwrap_or_default();
                panic!("dockerd ended: {status}\n{log}");
            }
            let answer = run(&mut self.command(&["version"]));
            answer.status.success().then_some(())
        });
    }

    /// Stops the daemon; its containers run on.
    pub fn down(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        let ended = wait_for(Duration::from_secs(20), || child.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the daemon; what it answers.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    /// Starts a container in the background; its id.
    #[track_caller]
    pub fn run(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        let begin = ["run", "--detach", "--name", name];
        self.docker(&[&begin, options, &[IMAGE], command].concat())
    }

    /// Runs a container to its end, however that is.
    pub fn run_to_end(&self, name: &str, options: &[&str], command: &[&str]) {
        let begin = ["run", "--name", name, "--network", "none"];
        run(&mut self.command(&[&begin, options, &[IMAGE], command].concat()));
    }

    /// What asks this one.
    pub fn client(&self) -> Client {
        Client {
            socket: self.socket(),
            config: self.place.path("client"),
        }
    }

    /// An agent that asks this Docker and no other runtime.
    pub fn agent(&self) -> AgentBuilder {
        let docker = format!("--docker=unix://{}", self.socket().display());
        let others = [
            "--podman=",
            "--containerd=",
            "--cri=",
            "--crio=",
            "--user-runtimes=",
        ];
        let builder = Agent::builder().arg(docker);
        others
            .into_iter()
            .fold(builder, |builder, flag| builder.arg(flag))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.client().command(arguments)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if self.child.is_none() && self.place.path("data").exists() {
            // Containers can only be removed by the daemon. A test that fails leaves none, either.
            let up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.up()));
            assert!(up.is_ok() || std::thread::panicking());
        }
        if self.child.is_some() {
            let ids = run(&mut self.command(&["ps", "--all", "--quiet"]));
            for id in String::from_utf8_lossy(&ids.stdout).split_whitespace() {
                run(&mut self.command(&["rm", "--force", id]));
            }
            if self.bridge.is_some() {
                run(&mut self.command(&["network", "prune", "--force"]));
            }
        }
        self.down();
    }
}
