//! Pure: from mounts to the file systems that count, each under its device name and once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::cgroup::mountinfo::MountEntry;

/// Label of the file system at `/`.
pub const ROOT_LABEL: &str = "root";

/// Types that hold files of their own, beside those with a naming rule in [`device_name`].
const COUNTED: [&str; 26] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fat", "fuseblk", "hfs",
    "hfsplus", "iso9660", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3", "reiserfs", "squashfs", "udf",
    "vfat", "virtiofs", "xfs", "zfs", "9p", "erofs",
];

/// Types behind which a server may be down: any type that starts so.
const NETWORK: [&str; 7] = ["nfs", "cifs", "smb", "ceph", "9p", "glusterfs", "lustre"];

/// A directory of the node whose file system shall carry a label, such as a runtime's image store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPath {
    /// The label, such as `docker-images`.
    pub label: String,
    /// The directory, as the node names it.
    pub path: PathBuf,
}

/// A file system that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name: see [`device_name`].
    pub device: String,
    /// The first place where it is mounted, as the node names it.
    pub mount_point: PathBuf,
    /// Type, such as `ext4`.
    pub fs_type: String,
    /// Major device number; 0 if no block device is behind it.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// `root` and the labels that were asked for, sorted.
    pub labels: Vec<String>,
}

impl Partition {
    /// Whether asking it may wait for another machine.
    pub fn is_network(&self) -> bool {
        is_network(&self.fs_type)
    }
}

/// The partitions, and which of them each mount shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Each file system once, in mount order.
    pub partitions: Vec<Partition>,
    /// Every mount: its mount point, and the device of the partition that it shows. None where it
    /// does not count: what lies below it is on no partition, least of all on the one around it.
    pub mounts: Vec<(PathBuf, Option<String>)>,
}

/// Chooses the mounts that count. A device mounted at several places (bind mounts, subvolumes) is
/// one partition: the first. What is mounted at `/`, or holds a labelled path, counts whatever its
/// type is.
pub fn choose(mounts: &[MountEntry], labelled: &[LabelledPath]) -> Partitions {
    let mut chosen = Partitions::default();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut wanted: Vec<(usize, &str)> = Vec::new();
    let root = LabelledPath {
        label: ROOT_LABEL.to_owned(),
        path: "/".into(),
    };
    for LabelledPath { label, path } in std::iter::once(&root).chain(labelled) {
        if let Some(index) = nearest(mounts.iter().map(|mount| mount.mount_point.as_path()), path) {
            wanted.push((index, label));
        }
    }
    for (index, mount) in mounts.iter().enumerate() {
        let labels = wanted
            .iter()
            .filter(|(of, _)| *of == index)
            .map(|(_, label)| *label);
        let labels: Vec<&str> = labels.collect();
        let fs_type = mount.fs_type.to_string_lossy().into_owned();
        let device = match device_name(mount, &fs_type) {
            Some(device) => device,
            None if labels.is_empty() => {
                chosen.mounts.push((mount.mount_point.clone(), None));
                continue;
            }
            None => mount.source.to_string_lossy().into_owned(),
        };
        chosen
            .mounts
            .push((mount.mount_point.clone(), Some(device.clone())));
        // Thousands of overlays are normal: no search through all of them for each.
        let position = *positions.entry(device).or_insert_with_key(|device| {
            chosen.partitions.push(Partition {
                device: device.clone(),
                mount_point: mount.mount_point.clone(),
                fs_type,
                major: mount.major,
                minor: mount.minor,
                labels: Vec::new(),
            });
            chosen.partitions.len() - 1
        });
        if let Some(partition) = chosen.partitions.get_mut(position) {
            partition
                .labels
                .extend(labels.into_iter().map(str::to_owned));
            partition.labels.sort_unstable();
            partition.labels.dedup();
        }
    }
    chosen
}

/// The index of the longest mount point that `path` is at or below.
pub fn nearest<'a>(points: impl Iterator<Item = &'a Path>, path: &Path) -> Option<usize> {
    points
        .enumerate()
        .filter(|(_, point)| path.starts_with(point))
        .max_by_key(|(index, point)| (point.components().count(), *index))
        .map(|(index, _)| index)
}

/// What a mount's file system is called: overlay `<source>_<major>-<minor>`, for all overlays share
/// one source; tmpfs by its mount point, for the same reason; everything else by its source.
/// `None`: it does not count (proc, sysfs, cgroup, devtmpfs, fuse).
pub fn device_name(mount: &MountEntry, fs_type: &str) -> Option<String> {
    let source = || mount.source.to_string_lossy().into_owned();
    match fs_type {
        "overlay" => Some(format!("{}_{}-{}", source(), mount.major, mount.minor)),
        "tmpfs" => Some(mount.mount_point.to_string_lossy().into_owned()),
        _ if COUNTED.contains(&fs_type) || is_network(fs_type) => Some(source()),
        _ => None,
    }
}

pub(super) fn is_network(fs_type: &str) -> bool {
    // nfsd is the server's control file system.
    fs_type != "nfsd" && NETWORK.iter().any(|kind| fs_type.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::mountinfo::parse;

    const HOST: &[u8] = b"1 0 254:0 / / rw - ext4 /dev/vda rw\n\
        2 1 0:21 / /proc rw - proc proc rw\n\
        3 1 0:24 / /dev/shm rw - tmpfs tmpfs rw\n\
        4 1 0:25 / /run rw - tmpfs tmpfs rw\n\
        5 1 254:0 /var/lib/x /mnt/bind rw - ext4 /dev/vda rw\n\
        6 1 0:39 / /var/lib/docker/overlay2/a/merged rw - overlay overlay rw\n\
        7 1 0:50 / /var/lib/docker/overlay2/b/merged rw - overlay overlay rw\n\
        8 1 0:60 / /mnt/nfs rw - nfs4 server:/export rw\n\
        9 1 0:61 / /mnt/fuse rw - fuse.sshfs host: rw\n\
        10 1 0:62 / /proc/fs/nfsd rw - nfsd nfsd rw\n\
        11 1 259:1 / /var/lib/docker rw - xfs /dev/nvme0n1p1 rw\n";

    fn named(path: &str) -> LabelledPath {
        LabelledPath {
            label: "docker-images".to_owned(),
            path: path.into(),
        }
    }

    #[test]
    fn each_file_system_counts_once_under_its_own_name() {
        let chosen = choose(&parse(HOST), &[]);
        let devices: Vec<_> = chosen
            .partitions
            .iter()
            .map(|p| p.device.as_str())
            .collect();
        assert_eq!(
            devices,
            [
                "/dev/vda",
                "/dev/shm",
                "/run",
                "overlay_0-39",
                "overlay_0-50",
                "server:/export",
                "/dev/nvme0n1p1"
            ]
        );
        assert_eq!(chosen.partitions[0].labels, ["root"]);
        assert_eq!(chosen.partitions[0].mount_point, Path::new("/"));
        assert!(chosen.partitions[5].is_network() && !chosen.partitions[0].is_network());
        assert!(
            chosen
                .mounts
                .contains(&("/mnt/bind".into(), Some("/dev/vda".to_owned())))
        );
    }

    #[test]
    fn a_label_goes_to_the_mount_that_holds_the_path() {
        let mounts = parse(HOST);
        let chosen = choose(&mounts, &[named("/var/lib/docker/image")]);
        assert_eq!(chosen.partitions[6].labels, ["docker-images"]);
        let chosen = choose(&mounts, &[named("/var/lib/dockerish")]);
        assert_eq!(chosen.partitions[0].labels, ["docker-images", "root"]);
    }

    #[test]
    fn the_root_counts_whatever_its_type_is() {
        let chosen = choose(&parse(b"1 0 0:2 / / rw - rootfs none rw\n"), &[]);
        assert_eq!(chosen.partitions[0].device, "none");
        let chosen = choose(&parse(b"1 0 0:50 / / rw - overlay overlay rw\n"), &[]);
        assert_eq!(chosen.partitions.len(), 1);
        assert_eq!(chosen.partitions[0].device, "overlay_0-50");
        assert_eq!(chosen.partitions[0].labels, ["root"]);
    }
}
