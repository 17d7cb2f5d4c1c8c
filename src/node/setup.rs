//! Whether the node is set up so that containers can be monitored: `/proc/cgroups` and the mounts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::{Roots, processes};
use crate::units::{NS_PER_SEC, Timestamp};

/// How cgroups are set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Controllers that the kernel has, and whether they are enabled; `None` if it does not tell.
    pub controllers: Option<BTreeMap<String, bool>>,
    /// Where the v1 cpu controller is mounted.
    pub cpu_mount: Option<PathBuf>,
    /// Where the v2 hierarchy is mounted.
    pub v2_mount: Option<PathBuf>,
}

impl Setup {
    /// Reads it. What cannot be read is absent.
    pub fn read(roots: &Roots) -> Self {
        let read = |name: &str| fs::read_to_string(roots.procfs.join(name)).ok();
        let mounts = read("self/mounts").or_else(|| read("mounts"));
        let (cpu_mount, v2_mount) = mounts.map_or((None, None), |text| mounted(&text));
        Self {
            controllers: read("cgroups").map(|text| controllers(&text)),
            cpu_mount,
            v2_mount,
        }
    }

    /// Whether the kernel has this controller and it is enabled.
    pub fn enabled(&self, controller: &str) -> bool {
        self.controllers
            .as_ref()
            .is_some_and(|all| all.get(controller) == Some(&true))
    }
}

/// The name of the node. The file first: in a pod the host's name is the pod's.
pub fn node_name(roots: &Roots) -> Option<String> {
    let text = fs::read_to_string(roots.rootfs.join("etc/hostname")).ok();
    let named = text.and_then(|text| {
        let name = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'));
        name.map(str::to_owned)
    });
    named.or_else(|| nix::unistd::gethostname().ok()?.into_string().ok())
}

/// When the node booted: `btime` of `/proc/stat`.
pub fn boot_time(roots: &Roots) -> Option<Timestamp> {
    let stat = fs::read_to_string(roots.procfs.join("stat")).ok()?;
    let seconds = processes::parse::boot_time(&stat)?;
    seconds.checked_mul(NS_PER_SEC as i64).map(Timestamp)
}

/// Reads `/proc/cgroups`: name, hierarchy, number of cgroups, enabled.
fn controllers(text: &str) -> BTreeMap<String, bool> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some((words.next()?.to_owned(), words.nth(2)? == "1"))
        })
        .collect()
}

/// Reads a mount table: where the v1 cpu controller is, and where v2.
fn mounted(text: &str) -> (Option<PathBuf>, Option<PathBuf>) {
    let (mut cpu, mut v2) = (None, None);
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (Some(point), Some(kind), Some(options)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        match kind {
            "cgroup" if options.split(',').any(|option| option == "cpu") => {
                cpu.get_or_insert_with(|| PathBuf::from(point));
            }
            "cgroup2" => {
                v2.get_or_insert_with(|| PathBuf::from(point));
            }
            _ => {}
        }
    }
    (cpu, v2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn controllers_and_mounts() {
        let tree = TestTree::new();
        assert_eq!(Setup::read(&tree.roots), Setup::default());
        tree.file(
            "proc/cgroups",
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t5\t1\nmemory\t0\t1\t0\n",
        )
        .file(
            "proc/self/mounts",
            "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
        );
        let setup = Setup::read(&tree.roots);
        assert!(setup.enabled("cpu") && !setup.enabled("memory") && !setup.enabled("blkio"));
        assert_eq!(setup.cpu_mount, Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(setup.v2_mount, Some("/sys/fs/cgroup/unified".into()));
    }
}
