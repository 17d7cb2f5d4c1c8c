//! The file systems of the node: how full they are and what I/O they do.
//!
//! The table is made anew from mountinfo each time, so that what is mounted or unmounted later is
//! seen. It is kept for a stated age: asking hundreds of mounts is too dear for each question.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use parking_lot::{Mutex, RwLock};

use super::diskstats::{self, DiskIo};
use super::fs_recent::Recent;
use super::partitions::{self, LabelledPath, Partition, ROOT_LABEL};
use super::prober::{NoAnswer, Prober};
use super::reader::{Cause, Problem, Reader};
use super::{Roots, mounts, uuid};
use crate::units::Timestamp;

/// How old a table may be before a question makes it anew.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// How long one pass over all file systems may take; those not reached are left out of it.
pub const PASS_BUDGET: Duration = Duration::from_secs(8);

/// One file system, as measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsInfo {
    /// When it was measured.
    pub timestamp: Timestamp,
    /// Its name: the device, `overlay_<major>-<minor>`, the mount point of a tmpfs, …
    pub device: String,
    /// Where it is mounted (first), as the node names it.
    pub mount_point: PathBuf,
    /// Type, such as `ext4`.
    pub fs_type: String,
    /// Major device number; 0 if no block device is behind it.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// `f_blocks`, in bytes.
    pub capacity_bytes: u64,
    /// `f_blocks - f_bfree`, in bytes.
    pub usage_bytes: u64,
    /// `f_bavail`, in bytes: free for an unprivileged user.
    pub available_bytes: u64,
    /// `f_files`; absent where the file system has no fixed number (btrfs, vfat).
    pub inodes: Option<u64>,
    /// `f_ffree`; absent likewise.
    pub inodes_free: Option<u64>,
    /// `root` at `/`; `docker-images` and the like where a runtime keeps its images. Sorted.
    pub labels: Vec<String>,
    /// Counters of the device, if it has any in `/proc/diskstats`.
    pub io: Option<DiskIo>,
}

impl FsInfo {
    /// Whether asking it may wait for another machine.
    pub fn is_network(&self) -> bool {
        partitions::is_network(&self.fs_type)
    }
}

/// All file systems at one time.
#[derive(Debug)]
pub struct FsTable {
    /// When the pass began.
    pub timestamp: Timestamp,
    /// Those that answered, by device name.
    pub filesystems: Vec<FsInfo>,
    /// Those that did not, and why.
    pub problems: Vec<Problem>,
    /// Every mount point, and the device if it counts.
    mounts: Vec<(PathBuf, Option<String>)>,
    made: Instant,
}

impl FsTable {
    /// A table without any file system.
    #[cfg(test)]
    pub(crate) fn empty(timestamp: Timestamp) -> Self {
        Self {
            timestamp,
            filesystems: Vec::new(),
            problems: Vec::new(),
            mounts: Vec::new(),
            made: Instant::now(),
        }
    }

    /// The file system with this device name.
    pub fn by_device(&self, device: &str) -> Option<&FsInfo> {
        self.filesystems.iter().find(|fs| fs.device == device)
    }

    /// The file systems with this label.
    pub fn by_label<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a FsInfo> {
        self.filesystems
            .iter()
            .filter(move |fs| fs.labels.iter().any(|of| of == label))
    }

    /// The file system that holds this path, by name only: the path is not looked at.
    pub fn holding(&self, path: &Path) -> Option<&FsInfo> {
        let points = self.mounts.iter().map(|(point, _)| point.as_path());
        let (_, device) = self.mounts.get(partitions::nearest(points, path)?)?;
        self.by_device(device.as_deref()?)
    }
}

/// Why a question about a file system has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// No file system carries the label, or it did not answer.
    #[error(
        "no file system with label {label:?} has been measured; see the problems of the file system table"
    )]
    NoLabel {
        /// The label asked for.
        label: String,
    },
    /// No file system that was measured is on the device with this UUID, or there is none.
    #[error(
        "no measured file system has UUID {uuid:?}; /dev/disk/by-uuid lists those of this node"
    )]
    NoUuid {
        /// The UUID asked for.
        uuid: String,
    },
    /// The directory cannot be looked at.
    #[error("directory {}: cannot be read; check that it exists and is readable", path.display())]
    Directory {
        /// The directory asked for.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The directory's file system does not answer.
    #[error("directory {}: its file system does not answer; check its server or disk", path.display())]
    Hung {
        /// The directory asked for.
        path: PathBuf,
        /// What became of the question.
        #[source]
        source: NoAnswer,
    },
    /// The directory is on a file system that does not count (proc, fuse) or was not measured.
    #[error("directory {}: its file system is not measured; see the problems of the file system table", path.display())]
    NotMeasured {
        /// The directory asked for.
        path: PathBuf,
    },
}

/// Measures file systems, and keeps the last table.
///
/// Every method may block for up to [`PASS_BUDGET`] if mounts hang, except [`Filesystems::latest`]:
/// call them from a thread that may.
#[derive(Debug)]
pub struct Filesystems {
    roots: Roots,
    max_age: Duration,
    prober: Prober,
    labelled: RwLock<Vec<LabelledPath>>,
    latest: RwLock<Option<Arc<FsTable>>>,
    recent: Recent,
    pass: Mutex<()>,
}

impl Filesystems {
    /// Nothing is measured yet.
    pub fn new(roots: Roots) -> Self {
        Self::with(roots, MAX_AGE, Prober::default())
    }

    /// With a greatest age and prober of one's own.
    pub fn with(roots: Roots, max_age: Duration, prober: Prober) -> Self {
        Self {
            roots,
            max_age,
            prober,
            labelled: RwLock::default(),
            latest: RwLock::default(),
            recent: Recent::default(),
            pass: Mutex::default(),
        }
    }

    /// Says which directories' file systems carry which labels, beside `root`. Seen by the next
    /// table.
    pub fn set_labelled_paths(&self, paths: Vec<LabelledPath>) {
        *self.labelled.write() = paths;
        *self.latest.write() = None;
    }

    /// The last table, of whatever age. Never blocks.
    pub fn latest(&self) -> Option<Arc<FsTable>> {
        self.latest.read().clone()
    }

    /// The tables of the last minutes, oldest first. Never blocks.
    pub fn recent(&self) -> Vec<Arc<FsTable>> {
        self.recent.tables()
    }

    /// A table no older than the greatest age.
    pub fn table(&self) -> Arc<FsTable> {
        let fresh = || {
            self.latest()
                .filter(|table| table.made.elapsed() <= self.max_age)
        };
        if let Some(table) = fresh() {
            return table;
        }
        let pass = self.pass.lock();
        // Another caller may have made it while we waited.
        match fresh() {
            Some(table) => table,
            None => {
                let table = self.measure();
                drop(pass);
                table
            }
        }
    }

    /// A table no older than the greatest age; the last one, of whatever age, while another thread is
    /// at making one.
    pub fn table_unless_busy(&self) -> Option<Arc<FsTable>> {
        let fresh = self
            .latest()
            .filter(|table| table.made.elapsed() <= self.max_age);
        match (fresh, self.pass.try_lock()) {
            (Some(table), _) => Some(table),
            (None, Some(_pass)) => Some(self.measure()),
            (None, None) => self.latest(),
        }
    }

    /// A new table, whatever the age of the last.
    pub fn refresh(&self) -> Arc<FsTable> {
        let _pass = self.pass.lock();
        self.measure()
    }

    /// The file system at `/`.
    ///
    /// # Errors
    ///
    /// [`FsError::NoLabel`] if it did not answer or mountinfo has none.
    pub fn root_fs_info(&self) -> Result<FsInfo, FsError> {
        let none = || FsError::NoLabel {
            label: ROOT_LABEL.to_owned(),
        };
        self.table()
            .by_label(ROOT_LABEL)
            .next()
            .cloned()
            .ok_or_else(none)
    }

    /// The file systems with a label; all of them without.
    ///
    /// # Errors
    ///
    /// [`FsError::NoLabel`] if there is none.
    pub fn fs_info(&self, label: Option<&str>) -> Result<Vec<FsInfo>, FsError> {
        let table = self.table();
        let Some(label) = label else {
            return Ok(table.filesystems.clone());
        };
        let found: Vec<FsInfo> = table.by_label(label).cloned().collect();
        if found.is_empty() {
            Err(FsError::NoLabel {
                label: label.to_owned(),
            })
        } else {
            Ok(found)
        }
    }

    /// The file system with a UUID, as `/dev/disk/by-uuid` names it.
    ///
    /// # Errors
    ///
    /// [`FsError::NoUuid`] if there is none.
    pub fn fs_by_uuid(&self, uuid: &str) -> Result<FsInfo, FsError> {
        self.by_uuid_in(&self.table(), uuid)
    }

    /// As [`fs_by_uuid`](Self::fs_by_uuid), in a table that was made before: nothing is measured.
    ///
    /// # Errors
    ///
    /// [`FsError::NoUuid`] if there is none.
    pub fn by_uuid_in(&self, table: &FsTable, uuid: &str) -> Result<FsInfo, FsError> {
        let device = uuid::device(&self.roots, uuid);
        let found = device.and_then(|device| {
            let numbered = table
                .filesystems
                .iter()
                .find(|fs| device.number == Some((fs.major, fs.minor)));
            numbered.or_else(|| table.by_device(&format!("/dev/{}", device.name)))
        });
        found.cloned().ok_or_else(|| FsError::NoUuid {
            uuid: uuid.to_owned(),
        })
    }

    /// The file system that holds a directory of the node, symbolic links followed.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the directory cannot be looked at, or its file system was not measured.
    pub fn dir_fs_info(&self, path: &Path) -> Result<FsInfo, FsError> {
        let table = self.table();
        let here = mounts::here(&self.roots, path);
        let points = table.mounts.iter().map(|(point, _)| point.as_path());
        let mount = partitions::nearest(points, path).and_then(|index| table.mounts.get(index));
        let mount = mount.map_or(path, |(point, _)| point.as_path());
        let real = self
            .prober
            .ask(mount, move || here.canonicalize())
            .map_err(|source| FsError::Hung {
                path: path.to_path_buf(),
                source,
            })?
            .map_err(|source| FsError::Directory {
                path: path.to_path_buf(),
                source,
            })?;
        // A root given through a link must not hide what is below it. An absolute link leads out
        // of a pod's /rootfs: then the name as given is the best there is.
        let root = self
            .roots
            .rootfs
            .canonicalize()
            .unwrap_or_else(|_| self.roots.rootfs.clone());
        let real = match real.strip_prefix(root) {
            Ok(below) => Path::new("/").join(below),
            Err(_) => path.to_path_buf(),
        };
        let not_measured = || FsError::NotMeasured {
            path: path.to_path_buf(),
        };
        table.holding(&real).cloned().ok_or_else(not_measured)
    }

    /// How often a file system did not answer in time, and how many threads wait for one now.
    pub fn hung(&self) -> (u64, usize) {
        (self.prober.hung_total(), self.prober.stuck())
    }

    fn measure(&self) -> Arc<FsTable> {
        let (timestamp, made) = (Timestamp::now(), Instant::now());
        let mut reader = Reader::default();
        let mounts = mounts::read(&self.roots, &mut reader);
        let chosen = partitions::choose(&mounts, &self.labelled.read());
        let known = |mount: &Path| chosen.mounts.iter().any(|(point, _)| point == mount);
        self.prober.retain(known);
        let disks = reader
            .text(&self.roots.procfs.join("diskstats"))
            .unwrap_or_default();
        let disks = diskstats::parse(&disks);
        let mut partitions = chosen.partitions;
        // Those on this machine first: they are measured however many servers are down.
        partitions.sort_by(|a, b| (a.is_network(), &a.device).cmp(&(b.is_network(), &b.device)));
        let mut filesystems = Vec::with_capacity(partitions.len());
        for partition in partitions {
            if made.elapsed() > PASS_BUDGET {
                reader.problem(&partition.mount_point, Cause::Hung);
                continue;
            }
            let io = disks.of(&partition.device, partition.major, partition.minor);
            filesystems.extend(self.measure_one(partition, io, &mut reader));
        }
        filesystems.sort_by(|a, b| a.device.cmp(&b.device));
        let problems = reader.into_problems();
        let table = Arc::new(FsTable {
            timestamp,
            filesystems,
            problems,
            mounts: chosen.mounts,
            made,
        });
        *self.latest.write() = Some(Arc::clone(&table));
        self.recent.push(Arc::clone(&table));
        table
    }

    fn measure_one(
        &self,
        partition: Partition,
        io: Option<DiskIo>,
        reader: &mut Reader,
    ) -> Option<FsInfo> {
        let here = mounts::here(&self.roots, &partition.mount_point);
        let stat = match self
            .prober
            .ask(&partition.mount_point, move || statvfs(&here))
        {
            Ok(Ok(stat)) => stat,
            Ok(Err(errno)) => {
                reader.problem(&partition.mount_point, Cause::Io(errno.into()));
                return None;
            }
            Err(NoAnswer::Hung | NoAnswer::NoThread) => {
                reader.problem(&partition.mount_point, Cause::Hung);
                return None;
            }
        };
        let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
        let inodes = (stat.files() > 0).then(|| stat.files());
        Some(FsInfo {
            timestamp: Timestamp::now(),
            device: partition.device,
            mount_point: partition.mount_point,
            fs_type: partition.fs_type,
            major: partition.major,
            minor: partition.minor,
            capacity_bytes: bytes(stat.blocks()),
            usage_bytes: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
            available_bytes: bytes(stat.blocks_available()),
            inodes,
            inodes_free: inodes.map(|_| stat.files_free()),
            labels: partition.labels,
            io,
        })
    }
}

#[cfg(test)]
#[path = "filesystem_tests.rs"]
mod tests;
