//! Adding up what a directory takes, a bounded step at a time.
//!
//! Counted is what `du` counts: the blocks that each inode has (`st_blocks`), directories too, each
//! inode once however many links it has. A walk stays on the file system that it began on and follows
//! no link; what comes and goes while it is under way is counted or not. The memory that it needs has
//! a bound, and so has the number of entries: what is larger has no figure.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use super::layer_dir::open_directory;

/// The most entries of one walk.
pub const MAX_ENTRIES: u64 = 20_000_000;

/// How deep directories may lie.
pub const MAX_DEPTH: usize = 512;

/// The most memory for the names of directories that are still to be read, bytes.
pub const MAX_PENDING_BYTES: usize = 16 * 1024 * 1024;

/// The most inodes with several links that are remembered. Of those beyond, each link counts its
/// share: right if all of them are in the layer, too little otherwise, never too much.
pub const MAX_LINKED: usize = 100_000;

/// Size of the blocks that `st_blocks` counts.
const BLOCK: u64 = 512;

/// Shares of an inode.
const SHARES: u64 = 1 << 20;

/// What one step may do.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Entries to look at.
    pub entries: u32,
    /// How long. Looked at after each entry: one that the disk holds up takes as long as it takes.
    pub time: Duration,
}

/// What a walk has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// Bytes allocated.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Directory entries that were looked at, links counted each.
    pub entries: u64,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// That was all.
    Done(Total),
}

/// Why there is no figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// More entries, or more directories at once, than a walk may have.
    #[error("it has more files or directories than are counted")]
    TooLarge,
    /// Directories lie deeper than a walk goes.
    #[error("its directories are nested too deeply")]
    TooDeep,
    /// A directory cannot be read: what is in it would be missing from the sum.
    #[error("a directory in it cannot be read: {0}")]
    Unreadable(Errno),
}

/// A walk that is under way.
#[derive(Debug)]
pub struct Walk {
    root: OwnedFd,
    device: u64,
    /// Directories still to be read: their names below the root, elements between slashes.
    pending: Vec<Box<[u8]>>,
    pending_bytes: usize,
    reading: Option<Reading>,
    /// Inodes with several links that have been counted.
    linked: HashSet<u64>,
    max_linked: usize,
    max_entries: u64,
    total: Total,
    /// Shares of inodes whose links were too many to remember.
    shares: u64,
}

/// The directory that is being read.
#[derive(Debug)]
struct Reading {
    name: Box<[u8]>,
    directory: OwnedFd,
    entries: OwningIter,
}

impl Walk {
    /// A walk over the directory or file `root`, which is counted too.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn new(root: OwnedFd) -> Result<Self, WalkError> {
        let stat = fstat(&root).map_err(WalkError::Unreadable)?;
        let mut walk = Self {
            root,
            device: stat.st_dev,
            pending: Vec::new(),
            pending_bytes: 0,
            reading: None,
            linked: HashSet::new(),
            max_linked: MAX_LINKED,
            max_entries: MAX_ENTRIES,
            total: Total::default(),
            shares: 0,
        };
        walk.count(&stat);
        if is_directory(&stat) {
            walk.push(Box::default())?;
        }
        Ok(walk)
    }

    /// Goes on for as long as `budget` allows.
    ///
    /// # Errors
    /// [`WalkError`] says why there will be no figure.
    pub fn step(&mut self, budget: Budget) -> Result<Step, WalkError> {
        let end = Instant::now() + budget.time;
        let mut left = budget.entries;
        while left > 0 && Instant::now() < end {
            left -= 1;
            if self.reading.is_none() {
                let Some(name) = self.pending.pop() else {
                    return Ok(Step::Done(self.total()));
                };
                self.pending_bytes -= cost(&name);
                self.reading = self.open(name)?;
            } else {
                self.next_entry()?;
            }
        }
        Ok(Step::More)
    }

    fn total(&self) -> Total {
        Total {
            inodes: self.total.inodes + self.shares.div_ceil(SHARES),
            ..self.total
        }
    }

    /// Opens a directory below the root, element by element: a link put in place of one of them is
    /// noticed. `None` if it has gone, is another thing by now, or is on another file system.
    fn open(&self, name: Box<[u8]>) -> Result<Option<Reading>, WalkError> {
        let tolerable = |errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Ok(None),
            other => Err(WalkError::Unreadable(other)),
        };
        let mut directory = match open_directory(&self.root, b".") {
            Ok(directory) => directory,
            Err(errno) => return tolerable(errno),
        };
        for element in name.split(|&byte| byte == b'/').filter(|e| !e.is_empty()) {
            directory = match open_directory(&directory, element) {
                Ok(directory) => directory,
                Err(errno) => return tolerable(errno),
            };
        }
        if fstat(&directory).map_err(WalkError::Unreadable)?.st_dev != self.device {
            return Ok(None);
        }
        let stream = directory
            .try_clone()
            .map_err(|_| WalkError::Unreadable(Errno::EMFILE))?;
        let entries = Dir::from_fd(stream).map_err(WalkError::Unreadable)?;
        Ok(Some(Reading {
            name,
            directory,
            entries: entries.into_iter(),
        }))
    }

    fn next_entry(&mut self) -> Result<(), WalkError> {
        let Some(reading) = &mut self.reading else {
            return Ok(());
        };
        let entry = match reading.entries.next() {
            None | Some(Err(Errno::ENOENT)) => {
                self.reading = None;
                return Ok(());
            }
            Some(Err(errno)) => return Err(WalkError::Unreadable(errno)),
            Some(Ok(entry)) => entry,
        };
        let element = entry.file_name();
        if matches!(element.to_bytes(), b"." | b"..") {
            return Ok(());
        }
        self.total.entries += 1;
        if self.total.entries > self.max_entries {
            return Err(WalkError::TooLarge);
        }
        let stat = match fstatat(
            reading.directory.as_fd(),
            element,
            AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT,
        ) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(WalkError::Unreadable(errno)),
        };
        if stat.st_dev != self.device {
            return Ok(());
        }
        let below = is_directory(&stat).then(|| {
            let mut name = Vec::with_capacity(reading.name.len() + 1 + element.count_bytes());
            name.extend_from_slice(&reading.name);
            name.push(b'/');
            name.extend_from_slice(element.to_bytes());
            name.into_boxed_slice()
        });
        self.count(&stat);
        below.map_or(Ok(()), |name| self.push(name))
    }

    fn push(&mut self, name: Box<[u8]>) -> Result<(), WalkError> {
        if name.iter().filter(|&&byte| byte == b'/').count() > MAX_DEPTH {
            return Err(WalkError::TooDeep);
        }
        self.pending_bytes += cost(&name);
        if self.pending_bytes > MAX_PENDING_BYTES {
            return Err(WalkError::TooLarge);
        }
        self.pending.push(name);
        Ok(())
    }

    fn count(&mut self, stat: &FileStat) {
        let bytes = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(BLOCK);
        let links = if is_directory(stat) { 1 } else { stat.st_nlink };
        if links > 1 && !self.linked.contains(&stat.st_ino) {
            if self.linked.len() >= self.max_linked {
                self.total.bytes = self.total.bytes.saturating_add(bytes / links);
                self.shares += SHARES / links;
                return;
            }
            self.linked.insert(stat.st_ino);
        } else if links > 1 {
            return;
        }
        self.total.bytes = self.total.bytes.saturating_add(bytes);
        self.total.inodes += 1;
    }
}

/// What a name of a directory takes, about.
fn cost(name: &[u8]) -> usize {
    name.len() + 2 * size_of::<usize>()
}

fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
