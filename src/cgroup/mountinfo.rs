//! Pure: `/proc/PID/mountinfo` as mount entries, in the order of the file.
//!
//! One line per mount (`proc_pid_mountinfo(5)`):
//!
//! ```text
//! 36 35 98:0 /root /mount/point rw,noatime shared:1 - ext3 /dev/root rw,errors=continue
//! id parent maj:min root mount-point options [optional…] - type source super-options
//! ```
//!
//! The kernel writes space, tab, newline and backslash as `\040`, `\011`, `\012` and `\134`; they are
//! decoded here, but for the options of the file system. Names are bytes, not text: nothing says that a mount point is UTF-8. Files of a
//! real machine hold odd lines (an empty source, a truncated last line): what cannot be read is
//! left out, never an error.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Most lines that are read. A node with many pods has some thousands; the kernel's own limit
/// (`fs.mount-max`) is 100,000 per namespace.
pub const MAX_MOUNTS: usize = 200_000;

/// One mount, as one line of `/proc/PID/mountinfo` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Unique id of the mount, reused after umount.
    pub mount_id: u32,
    /// Id of the mount it hangs below (its own id for the root of the tree).
    pub parent_id: u32,
    /// Major number of the file system's `st_dev`; 0 where there is no block device.
    pub major: u32,
    /// Minor number of the file system's `st_dev`.
    pub minor: u32,
    /// The directory of the file system that forms the root of this mount. On cgroup file systems:
    /// the cgroup that shows at the mount point, `/..` and the like if outside the namespace.
    pub root: PathBuf,
    /// Where it is mounted, relative to the root directory of the process.
    pub mount_point: PathBuf,
    /// Options of this mount, such as `rw,noatime`.
    pub options: OsString,
    /// Type of the file system, such as `ext4`, `cgroup2` or `fuse.sshfs`.
    pub fs_type: OsString,
    /// What is mounted: a device, a server and path, or any word. May be empty.
    pub source: OsString,
    /// Options of the file system, as the kernel wrote them: a comma within a value is `\054`, so
    /// they are decoded one by one ([`super_option`](Self::super_option)). On cgroup v1: the
    /// controllers, and `name=` of named hierarchies.
    pub super_options: OsString,
}

impl MountEntry {
    /// Whether `name` is one of the options of the mount (`ro`, `nosuid` and so on).
    pub fn has_option(&self, name: &str) -> bool {
        has_option(&self.options, name)
    }

    /// What the option `name=` of the file system says, decoded.
    pub fn super_option(&self, name: &str) -> Option<OsString> {
        let options = std::os::unix::ffi::OsStrExt::as_bytes(self.super_options.as_os_str());
        let mut options = options.split(|&byte| byte == b',');
        options.find_map(|option| {
            let value = option.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(unescape(value))
        })
    }

    /// Whether `name` is one of the options of the file system (on cgroup v1: a controller).
    pub fn has_super_option(&self, name: &str) -> bool {
        has_option(&self.super_options, name)
    }
}

fn has_option(options: &OsString, name: &str) -> bool {
    let options = std::os::unix::ffi::OsStrExt::as_bytes(options.as_os_str());
    options
        .split(|&byte| byte == b',')
        .any(|option| option == name.as_bytes())
}

/// The mounts in the text of a `mountinfo` file. Lines that are not of its form are left out.
pub fn parse(text: &[u8]) -> Vec<MountEntry> {
    text.split(|&byte| byte == b'\n')
        .filter_map(entry)
        .take(MAX_MOUNTS)
        .collect()
}

fn entry(line: &[u8]) -> Option<MountEntry> {
    // Split at single spaces: an empty source leaves two in a row, and must stay a field.
    let mut fields = line.split(|&byte| byte == b' ');
    let mount_id = number(fields.next()?)?;
    let parent_id = number(fields.next()?)?;
    let (major, minor) = device(fields.next()?)?;
    let root = PathBuf::from(name(fields.next()?)?);
    let mount_point = PathBuf::from(name(fields.next()?)?);
    let options = name(fields.next()?)?;
    // Any number of optional fields (`shared:1`, `master:2`), closed by a lone hyphen.
    fields.find(|field| *field == b"-")?;
    let fs_type = name(fields.next()?)?;
    let source = unescape(fields.next()?);
    // Not every file system has options of its own to show.
    let super_options = OsString::from_vec(fields.next().unwrap_or_default().to_vec());
    Some(MountEntry {
        mount_id,
        parent_id,
        major,
        minor,
        root,
        mount_point,
        options,
        fs_type,
        source,
        super_options,
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn device(field: &[u8]) -> Option<(u32, u32)> {
    let colon = field.iter().position(|&byte| byte == b':')?;
    let (major, minor) = field.split_at(colon);
    Some((number(major)?, number(minor.get(1..)?)?))
}

/// A field that must not be empty, decoded.
fn name(field: &[u8]) -> Option<OsString> {
    (!field.is_empty()).then(|| unescape(field))
}

/// Decodes `\ooo`, three octal digits for one byte. Any other backslash stands for itself.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match octal(rest) {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn octal(text: &[u8]) -> Option<(u8, &[u8])> {
    let [
        b'\\',
        high @ b'0'..=b'3',
        middle @ b'0'..=b'7',
        low @ b'0'..=b'7',
        after @ ..,
    ] = text
    else {
        return None;
    };
    Some((
        ((high - b'0') << 6) | ((middle - b'0') << 3) | (low - b'0'),
        after,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_line_gives_all_its_fields() {
        let text = b"36 35 98:7 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n";
        let entries = parse(text);
        assert_eq!(
            entries,
            [MountEntry {
                mount_id: 36,
                parent_id: 35,
                major: 98,
                minor: 7,
                root: "/mnt1".into(),
                mount_point: "/mnt2".into(),
                options: "rw,noatime".into(),
                fs_type: "ext3".into(),
                source: "/dev/root".into(),
                super_options: "rw,errors=continue".into(),
            }]
        );
        assert!(
            entries
                .iter()
                .all(|entry| entry.has_option("noatime") && !entry.has_option("no"))
        );
    }

    #[test]
    fn controllers_of_a_v1_hierarchy_are_super_options() {
        let text = b"33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        let entries = parse(text);
        assert!(entries[0].has_super_option("cpuacct"));
        assert!(!entries[0].has_super_option("cpuset"));
        assert!(!entries[0].has_super_option("cpu,cpuacct"));
    }

    #[test]
    fn octal_escapes_are_decoded_and_other_backslashes_kept() {
        let text = br"1 0 8:1 /a\040b /m\011\012\134n rw - ext4 /dev/x\0 rw";
        let entries = parse(text);
        assert_eq!(entries[0].root, PathBuf::from("/a b"));
        assert_eq!(entries[0].mount_point, PathBuf::from("/m\t\n\\n"));
        assert_eq!(entries[0].source, OsString::from("/dev/x\\0"));
    }

    #[test]
    fn an_empty_source_and_missing_super_options_are_kept() {
        let entries = parse(b"1 0 0:30 / /a rw - tmpfs  rw,size=4k\n2 0 0:31 / /b rw - tmpfs none");
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].source.len(), entries[1].super_options.len()),
            (0, 0)
        );
        assert_eq!(entries[0].super_options, OsString::from("rw,size=4k"));
    }

    #[test]
    fn odd_lines_are_left_out_and_the_others_stay() {
        let text = b"\n36 35 98:0 /only four\nx 35 98:0 / /m rw - ext4 a rw\n36 35 980 / /m rw - ext4 a rw\n\
                     36 35 98:0 / /m rw shared:1 ext4 a rw\n99999999999 1 1:1 / /m rw - ext4 a rw\n\
                     7 1 1:1 / /ok rw - ext4 a rw\n8 1 1:1 / /cut rw - ext";
        let entries = parse(text);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].mount_id, 7);
    }

    #[test]
    fn names_that_are_not_utf8_survive() {
        let entries = parse(b"1 0 8:1 / /\xff\xfe rw - ext4 /dev/sda rw");
        assert_eq!(entries[0].mount_point.as_os_str().as_bytes(), b"/\xff\xfe");
    }

    proptest! {
        #[test]
        fn any_mount_point_comes_back_from_what_the_kernel_would_write(
            tail in proptest::collection::vec(any::<u8>().prop_filter("no NUL", |b| *b != 0), 0..40)
        ) {
            let mut path = b"/".to_vec();
            path.extend(&tail);
            let mut line = b"1 0 8:1 / ".to_vec();
            for &byte in &path {
                match byte {
                    b' ' | b'\t' | b'\n' | b'\\' => line.extend(format!("\\{byte:03o}").bytes()),
                    _ => line.push(byte),
                }
            }
            line.extend(b" rw - ext4 /dev/sda rw");
            let entries = parse(&line);
            prop_assert_eq!(entries[0].mount_point.as_os_str().as_bytes(), &path[..]);
        }

        #[test]
        fn arbitrary_bytes_are_never_more_entries_than_lines(
            text in proptest::collection::vec(any::<u8>(), 0..400)
        ) {
            let lines = text.split(|b| *b == b'\n').count();
            prop_assert!(parse(&text).len() <= lines);
        }
    }
}
