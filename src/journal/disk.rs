//! The writing side of a journal: the segment at hand, rotation, and the bound on the whole.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::frame::HEADER_BYTES;
use super::queue::Queued;
use super::read::ReadBack;
use super::segment::{self, Segment};
use super::{Epoch, OpenError};
use crate::self_metrics::JournalMetrics;

/// The file that is locked by whoever writes.
const LOCK: &str = "lock";

/// A journal is this many segments, of which the oldest goes when another is needed.
const SEGMENTS: u64 = 8;

/// The longest segment: what is read at once at start.
const MAX_SEGMENT: u64 = 16 * 1024 * 1024;

/// Puts bytes into a segment; another in tests.
pub(super) type Put = Box<dyn FnMut(&File, &[u8]) -> io::Result<usize> + Send>;

/// Why a batch was not written.
#[derive(Debug)]
pub(super) struct Failure {
    /// How many records of it were.
    pub written: usize,
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// Where records are written to.
pub(super) struct Disk {
    directory: PathBuf,
    epoch: Epoch,
    max_bytes: u64,
    lock: Option<File>,
    /// The segment that is appended to, with what is in it.
    current: Option<(Arc<File>, Segment)>,
    /// Those before it, oldest first.
    older: VecDeque<Segment>,
    /// Why nothing can be written before a restart.
    unusable: Option<String>,
    metrics: Arc<crate::self_metrics::SelfMetrics>,
    /// The last record in the segment that goes when another is needed; 0 if none need go.
    endangered: Arc<AtomicU64>,
    put: Put,
}

/// The locked state directory; `None` if it cannot be locked because nothing can be written there.
///
/// # Errors
/// [`OpenError`] if somebody else has it, or if it is no directory.
pub(super) fn lock(directory: &Path) -> Result<Option<File>, OpenError> {
    if directory.exists() && !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory.to_owned()));
    }
    let path = directory.join(LOCK);
    let Ok(mut file) = segment::make_directory(directory).and_then(|()| segment::open_lock(&path))
    else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => {
            // For whoever finds it locked. On a disk that is full it stays empty.
            let _ = file
                .set_len(0)
                .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file
                .rewind()
                .and_then(|()| file.take(32).read_to_string(&mut holder));
            Err(OpenError::InUse {
                directory: directory.to_owned(),
                holder: holder.trim().parse().ok(),
            })
        }
        // A file system without locks: a second cgauge would not be noticed.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(path = %path.display(), %error, "the state directory cannot be locked; let no other cgauge use it");
            Ok(Some(file))
        }
    }
}

impl Disk {
    /// Goes on behind what was read.
    pub fn new(
        directory: &Path,
        epoch: Epoch,
        max_bytes: u64,
        lock: Option<File>,
        read: &ReadBack,
        metrics: Arc<crate::self_metrics::SelfMetrics>,
    ) -> Self {
        let mut disk = Self {
            directory: directory.to_owned(),
            epoch,
            max_bytes,
            lock,
            current: None,
            older: read.segments.iter().cloned().collect(),
            unusable: None,
            metrics,
            endangered: Arc::default(),
            put: Box::new(|mut file, bytes| file.write(bytes)),
        };
        if disk.lock.is_some()
            && let Some(last) = disk
                .older
                .pop_back_if(|last| last.bytes < HEADER_BYTES as u64)
        {
            // It was just being begun. Its name is needed again.
            let _ = fs::remove_file(&last.path);
        }
        // A new epoch begins with a segment of its own.
        if read.epochs.last() == Some(&epoch)
            && let Some(at) = read.append_at
            && disk.older.len() == read.segments.len()
            && let Some(mut last) = disk.older.pop_back()
        {
            match disk.go_on(&last, at) {
                Ok(file) => {
                    last.bytes = at;
                    disk.current = Some((Arc::new(file), last));
                }
                Err(_) => disk.older.push_back(last),
            }
        }
        disk.count();
        disk
    }

    /// Nothing is written before a restart, and why.
    pub fn give_up(&mut self, why: String) {
        self.unusable = Some(why);
    }

    #[cfg(test)]
    pub fn with_put(mut self, put: Put) -> Self {
        self.put = put;
        self
    }

    fn go_on(&self, last: &Segment, at: u64) -> io::Result<File> {
        if self.lock.is_none() {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = segment::reopen(&last.path)?;
        if file.metadata()?.len() > at {
            file.set_len(at)?;
        }
        Ok(file)
    }

    /// The segment that was written to last, to be synced.
    pub fn current(&self) -> Option<&Arc<File>> {
        self.current.as_ref().map(|(file, _)| file)
    }

    /// Writes these records, in one call to the kernel where it takes them so. Gives a segment that
    /// was finished before, to be synced.
    ///
    /// # Errors
    /// [`Failure`]; what was written of a record that was not written whole is cut off, and the
    /// next call begins a new segment.
    pub fn write(&mut self, batch: &[Queued]) -> Result<Option<Arc<File>>, Failure> {
        let length: usize = batch.iter().map(|record| record.frame.len()).sum();
        let first = batch.first().map_or(0, |record| record.sequence);
        let finished = self
            .make_room(first, length as u64)
            .map_err(|error| Failure {
                written: 0,
                path: self.directory.clone(),
                error,
            })?;
        let Some((file, segment)) = &mut self.current else {
            return Ok(finished);
        };
        let mut bytes = Vec::with_capacity(length);
        batch
            .iter()
            .for_each(|record| bytes.extend_from_slice(&record.frame));
        let mut done = 0;
        while done < length {
            match (self.put)(file, bytes.get(done..).unwrap_or_default()) {
                Ok(0) => return Err(self.fail(batch, done, ErrorKind::WriteZero.into())),
                Ok(more) => done += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(batch, done, error)),
            }
        }
        segment.bytes += length as u64;
        self.metrics.journal.bytes.add(length as u64);
        self.count();
        Ok(finished)
    }

    /// Begins a new segment with the next record: the one at hand has gone, or did not take what it
    /// was given.
    pub fn begin_anew(&mut self) {
        if let Some((_, segment)) = self.current.take() {
            self.older.push_back(segment);
        }
    }

    /// Whether the segment at hand is on no disk any more: somebody has removed it.
    pub fn is_removed(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|(file, _)| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0))
    }

    fn fail(&mut self, batch: &[Queued], done: usize, error: io::Error) -> Failure {
        let (mut written, mut whole) = (0, 0);
        for record in batch {
            if whole + record.frame.len() > done {
                break;
            }
            whole += record.frame.len();
            written += 1;
        }
        let mut at = self.directory.clone();
        if let Some((file, mut segment)) = self.current.take() {
            at = segment.path.clone();
            segment.bytes += whole as u64;
            if segment.bytes <= HEADER_BYTES as u64 {
                // Nothing in it. Its name is needed again.
                let _ = fs::remove_file(&segment.path);
            } else {
                // What cannot be cut off is found to be torn when it is read.
                let _ = file.set_len(segment.bytes);
                self.older.push_back(segment);
            }
        }
        self.count();
        Failure {
            written,
            path: at,
            error,
        }
    }

    /// Sees to it that there is a segment with room for `length` bytes, and that all of them stay
    /// within the bound. `first` is the first record that will be in a new one.
    fn make_room(&mut self, first: u64, length: u64) -> io::Result<Option<Arc<File>>> {
        let limit = (self.max_bytes / SEGMENTS).clamp(1, MAX_SEGMENT);
        let mut finished = None;
        if let Some((_, segment)) = &self.current
            && segment.bytes > HEADER_BYTES as u64
            && segment.bytes + length > limit
            && let Some((file, segment)) = self.current.take()
        {
            finished = Some(file);
            self.older.push_back(segment);
        }
        if self.current.is_some() {
            return Ok(finished);
        }
        if let Some(why) = &self.unusable {
            return Err(io::Error::other(why.clone()));
        }
        if self.lock.is_none() {
            self.lock_again()?;
        }
        let mut total: u64 = self.older.iter().map(|segment| segment.bytes).sum();
        while total + limit > self.max_bytes {
            let Some(oldest) = self.older.pop_front() else {
                break;
            };
            total -= oldest.bytes;
            match fs::remove_file(&oldest.path) {
                Ok(()) => self.metrics.journal.dropped_segments.inc(),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    self.older.push_front(oldest);
                    return Err(error);
                }
            }
        }
        let (file, segment) = match segment::create(&self.directory, self.epoch.0, first) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The directory was removed, and the lock with it.
                self.lock = None;
                self.older.clear();
                self.lock_again()?;
                segment::create(&self.directory, self.epoch.0, first)?
            }
            other => other?,
        };
        self.current = Some((Arc::new(file), segment));
        if total + 2 * limit > self.max_bytes && !self.older.is_empty() {
            let next = self
                .older
                .get(1)
                .map_or(first, |segment| segment.first_sequence);
            self.endangered.store(next.saturating_sub(1), Relaxed);
        }
        Ok(finished)
    }

    /// The last record in the segment that is dropped next; 0 if none need be.
    pub(super) fn endangered(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.endangered)
    }

    fn lock_again(&mut self) -> io::Result<()> {
        match lock(&self.directory) {
            Ok(Some(file)) => {
                let known = self.older.len();
                if segment::list(&self.directory)?.len() > known {
                    let why = "it holds a journal that was not read at start; restart cgauge";
                    self.unusable = Some(why.to_owned());
                    return Err(io::Error::other(why));
                }
                self.lock = Some(file);
                Ok(())
            }
            // Asked again for the reason.
            Ok(None) => {
                segment::make_directory(&self.directory)?;
                segment::open_lock(&self.directory.join(LOCK)).map(drop)
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    fn count(&self) {
        let JournalMetrics {
            segments,
            disk_bytes,
            ..
        } = &self.metrics.journal;
        let all = self
            .older
            .iter()
            .chain(self.current.as_ref().map(|(_, segment)| segment));
        segments.set(all.clone().count() as u64);
        disk_bytes.set(all.map(|segment| segment.bytes).sum());
    }
}
