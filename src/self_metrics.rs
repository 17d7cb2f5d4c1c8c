//! What cgauge counts about itself. Any stage may add to it; only `serve` reads it.
//!
//! Plain atomics behind one shared [`SelfMetrics`]: counting must cost nothing on the poll path.
//! Label values are enums, so the number of series is known at compile time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` away.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// State of the kernel log reader, as `cgauge_kmsg_state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum KmsgState {
    /// Not started (or switched off with an empty `--kmsg`).
    Off = 0,
    /// Following the kernel log.
    Following = 1,
    /// The file cannot be opened or read: OOM kills are known from counters only.
    Unavailable = 2,
}

/// State of the journal, as `cgauge_journal_state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum JournalState {
    /// There is none (no `--state-dir`).
    Off = 0,
    /// What is shown is on disk.
    Writing = 1,
    /// The disk does not take records: what is shown is in memory only.
    MemoryOnly = 2,
}

/// What the journal counts.
#[derive(Debug, Default)]
pub struct JournalMetrics {
    /// [`JournalState`] as a number.
    pub state: Gauge,
    /// Records written.
    pub records: Counter,
    /// Bytes written.
    pub bytes: Counter,
    /// Time spent in writing, nanoseconds.
    pub write_ns: Counter,
    /// Syncs to disk.
    pub syncs: Counter,
    /// Time spent in them, nanoseconds.
    pub sync_ns: Counter,
    /// Syncs that failed.
    pub sync_errors: Counter,
    /// Times that the disk ceased to take records.
    pub failures: Counter,
    /// Records that will never be on disk.
    pub given_up: Gauge,
    /// Segments on disk.
    pub segments: Gauge,
    /// Their length together.
    pub disk_bytes: Gauge,
    /// Segments dropped for the bound on the whole.
    pub dropped_segments: Counter,
    /// Records read back at start.
    pub read_records: Gauge,
    /// Damaged bytes found at start.
    pub lost_bytes: Gauge,
    /// Records found missing at start.
    pub lost_records: Gauge,
}

/// All counters of one monitor.
#[derive(Debug, Default)]
pub struct SelfMetrics {
    /// Kernel log records read.
    pub kmsg_records: Counter,
    /// Times the kernel overwrote records before they were read (`EPIPE`).
    pub kmsg_gaps: Counter,
    /// Records that were overwritten so, as far as their numbers tell.
    pub kmsg_lost: Counter,
    /// Kernel log records that could not be understood.
    pub kmsg_malformed: Counter,
    /// [`KmsgState`] as a number.
    pub kmsg_state: Gauge,
    /// Events published, by type in the order of `EventType::ALL`.
    pub events: [Counter; 4],
    /// Events that were not remembered any more when a reader came to them, at most.
    pub events_missed_by_readers: Counter,
    /// OOM kills by how they became known.
    pub oom_kills_from_kmsg: Counter,
    /// OOM kills that only a counter told of.
    pub oom_kills_from_counters: Counter,
    /// The journal.
    pub journal: JournalMetrics,
    /// inotify watches held.
    pub watches: Gauge,
    /// Times the kernel dropped inotify events because its queue was full.
    pub watch_overflows: Counter,
    /// Directories that could not be watched: they are found by listing.
    pub unwatched: Gauge,
    /// Full listings of the hierarchies.
    pub listings: Counter,
    /// Containers known now.
    pub containers: Gauge,
    /// Polls done.
    pub polls: Counter,
    /// Of these, polls of containers that did nothing: only their pulse was read.
    pub polls_quiet: Counter,
    /// Time spent in polls, nanoseconds.
    pub poll_ns: Counter,
    /// Polls that were begun later than one interval after they were due.
    pub polls_late: Counter,
    /// CPU seconds per second that cgauge keeps to, in billionths; 0 without a bound.
    pub cpu_budget: Gauge,
    /// How many times longer the intervals of containers that stand still are, in billionths.
    pub stretch_idle: Gauge,
    /// How many times longer those of all others are, in billionths.
    pub stretch_busy: Gauge,
    /// Sampler threads, of which more are started while some are stuck.
    pub samplers: Gauge,
    /// Records of threads that ended.
    pub exit_records: Counter,
    /// Times that the kernel had more records than room.
    pub exit_gaps: Counter,
    /// Of the records, those whose container was not known.
    pub exits_unplaced: Gauge,
    /// The CPU time in those, nanoseconds.
    pub exits_unplaced_ns: Gauge,
    /// How long news of processes waits now, so that following them does not cost too much, nanoseconds.
    pub exit_hold_ns: Gauge,
    /// Lives of containers that have ended, kept in the ledger.
    pub ledger_lives: Gauge,
    /// The memory that they take, about.
    pub ledger_bytes: Gauge,
    /// Lives that the ledger let go before they were too old.
    pub ledger_evicted: Counter,
    /// The HTTP server.
    pub http: HttpMetrics,
    /// Scrapes of `/metrics`.
    pub scrape: ScrapeMetrics,
    /// The thread that measures writable layers.
    pub disk_usage: DiskUsageMetrics,
}

/// Why the disk usage of a container is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DiskUsageFailure {
    /// Its directory is not there, or may not be opened.
    NotFound,
    /// A directory in it cannot be read.
    Unreadable,
    /// It has more files than are counted, or deeper directories.
    TooLarge,
    /// It is on a file system of another machine, which is not walked.
    Network,
}

impl DiskUsageFailure {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::NotFound,
        Self::Unreadable,
        Self::TooLarge,
        Self::Network,
    ];

    /// Its name as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Network => "network",
        }
    }
}

/// What measuring writable layers costs.
#[derive(Debug, Default)]
pub struct DiskUsageMetrics {
    /// Walks completed.
    pub walks: Counter,
    /// Time spent walking, rests not counted, nanoseconds.
    pub walk_ns: Counter,
    /// Directory entries looked at.
    pub entries: Counter,
    /// Times that the file system had counted by itself.
    pub quota_reads: Counter,
    /// Containers that have a writable layer.
    pub layers: Gauge,
    /// Of these, those that have been measured.
    pub measured: Gauge,
    /// Age of the oldest measurement that is shown, nanoseconds.
    pub oldest_ns: Gauge,
    failures: [Counter; DiskUsageFailure::ALL.len()],
}

impl DiskUsageMetrics {
    /// Measurements given up for this reason.
    pub fn failed(&self, why: DiskUsageFailure) -> &Counter {
        &self.failures[why as usize]
    }
}

/// Kinds of metrics whose cost is counted apart: one for each `MetricKind`, and one for what is always
/// on.
pub const KINDS: usize = 23;

/// What scrapes cost.
#[derive(Debug, Default)]
pub struct ScrapeMetrics {
    /// Scrapes answered.
    pub scrapes: Counter,
    /// Scrapes whose question was wrong.
    pub refused: Counter,
    /// Time spent waiting for polls, nanoseconds.
    pub poll_ns: Counter,
    /// Time spent writing pages, nanoseconds.
    pub encode_ns: Counter,
    /// Time spent compressing them, nanoseconds.
    pub compress_ns: Counter,
    /// Containers that were not polled in time and left out.
    pub late: Counter,
    /// Series of the last page.
    pub series: Gauge,
    /// Size of the last page, uncompressed.
    pub bytes: Gauge,
    /// By kind.
    pub kinds: [KindMetrics; KINDS],
}

/// What one kind costs.
#[derive(Debug, Default)]
pub struct KindMetrics {
    /// Series of the last page.
    pub series: Gauge,
    /// Time spent writing them, nanoseconds.
    pub encode_ns: Counter,
}

/// What the HTTP server counts, over all its listeners.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    /// Connections accepted and served.
    pub connections_accepted: Counter,
    /// Connections turned away because the limit was reached.
    pub connections_refused: Counter,
    /// Connections being served now.
    pub connections_open: Gauge,
    /// Times `accept` failed (most often: out of file descriptors).
    pub accept_errors: Counter,
    /// Requests, those refused before they reached a handler included.
    pub requests: Counter,
    /// Requests refused before they reached a handler: bad target, too long, body too large.
    pub requests_refused: Counter,
    /// Handlers that panicked (answered 500) or failed.
    pub panics: Counter,
    /// Connections closed because the client was silent or read nothing for too long.
    pub timeouts: Counter,
    /// Connections cut off at shutdown because they outlived the deadline.
    pub cut_off: Counter,
}

impl SelfMetrics {
    /// Notes the state of the kernel log reader.
    pub fn set_kmsg_state(&self, state: KmsgState) {
        self.kmsg_state.set(state as u64);
    }

    /// The state of the journal.
    pub fn journal_state(&self) -> JournalState {
        match self.journal.state.get() {
            1 => JournalState::Writing,
            2 => JournalState::MemoryOnly,
            _ => JournalState::Off,
        }
    }

    /// The state of the kernel log reader.
    pub fn kmsg_state(&self) -> KmsgState {
        match self.kmsg_state.get() {
            1 => KmsgState::Following,
            2 => KmsgState::Unavailable,
            _ => KmsgState::Off,
        }
    }
}
