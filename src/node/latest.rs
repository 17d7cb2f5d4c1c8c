//! The node as others hold it: the last reading, shared.

use std::sync::Arc;

use parking_lot::RwLock;

use super::filesystem::Filesystems;
use super::machine::{self, MachineInfo};
use super::reader::{Problem, Reader};
use super::version::{self, VersionInfo};
use super::{FsError, FsInfo, Roots};

/// One reading of the node.
#[derive(Debug)]
pub struct Snapshot {
    /// The machine.
    pub machine: Arc<MachineInfo>,
    /// The versions of its software.
    pub version: VersionInfo,
    /// What could not be found out, file systems aside (their table has its own list).
    pub problems: Vec<Problem>,
}

/// Facts about the node, cheap to share in an [`Arc`]. Reads only when told to: the caller decides
/// when, for hardware is plugged and memory resized rarely.
#[derive(Debug)]
pub struct Node {
    roots: Roots,
    filesystems: Filesystems,
    latest: RwLock<Arc<Snapshot>>,
}

impl Node {
    /// Reads the node for the first time. Never fails: see [`Snapshot::problems`]. Blocks as
    /// [`Node::refresh`] does.
    pub fn read(roots: Roots) -> Self {
        let filesystems = Filesystems::new(roots.clone());
        let latest = RwLock::new(Arc::new(snapshot(&roots, &filesystems)));
        Self {
            roots,
            filesystems,
            latest,
        }
    }

    /// Reads the node again. Takes some milliseconds; up to
    /// [`PASS_BUDGET`](super::filesystem::PASS_BUDGET) and a deadline more if mounts hang.
    pub fn refresh(&self) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot(&self.roots, &self.filesystems));
        *self.latest.write() = Arc::clone(&snapshot);
        snapshot
    }

    /// The last reading. Never blocks.
    pub fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.read())
    }

    /// The file systems, measured when asked.
    pub fn filesystems(&self) -> &Filesystems {
        &self.filesystems
    }

    /// The file system at `/`.
    ///
    /// # Errors
    ///
    /// As [`Filesystems::root_fs_info`].
    pub fn root_fs_info(&self) -> Result<FsInfo, FsError> {
        self.filesystems.root_fs_info()
    }

    /// Where the kernel's files are found.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }
}

fn snapshot(roots: &Roots, filesystems: &Filesystems) -> Snapshot {
    let mut reader = Reader::default();
    let machine = machine::read(roots, &filesystems.table(), &mut reader);
    let version = version::read(roots, &mut reader);
    Snapshot {
        machine: Arc::new(machine),
        version,
        problems: reader.into_problems(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn a_refresh_sees_what_changed_and_leaves_old_readings_alone() {
        let tree = TestTree::new();
        tree.file("proc/meminfo", "MemTotal: 1 kB\n");
        let node = Node::read(tree.roots.clone());
        let before = node.latest();
        tree.file("proc/meminfo", "MemTotal: 2 kB\n");
        assert_eq!(node.latest().machine.memory.memory_bytes, Some(1024));
        assert_eq!(node.refresh().machine.memory.memory_bytes, Some(2048));
        assert_eq!(node.latest().machine.memory.memory_bytes, Some(2048));
        assert_eq!(before.machine.memory.memory_bytes, Some(1024));
    }
}
