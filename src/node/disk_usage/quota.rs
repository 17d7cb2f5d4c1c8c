//! What the file system itself counts of a directory: its project quota.
//!
//! ext4, xfs and f2fs answer `statvfs` of a directory that hands its project on, and whose project has
//! a limit, with that limit as the size and what is left of it as the space that is free. So the
//! usage is known without a walk, and without the privilege that `quotactl` needs. A project without a
//! limit cannot be told from none this way.

use nix::sys::statvfs::Statvfs;

/// File systems that do so.
const TYPES: [&str; 3] = ["ext4", "f2fs", "xfs"];

/// What `statvfs` says, in bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// `f_blocks`.
    pub bytes: u64,
    /// `f_bfree`.
    pub bytes_free: u64,
    /// `f_files`.
    pub inodes: u64,
    /// `f_ffree`.
    pub inodes_free: u64,
}

impl From<Statvfs> for Space {
    fn from(stat: Statvfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
        Self {
            bytes: bytes(stat.blocks()),
            bytes_free: bytes(stat.blocks_free()),
            inodes: stat.files(),
            inodes_free: stat.files_free(),
        }
    }
}

/// A quota of a directory's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes used.
    pub usage_bytes: u64,
    /// How many may be.
    pub limit_bytes: u64,
    /// Inodes used; absent if they have no limit.
    pub inodes: Option<u64>,
}

/// Whether a file system of this type may count for us.
pub fn is_known(fs_type: &str) -> bool {
    TYPES.contains(&fs_type)
}

/// The quota of a directory, by what it and its whole file system say at the same time.
pub fn own(directory: Space, whole: Space) -> Option<Quota> {
    (directory.bytes < whole.bytes).then(|| Quota {
        usage_bytes: directory.bytes.saturating_sub(directory.bytes_free),
        limit_bytes: directory.bytes,
        inodes: (directory.inodes < whole.inodes)
            .then(|| directory.inodes.saturating_sub(directory.inodes_free)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_what_makes_a_directory_smaller_than_its_file_system() {
        let whole = Space {
            bytes: 1000,
            bytes_free: 600,
            inodes: 50,
            inodes_free: 40,
        };
        assert_eq!(own(whole, whole), None);
        let limited = Space {
            bytes: 100,
            bytes_free: 30,
            ..whole
        };
        let quota = Quota {
            usage_bytes: 70,
            limit_bytes: 100,
            inodes: None,
        };
        assert_eq!(own(limited, whole), Some(quota));
        let both = Space {
            inodes: 10,
            inodes_free: 4,
            ..limited
        };
        assert_eq!(own(both, whole).and_then(|quota| quota.inodes), Some(6));
        assert!(is_known("xfs") && !is_known("btrfs"));
    }
}
