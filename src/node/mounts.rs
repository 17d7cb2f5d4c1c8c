//! The mounts of the node as this process sees them.
//!
//! Always our own `mountinfo`, also in a pod: only a mount that we have can be measured, and one
//! that was not propagated to us would show the directory below it. In a pod the node's mounts
//! appear below the configured root (`/rootfs/data`); they are given their names on the node back.

use std::path::{Path, PathBuf};

use super::Roots;
use super::reader::{Cause, Reader, read_bytes};
use crate::cgroup::mountinfo::{self, MountEntry};

/// Reads `/proc/self/mountinfo`: mount points as the node has them, in mount order, without those
/// that a later mount at the same place hides.
pub fn read(roots: &Roots, reader: &mut Reader) -> Vec<MountEntry> {
    let path = roots.procfs.join("self/mountinfo");
    match read_bytes(&path) {
        Ok(text) => visible(as_on_node(mountinfo::parse(&text), &roots.rootfs)),
        Err(error) => {
            reader.problem(&path, Cause::Io(error));
            Vec::new()
        }
    }
}

/// Where a mount point of the node is for us.
pub fn here(roots: &Roots, mount_point: &Path) -> PathBuf {
    roots
        .rootfs
        .join(mount_point.strip_prefix("/").unwrap_or(mount_point))
}

/// Takes the root off the mount points and leaves out what is not below it. If nothing is, then
/// the file speaks of the node's names already: that of a made-up tree does.
fn as_on_node(mounts: Vec<MountEntry>, rootfs: &Path) -> Vec<MountEntry> {
    if rootfs == Path::new("/")
        || !mounts
            .iter()
            .any(|mount| mount.mount_point.starts_with(rootfs))
    {
        return mounts;
    }
    mounts
        .into_iter()
        .filter_map(|mut mount| {
            let below = mount.mount_point.strip_prefix(rootfs).ok()?;
            mount.mount_point = Path::new("/").join(below);
            Some(mount)
        })
        .collect()
}

fn visible(mounts: Vec<MountEntry>) -> Vec<MountEntry> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<MountEntry> = mounts
        .into_iter()
        .rev()
        .filter(|mount| seen.insert(mount.mount_point.clone()))
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    const POD: &str = "1 0 0:50 / / rw - overlay overlay rw\n\
                       2 1 8:1 / /rootfs rw - ext4 /dev/sda1 rw\n\
                       3 2 8:2 / /rootfs/data rw - ext4 /dev/sda2 rw\n\
                       4 1 0:9 / /rootfs2 rw - tmpfs tmpfs rw\n";

    fn points(mounts: &[MountEntry]) -> Vec<&str> {
        mounts
            .iter()
            .filter_map(|mount| mount.mount_point.to_str())
            .collect()
    }

    #[test]
    fn in_a_pod_the_nodes_mounts_get_their_names_back() {
        let mounts = as_on_node(mountinfo::parse(POD.as_bytes()), Path::new("/rootfs"));
        assert_eq!(points(&mounts), ["/", "/data"]);
        assert_eq!(mounts[0].source, "/dev/sda1");
        let roots = Roots {
            rootfs: "/rootfs".into(),
            ..Roots::default()
        };
        assert_eq!(here(&roots, Path::new("/data")), Path::new("/rootfs/data"));
    }

    #[test]
    fn a_made_up_tree_speaks_of_the_nodes_names() {
        let mounts = as_on_node(mountinfo::parse(POD.as_bytes()), Path::new("/elsewhere"));
        assert_eq!(mounts.len(), 4);
    }

    #[test]
    fn a_mount_hidden_by_a_later_one_is_left_out() {
        let tree = TestTree::new();
        tree.file(
            "proc/self/mountinfo",
            "1 0 0:2 / / rw - rootfs rootfs rw\n2 1 8:1 / / rw - ext4 /dev/sda1 rw\n3 2 0:7 / /a rw - tmpfs t rw\n",
        );
        let mounts = read(&tree.roots, &mut Reader::default());
        assert_eq!(points(&mounts), ["/", "/a"]);
        assert_eq!(mounts[0].source, "/dev/sda1");
    }
}
