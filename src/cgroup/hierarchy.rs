//! Which cgroup hierarchies this host has, and what each of them is good for.
//!
//! From `/proc/self/mountinfo`, or from a directory that the user names. Three kinds of hosts: pure
//! v2, v1, and hybrid (v1 controllers beside a v2 tree, which then still gives CPU time and pressure).

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::mountinfo::{self, MountEntry};
use super::name::ContainerName;

/// The controllers whose files cgauge reads. Others (devices, freezer, net_cls …) have no figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// v1 `cpu`: shares, quota, throttling.
    Cpu,
    /// v1 `cpuacct`: CPU time.
    Cpuacct,
    /// `memory`.
    Memory,
    /// v1 `blkio` (v2 `io`).
    Blkio,
    /// `pids`.
    Pids,
    /// `cpuset`.
    Cpuset,
    /// `hugetlb`.
    Hugetlb,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Cpu,
        Self::Cpuacct,
        Self::Memory,
        Self::Blkio,
        Self::Pids,
        Self::Cpuset,
        Self::Hugetlb,
    ];

    /// The kernel's name of it on cgroup v1.
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Blkio => "blkio",
            Self::Pids => "pids",
            Self::Cpuset => "cpuset",
            Self::Hugetlb => "hugetlb",
        }
    }

    fn from_v1_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|controller| controller.v1_name() == name)
    }
}

/// The kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// cgroup v1 only.
    V1,
    /// cgroup v2 only.
    V2,
    /// v1 controllers, and a v2 tree beside them.
    Hybrid,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        })
    }
}

/// Index of a hierarchy in [`Hierarchies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HierarchyId(pub u8);

impl HierarchyId {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// As a bit, for sets of hierarchies.
    pub fn bit(self) -> u32 {
        1 << self.0
    }
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where its root directory is.
    pub root: PathBuf,
    /// The v1 controllers to read here; empty for v2, whose controllers differ from cgroup to cgroup.
    pub controllers: Vec<Controller>,
    /// Whether this is the v2 tree.
    pub unified: bool,
    /// The cgroup that `root` shows, as the kernel names it: `/` unless only a part is mounted.
    pub kernel_root: PathBuf,
}

/// The hierarchies of this host that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    /// The kind of host.
    pub mode: Mode,
    list: Vec<Hierarchy>,
}

/// Why no hierarchy was found.
#[derive(Debug, Error)]
pub enum DetectError {
    /// The mount table cannot be read.
    #[error("cannot read {}: {source}; mount procfs there or point --procfs at it", path.display())]
    MountTable {
        /// Which one.
        path: PathBuf,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// Nothing is mounted.
    #[error(
        "no cgroup hierarchy is mounted: mount one (mount -t cgroup2 none /sys/fs/cgroup), or in a \
         container mount the host's /sys/fs/cgroup and point --cgroup-root at it"
    )]
    NotMounted,
    /// The directory that the user named cannot be looked at.
    #[error("--cgroup-root {}: {source}; name the directory where cgroups are mounted", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The directory that the user named is something else.
    #[error(
        "--cgroup-root {} is no cgroup hierarchy: neither a v2 tree (with cgroup.controllers) nor a \
         directory with one folder for each v1 controller", path.display()
    )]
    NotACgroup {
        /// The directory.
        path: PathBuf,
    },
}

impl Hierarchies {
    /// Finds them: below `cgroup_root` if it is given, else in the mount table. In a pod the host's
    /// mounts lie below `rootfs`; those are preferred.
    pub fn detect(
        procfs: &Path,
        rootfs: &Path,
        cgroup_root: Option<&Path>,
    ) -> Result<Self, DetectError> {
        let list = match cgroup_root {
            Some(root) => below(root)?,
            None => mounted(&mount_table(procfs)?, rootfs),
        };
        let v1 = list.iter().any(|hierarchy| !hierarchy.unified);
        let v2 = list.iter().any(|hierarchy| hierarchy.unified);
        let mode = match (v1, v2) {
            (true, true) => Mode::Hybrid,
            (true, false) => Mode::V1,
            (false, true) => Mode::V2,
            (false, false) => return Err(DetectError::NotMounted),
        };
        Ok(Self { mode, list })
    }

    /// All of them with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (HierarchyId, &Hierarchy)> {
        (0_u8..).map(HierarchyId).zip(&self.list)
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// One of them.
    pub fn get(&self, id: HierarchyId) -> &Hierarchy {
        &self.list[id.index()]
    }

    /// Where a v1 controller is mounted.
    pub fn of(&self, controller: Controller) -> Option<HierarchyId> {
        self.iter()
            .find(|(_, hierarchy)| hierarchy.controllers.contains(&controller))
            .map(|(id, _)| id)
    }

    /// The v2 tree.
    pub fn unified(&self) -> Option<HierarchyId> {
        self.iter()
            .find(|(_, hierarchy)| hierarchy.unified)
            .map(|(id, _)| id)
    }

    /// The container that the kernel means by `path` in its messages about memory cgroups. The
    /// kernel's path starts at the real root, ours at what is mounted.
    pub fn container_of_memcg(&self, path: &str) -> ContainerName {
        self.container_of(Controller::Memory, Path::new(path))
    }

    /// The container that the kernel means by `path` in the hierarchy of a controller.
    pub fn container_of(&self, controller: Controller, path: &Path) -> ContainerName {
        let hierarchy = self.of(controller).or(self.unified());
        let kernel_root = hierarchy.map(|id| self.get(id).kernel_root.as_path());
        let relative = kernel_root
            .and_then(|root| path.strip_prefix(root).ok())
            .or_else(|| path.strip_prefix("/").ok())
            .unwrap_or(path);
        if relative.as_os_str().is_empty() {
            ContainerName::root()
        } else {
            ContainerName::from_relative(relative)
        }
    }
}

fn mount_table(procfs: &Path) -> Result<Vec<MountEntry>, DetectError> {
    let path = procfs.join("self/mountinfo");
    // A procfs of another pid namespace has no `self` for us; the mounts are ours in any case.
    let text = std::fs::read(&path)
        .or_else(|error| std::fs::read("/proc/self/mountinfo").map_err(|_| error))
        .map_err(|source| DetectError::MountTable { path, source })?;
    Ok(mountinfo::parse(&text))
}

/// The hierarchies in a mount table: of each controller, and of v2, the best mount.
fn mounted(mounts: &[MountEntry], rootfs: &Path) -> Vec<Hierarchy> {
    let mut cgroups: Vec<&MountEntry> = mounts
        .iter()
        .filter(|mount| mount.fs_type == "cgroup" || mount.fs_type == "cgroup2")
        .collect();
    // Best first; the order of the table decides among equals.
    cgroups.sort_by_key(|mount| {
        (
            rootfs != Path::new("/") && !mount.mount_point.starts_with(rootfs),
            mount.root != Path::new("/"),
        )
    });
    let mut list: Vec<Hierarchy> = Vec::new();
    for mount in cgroups {
        let unified = mount.fs_type == "cgroup2";
        let taken = |controller: &Controller| {
            list.iter()
                .any(|found| found.controllers.contains(controller))
        };
        let controllers: Vec<Controller> = Controller::ALL
            .into_iter()
            .filter(|controller| {
                !unified && mount.has_super_option(controller.v1_name()) && !taken(controller)
            })
            .collect();
        let wanted = if unified {
            !list.iter().any(|found| found.unified)
        } else {
            !controllers.is_empty()
        };
        if wanted {
            list.push(Hierarchy {
                root: mount.mount_point.clone(),
                controllers,
                unified,
                kernel_root: mount.root.clone(),
            });
        }
    }
    in_order(list)
}

/// The hierarchies in a directory that the user named.
fn below(root: &Path) -> Result<Vec<Hierarchy>, DetectError> {
    let error = |source| DetectError::Root {
        path: root.to_owned(),
        source,
    };
    let root = root.canonicalize().map_err(error)?;
    let entries = std::fs::read_dir(&root).map_err(error)?;
    let mut controllers_found: Vec<(PathBuf, Vec<Controller>)> = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let controllers: Vec<Controller> = name
            .split(',')
            .filter_map(Controller::from_v1_name)
            .collect();
        if !controllers.is_empty() && entry.path().is_dir() {
            controllers_found.push((entry.path(), controllers));
        }
    }
    let has = |directory: &Path, file: &str| directory.join(file).exists();
    let hierarchy = |root: PathBuf, controllers: Vec<Controller>, unified: bool| {
        let kernel_root = kernel_root_of(&root);
        Hierarchy {
            root,
            controllers,
            unified,
            kernel_root,
        }
    };
    if has(&root, "cgroup.controllers")
        || (controllers_found.is_empty() && has(&root, "cgroup.procs"))
    {
        return Ok(vec![hierarchy(root, Vec::new(), true)]);
    }
    // Longest list first: `cpu` and `cpuacct` are often links to `cpu,cpuacct`.
    controllers_found
        .sort_by_key(|(path, controllers)| (usize::MAX - controllers.len(), path.clone()));
    let mut seen = HashSet::new();
    let mut list: Vec<Hierarchy> = Vec::new();
    for (path, mut controllers) in controllers_found {
        // A controller is in one hierarchy: other directories that bear its name are none of its.
        controllers.retain(|one| !list.iter().any(|found| found.controllers.contains(one)));
        if controllers.is_empty() {
            continue;
        }
        let identity = std::fs::metadata(&path)
            .map(|meta| (meta.dev(), meta.ino()))
            .map_err(error)?;
        if seen.insert(identity) {
            list.push(hierarchy(path, controllers, false));
        }
    }
    let unified = root.join("unified");
    if has(&unified, "cgroup.controllers") || has(&unified, "cgroup.procs") {
        list.push(hierarchy(unified, Vec::new(), true));
    }
    if list.is_empty() {
        return Err(DetectError::NotACgroup { path: root });
    }
    Ok(in_order(list))
}

/// Which cgroup a mount shows, if `root` is a mount point of this mount namespace.
fn kernel_root_of(root: &Path) -> PathBuf {
    let mounts = std::fs::read("/proc/self/mountinfo")
        .map(|text| mountinfo::parse(&text))
        .unwrap_or_default();
    mounts
        .into_iter()
        .rev()
        .find(|mount| mount.mount_point == root)
        .map_or_else(|| PathBuf::from("/"), |mount| mount.root)
}

/// v1 before v2 and by controller, so that ids do not depend on the order of mounts.
fn in_order(mut list: Vec<Hierarchy>) -> Vec<Hierarchy> {
    list.sort_by_key(|hierarchy| (hierarchy.unified, hierarchy.controllers.first().copied()));
    list
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro
26 25 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
28 25 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
29 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
30 25 0:26 / /elsewhere/memory rw - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
";

    fn detect(table: &str, rootfs: &str) -> Hierarchies {
        let procfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(procfs.path().join("self")).unwrap();
        std::fs::write(procfs.path().join("self/mountinfo"), table).unwrap();
        Hierarchies::detect(procfs.path(), Path::new(rootfs), None).unwrap()
    }

    #[test]
    fn a_hybrid_host_has_each_controller_once_and_the_unified_tree_last() {
        let found = detect(HYBRID, "/");
        assert_eq!(found.mode, Mode::Hybrid);
        let roots: Vec<_> = found
            .iter()
            .map(|(_, hierarchy)| hierarchy.root.to_str().unwrap())
            .collect();
        assert_eq!(
            roots,
            [
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert_eq!(found.of(Controller::Cpu), found.of(Controller::Cpuacct));
        assert_eq!(found.of(Controller::Pids), None);
        assert_eq!(found.unified(), Some(HierarchyId(2)));
    }

    #[test]
    fn in_a_pod_the_hosts_mounts_win() {
        let table = "\
1 0 0:1 /kubepods/pod1/abc /sys/fs/cgroup ro - cgroup2 cgroup rw
2 0 0:1 / /rootfs/sys/fs/cgroup ro - cgroup2 cgroup rw
";
        let found = detect(table, "/rootfs");
        assert_eq!(found.mode, Mode::V2);
        assert_eq!(
            found.get(HierarchyId(0)).root,
            Path::new("/rootfs/sys/fs/cgroup")
        );
        assert_eq!(found.container_of_memcg("/a/b").to_string(), "/a/b");
    }

    #[test]
    fn a_part_of_the_tree_keeps_its_own_names() {
        let found = detect(
            "1 0 0:1 /machine/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
            "/",
        );
        assert_eq!(
            found.container_of_memcg("/machine/x/app").to_string(),
            "/app"
        );
        assert_eq!(found.container_of_memcg("/machine/x").to_string(), "/");
        assert_eq!(found.container_of_memcg("/other").to_string(), "/other");
    }

    #[test]
    fn a_named_directory_is_told_by_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let detect =
            || Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(directory.path()));
        assert!(matches!(detect(), Err(DetectError::NotACgroup { .. })));
        std::fs::create_dir(directory.path().join("cpu,cpuacct")).unwrap();
        std::os::unix::fs::symlink("cpu,cpuacct", directory.path().join("cpu")).unwrap();
        let found = detect().unwrap();
        assert_eq!((found.mode, found.count()), (Mode::V1, 1));
        std::fs::write(directory.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert_eq!(detect().unwrap().mode, Mode::V2);
        std::fs::remove_file(directory.path().join("cgroup.controllers")).unwrap();
        for copy in 0..300 {
            std::fs::create_dir(directory.path().join(format!("memory,{copy}"))).unwrap();
        }
        assert_eq!(detect().unwrap().count(), 2, "one for each controller");
        let gone = Hierarchies::detect(
            Path::new("/proc"),
            Path::new("/"),
            Some(Path::new("/nonexistent")),
        );
        assert!(gone.unwrap_err().to_string().contains("/nonexistent"));
    }
}
