//! Reads `/dev/kmsg` on a thread of its own and reports OOM kills.
//!
//! A plain thread, not a task: `read` on `/dev/kmsg` may not block an executor, and a parked pool
//! thread would hold up the shutdown. It sleeps in `poll(2)` on the log and on an eventfd, so a
//! record is seen at once and so is [`KmsgReader::stop`]; see `MAX_SLEEP` for wake-ups that fail, and
//! [`Looker`] for who knows that there must be something.
//!
//! The path is configuration. `/dev/kmsg` gives one record a `read`. A FIFO or a regular file, for
//! tests, is taken as lines in the same format; as `poll` says of a regular file that it can always
//! be read, its end is looked at every `IDLE_PAUSE`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        stat::{major, minor},
    },
    time::{ClockId, clock_gettime},
};
use thiserror::Error;

use crate::{
    self_metrics::{KmsgState, SelfMetrics},
    units::Timestamp,
};

use super::{
    kmsg::{self, MAX_RECORD_BYTES, Record},
    oom::{self, OomKill, OomTracker},
};

/// Where the kernel log is.
pub const DEFAULT_PATH: &str = "/dev/kmsg";

/// Pause at the end of a regular file, and of a FIFO that nobody has open for writing.
const IDLE_PAUSE: Duration = Duration::from_millis(10);

/// Longest sleep on `/dev/kmsg`. The kernel wakes its readers from deferred work at a timer tick; on
/// a virtual machine with Linux 6.18 such a wake-up was seen to be lost, and a record then lay
/// unnoticed for two minutes. To wake for a look costs some 60 µs of CPU time there.
const MAX_SLEEP: Duration = Duration::from_millis(500);

/// The sleep after a record, which is seldom the last; each one in which nothing comes is followed by one
/// twice as long.
const MIN_SLEEP: Duration = Duration::from_millis(50);

/// Time after which the end of a report is not waited for any longer.
const REPORT_QUIET: Duration = Duration::from_secs(1);

/// Between two lines about records that were overwritten: whoever writes to the log can bring it about.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Reads between two looks at the stop signal.
const READS_PER_POLL: usize = 128;

/// Device number of `/dev/kmsg` (kernel: `drivers/char/mem.c`).
const KMSG_DEVICE: (u64, u64) = (1, 11);

/// Why the kernel log cannot be followed. OOM kills are then known from counters only
/// (`memory.events`, `memory.oom_control`), without process and figures.
#[derive(Debug, Error)]
pub enum KmsgError {
    /// `EPERM` or `EACCES`.
    #[error(
        "no permission to read the kernel log {path}: give CAP_SYSLOG (or set \
         /proc/sys/kernel/dmesg_restrict to 0) and read access to the file; in a pod, mount \
         /dev/kmsg as a hostPath and allow the device (securityContext.privileged)"
    )]
    Denied {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// `ENOENT` and the like.
    #[error(
        "there is no kernel log at {path}: in a container or pod, mount the host's /dev/kmsg \
         there (hostPath /dev/kmsg), or give another path with --kmsg"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory, or another device: some container runtimes put the console or /dev/null in
    /// the place of `/dev/kmsg`.
    #[error(
        "{path} is not the kernel log (character device 1:11), nor a FIFO or a regular file: in a \
         container or pod, mount the host's /dev/kmsg there, or give its path with --kmsg"
    )]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// Any other failure of opening or reading.
    #[error("cannot {operation} the kernel log {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl KmsgError {
    fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path, source },
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Self::Missing { path, source }
            }
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }
}

/// When a record with this printk clock was written, by the wall clock.
///
/// The printk clock is close to `CLOCK_MONOTONIC`; neither counts time asleep, so the difference
/// of the two clocks is taken anew each time and is right for a record that was just written.
pub fn wall_clock(stamp: Duration) -> Timestamp {
    let now = Timestamp::now();
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(monotonic) => now
            .saturating_sub(Duration::from(monotonic))
            .saturating_add(stamp),
        Err(_) => now,
    }
}

/// Has the log looked at, for one that knows by other means that there must be something in it.
#[derive(Debug, Clone)]
pub struct Looker(Arc<EventFd>);

impl Looker {
    /// Wakes the reader, if it is still there. Never waits.
    pub fn look(&self) {
        // Cannot fail: the reader empties the counter, which is far from its end.
        let _ = self.0.write(1);
    }
}

/// A thread that follows the kernel log. Ends with [`KmsgReader::stop`] or when dropped.
#[derive(Debug)]
pub struct KmsgReader {
    wake: Looker,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KmsgReader {
    /// Opens the log and follows it from its end: kills from before this call are not reported,
    /// each one after it is, through `on_kill`, on the reader's thread.
    ///
    /// `metrics` learn of records, gaps and the state. Should the log become unreadable later, it
    /// is logged once, the state becomes [`KmsgState::Unavailable`] and the thread ends.
    ///
    /// # Errors
    /// When the file cannot be opened; the state is [`KmsgState::Unavailable`] then.
    pub fn spawn(
        path: &Path,
        metrics: Arc<SelfMetrics>,
        on_kill: impl FnMut(OomKill) + Send + 'static,
    ) -> Result<Self, KmsgError> {
        Self::start(path, Arc::clone(&metrics), on_kill)
            .inspect_err(|_| metrics.set_kmsg_state(KmsgState::Unavailable))
    }

    fn start(
        path: &Path,
        metrics: Arc<SelfMetrics>,
        on_kill: impl FnMut(OomKill) + Send + 'static,
    ) -> Result<Self, KmsgError> {
        let (file, is_stream) = open(path)?;
        let fail = |error: io::Error| KmsgError::new("start following", path, error);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags).map_err(|errno| fail(errno.into()))?;
        let wake = Arc::new(wake);
        let stopping = Arc::new(AtomicBool::new(false));
        metrics.set_kmsg_state(KmsgState::Following);
        let follower = Follower {
            file,
            wake: Arc::clone(&wake),
            stopping: Arc::clone(&stopping),
            sleep: MIN_SLEEP,
            intake: Intake {
                metrics: Arc::clone(&metrics),
                tracker: OomTracker::default(),
                on_kill,
                last: None,
                read: None,
                gap: false,
                warned: None,
            },
            lines: is_stream.then(Lines::default),
        };
        let path = path.to_owned();
        let mut at_end = AtEnd {
            metrics,
            state: KmsgState::Unavailable,
        };
        let body = move || {
            // The whole of it, so that it is dropped here and not before the thread starts.
            let at_end = &mut at_end;
            match follower.run() {
                Ok(()) => at_end.state = KmsgState::Off,
                Err(source) => {
                    let error = KmsgError::new("read", &path, source);
                    tracing::error!(%error, "OOM kills are no longer read from the kernel log");
                }
            }
        };
        let thread = thread::Builder::new()
            .name("kmsg".to_owned())
            .spawn(body)
            .map_err(fail)?;
        Ok(Self {
            wake: Looker(wake),
            stopping,
            thread: Some(thread),
        })
    }

    /// What has the log looked at.
    pub fn looker(&self) -> Looker {
        self.wake.clone()
    }

    /// Ends the thread and waits for it: a moment, unless `on_kill` is at work. The state becomes
    /// [`KmsgState::Off`].
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stopping.store(true, Relaxed);
            self.wake.look();
            if thread.join().is_err() {
                tracing::error!("the kernel log reader had panicked");
            }
        }
    }
}

impl Drop for KmsgReader {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sets the state when the thread ends, be it by a panic in `on_kill`.
struct AtEnd {
    metrics: Arc<SelfMetrics>,
    state: KmsgState,
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.metrics.set_kmsg_state(self.state);
    }
}

/// Opens the log at its end. Says too whether it is a stream of lines rather than `/dev/kmsg`.
fn open(path: &Path) -> Result<(File, bool), KmsgError> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| KmsgError::new("open", path, error))?;
    let metadata = file
        .metadata()
        .map_err(|error| KmsgError::new("look at", path, error))?;
    let kind = metadata.file_type();
    let device = (major(metadata.rdev()), minor(metadata.rdev()));
    let is_kmsg = kind.is_char_device() && device == KMSG_DEVICE;
    if !(is_kmsg || kind.is_fifo() || kind.is_file()) {
        return Err(KmsgError::NotALog {
            path: path.to_owned(),
        });
    }
    if !kind.is_fifo() {
        file.seek(SeekFrom::End(0))
            .map_err(|error| KmsgError::new("seek in", path, error))?;
    }
    Ok((file, !is_kmsg))
}

struct Follower<R, F> {
    file: R,
    wake: Arc<EventFd>,
    stopping: Arc<AtomicBool>,
    /// How long to sleep if nothing comes.
    sleep: Duration,
    intake: Intake<F>,
    /// For what is not `/dev/kmsg`.
    lines: Option<Lines>,
}

/// Why reading paused.
enum Pause {
    /// Everything there is has been read; `poll` will tell when there is more.
    Dry,
    /// End of a file: `poll` would say at once that it can be read.
    End,
    /// Time to look whether to stop.
    Break,
}

impl<R: Read + AsFd, F: FnMut(OomKill)> Follower<R, F> {
    fn run(mut self) -> io::Result<()> {
        let mut buffer = [0; MAX_RECORD_BYTES];
        loop {
            let pause = self.read_some(&mut buffer)?;
            let patience = self.intake.patience();
            if patience == Some(Duration::ZERO) {
                self.intake.flush();
                continue;
            }
            let wait = match pause {
                Pause::Break => Duration::ZERO,
                Pause::End => IDLE_PAUSE,
                Pause::Dry => patience.map_or(self.sleep, |patience| patience.min(self.sleep)),
            };
            self.wait(wait, matches!(pause, Pause::Dry))?;
            if self.stopping.load(Relaxed) {
                return Ok(());
            }
        }
    }

    /// Waits until somebody wants a look or a stop, and `on_file` for records.
    fn wait(&mut self, timeout: Duration, on_file: bool) -> io::Result<()> {
        let millis = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.file.as_fd(), PollFlags::POLLIN),
        ];
        let watched = if on_file { &mut fds[..] } else { &mut fds[..1] };
        match poll(watched, millis) {
            Ok(0) => self.sleep = (self.sleep * 2).min(MAX_SLEEP),
            Err(Errno::EINTR) => {}
            Ok(_) if fds[0].any() == Some(false) => {}
            Ok(_) => {
                // An error says that it has been emptied already.
                let _ = self.wake.read();
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// Reads until there is nothing more, at most [`READS_PER_POLL`] times.
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<Pause> {
        let mut failed = None;
        let mut any_read = false;
        for _ in 0..READS_PER_POLL {
            match self.file.read(buffer) {
                Ok(0) => return Ok(Pause::End),
                Ok(read) => {
                    any_read = true;
                    self.sleep = MIN_SLEEP;
                    let raw = buffer.get(..read).unwrap_or_default();
                    match &mut self.lines {
                        None => self.intake.record(raw),
                        Some(lines) => lines.push(raw, &mut self.intake),
                    }
                }
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return Ok(Pause::Dry),
                    Some(Errno::EINTR) => {}
                    // Records were overwritten before they were read; the next read goes on with
                    // the oldest that is left.
                    Some(Errno::EPIPE) => self.intake.gap(),
                    // A record longer than the buffer: the kernel has gone past it.
                    Some(Errno::EINVAL) => {
                        self.intake.metrics.kmsg_malformed.inc();
                        failed = Some(error);
                    }
                    _ => return Err(error),
                },
            }
        }
        match failed {
            Some(error) if !any_read => Err(error),
            _ => Ok(Pause::Break),
        }
    }
}

/// From raw records to kills.
struct Intake<F> {
    metrics: Arc<SelfMetrics>,
    tracker: OomTracker,
    on_kill: F,
    /// When the last record came that mattered, while more are awaited.
    last: Option<Instant>,
    /// The number of the last record that was read.
    read: Option<u64>,
    /// Whether records were overwritten since.
    gap: bool,
    /// When that was last said in the log.
    warned: Option<Instant>,
}

impl<F: FnMut(OomKill)> Intake<F> {
    fn record(&mut self, raw: &[u8]) {
        self.metrics.kmsg_records.inc();
        let number = kmsg::sequence(raw);
        if std::mem::take(&mut self.gap) {
            self.lost(number);
        }
        self.read = number.or(self.read);
        let matters = oom::may_matter(raw)
            || (self.tracker.wants_continuation() && kmsg::is_continuation(raw));
        if !matters {
            self.tracker.skip(&mut self.on_kill);
            return;
        }
        match Record::parse(raw) {
            Ok(record) => {
                self.tracker.push(&record, &mut self.on_kill);
                self.last = self.tracker.is_pending().then(Instant::now);
            }
            Err(error) => {
                self.metrics.kmsg_malformed.inc();
                tracing::debug!(%error, "kernel log record skipped");
            }
        }
    }

    fn gap(&mut self) {
        self.metrics.kmsg_gaps.inc();
        self.gap = true;
        self.flush();
    }

    /// Records were overwritten, up to this one.
    fn lost(&mut self, number: Option<u64>) {
        let lost = number.zip(self.read);
        let lost = lost.map(|(number, read)| number.saturating_sub(read).saturating_sub(1));
        self.metrics.kmsg_lost.add(lost.unwrap_or(0));
        let now = Instant::now();
        if (self.warned).is_some_and(|warned| now.duration_since(warned) < BETWEEN_WARNINGS) {
            return;
        }
        self.warned = Some(now);
        tracing::warn!(
            records = lost,
            "the kernel overwrote log records before they were read: OOM kills among them are known from \
             counters alone; a larger log (log_buf_len=) helps"
        );
    }

    fn flush(&mut self) {
        self.last = None;
        self.tracker.flush(&mut self.on_kill);
    }

    /// How long to wait still for the end of a report; `None` if there is none to wait for.
    fn patience(&self) -> Option<Duration> {
        let last = self.last.filter(|_| self.tracker.is_pending())?;
        Some(REPORT_QUIET.saturating_sub(last.elapsed()))
    }
}

/// Cuts a stream into records: a line each. Lines that begin with a space belong to the record
/// before them and say nothing about OOM kills.
#[derive(Default)]
struct Lines {
    /// The beginning of a line, at most [`MAX_RECORD_BYTES`].
    begun: Vec<u8>,
    /// The line is too long: it is left out up to its end.
    overlong: bool,
}

impl Lines {
    fn push<F: FnMut(OomKill)>(&mut self, bytes: &[u8], intake: &mut Intake<F>) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match part {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            if self.begun.len() + text.len() > MAX_RECORD_BYTES {
                self.overlong = true;
                self.begun.clear();
            }
            if !self.overlong {
                self.begun.extend_from_slice(text);
            }
            if ends {
                if self.overlong {
                    intake.metrics.kmsg_malformed.inc();
                } else if !self.begun.is_empty() && !self.begun.starts_with(b" ") {
                    intake.record(&self.begun);
                }
                self.begun.clear();
                self.overlong = false;
            }
        }
    }
}

#[cfg(test)]
#[path = "kmsg_reader_tests.rs"]
mod tests;
