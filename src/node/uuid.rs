//! Which block device holds the file system with a UUID, from `/dev/disk/by-uuid`.

use std::fs;

use super::Roots;
use super::disks::device_number;
use super::reader::Reader;

/// A block device as udev's link names it. Not always as it is mounted: `dm-0` is mounted as
/// `/dev/mapper/…`, so the number is the better key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// Name below `/dev`.
    pub name: String,
    /// Major and minor number, from `/sys/class/block/<name>/dev`.
    pub number: Option<(u32, u32)>,
}

/// The device of a UUID; `None` if no link has its name.
pub fn device(roots: &Roots, uuid: &str) -> Option<BlockDevice> {
    // It comes from a request, and must not lead out of the directory.
    if uuid.is_empty()
        || !uuid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return None;
    }
    let link = fs::read_link(roots.rootfs.join("dev/disk/by-uuid").join(uuid)).ok()?;
    let name = link.file_name()?.to_str()?.to_owned();
    let dev = roots.sysfs.join("class/block").join(&name).join("dev");
    let number = Reader::default()
        .text(&dev)
        .and_then(|text| device_number(&text));
    Some(BlockDevice { name, number })
}
