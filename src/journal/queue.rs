//! Pure: what waits to be written, and what may already be shown.
//!
//! A record is **settled** when it may be shown to readers: once it has been handed to the kernel, or
//! once the journal has given up promising that (memory only). Records settle in order. What is
//! settled without having been written stays here, as far as there is room, to be written when
//! the disk takes it again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Kind;
use super::frame;

/// Records that may wait to be written. The oldest beyond are given up.
pub const MAX_RECORDS: usize = 16_384;

/// Bytes that may wait to be written.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Whether what is shown is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is shown before it is written.
    Writing,
    /// Nothing waits for the disk; why.
    MemoryOnly(String),
}

/// A record as it will lie in the segment.
#[derive(Debug)]
pub(super) struct Queued {
    pub sequence: u64,
    pub frame: Vec<u8>,
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    records: VecDeque<Queued>,
    bytes: usize,
    /// Since when the oldest of the batch in the writer's hands waits.
    in_hand_since: Option<Instant>,
    next_sequence: u64,
    settled: u64,
    mode: Mode,
    given_up: u64,
}

impl Queue {
    /// An empty queue behind the record `last_sequence`.
    pub fn new(last_sequence: u64) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            in_hand_since: None,
            next_sequence: last_sequence + 1,
            settled: last_sequence,
            mode: Mode::Writing,
            given_up: 0,
        }
    }

    /// Adds a record and gives its sequence. One that is too long is numbered and given up.
    pub fn append(&mut self, kind: Kind, payload: &[u8], now: Instant) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut bytes = Vec::new();
        if frame::encode(sequence, kind, payload, &mut bytes) {
            self.bytes += bytes.len();
            self.records.push_back(Queued {
                sequence,
                frame: bytes,
                since: now,
            });
        } else {
            self.given_up += 1;
            // With nothing before it there is nothing that it could wait for.
            if self.oldest_unsettled().is_none() {
                self.settled = sequence;
            }
        }
        if self.is_over_full() && self.mode == Mode::Writing {
            self.degrade("the disk is slower than records arrive");
        }
        if self.mode != Mode::Writing {
            self.settled = sequence;
            self.give_up_oldest();
        }
        sequence
    }

    /// All up to here may be shown.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// The last sequence that was given.
    pub fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Whether nothing waits to be written, nor is being written.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.in_hand_since.is_none()
    }

    /// Whether there is something to be taken.
    pub fn has_batch(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether what is shown is on disk.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Records given up so far: they will never be on disk.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Since when the oldest record waits that may not be shown yet.
    pub fn oldest_unsettled(&self) -> Option<Instant> {
        if self.mode != Mode::Writing {
            return None;
        }
        let first = self.records.front().map(|record| record.since);
        self.in_hand_since.or(first)
    }

    /// Gives the writer the oldest records, up to `max_bytes` of them but at least one.
    pub fn take_batch(&mut self, max_bytes: usize) -> Vec<Queued> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(first) = self.records.front() {
            if !batch.is_empty() && bytes + first.frame.len() > max_bytes {
                break;
            }
            bytes += first.frame.len();
            batch.extend(self.records.pop_front());
        }
        self.bytes -= bytes;
        self.in_hand_since = batch.first().map(|record: &Queued| record.since);
        batch
    }

    /// All records up to this one have been written.
    pub fn written(&mut self, sequence: u64) {
        self.in_hand_since = None;
        self.settled = self.settled.max(sequence);
        if self.records.is_empty() {
            // Those too long to be written are settled with what was before them.
            self.settled = self.last_sequence();
        }
    }

    /// These records could not be written: they wait again, before all others.
    pub fn put_back(&mut self, batch: Vec<Queued>) {
        self.in_hand_since = None;
        for record in batch.into_iter().rev() {
            self.bytes += record.frame.len();
            self.records.push_front(record);
        }
        self.give_up_oldest();
    }

    /// From now on nothing waits for the disk.
    pub fn degrade(&mut self, why: impl Into<String>) {
        self.mode = Mode::MemoryOnly(why.into());
        self.settled = self.last_sequence();
    }

    /// Gives up on the disk if a record has waited for longer than `limit`. True if it has.
    pub fn degrade_if_stalled(&mut self, limit: Duration, now: Instant) -> bool {
        let stalled = self
            .oldest_unsettled()
            .is_some_and(|since| now.saturating_duration_since(since) >= limit);
        if stalled {
            self.degrade(format!(
                "the disk has taken nothing for {} ms",
                limit.as_millis()
            ));
        }
        stalled
    }

    /// The disk takes records again. False if it was taken to be so, or if there is still some
    /// backlog.
    pub fn recover(&mut self) -> bool {
        if self.mode == Mode::Writing || !self.is_empty() {
            return false;
        }
        self.mode = Mode::Writing;
        true
    }

    fn is_over_full(&self) -> bool {
        self.records.len() > MAX_RECORDS || self.bytes > MAX_BYTES
    }

    fn give_up_oldest(&mut self) {
        while self.is_over_full() {
            let Some(record) = self.records.pop_front() else {
                return;
            };
            self.bytes -= record.frame.len();
            self.given_up += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(queue: &mut Queue) -> u64 {
        queue.append(Kind::EVENT, b"payload", Instant::now())
    }

    fn sequences(batch: &[Queued]) -> Vec<u64> {
        batch.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn records_settle_in_order_once_they_are_written() {
        let mut queue = Queue::new(10);
        assert_eq!((append(&mut queue), append(&mut queue)), (11, 12));
        let batch = queue.take_batch(1);
        assert_eq!(sequences(&batch), [11], "at least one");
        assert_eq!(queue.settled(), 10);
        queue.written(11);
        assert_eq!((queue.settled(), queue.is_empty()), (11, false));
        append(&mut queue);
        assert_eq!(sequences(&queue.take_batch(1 << 20)), [12, 13]);
        queue.written(13);
        assert_eq!((queue.settled(), queue.is_empty()), (13, true));
    }

    #[test]
    fn without_a_disk_nothing_waits_and_the_newest_are_kept() {
        let mut queue = Queue::new(0);
        append(&mut queue);
        let batch = queue.take_batch(1 << 20);
        append(&mut queue);
        queue.degrade("full");
        assert_eq!(queue.settled(), 2);
        queue.put_back(batch);
        for _ in 2..MAX_RECORDS + 5 {
            let sequence = append(&mut queue);
            assert_eq!(queue.settled(), sequence);
        }
        assert_eq!(queue.given_up(), 5);
        assert!(!queue.recover(), "there is a backlog");
        let batch = queue.take_batch(usize::MAX);
        assert_eq!(batch.first().map(|record| record.sequence), Some(6));
        assert!(!queue.recover(), "it is still being written");
        queue.written(MAX_RECORDS as u64 + 5);
        assert!(queue.recover());
        assert!(!queue.recover());
        let sequence = append(&mut queue);
        assert_eq!(queue.settled(), sequence - 1, "the promise holds again");
    }

    #[test]
    fn a_disk_that_is_too_slow_is_not_waited_for() {
        let limit = Duration::from_secs(1);
        let mut queue = Queue::new(0);
        let begin = Instant::now();
        assert!(!queue.degrade_if_stalled(limit, begin + limit * 5));
        queue.append(Kind::EVENT, b"", begin);
        let _stuck = queue.take_batch(1);
        assert!(!queue.degrade_if_stalled(limit, begin + limit / 2));
        assert!(queue.degrade_if_stalled(limit, begin + limit));
        assert_eq!(queue.settled(), 1);
        assert!(!queue.degrade_if_stalled(limit, begin + limit * 2), "once");
        queue.written(1);
        assert!(queue.recover());

        for _ in 0..MAX_RECORDS {
            append(&mut queue);
        }
        assert_eq!((queue.settled(), queue.mode()), (1, &Mode::Writing));
        append(&mut queue);
        assert_eq!(queue.settled(), MAX_RECORDS as u64 + 2);
        assert_eq!(queue.given_up(), 1);
    }

    #[test]
    fn what_is_too_long_is_given_up_and_holds_up_nothing() {
        let long = vec![0; frame::MAX_PAYLOAD + 1];
        let mut queue = Queue::new(0);
        queue.append(Kind::EVENT, &long, Instant::now());
        assert_eq!((queue.settled(), queue.given_up()), (1, 1));
        append(&mut queue);
        queue.append(Kind::EVENT, &long, Instant::now());
        assert_eq!(queue.settled(), 1, "not before the one before it");
        queue.take_batch(1);
        queue.written(2);
        assert_eq!((queue.settled(), queue.given_up()), (3, 2));
    }
}
