//! A containerd of the test's own: socket, state, images, and a cgroup for its containers. All that
//! it started is ended, and all that it mounted is unmounted, when it is dropped.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::agent::AgentBuilder;
use crate::support::{Agent, SOON, TestCgroup, wait_for, wait_until};

/// What the tests of containerd need.
const PROGRAMS: [&str; 5] = ["containerd", "ctr", "runc", "tar", "sha256sum"];

/// Where Debian's busybox-static puts it.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// The image that containers are made from, and the one of sandboxes. Whoever lacks it asks this
/// machine for it, and no other.
pub const IMAGE: &str = "localhost/cgauge/busybox:1";

/// The namespace of CRI.
pub const K8S: &str = "k8s.io";

/// gVisor, as the handler `runsc` runs it: without KVM, and without a network of its own.
const RUNSC: &str = "[runsc_config]\nplatform = \"ptrace\"\nnetwork = \"none\"\n";

/// Ends the test unless a containerd can be run here.
macro_rules! needs_containerd {
    () => {
        $crate::runtimes::place::needs_runtime!($crate::runtimes::containerd_host::is_there().err())
    };
}
pub(crate) use needs_containerd;

/// Whether all is there that it takes.
pub fn is_there() -> Result<(), String> {
    let lacking = |program: &&&str| {
        let mut which = Command::new("which");
        let found = which.arg(program).stdout(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    };
    if let Some(program) = PROGRAMS.iter().find(lacking) {
        return Err(format!("{program} is not installed"));
    }
    busybox().map(drop)
}

fn busybox() -> Result<&'static str, String> {
    let found = BUSYBOX.into_iter().find(|path| Path::new(path).exists());
    found.ok_or_else(|| "busybox-static is not installed".to_owned())
}

/// A containerd.
pub struct Containerd {
    directory: tempfile::TempDir,
    child: Option<Child>,
    cgroup: Option<TestCgroup>,
}

impl Containerd {
    /// Starts one, with [`IMAGE`] in these namespaces.
    pub fn start(label: &str, namespaces: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut containerd = Self {
            child: None,
            cgroup: Some(TestCgroup::new(label)),
            directory,
        };
        let config = containerd.directory.path().join("config.toml");
        fs::write(config, containerd.config()).unwrap();
        let runsc = containerd.directory.path().join("runsc.toml");
        let root = containerd.directory.path().join("runsc");
        let root = format!("root = \"{}\"\n", root.display());
        fs::write(runsc, root + RUNSC).unwrap();
        containerd.run();
        let image = containerd.image();
        for namespace in namespaces {
            containerd.ctr(namespace, &["images", "import", image.to_str().unwrap()]);
        }
        containerd
    }

    fn config(&self) -> String {
        let at = self.directory.path().display();
        format!(
            r#"version = 2
root = "{at}/root"
state = "{at}/state"
[grpc]
address = "{at}/c.sock"
[ttrpc]
address = "{at}/c.sock.ttrpc"
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."io.containerd.internal.v1.opt"]
path = "{at}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
stream_server_address = "127.0.0.1"
disable_apparmor = true
restrict_oom_score_adj = true
disable_tcp_service = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{at}/runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]
runtime_type = "io.containerd.runsc.v1"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc.options]
TypeUrl = "io.containerd.runsc.v1.options"
ConfigPath = "{at}/runsc.toml"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{at}/cni/bin"
conf_dir = "{at}/cni/net.d"
"#
        )
    }

    /// Starts the program, once more after [`stop`](Self::stop).
    pub fn run(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))
            .unwrap();
        let child = Command::new("containerd")
            .arg("--config")
            .arg(self.directory.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let answers = wait_for(SOON, || {
            UnixStream::connect(self.socket()).ok()?;
            self.try_ctr("default", &["version"]).ok()
        });
        assert!(
            answers.is_some(),
            "containerd does not answer:\n{}",
            self.log()
        );
    }

    /// Stops the program; its containers run on.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        if wait_for(SOON, || child.try_wait().unwrap()).is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// An agent that asks this one, and no other runtime.
    pub fn agent(&self) -> AgentBuilder {
        let socket = self.socket();
        let socket = socket.display();
        Agent::builder()
            .arg(format!("--containerd={socket}"))
            .arg(format!("--cri={socket}"))
            .arg("--docker=")
            .arg("--podman=")
            .arg("--crio=")
            .arg("--user-runtimes=")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("c.sock")
    }

    /// The CPU time it has used, in clock ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        let times = fields.skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// How many connections it has, from whomever.
    pub fn connections(&self) -> usize {
        /// `SS_CONNECTED` in the sixth column.
        const CONNECTED: &str = "03";
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        let own = self.socket();
        let mut connections = 0;
        for line in sockets.lines() {
            let mut columns = line.split_ascii_whitespace();
            let state = columns.nth(5);
            let path = columns.nth(1);
            let ours = path.is_some_and(|path| Path::new(path) == own);
            connections += usize::from(ours && state == Some(CONNECTED));
        }
        connections
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let from = log.len().saturating_sub(3_000);
        log.get(from..).unwrap_or(&log).to_owned()
    }

    /// The cgroup for its containers, as a container's name.
    pub fn cgroup(&self) -> &str {
        self.cgroup.as_ref().unwrap().name()
    }

    /// Runs `ctr` and returns what it says.
    #[track_caller]
    pub fn ctr(&self, namespace: &str, arguments: &[&str]) -> String {
        match self.try_ctr(namespace, arguments) {
            Ok(said) => said,
            Err(said) => panic!("ctr {arguments:?}: {said}\n{}", self.log()),
        }
    }

    /// As [`ctr`](Self::ctr), when it may fail.
    pub fn try_ctr(&self, namespace: &str, arguments: &[&str]) -> Result<String, String> {
        let out = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match out.status.success() {
            true => Ok(said(&out.stdout)),
            false => Err(said(&out.stderr)),
        }
    }

    /// Runs a container of [`IMAGE`] in the background: `ctr run --detach OPTION... IMAGE NAME sh -c`.
    #[track_caller]
    pub fn run_container(&self, namespace: &str, name: &str, options: &[&str], script: &str) {
        let cgroup = format!("{}/{name}", self.cgroup());
        let below = |name| {
            self.directory
                .path()
                .join(name)
                .to_str()
                .unwrap()
                .to_owned()
        };
        let (runc, fifos) = (below("runc"), below("fifo"));
        let mut arguments = vec!["run", "--detach", "--cgroup", &cgroup];
        arguments.extend(["--runc-root", &runc, "--fifo-dir", &fifos]);
        arguments.extend(options);
        arguments.extend([IMAGE, name, "/bin/busybox", "sh", "-c", script]);
        self.ctr(namespace, &arguments);
    }

    /// Kills a container's process and waits until its task is stopped and gone.
    #[track_caller]
    pub fn end_container(&self, namespace: &str, name: &str) {
        let _ = self.try_ctr(namespace, &["tasks", "kill", "--signal", "SIGKILL", name]);
        wait_until(SOON, "the task is gone", || {
            let gone = self.try_ctr(namespace, &["tasks", "delete", name]);
            let gone = gone.err().filter(|said| !said.contains("not found"));
            gone.is_none().then_some(())
        });
    }

    /// A tar file of an image with nothing but busybox.
    fn image(&self) -> PathBuf {
        let at = self.directory.path().join("image");
        let bin = at.join("root/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(at.join("root/tmp")).unwrap();
        fs::copy(busybox().unwrap(), bin.join("busybox")).unwrap();
        tar(&at.join("root"), &at.join("layer.tar"), &["."]);
        let sum = Command::new("sha256sum").arg(at.join("layer.tar")).output();
        let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
        let sum = sum.split(' ').next().unwrap();
        let config = format!(
            r#"{{"architecture":"{}","os":"linux","config":{{"Cmd":["/bin/busybox","sleep","100000"]}},
            "rootfs":{{"type":"layers","diff_ids":["sha256:{sum}"]}}}}"#,
            match std::env::consts::ARCH {
                "aarch64" => "arm64",
                _ => "amd64",
            }
        );
        fs::write(at.join("config.json"), config).unwrap();
        let manifest = format!(
            r#"[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["layer.tar"]}}]"#
        );
        fs::write(at.join("manifest.json"), manifest).unwrap();
        let image = at.join("image.tar");
        tar(&at, &image, &["manifest.json", "config.json", "layer.tar"]);
        image
    }

    /// The processes that have our directory on their command line: the shims.
    fn shims(&self) -> Vec<Pid> {
        let own = self.directory.path().to_str().unwrap().to_owned();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pid = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        processes
            .filter(|entry| {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains("containerd-shim") && line.contains(&own)
            })
            .filter_map(|entry| Some(Pid::from_raw(pid(&entry)?)))
            .collect()
    }

    /// The processes in our cgroup.
    fn members(&self) -> Vec<Pid> {
        fn add(directory: &Path, found: &mut Vec<Pid>) {
            let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(
                procs
                    .lines()
                    .filter_map(|pid| Some(Pid::from_raw(pid.parse().ok()?))),
            );
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    add(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        for path in self.cgroup.iter().flat_map(TestCgroup::paths) {
            add(&path, &mut found);
        }
        found
    }

    fn unmount_all(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.directory.path().to_str().unwrap().to_owned();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let mut points: Vec<_> = points.filter(|point| point.starts_with(&own)).collect();
        points.sort_by_key(|point| std::cmp::Reverse(point.len()));
        for point in points {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // A shim that is told to end takes its socket along.
        for namespace in ["default", "other", K8S] {
            let tasks = self.try_ctr(namespace, &["tasks", "list", "--quiet"]);
            for task in tasks.unwrap_or_default().lines() {
                let _ = self.try_ctr(namespace, &["tasks", "delete", "--force", task]);
            }
        }
        self.stop();
        for pid in self.shims().into_iter().chain(self.members()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        self.unmount_all();
        if let Some(cgroup) = self.cgroup.take() {
            // runc makes cgroups in all hierarchies, also in those without a controller.
            for mount in cgroup_mounts() {
                let own = mount.join(cgroup.name().trim_start_matches('/'));
                let _ = wait_for(SOON, || remove_tree(&own).ok());
            }
        }
    }
}

/// Where cgroup hierarchies are mounted, of any kind.
fn cgroup_mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let points = cgroups.filter_map(|line| line.split(' ').nth(4));
    points.map(PathBuf::from).collect()
}

/// Removes a directory of cgroups; one that is not there is no failure.
fn remove_tree(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn tar(from: &Path, to: &Path, what: &[&str]) {
    let status = Command::new("tar")
        .arg("-C")
        .arg(from)
        .arg("-cf")
        .arg(to)
        .args(["--owner=0", "--group=0"])
        .args(what)
        .status()
        .unwrap();
    assert!(status.success());
}
