//! MEASURE: facts about the node itself: machine, versions, filesystems.
//!
//! In: kernel files below the configured [`Roots`]. Out: [`MachineInfo`], [`VersionInfo`] and the
//! filesystem table of [`Filesystems`], for `query`. Nothing here runs on the poll path, and no
//! failure of one file fails the rest: what could not be read comes back as a list of
//! [`Problem`]s beside what could.
//!
//! | file | reads |
//! |---|---|
//! | `cpuinfo`, `topology`, `cpu_cache` | `/proc/cpuinfo`, `/sys/devices/system/{cpu,node}` |
//! | `memory` | `/proc/meminfo`, `/sys/kernel/mm/hugepages`, `/sys/devices/system/edac/mc` |
//! | `disks`, `nics` | `/sys/block`, `/sys/class/net` |
//! | `ids`, `cloud`, `version` | machine id, boot id, DMI, os-release |
//! | `setup` | `/proc/cgroups`, the mount table |
//! | `processes` | `/proc/PID/{stat,status,cgroup,fd}`, `/etc/passwd` |
//! | `disk_usage` | mount tables of processes, writable layers |
//! | `mounts`, `partitions`, `diskstats`, `prober`, `uuid`, `filesystem`, `fs_recent` | mountinfo, statvfs, `/proc/diskstats` |

use std::path::{Path, PathBuf};

pub mod cloud;
pub mod cpu_cache;
pub mod cpu_list;
pub mod cpuinfo;
pub mod disk_usage;
pub mod disks;
pub mod diskstats;
pub mod filesystem;
pub mod fs_recent;
pub mod ids;
pub mod latest;
pub mod machine;
pub mod memory;
pub mod mounts;
pub mod nics;
pub mod partitions;
pub mod prober;
pub mod processes;
pub mod reader;
pub mod setup;
pub mod topology;
pub mod uuid;
pub mod version;

pub use filesystem::{Filesystems, FsError, FsInfo, FsTable};
pub use latest::{Node, Snapshot};
pub use machine::MachineInfo;
pub use processes::{Process, ProcessError};
pub use reader::Problem;
pub use version::VersionInfo;

/// Where the kernel's files are found. Every root is configuration, so that a pod can mount the
/// host's and a test can bring its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The proc file system: `/proc`.
    pub procfs: PathBuf,
    /// The sysfs file system: `/sys`.
    pub sysfs: PathBuf,
    /// The root of the node's own file tree: `/`, or `/rootfs` in a pod.
    pub rootfs: PathBuf,
    /// Files that may hold the machine id, the first readable one wins. Paths as the node has
    /// them: [`Roots::resolve`] finds them.
    pub machine_id_files: Vec<PathBuf>,
    /// Files that may hold the boot id, likewise.
    pub boot_id_files: Vec<PathBuf>,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            machine_id_files: vec!["/etc/machine-id".into(), "/var/lib/dbus/machine-id".into()],
            boot_id_files: vec!["/proc/sys/kernel/random/boot_id".into()],
        }
    }
}

impl Roots {
    /// Where a path of the node is for us: `/proc/…` below the proc root, `/sys/…` below the sysfs
    /// root, everything else below the root file system.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        if let Ok(rest) = path.strip_prefix("/proc") {
            self.procfs.join(rest)
        } else if let Ok(rest) = path.strip_prefix("/sys") {
            self.sysfs.join(rest)
        } else {
            self.rootfs.join(path.strip_prefix("/").unwrap_or(path))
        }
    }
}

#[cfg(test)]
pub(crate) mod test_tree {
    //! A made-up node below a temporary directory.
    #![allow(clippy::unwrap_used)]

    use super::Roots;
    use std::fs;
    use tempfile::TempDir;

    /// `proc`, `sys` and `root` below one temporary directory.
    pub(crate) struct TestTree {
        dir: TempDir,
        pub(crate) roots: Roots,
    }

    impl TestTree {
        pub(crate) fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let roots = Roots {
                procfs: dir.path().join("proc"),
                sysfs: dir.path().join("sys"),
                rootfs: dir.path().join("root"),
                ..Roots::default()
            };
            for root in [&roots.procfs, &roots.sysfs, &roots.rootfs] {
                fs::create_dir(root).unwrap();
            }
            Self { dir, roots }
        }

        /// Writes a file, `path` starting with `proc/`, `sys/` or `root/`.
        pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        /// Makes an empty directory.
        pub(crate) fn dir(&self, path: &str) -> &Self {
            fs::create_dir_all(self.dir.path().join(path)).unwrap();
            self
        }

        /// One CPU with its topology files; `siblings` is its `thread_siblings_list`.
        pub(crate) fn cpu(&self, cpu: u32, package: u32, core: u32, siblings: &str) -> &Self {
            let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
            self.file(&format!("{topology}/core_id"), &format!("{core}\n"))
                .file(
                    &format!("{topology}/physical_package_id"),
                    &format!("{package}\n"),
                );
            if !siblings.is_empty() {
                self.file(
                    &format!("{topology}/thread_siblings_list"),
                    &format!("{siblings}\n"),
                );
            }
            self
        }

        /// One cache of a CPU.
        pub(crate) fn cache(
            &self,
            cpu: u32,
            index: u32,
            (id, level, kind, size, shared): (Option<u32>, u32, &str, &str, &str),
        ) -> &Self {
            let dir = format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
            if let Some(id) = id {
                self.file(&format!("{dir}/id"), &format!("{id}\n"));
            }
            self.file(&format!("{dir}/level"), &format!("{level}\n"))
                .file(&format!("{dir}/type"), &format!("{kind}\n"))
                .file(&format!("{dir}/size"), &format!("{size}\n"))
                .file(&format!("{dir}/shared_cpu_list"), &format!("{shared}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_node_is_found_below_the_root_it_belongs_to() {
        let roots = Roots {
            procfs: "/host/proc".into(),
            sysfs: "/host/sys".into(),
            rootfs: "/rootfs".into(),
            ..Roots::default()
        };
        let resolved = |path: &str| roots.resolve(Path::new(path));
        assert_eq!(resolved("/proc/uptime"), Path::new("/host/proc/uptime"));
        assert_eq!(resolved("/sys/block"), Path::new("/host/sys/block"));
        assert_eq!(
            resolved("/etc/machine-id"),
            Path::new("/rootfs/etc/machine-id")
        );
        assert_eq!(resolved("/system"), Path::new("/rootfs/system"));
        assert_eq!(
            Roots::default().resolve(Path::new("/etc/os-release")),
            Path::new("/etc/os-release")
        );
    }
}
