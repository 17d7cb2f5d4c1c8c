//! Reading one kernel file: kept open where the budget allows, into a buffer that is reused.
//!
//! A kept-open file costs the kernel about 4.5 KB once it has been read, and reading it again costs a
//! third of opening it again: so files of busy containers stay open, within a budget.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use rustix::io::pread;

/// Descriptors left to sockets, inotify and whatever else the process opens.
const RESERVED_DESCRIPTORS: usize = 256;

/// What a read buffer holds at first: every cgroup file of an ordinary host.
const BUFFER_BYTES: usize = 16 * 1024;

/// The largest file that is read; what is longer is cut off there. A real cgroup file of this size
/// does not exist; a hostile tree may have one.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// The share of the budget that files leave to directories: one in so many. A directory that is
/// open saves more than a file does, and costs the kernel a twentieth of it.
const FOR_DIRECTORIES: usize = 8;

/// How many files and directories may be kept open, shared by all containers.
#[derive(Debug)]
pub struct FdBudget {
    limit: usize,
    used: AtomicUsize,
    files: usize,
    files_used: AtomicUsize,
}

/// What a descriptor is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// A kernel file that is read again and again.
    File,
    /// A directory that files are opened in.
    Directory,
}

impl FdBudget {
    /// A budget of at most `files` files, and directories beside them. Raises the process's soft
    /// limit (and, where allowed, the hard one) to make room for them; takes less if it cannot.
    pub fn within_limits(files: usize) -> Self {
        let wanted = files.saturating_add(files / 2);
        let needed = wanted.saturating_add(RESERVED_DESCRIPTORS) as u64;
        let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
            return Self::new(wanted, files);
        };
        if soft < needed {
            let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed))
                .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard));
            if let Err(errno) = raised {
                tracing::debug!(%errno, soft, hard, "cannot raise the limit of open files");
            }
        }
        let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
        let room = usize::try_from(soft)
            .unwrap_or(usize::MAX)
            .saturating_sub(RESERVED_DESCRIPTORS);
        Self::new(wanted.min(room), files)
    }

    /// A budget of exactly so many descriptors.
    pub fn of(limit: usize) -> Self {
        Self::new(limit, limit)
    }

    fn new(limit: usize, files: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            files: files.min(limit - limit / FOR_DIRECTORIES),
            files_used: AtomicUsize::new(0),
        }
    }

    /// The most files that may be kept open.
    pub fn files(&self) -> usize {
        self.files
    }

    /// The most descriptors that may be kept open.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many descriptors are kept open now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn has_room(&self, keep: Keep) -> bool {
        let for_others = match keep {
            Keep::File => self.limit / FOR_DIRECTORIES,
            Keep::Directory => 0,
        };
        self.used() < self.limit - for_others
            && (keep == Keep::Directory || self.files_used.load(Relaxed) < self.files)
    }
}

/// A descriptor that counts against the budget until it is dropped.
#[derive(Debug)]
pub struct Kept {
    fd: OwnedFd,
    keep: Keep,
    budget: Arc<FdBudget>,
}

impl Kept {
    /// Keeps `fd` if the budget has room, else gives it back. Threads that race may pass the limit by
    /// a few descriptors: the reserve covers that.
    pub fn new(fd: OwnedFd, keep: Keep, budget: &Arc<FdBudget>) -> Result<Self, OwnedFd> {
        if !budget.has_room(keep) {
            return Err(fd);
        }
        budget.used.fetch_add(1, Relaxed);
        if keep == Keep::File {
            budget.files_used.fetch_add(1, Relaxed);
        }
        Ok(Self {
            fd,
            keep,
            budget: Arc::clone(budget),
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(1, Relaxed);
        if self.keep == Keep::File {
            self.budget.files_used.fetch_sub(1, Relaxed);
        }
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The buffer that kernel files are read into: one per sampler thread, grown to the largest file.
#[derive(Debug)]
pub struct ReadBuffer(Vec<u8>);

impl Default for ReadBuffer {
    fn default() -> Self {
        Self(vec![0; BUFFER_BYTES])
    }
}

impl ReadBuffer {
    /// The whole of a file from its beginning.
    ///
    /// One `pread` is enough for a cgroup file: the kernel prints it whole (`single_open`) if the
    /// buffer has room. Only a full buffer needs another.
    pub fn read(&mut self, file: impl AsFd) -> Result<&[u8], Errno> {
        let mut filled = 0;
        loop {
            let room = self.0.len();
            match pread(&file, &mut self.0[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            }
            if filled < room {
                break;
            }
            if room >= MAX_FILE_BYTES {
                break;
            }
            self.0.resize(room * 2, 0);
        }
        Ok(&self.0[..filled])
    }

    /// The whole of a file that the kernel prints record by record (`cgroup.procs`, most of procfs):
    /// there a short read is not the end.
    pub fn read_records(&mut self, file: impl AsFd) -> Result<&[u8], Errno> {
        let mut filled = 0;
        loop {
            if filled == self.0.len() {
                if filled >= MAX_FILE_BYTES {
                    break;
                }
                self.0.resize(filled * 2, 0);
            }
            match pread(&file, &mut self.0[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            }
        }
        Ok(&self.0[..filled])
    }
}

/// Opens `name` in an open directory for reading.
pub fn open_in(directory: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(
        directory,
        name,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK,
        Mode::empty(),
    )
}

/// Opens a directory by path, however long the path is: the kernel takes at most `PATH_MAX` bytes at
/// once, and a cgroup tree may be deeper than that.
pub fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    const FLAGS: OFlag = OFlag::O_PATH
        .union(OFlag::O_DIRECTORY)
        .union(OFlag::O_CLOEXEC);
    match open(path, FLAGS, Mode::empty()) {
        Err(Errno::ENAMETOOLONG) => {}
        done => return done,
    }
    let mut at = open("/", FLAGS, Mode::empty())?;
    for element in path.components().skip(1) {
        at = openat(&at, element.as_os_str(), FLAGS, Mode::empty())?;
    }
    Ok(at)
}

/// The whole of a small file that is read rarely, by path.
pub fn read_path(path: &Path, buffer: &mut ReadBuffer) -> io::Result<Vec<u8>> {
    let fd = open(
        path,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK,
        Mode::empty(),
    )?;
    Ok(buffer.read_records(fd)?.to_vec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_the_buffer_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..BUFFER_BYTES * 3 + 7).map(|at| at as u8).collect();
        std::fs::write(directory.path().join("memory.stat"), &content).unwrap();
        let dir = open_directory(directory.path()).unwrap();
        let file = open_in(&dir, "memory.stat").unwrap();
        let mut buffer = ReadBuffer::default();
        assert_eq!(buffer.read(&file).unwrap(), content);
        assert_eq!(buffer.read_records(&file).unwrap(), content);
    }

    #[test]
    fn the_budget_is_given_back_when_a_file_is_closed() {
        let budget = Arc::new(FdBudget::of(16));
        let keep = |keep| {
            Kept::new(
                std::fs::File::open("/dev/null").unwrap().into(),
                keep,
                &budget,
            )
        };
        let files: Vec<Kept> = std::iter::from_fn(|| keep(Keep::File).ok()).collect();
        assert_eq!(
            (files.len(), budget.files()),
            (14, 14),
            "two are left to directories"
        );
        let directories: Vec<Kept> = std::iter::from_fn(|| keep(Keep::Directory).ok()).collect();
        assert_eq!((directories.len(), budget.used()), (2, 16));
        drop(files);
        assert_eq!(budget.used(), 2);
        assert!(keep(Keep::Directory).is_ok() && keep(Keep::File).is_ok());
        drop(directories);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn paths_beyond_path_max_open() {
        let directory = tempfile::tempdir().unwrap();
        let element = "d".repeat(250);
        let mut at = open_directory(directory.path()).unwrap();
        let mut path = directory.path().to_owned();
        for _ in 0..20 {
            nix::sys::stat::mkdirat(&at, element.as_str(), Mode::S_IRWXU).unwrap();
            at = openat(&at, element.as_str(), OFlag::O_PATH, Mode::empty()).unwrap();
            path.push(&element);
        }
        assert!(path.as_os_str().len() > 4096);
        open_directory(&path).unwrap();
    }
}
