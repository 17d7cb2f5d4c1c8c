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
//! | `figures` | its final figures, and how final they are |
//! | `kill` | one OOM kill |
//! | `book` | pure: all lives and totals, and their bounds |

pub mod life;
pub mod figures;
pub mod kill;
mod book;

use std::sync::Arc;

use parking_lot::Mutex;

pub use book::{LedgerLimits, Totals, Workload};
pub use figures::{Figures, Finality, LastRead};
pub use kill::{KillSource, OomRecord};
pub use life::{Exit, Identity, LedgerRequest, Life, Which};

use crate::cgroup::ContainerName;
use crate::self_metrics::SelfMetrics;
use crate::units::Timestamp;
use book::Book;

/// The ledger, shared by all threads. Every call takes a lock for a moment.
#[derive(Debug)]
pub struct Ledger {
    book: Mutex<Book>,
    metrics: Arc<SelfMetrics>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(limits: LedgerLimits, metrics: Arc<SelfMetrics>) -> Self {
        Self {
            book: Mutex::new(Book::new(limits)),
            metrics,
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book.lock();
        let before = book.evicted();
        let result = change(&mut book);
        self.metrics.ledger_evicted.add(book.evicted() - before);
        self.metrics.ledger_lives.set(book.ended_lives() as u64);
        self.metrics.ledger_bytes.set(book.bytes() as u64);
        result
    }

    /// A container is there. `preexisting` says that it was before the monitor: what its counters
    /// have by then is none of the ledger's.
    pub fn begin(&self, which: Which, started: Timestamp, preexisting: bool) {
        self.write(|book| book.begin(which, started, preexisting));
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

    /// How a container's first process ended.
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
        self.write(|book| book.expire(now));
    }

    /// The lives that are asked for, newest first.
    pub fn lives(&self, request: &LedgerRequest) -> Vec<Life> {
        self.book.lock().lives(request)
    }

    /// The life of a container that is there.
    pub fn living(&self, name: &ContainerName) -> Option<Life> {
        self.book.lock().living(name).cloned()
    }

    /// What all lives of each workload add up to, by name. Of those that have not ended the OOM kills
    /// are in it; what they use is to be added.
    pub fn totals(&self) -> Vec<Workload> {
        self.book.lock().totals()
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
