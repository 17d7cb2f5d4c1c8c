//! A directory and a cgroup of a test's own, and what is needed to leave neither behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::wait_for;

/// Where Debian puts what a user's `PATH` may lack.
const PATHS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// What a program is found as.
pub fn program(name: &str) -> Option<PathBuf> {
    let paths = PATHS.iter().map(|path| Path::new(path).join(name));
    paths.into_iter().find(|path| path.is_file())
}

/// What of these is not there.
pub fn missing(programs: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("starting a container runtime needs root".to_owned());
    }
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|name| program(name).is_none())
        .collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// Ends the test unless there are cgroups and nothing of what a runtime takes is `missing`.
macro_rules! needs_runtime {
    ($missing:expr) => {
        if $crate::support::in_guest() {
            $crate::support::not_here!("the guest has no container runtimes");
        }
        $crate::support::needs_cgroups!();
        if let Some(missing) = $missing {
            $crate::support::skip!("{missing}");
        }
    };
}
pub(crate) use needs_runtime;

/// What a container does that is to stay.
pub const FOREVER: [&str; 2] = ["sleep", "1000"];

/// A directory and a cgroup.
pub struct Place {
    directory: TempDir,
    cgroup: String,
}

impl Place {
    pub fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new()
            .prefix("cgauge-test-")
            .tempdir()
            .unwrap();
        Self {
            directory,
            cgroup: format!("/cgauge-test-{}-{label}-{number}", std::process::id()),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The cgroup below which containers are to be.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// A tar archive of an image: busybox under some names.
    pub fn image(&self) -> PathBuf {
        let root = self.path("image");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("tmp")).unwrap();
        fs::copy(program("busybox").unwrap(), root.join("bin/busybox")).unwrap();
        for name in ["sh", "sleep", "true", "false"] {
            let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(name));
        }
        let archive = self.path("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
        succeed(&mut tar);
        archive
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let own = self
            .directory
            .path()
            .to_str()
            .unwrap_or_default()
            .to_owned();
        // Deepest first.
        let mut mounts: Vec<PathBuf> = mounts()
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| !own.is_empty() && path.starts_with(&own))
            .collect();
        mounts.sort();
        for mount in mounts.iter().rev() {
            let _ = nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH);
        }
        for (mount, _) in mounts_of_cgroups() {
            let top = mount.join(self.cgroup.trim_start_matches('/'));
            let gone = wait_for(Duration::from_secs(10), || {
                remove_cgroup(&top);
                (!top.exists()).then_some(())
            });
            if gone.is_none() && !std::thread::panicking() {
                panic!("{} is left, with processes", top.display());
            }
        }
    }
}

fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// Mount points with the kind of each.
fn mounts() -> Vec<(PathBuf, String)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            Some((
                PathBuf::from(left.split(' ').nth(4)?),
                right.split(' ').next()?.to_owned(),
            ))
        })
        .collect()
}

fn mounts_of_cgroups() -> Vec<(PathBuf, String)> {
    let mut all = mounts();
    all.retain(|(_, kind)| kind.starts_with("cgroup"));
    all
}

/// Runs a program to its end; what it wrote to its standard output.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a program to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
