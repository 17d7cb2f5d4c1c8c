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

/// All counters of one monitor.
#[derive(Debug, Default)]
pub struct SelfMetrics {
    /// Kernel log records read.
    pub kmsg_records: Counter,
    /// Times the kernel overwrote records before they were read (`EPIPE`).
    pub kmsg_gaps: Counter,
    /// Kernel log records that could not be understood.
    pub kmsg_malformed: Counter,
    /// [`KmsgState`] as a number.
    pub kmsg_state: Gauge,
    /// Events published, by type in the order of `EventType::ALL`.
    pub events: [Counter; 4],
    /// Events that readers were too slow for.
    pub events_missed_by_readers: Counter,
    /// OOM kills by how they became known.
    pub oom_kills_from_kmsg: Counter,
    /// OOM kills that only a counter told of.
    pub oom_kills_from_counters: Counter,
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
    /// Time spent in polls, nanoseconds.
    pub poll_ns: Counter,
    /// Polls that were begun later than one interval after they were due.
    pub polls_late: Counter,
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

    /// The state of the kernel log reader.
    pub fn kmsg_state(&self) -> KmsgState {
        match self.kmsg_state.get() {
            1 => KmsgState::Following,
            2 => KmsgState::Unavailable,
            _ => KmsgState::Off,
        }
    }
}
