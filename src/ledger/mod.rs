//! ACCOUNT: what became of every container, kept after it has gone.
//!
//! In: beginnings, ends and OOM kills, from the manager, with the last sample of each container; what
//! its processes had used when they exited, where the kernel tells. Out: a [`Life`] for each container
//! that was there, bounded in age, number and bytes, and [`Totals`] by workload that go on when a
//! container is made again, for `query`.
//!
//! | file | holds |
//! |---|---|
//! | `life` | what is known of one container's life |
//! | `called` | pure: what is kept of what a runtime knows |
//! | `figures` | its final figures, and how final they are |
//! | `kill` | one OOM kill |
//! | `ended` | pure: lives that have ended, in chunks |
//! | `sealed` | pure: such a chunk, packed |
//! | `totals` | pure: what the lives of workloads add up to |
//! | `book` | pure: all lives and totals, and their bounds |
//! | `earlier` | pure: lives of an earlier run |
//! | `stored` | a life as a record of the journal |

pub mod life;
pub mod figures;
pub mod kill;
mod called;
mod sealed;
mod ended;
mod totals;
mod book;
pub mod earlier;
mod stored;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use book::LedgerLimits;
pub use earlier::Unmet;
pub use figures::{Figures, Finality, LastRead};
pub use kill::{KillSource, OomRecord};
pub use life::{Exit, Identity, LedgerRequest, Life, Which};
pub use totals::{Totals, Workload};

use crate::cgroup::{ContainerName, HierarchyId, OomCounters};
use crate::journal::{Journal, Kind, Record};
use crate::self_metrics::SelfMetrics;
use crate::units::Timestamp;
use book::Book;

/// How long an answer may wait to be safe on disk: the journal gives up on the disk before.
const MAX_SETTLE: Duration = Duration::from_secs(2);

/// Between two looks whether it is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// The ledger, shared by all threads. Every call takes a lock for a moment.
#[derive(Debug)]
pub struct Ledger {
    book: Mutex<Book>,
    journal: OnceLock<Arc<Journal>>,
    /// The newest record in it.
    written: AtomicU64,
    /// Up to which record of the journal what is about to be dropped has been written again.
    rewritten_for: AtomicU64,
    metrics: Arc<SelfMetrics>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(limits: LedgerLimits, metrics: Arc<SelfMetrics>) -> Self {
        Self {
            book: Mutex::new(Book::new(limits)),
            journal: OnceLock::new(),
            written: AtomicU64::new(0),
            rewritten_for: AtomicU64::new(0),
            metrics,
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book.lock();
        let before = book.evicted();
        let result = change(&mut book);
        // Under the lock: of two records of a life the later counts.
        if let Some(journal) = self.journal.get() {
            for record in book.take_outbox() {
                let sequence = journal.append(Kind::LIFE, &record);
                self.written.fetch_max(sequence, Release);
            }
        }
        self.metrics.ledger_evicted.add(book.evicted() - before);
        self.metrics.ledger_lives.set(book.ended_lives() as u64);
        self.metrics.ledger_bytes.set(book.bytes() as u64);
        result
    }

    /// A container is there, with its first directory. `preexisting` says that it was before the
    /// monitor: what its counters have by then is none of the ledger's.
    pub fn begin(
        &self,
        which: Which,
        started: Timestamp,
        preexisting: bool,
        directory: Option<(HierarchyId, u64)>,
    ) {
        let directory = directory.map(|(hierarchy, inode)| (hierarchy.0, inode));
        self.write(|book| book.begin(which, started, preexisting, directory));
    }

    /// A container has another directory.
    pub fn attached(&self, which: &Which, (hierarchy, inode): (HierarchyId, u64)) {
        self.write(|book| book.attached(which, (hierarchy.0, inode)));
    }

    /// The kernel's counters of OOM kills in a container that was there before the monitor, at the first
    /// look.
    pub fn counter_begins(&self, which: &Which, counted: OomCounters) {
        self.write(|book| book.counter_begins(which, counted));
    }

    /// Lives of an earlier run that are neither known to go on nor to be over: of one name, or of all.
    pub fn unmet(&self, name: Option<&ContainerName>) -> Vec<Unmet> {
        self.book.lock().unmet(name)
    }

    /// A life of an earlier run goes on, as `which`. Gives what the kernel's counters of OOM kills were
    /// when it was last written down, if that is known.
    pub fn resume(&self, number: u64, which: Which) -> Option<OomCounters> {
        self.write(|book| book.resume(number, which))
    }

    /// A life of an earlier run was over by `now`. Gives it, if it is one of those.
    pub fn gone(&self, number: u64, now: Timestamp) -> Option<Life> {
        self.write(|book| book.gone(number, now))
    }

    /// Takes a record of the journal of an earlier run, of whatever kind. Before anything else.
    pub fn restore(&self, record: &Record<'_>, boot: Option<&str>) {
        if record.kind != Kind::LIFE {
            return;
        }
        match stored::decode(record.payload) {
            Ok((life, of)) => self.book.lock().restore(life, of.as_deref(), boot),
            Err(error) => {
                tracing::debug!(sequence = record.sequence, %error, "a life in the journal is passed over");
            }
        }
    }

    /// From now on, what changes is written to `journal`.
    pub fn keep_in(&self, journal: Arc<Journal>, boot: Option<String>) {
        self.book.lock().keep_outbox(boot);
        let _ = self.journal.set(journal);
    }

    /// Waits until what was answered so far would outlive this process, or cannot: some milliseconds,
    /// on a thread that may block.
    pub fn settle(&self) {
        let Some(journal) = self.journal.get() else {
            return;
        };
        let (wanted, deadline) = (self.written.load(Acquire), Instant::now() + MAX_SETTLE);
        while journal.settled() < wanted && Instant::now() < deadline {
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// A container has gone at `ended`. Its final figures may be told more than once, also later
    /// ([`amend`](Self::amend)): what is read late is no less true.
    pub fn end(&self, which: &Which, ended: Timestamp, figures: Figures, finality: Finality) {
        self.write(|book| book.end(which, ended, figures, finality));
    }

    /// Better figures of a life that has ended.
    pub fn amend(&self, which: &Which, figures: &Figures, finality: Finality) {
        self.write(|book| book.amend(which, figures, finality));
    }

    /// A process of a container was killed. By `number` the record can be completed; no two have the
    /// same.
    pub fn kill(&self, number: u64, record: OomRecord) {
        self.write(|book| book.kill(number, record));
    }

    /// The highest number of a kill so far.
    pub fn last_kill(&self) -> u64 {
        self.book.lock().last_kill()
    }

    /// The other witness of a kill has told, too; `better` has the log's account, if it came second.
    pub fn confirm(&self, number: u64, better: Option<&OomRecord>) {
        self.write(|book| book.confirm(number, better));
    }

    /// The kernel's counters of a container have what is no further kill: a kill that was counted twice,
    /// a group that went down.
    pub fn counted_beside(&self, which: &Which, counted: OomCounters) {
        self.write(|book| book.counted_beside(which, counted));
    }

    /// How a container's first process ended. What a runtime says of it (it gives a reason) counts more than
    /// what was seen of processes, whichever is told first.
    pub fn exited(&self, which: &Which, exit: Exit) {
        self.write(|book| book.exited(which, exit));
    }

    /// What a runtime calls a container. To be told whenever it is learnt, also after the end: totals
    /// move to the name of the workload.
    pub fn identify(&self, which: &Which, identity: Arc<Identity>) {
        self.write(|book| book.identify(which, identity));
    }

    /// Lets go of what is too old. To be called about once a second.
    pub fn tick(&self, now: Timestamp) {
        let endangered = self.journal.get().map_or(0, |journal| journal.endangered());
        let is_new = self.rewritten_for.swap(endangered, Relaxed) < endangered;
        self.write(|book| {
            book.expire(now);
            if is_new {
                book.put_living();
            }
        });
    }

    /// The lives that are asked for, newest first.
    pub fn lives(&self, request: &LedgerRequest) -> Vec<Life> {
        let asked = self.book.lock().ask(request);
        asked.lives()
    }

    /// The life of a container that is there.
    pub fn living(&self, name: &ContainerName) -> Option<Life> {
        self.book.lock().living(name).cloned()
    }

    /// What all lives of each workload add up to, by name. Of those that have not ended the OOM kills
    /// are in it; what they use is to be added.
    pub fn totals(&self) -> Vec<Workload> {
        let asked = self.book.lock().ask_totals(true);
        asked.workloads()
    }

    /// Of those [`totals`](Self::totals) the ones [of note](Totals::is_of_note): few of many, where
    /// containers come and go under names of their own.
    pub fn totals_of_note(&self) -> Vec<Workload> {
        let asked = self.book.lock().ask_totals(false);
        asked.workloads()
    }

    /// Which of the containers of this name was there at `when`: the newest that had begun. The one that
    /// is there now if none had: our clock and the kernel's differ by a little.
    pub fn which_at(&self, name: &ContainerName, when: Timestamp) -> Option<u64> {
        self.book.lock().which_at(name, when)
    }

    /// The name under which a container's totals are kept.
    pub fn workload(&self, which: &Which) -> Option<Arc<str>> {
        self.book.lock().workload(which)
    }
}
