//! Whole disks of the node, from `/sys/block`. Partitions are not listed.

use super::Roots;
use super::reader::{Cause, Reader};

/// sysfs counts the size of every block device in these, whatever its own block size is.
const SECTOR_BYTES: u64 = 512;

/// Devices that hold no data of their own or are not disks: loop devices, RAM disks, CD drives.
const LEFT_OUT: [&str; 3] = ["loop", "ram", "sr"];

/// One block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Name below `/dev`, such as `sda`, `nvme0n1`, `mmcblk0` or `dm-3`.
    pub name: String,
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The I/O scheduler in use; absent if the device has none.
    pub scheduler: Option<String>,
}

/// The disks, by device number. A disk that cannot be read is a problem and does not hide the others.
pub fn read(roots: &Roots, reader: &mut Reader) -> Vec<Disk> {
    let root = roots.sysfs.join("block");
    let mut disks: Vec<Disk> = reader
        .names(&root)
        .into_iter()
        .filter(|name| !LEFT_OUT.iter().any(|prefix| name.starts_with(prefix)))
        .filter_map(|name| {
            let dir = root.join(&name);
            // The paths behind a multipath device; it stands for them.
            if reader.text(&dir.join("hidden")).as_deref() == Some("1") {
                return None;
            }
            let path = dir.join("dev");
            let Some((major, minor)) = device_number(&reader.required(&path)?) else {
                reader.problem(&path, Cause::Unexpected("a device number such as 8:0"));
                return None;
            };
            let sectors: u64 = reader.number(&dir.join("size"))?;
            let scheduler = reader.text(&dir.join("queue/scheduler"));
            Some(Disk {
                name,
                major,
                minor,
                size_bytes: sectors.saturating_mul(SECTOR_BYTES),
                scheduler: scheduler.as_deref().and_then(chosen).map(str::to_owned),
            })
        })
        .collect();
    disks.sort_unstable_by_key(|disk| (disk.major, disk.minor));
    disks
}

/// `MAJOR:MINOR`, as in the `dev` file of a block device.
pub(super) fn device_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The word in brackets of `[mq-deadline] kyber none`; `none` is no scheduler.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    let (name, _) = rest.split_once(']')?;
    (!name.is_empty() && name != "none").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn disks_of_all_kinds_are_listed_and_the_rest_left_out() {
        let tree = TestTree::new();
        for (name, dev, scheduler) in [
            ("sda", "8:0", "none [mq-deadline] kyber\n"),
            ("nvme0n1", "259:0", "[none] mq-deadline\n"),
            ("mmcblk0", "179:0", "[bfq]\n"),
            ("dm-3", "253:3", "none\n"),
            ("loop0", "7:0", ""),
            ("ram0", "1:0", ""),
            ("sr0", "11:0", ""),
            ("nvme0c0n1", "259:9", ""),
        ] {
            tree.file(&format!("sys/block/{name}/dev"), dev)
                .file(&format!("sys/block/{name}/size"), "2048\n")
                .file(&format!("sys/block/{name}/queue/scheduler"), scheduler);
        }
        tree.file("sys/block/nvme0c0n1/hidden", "1\n");
        tree.file("sys/block/broken/dev", "x\n");
        let mut reader = Reader::default();
        let disks = read(&tree.roots, &mut reader);
        let seen: Vec<_> = disks
            .iter()
            .map(|disk| {
                (
                    disk.name.as_str(),
                    disk.major,
                    disk.size_bytes,
                    disk.scheduler.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("sda", 8, 1 << 20, Some("mq-deadline")),
                ("mmcblk0", 179, 1 << 20, Some("bfq")),
                ("dm-3", 253, 1 << 20, None),
                ("nvme0n1", 259, 1 << 20, None),
            ]
        );
        assert_eq!(reader.into_problems().len(), 1);
    }
}
