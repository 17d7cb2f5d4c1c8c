//! KEEP ON DISK: an append-only journal of small records, so that what happened is still known after
//! a restart.
//!
//! In: records, from whoever remembers (`event`; whatever else has a [`Kind`]). Out: the same
//! records, in order, when the journal is opened again.
//!
//! # What it promises
//!
//! - **Nothing is shown that a `kill -9` could take back.** A record is *settled*, and may be shown
//!   to readers, once `write(2)` has taken it: what the kernel has, the end of this process does
//!   not undo. Listeners ([`Journal::on_settled`]) are told.
//! - **Nobody waits for the disk.** To append is to leave bytes in a bounded queue; a thread of its
//!   own writes. If the disk refuses (full, read-only), takes nothing for [`Options::stall_limit`], or
//!   is slower than records arrive, the journal is *in memory only*: everything is settled at once, and
//!   the log, a metric and `/validate` say so. What room there is in the queue goes to the newest
//!   records, which are written, in a new segment, as soon as the disk takes them again.
//! - **A power loss** costs what was written in the last [`Options::sync_interval`]: an `fdatasync(2)`
//!   runs that long after the first record that needs it, and at the end, on a thread of its own.
//! - **Damage costs what it touches.** Each record is framed and checksummed by itself ([`frame`]); a
//!   torn tail is cut off, records behind damage are found again, and [`ReadBack`] says what was
//!   lost.
//! - **Bounded.** Segments of an eighth of the whole; the oldest goes when another is needed.
//!
//! # Why not a crate
//!
//! The write-ahead logs there are belong to databases: they stop or fail at a damaged record, where
//! here all that is intact behind it must be found; they tie a record's success to `fsync`, where here
//! nothing may wait; and a disk that is full is the caller's affair. None is much used. What is
//! taken from a crate is the checksum, `crc32fast`.

mod disk;
pub mod frame;
mod queue;
pub mod read;
pub mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use frame::{MAX_PAYLOAD, Record};
pub use queue::{MAX_BYTES, MAX_RECORDS, Mode};
pub use read::{Loss, ReadBack};

use crate::self_metrics::{JournalState, SelfMetrics};
use disk::Disk;
use queue::Queue;
use writer::{Shared, Threads};

/// The least that a journal may be given.
pub const MIN_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How long a journal that is dropped without [`Journal::close`] may take to write the rest.
const CLOSE_ON_DROP: Duration = Duration::from_secs(1);

/// What a payload is. The numbers are on disk: none is ever given another meaning. One that is not
/// known, from a newer cgauge, is passed over by whoever reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// A life of the journal begins. No payload.
    pub const STARTED: Self = Self(0);
    /// It has ended in order: nothing was shown that is not before this. No payload.
    pub const ENDED: Self = Self(1);
    /// An event: `event::stored`.
    pub const EVENT: Self = Self(2);
    /// A container's life, as the ledger keeps it.
    pub const LIFE: Self = Self(3);
}

/// A token for one series of event numbers: within it no number means two events. It stays the same
/// as long as the numbers are continued, and is another once they begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// One that was never given before, but for an accident of 1 in 2^64.
    pub fn random() -> Self {
        // The standard library's hash keys come from the kernel's random numbers.
        let mut hasher = std::hash::RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.write_i64(crate::units::Timestamp::now().0);
        Self(hasher.finish())
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How a journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The state directory. It is made if it is not there, and belongs to one cgauge at a time.
    pub directory: PathBuf,
    /// All segments together take no more than this; at least [`MIN_MAX_BYTES`] are.
    pub max_bytes: u64,
    /// What a power loss may cost.
    pub sync_interval: Duration,
    /// How long a record waits for the disk before it is shown all the same.
    pub stall_limit: Duration,
    /// How long to wait before the disk is tried again, at first and at most.
    pub retry: (Duration, Duration),
}

impl Options {
    /// The usual ones: 64 MiB, one second each.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: 64 * 1024 * 1024,
            sync_interval: Duration::from_secs(1),
            stall_limit: Duration::from_secs(1),
            retry: (Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

/// Why a journal could not be opened at all. A disk that cannot be written is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two would write over each other.
    #[error(
        "the state directory {} is in use by another cgauge{}; stop that one, or give each its own --state-dir",
        .directory.display(),
        .holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    InUse {
        /// The state directory.
        directory: PathBuf,
        /// Process id of the other, as it calls itself.
        holder: Option<u32>,
    },
    /// There is something else.
    #[error("the state directory {} is no directory; name another with --state-dir", .0.display())]
    NoDirectory(PathBuf),
    /// A thread could not be started.
    #[error("cannot start a thread of the journal: {0}; raise the limit of processes (ulimit -u)")]
    Thread(#[source] io::Error),
}

/// An open journal. Dropping it closes it.
pub struct Journal {
    shared: Arc<Shared>,
    epoch: Epoch,
    endangered: Arc<AtomicU64>,
    threads: Mutex<Option<Threads>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("options", &self.shared.options)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// How a journal is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The state directory.
    pub directory: PathBuf,
    /// Whether what is shown is on disk.
    pub mode: Mode,
    /// Segments on disk.
    pub segments: u64,
    /// Their length together, bytes.
    pub bytes: u64,
    /// Records that will never be on disk.
    pub given_up: u64,
}

impl Journal {
    /// Locks the state directory, gives every intact record there to `take`, in the order in which
    /// they were appended, and goes on behind them. What was lost is logged, counted and told.
    ///
    /// # Errors
    /// [`OpenError`]. A directory that cannot be read or written is no error: the journal is then in
    /// memory only ([`status`](Self::status)), with what could be read.
    pub fn open(
        options: Options,
        metrics: Arc<SelfMetrics>,
        take: &mut dyn FnMut(Record<'_>),
    ) -> Result<(Self, ReadBack), OpenError> {
        Self::open_with(options, metrics, take, |disk| disk)
    }

    fn open_with(
        mut options: Options,
        metrics: Arc<SelfMetrics>,
        take: &mut dyn FnMut(Record<'_>),
        change: impl FnOnce(Disk) -> Disk,
    ) -> Result<(Self, ReadBack), OpenError> {
        options.max_bytes = options.max_bytes.max(MIN_MAX_BYTES);
        let lock = disk::lock(&options.directory)?;
        let (mut read, unreadable) = match read::read_back(&options.directory, take) {
            Ok(read) => (read, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (ReadBack::default(), None),
            Err(error) => (
                ReadBack::default(),
                Some(format!(
                    "what is there cannot be read: {error}; restart cgauge once it can"
                )),
            ),
        };
        tell(&mut read, &metrics);
        let epoch = read.epochs.last().copied().unwrap_or_else(Epoch::random);
        let mut disk = Disk::new(
            &options.directory,
            epoch,
            options.max_bytes,
            lock,
            &read,
            Arc::clone(&metrics),
        );
        if let Some(why) = unreadable {
            disk.give_up(why);
        }
        metrics.journal.state.set(JournalState::Writing as u64);
        let endangered = disk.endangered();
        let queue = Queue::new(read.last_sequence);
        let shared = Arc::new(Shared::new(queue, options, metrics));
        let threads = Threads::spawn(&shared, change(disk)).map_err(OpenError::Thread)?;
        let mut journal = Self {
            shared,
            epoch,
            endangered,
            threads: Mutex::new(Some(threads)),
        };
        // Known before anything is shown: the disk takes this or it does not.
        journal.append(Kind::STARTED, &[]);
        journal
            .shared
            .flush(Instant::now() + journal.shared.options.stall_limit);
        if journal.status().mode != Mode::Writing {
            // Numbers that may never be written down would be given again by the next life.
            journal.epoch = Epoch::random();
        }
        Ok((journal, read))
    }

    /// Has `listener` called, on a thread of the journal, with the sequence up to which all records
    /// are settled, whenever more are. It must not wait, and must not hold the journal: a thread
    /// cannot wait for its own end.
    pub fn on_settled(&self, listener: impl Fn(u64) + Send + Sync + 'static) {
        self.shared
            .listeners
            .lock()
            .push(Arc::new(Box::new(listener)));
    }

    /// Appends a record and gives its sequence. Never waits. Whether it may be shown say
    /// [`settled`](Self::settled) now, or the listeners later. A payload longer than [`MAX_PAYLOAD`]
    /// is counted as given up.
    pub fn append(&self, kind: Kind, payload: &[u8]) -> u64 {
        self.shared.append(kind, payload)
    }

    /// All records up to this sequence may be shown.
    pub fn settled(&self) -> u64 {
        self.shared.state.lock().queue.settled()
    }

    /// Records up to this one are in the segment that is dropped next: what is to be kept is to be appended
    /// again. 0 while there is room for another segment.
    pub fn endangered(&self) -> u64 {
        self.endangered.load(Relaxed)
    }

    /// The token of the event numbers of this life.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Waits until all records so far are settled, and the listeners know; at `deadline` they are,
    /// written or not.
    pub fn flush(&self, deadline: Instant) {
        self.shared.flush(deadline);
    }

    /// Writes and syncs what there is, and says on disk that the end was in order. What is appended
    /// later is settled and never written.
    pub fn close(&self, deadline: Instant) {
        let Some(threads) = self.threads.lock().take() else {
            return;
        };
        threads.stop(&self.shared, deadline);
        self.shared
            .state
            .lock()
            .queue
            .degrade("the journal is closed");
        self.shared
            .metrics
            .journal
            .state
            .set(JournalState::Off as u64);
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        let metrics = &self.shared.metrics.journal;
        let state = self.shared.state.lock();
        Status {
            directory: self.shared.options.directory.clone(),
            mode: state.queue.mode().clone(),
            segments: metrics.segments.get(),
            bytes: metrics.disk_bytes.get(),
            given_up: state.queue.given_up(),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close(Instant::now() + CLOSE_ON_DROP);
    }
}

/// Whether a journal could be kept with these options, tried without leaving a trace: what to tell
/// about it.
///
/// # Errors
/// What is in the way, and what to do about it.
pub fn probe(options: &Options) -> Result<String, String> {
    let directory = &options.directory;
    let shown = directory.display();
    let existed = directory.exists();
    if existed && !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory.clone()).to_string());
    }
    let advise = |error: io::Error| {
        format!("{shown}: {error}; let cgauge's user write there, or name another with --state-dir")
    };
    // A name of its own: a cgauge that runs is not disturbed.
    let file = directory.join(format!("probe-{}", std::process::id()));
    let tried = segment::make_directory(directory)
        .and_then(|()| std::fs::write(&file, [0; 4096]))
        .and_then(|()| std::fs::remove_file(&file));
    if tried.is_err() {
        let _ = std::fs::remove_file(&file);
    }
    if !existed {
        let _ = std::fs::remove_dir(directory);
    }
    tried.map_err(advise)?;
    let read = match existed {
        true => read::read_back(directory, &mut |_| ()).map_err(advise)?,
        false => ReadBack::default(),
    };
    let bytes: u64 = read.segments.iter().map(|segment| segment.bytes).sum();
    Ok(format!(
        "{shown} can be written; {} records in {bytes} bytes of {}, {} damaged bytes, {} records missing",
        read.records, options.max_bytes, read.lost_bytes, read.lost_records
    ))
}

/// Logs and counts what was read, and puts aside what is not ours to read.
fn tell(read: &mut ReadBack, metrics: &SelfMetrics) {
    for loss in &read.losses {
        tracing::warn!("the journal has lost something: {loss}");
    }
    for path in &read.foreign {
        match read::put_aside(path) {
            Ok(aside) => tracing::warn!(
                "kept as {}: rename it back for the cgauge that wrote it, delete it if there is none",
                aside.display()
            ),
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot be put aside"),
        }
    }
    metrics.journal.read_records.set(read.records);
    metrics.journal.lost_bytes.set(read.lost_bytes);
    metrics.journal.lost_records.set(read.lost_records);
    if read.records > 0 {
        tracing::info!(
            records = read.records,
            segments = read.segments.len(),
            lost_records = read.lost_records,
            lost_bytes = read.lost_bytes,
            "the journal was read"
        );
    }
}

/// Values that wait until their records are settled, in order: what a user of the journal holds back
/// from its readers.
#[derive(Debug)]
pub struct Unsettled<T>(VecDeque<(u64, T)>);

impl<T> Default for Unsettled<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Unsettled<T> {
    /// Holds back a value whose record has this sequence, higher than those before.
    pub fn push(&mut self, sequence: u64, value: T) {
        self.0.push_back((sequence, value));
    }

    /// The oldest value, if all records up to `settled` are.
    pub fn pop(&mut self, settled: u64) -> Option<T> {
        let ready = self
            .0
            .front()
            .is_some_and(|(sequence, _)| *sequence <= settled);
        ready.then(|| self.0.pop_front().map(|(_, value)| value))?
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
