//! Opening a directory of the node below the node's root, so that no symbolic link leads out of it.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// What everything here is opened with. Reading a directory would else change its time of access,
/// which is a write to the container's layer.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOATIME);

/// Opens `path`, as the node names it, below `rootfs`. Links in it are followed as the node would (an
/// absolute one leads to below `rootfs`), but not the last element. Kernels before 5.6 cannot do so:
/// there a link that is absolute leads where it leads for this process.
///
/// # Errors
/// What the kernel says.
pub fn open_below(rootfs: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    without_atime(|more| {
        let root = open(
            rootfs,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let how = OpenHow::new()
            .flags(READ.difference(more) | OFlag::O_NOFOLLOW)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&root, relative, how) {
            Err(Errno::ENOSYS) => nix::fcntl::openat(
                &root,
                relative,
                READ.difference(more) | OFlag::O_NOFOLLOW,
                Mode::empty(),
            ),
            other => other,
        }
    })
}

/// Opens the directory `name` in `directory`, if it is one and no link.
///
/// # Errors
/// What the kernel says.
pub(super) fn open_directory(
    directory: impl std::os::fd::AsFd,
    name: &[u8],
) -> Result<OwnedFd, Errno> {
    without_atime(|more| {
        nix::fcntl::openat(
            &directory,
            name,
            READ.difference(more) | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY,
            Mode::empty(),
        )
    })
}

/// Another's file may be opened with `O_NOATIME` only by who may do anything with it: without, else.
fn without_atime(open: impl Fn(OFlag) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    match open(OFlag::empty()) {
        Err(Errno::EPERM) => open(OFlag::O_NOATIME),
        other => other,
    }
}

/// The process's own directory, for tests that need one.
#[cfg(test)]
pub(super) const HERE: std::os::fd::BorrowedFd<'static> = nix::fcntl::AT_FDCWD;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn links_stay_below_the_root() {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("secret")).unwrap();
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("data/docker/ab/diff")).unwrap();
        fs::create_dir(root.join("var")).unwrap();
        symlink("/data/docker", root.join("var/docker")).unwrap();
        symlink(outside.path(), root.join("var/out")).unwrap();
        symlink("/data", root.join("var/last")).unwrap();
        let inode = |path: &str| {
            let fd = open_below(root, Path::new(path))?;
            Ok::<_, Errno>(nix::sys::stat::fstat(&fd)?.st_ino)
        };
        let want = fs::metadata(root.join("data/docker/ab/diff"))
            .unwrap()
            .ino();
        assert_eq!(inode("/var/docker/ab/diff"), Ok(want));
        assert_eq!(inode("/data/docker/../../../data/docker/ab/diff"), Ok(want));
        assert_eq!(inode("/var/out/secret"), Err(Errno::ENOENT));
        assert_eq!(inode("/var/last"), Err(Errno::ELOOP));
        assert_eq!(inode("/nothing"), Err(Errno::ENOENT));
        assert!(open_directory(HERE, b"src").is_ok());
        assert_eq!(
            open_directory(HERE, b"Cargo.toml").unwrap_err(),
            Errno::ENOTDIR
        );
    }
}
