//! The file system tables of the last minutes, and the thread that makes them.
//!
//! A sample of `/` is told together with the table that was made last before it was taken: what is
//! shown beside an old sample is what was true then. Measuring may hang on a sick mount, so it runs
//! on a thread of its own, which neither a poll nor an answer ever waits for.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::{FsTable, Node};
use crate::units::Timestamp;

/// How often the file systems are measured.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Tables that are kept: with [`INTERVAL`] between them they go back as far as samples do.
pub const MAX_TABLES: usize = 14;

/// A sample taken so long after the last table is told without one.
pub const MAX_GAP: Duration = Duration::from_secs(60);

/// After a pass, the thread rests at least so many times as long as the pass took.
const REST: u32 = 50;

/// How long stopping waits for a pass that is under way.
const STOP: Duration = Duration::from_millis(200);

/// The last tables, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent(RwLock<VecDeque<Arc<FsTable>>>);

impl Recent {
    pub(super) fn push(&self, table: Arc<FsTable>) {
        let mut tables = self.0.write();
        if tables.len() >= MAX_TABLES {
            tables.pop_front();
        }
        tables.push_back(table);
    }

    pub(super) fn tables(&self) -> Vec<Arc<FsTable>> {
        self.0.read().iter().cloned().collect()
    }
}

/// The table that was the last when `time` was: of `tables`, oldest first, the newest that was begun
/// by then, unless that is more than [`MAX_GAP`] ago.
pub fn at(tables: &[Arc<FsTable>], time: Timestamp) -> Option<&FsTable> {
    let table = tables.iter().rev().find(|table| table.timestamp <= time)?;
    (time.since(table.timestamp) <= MAX_GAP).then_some(&**table)
}

/// A thread that measures the file systems every [`INTERVAL`].
#[derive(Debug)]
pub struct Refresher {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Refresher {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn spawn(node: Arc<Node>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name("cgauge-fs".to_owned())
            .spawn(move || {
                let mut rest = INTERVAL;
                while stopped.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                    let begun = Instant::now();
                    node.filesystems().refresh();
                    rest = INTERVAL.max(begun.elapsed().saturating_mul(REST));
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread. One that a mount holds up is left behind: it ends when the kernel lets go.
    pub fn stop(self) {
        drop(self.stop);
        let deadline = Instant::now() + STOP;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("the thread that measures file systems had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn a_sample_is_told_with_the_table_before_it() {
        let second = 1_000_000_000;
        let tables: Vec<_> = [10, 20, 30]
            .map(|seconds| Arc::new(FsTable::empty(Timestamp(seconds * second))))
            .into();
        let found =
            |seconds: i64| at(&tables, Timestamp(seconds * second)).map(|t| t.timestamp.0 / second);
        assert_eq!(found(9), None);
        assert_eq!(found(10), Some(10));
        assert_eq!(found(29), Some(20));
        assert_eq!(found(90), Some(30));
        assert_eq!(found(91), None);
    }

    #[test]
    fn only_the_newest_tables_are_kept() {
        let recent = Recent::default();
        for time in 0..100 {
            recent.push(Arc::new(FsTable::empty(Timestamp(time))));
        }
        let tables = recent.tables();
        assert_eq!(tables.len(), MAX_TABLES);
        assert_eq!(tables.last().map(|table| table.timestamp.0), Some(99));
    }

    #[test]
    fn the_thread_ends_when_told() {
        let node = Arc::new(Node::read(TestTree::new().roots.clone()));
        let refresher = Refresher::spawn(Arc::clone(&node));
        assert!(refresher.is_ok());
        refresher.into_iter().for_each(Refresher::stop);
        assert_eq!(Arc::strong_count(&node), 1, "the thread is gone");
    }
}
