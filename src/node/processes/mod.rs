//! The processes of the node, or of one container, from procfs.
//!
//! In: `/proc/PID/{stat,status,cgroup,fd}` and the node's `/etc/passwd`. Out: what a process list
//! shows. Reads as many files as there are processes, so it runs only when asked, on a thread that may
//! block, for a bounded time. Nothing is started and nothing is written.

pub mod parse;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Roots;
use crate::cgroup::ContainerName;
use crate::units::{BYTES_PER_KB, NS_PER_SEC, Timestamp};

/// How long a listing may take.
pub const BUDGET: Duration = Duration::from_secs(10);

/// Bytes read of any one file: no line of procfs that matters is longer.
const MAX_FILE: u64 = 64 * 1024;

/// Bytes read of the list of users.
const MAX_PASSWD: u64 = 4 * 1024 * 1024;

/// Descriptors of a process that are counted one by one, where the kernel has no number.
const MAX_DESCRIPTORS: usize = 1 << 20;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number, as procfs at its root shows it.
    pub pid: u32,
    /// The number of its parent.
    pub parent: u32,
    /// Its effective user: the name, or the number if the node has no name for it.
    pub user: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// CPU time used, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time in relation to its life, thousandths.
    pub cpu_permille: Option<u64>,
    /// Memory in RAM in relation to the node's, thousandths.
    pub memory_permille: Option<u64>,
    /// Memory in RAM, bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// State and flags, such as `Ss`.
    pub status: String,
    /// Its container.
    pub container: ContainerName,
    /// The name of its program.
    pub command: String,
    /// Open descriptors; absent if they may not be looked at.
    pub descriptors: Option<u64>,
    /// The CPU that it was on last.
    pub cpu: u32,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The directory of processes cannot be read.
    #[error("{}: cannot be listed: {source}; check --procfs", path.display())]
    Unreadable {
        /// Which directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It took too long.
    #[error(
        "{} processes were read within {} s, and there are more; ask for a container instead of the whole node",
        read, BUDGET.as_secs()
    )]
    TooMany {
        /// How many were read.
        read: usize,
    },
}

/// What is the same for all processes.
struct Machine {
    users: std::collections::HashMap<u32, String>,
    boot: Option<i64>,
    uptime_ns: Option<u64>,
    memory_bytes: Option<u64>,
}

/// The processes in `container` itself, not below it; all of the node for `/`. By number.
///
/// # Errors
/// [`ProcessError`]. A process that ends meanwhile is left out.
pub fn list(roots: &Roots, container: &ContainerName) -> Result<Vec<Process>, ProcessError> {
    let unreadable = |source| ProcessError::Unreadable {
        path: roots.procfs.clone(),
        source,
    };
    let mut pids = Vec::new();
    for entry in fs::read_dir(&roots.procfs).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    let machine = Machine::read(roots);
    let deadline = Instant::now() + BUDGET;
    let mut found = Vec::new();
    for pid in pids {
        if Instant::now() > deadline {
            return Err(ProcessError::TooMany { read: found.len() });
        }
        let directory = roots.procfs.join(pid.to_string());
        found.extend(machine.process(&directory, pid, container));
    }
    Ok(found)
}

impl Machine {
    fn read(roots: &Roots) -> Self {
        let text = |name: &str| text(&roots.procfs.join(name), MAX_FILE).unwrap_or_default();
        // `/proc/stat` begins with a line for each CPU and one for the interrupts: `btime` may be
        // behind the first 64 KB.
        let stat = self::text(&roots.procfs.join("stat"), MAX_PASSWD).unwrap_or_default();
        let passwd = self::text(&roots.rootfs.join("etc/passwd"), MAX_PASSWD).unwrap_or_default();
        let memory = text("meminfo");
        let memory_kb = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        let uptime = text("uptime");
        let uptime = uptime.split_ascii_whitespace().next();
        Self {
            users: parse::users(&passwd),
            boot: parse::boot_time(&stat),
            uptime_ns: uptime
                .and_then(|seconds| seconds.parse::<f64>().ok())
                .map(|seconds| (seconds * NS_PER_SEC as f64) as u64),
            memory_bytes: memory_kb.map(|kb| kb.saturating_mul(BYTES_PER_KB)),
        }
    }

    /// One process; `None` if it has ended, or is not in `container`.
    fn process(&self, directory: &Path, pid: u32, container: &ContainerName) -> Option<Process> {
        let cgroup = bytes(&directory.join("cgroup"), MAX_FILE)?;
        let path = Path::new(std::ffi::OsStr::from_bytes(
            parse::cgroup(&cgroup).get(1..).unwrap_or_default(),
        ));
        let own = ContainerName::from_relative(path);
        if !container.is_root() && own != *container {
            return None;
        }
        let stat = parse::stat(&text(&directory.join("stat"), MAX_FILE)?)?;
        let status = parse::status(&text(&directory.join("status"), MAX_FILE)?);
        let age_ns = self
            .uptime_ns
            .map(|uptime| uptime.saturating_sub(stat.started_ns));
        let permille = |part: u64, whole: Option<u64>| {
            let permille = u128::from(part) * 1_000 / u128::from(whole.filter(|&w| w > 0)?);
            u64::try_from(permille).ok()
        };
        let started_ns = i64::try_from(stat.started_ns).ok();
        Some(Process {
            pid,
            parent: stat.parent,
            user: status.uid.map(|uid| {
                let known = self.users.get(&uid).cloned();
                known.unwrap_or_else(|| uid.to_string())
            }),
            started: self.boot.zip(started_ns).and_then(|(boot, after)| {
                let boot = boot.checked_mul(i64::try_from(NS_PER_SEC).ok()?)?;
                boot.checked_add(after).map(Timestamp)
            }),
            cpu_ns: stat.cpu_ns,
            cpu_permille: permille(stat.cpu_ns, age_ns),
            memory_permille: status
                .resident_bytes
                .and_then(|bytes| permille(bytes, self.memory_bytes)),
            resident_bytes: status.resident_bytes,
            virtual_bytes: stat.virtual_bytes,
            status: stat.flags(pid, status.locked),
            container: own,
            descriptors: descriptors(&directory.join("fd")),
            cpu: stat.cpu,
            command: stat.command,
        })
    }
}

/// Open descriptors: since 6.2 the kernel tells their number as the directory's size.
fn descriptors(directory: &Path) -> Option<u64> {
    // Listing needs the same rights that looking needs; the size anybody may see.
    let entries = fs::read_dir(directory).ok()?;
    let told = fs::metadata(directory).ok()?.len();
    if told > 0 && told < u64::from(u32::MAX) && is_procfs(directory) {
        return Some(told);
    }
    u64::try_from(entries.take(MAX_DESCRIPTORS).count()).ok()
}

/// Whether sizes of directories mean what they mean in procfs.
fn is_procfs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC)
}

fn bytes(path: &Path, limit: u64) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(path: &Path, limit: u64) -> Option<String> {
    Some(String::from_utf8_lossy(&bytes(path, limit)?).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::node::test_tree::TestTree;

    fn tree() -> TestTree {
        let tree = TestTree::new();
        tree.file("proc/stat", "cpu 1 2 3\nbtime 1700000000\n")
            .file("proc/uptime", "1000.00 5.00\n")
            .file("proc/meminfo", "MemTotal: 1000 kB\n")
            .file("root/etc/passwd", "app:x:1000:1000::/:/bin/false\n");
        for (pid, uid, cgroup) in [(7, 1000, "/a"), (8, 1234, "/a/b")] {
            tree.file(
                &format!("proc/{pid}/stat"),
                &format!("{pid} (sh) S 1 {pid} {pid} 0 -1 0 0 0 0 0 100 100 0 0 20 0 1 0 90000 2048 1 1 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0\n"),
            )
            .file(
                &format!("proc/{pid}/status"),
                &format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nVmRSS:\t 100 kB\n"),
            )
            .file(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"))
            .file(&format!("proc/{pid}/fd/0"), "");
        }
        // One that is ending: its files are empty.
        tree.file("proc/9/cgroup", "").file("proc/9/stat", "");
        tree.file("proc/self/stat", "no process");
        tree
    }

    #[test]
    fn a_container_has_its_own_processes_and_the_root_all() {
        let tree = tree();
        let list = |name| list(&tree.roots, &ContainerName::from_request(name)).unwrap();
        let of_a = list("/a");
        assert_eq!(
            of_a,
            [Process {
                pid: 7,
                parent: 1,
                user: Some("app".into()),
                started: Some(Timestamp(1_700_000_900_000_000_000)),
                cpu_ns: 2_000_000_000,
                cpu_permille: Some(20),
                memory_permille: Some(100),
                resident_bytes: Some(102_400),
                virtual_bytes: 2048,
                status: "Ss".into(),
                container: ContainerName::from_request("/a"),
                command: "sh".into(),
                descriptors: Some(1),
                cpu: 1,
            }]
        );
        let all = list("/");
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].user.as_deref(), Some("1234"));
        assert_eq!(list("/none"), []);
    }

    #[test]
    fn this_process_is_found_on_this_host() {
        let all = list(&Roots::default(), &ContainerName::root()).unwrap();
        let own = all.iter().find(|p| p.pid == std::process::id()).unwrap();
        assert!(own.descriptors.unwrap() >= 3 && own.resident_bytes.unwrap() > 0);
        assert!(own.started.unwrap() < Timestamp::now());
    }

    #[test]
    fn without_procfs_the_error_says_where() {
        let roots = Roots {
            procfs: "/nonexistent/proc".into(),
            ..Roots::default()
        };
        let error = list(&roots, &ContainerName::root()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/proc"), "{error}");
    }
}
