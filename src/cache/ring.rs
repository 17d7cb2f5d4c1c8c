//! The ring of one container: samples in blocks, bounded by age and size.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::codec::{self, Shape};
use crate::cgroup::Sample;
use crate::units::Timestamp;

/// Samples in a block. A block is dropped whole, and is read from its start.
const BLOCK_SAMPLES: usize = 32;

/// What a ring may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples older than this, counted from the newest, are no longer given out.
    pub max_age: Duration,
    /// Bytes of packed samples, with their times.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(120),
            max_bytes: 256 * 1024,
        }
    }
}

/// Which samples are wanted. Both bounds are inclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Not before this time.
    pub start: Option<Timestamp>,
    /// Not after this time.
    pub end: Option<Timestamp>,
    /// At most so many, the newest; all if `None`.
    pub newest: Option<usize>,
}

/// Samples of one shape, each as its difference from the one before, the first from nothing.
#[derive(Debug, Clone, Default)]
struct Block {
    shape: Arc<Shape>,
    times: Vec<Timestamp>,
    bytes: Vec<u8>,
}

impl Block {
    /// Bytes that it takes, but for what blocks share.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.times.len() * size_of::<Timestamp>()
    }
}

/// The history of one container.
#[derive(Debug, Default)]
pub struct Ring {
    limits: Limits,
    sealed: VecDeque<Arc<Block>>,
    open: Block,
    /// The newest sample, as words.
    words: Vec<u64>,
    sealed_bytes: usize,
}

impl Ring {
    /// An empty ring.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Adds a sample. True if any of its figures differs from the sample before.
    pub fn push(&mut self, sample: &Sample) -> bool {
        let fits = self.open.shape.fits(sample);
        if !fits || self.open.times.len() >= BLOCK_SAMPLES {
            let columns = self.words.len();
            let before = std::mem::replace(&mut self.words, Vec::with_capacity(columns));
            self.seal(if fits {
                Arc::clone(&self.open.shape)
            } else {
                Arc::new(Shape::of(sample))
            });
            self.open.times.push(sample.timestamp);
            codec::encode(sample, &mut self.words, &mut self.open.bytes);
            self.evict();
            return !fits || self.words != before;
        }
        self.open.times.push(sample.timestamp);
        codec::encode(sample, &mut self.words, &mut self.open.bytes)
    }

    /// Adds the newest sample once more, as of `time`. Nothing if there is none.
    pub fn repeat(&mut self, time: Timestamp) {
        if self.open.times.is_empty() {
            return;
        }
        if self.open.times.len() >= BLOCK_SAMPLES {
            self.seal(Arc::clone(&self.open.shape));
            codec::encode_from_nothing(&self.words, &mut self.open.bytes);
            self.open.times.push(time);
            self.evict();
        } else {
            self.open.times.push(time);
            codec::encode_same(&mut self.open.bytes);
        }
    }

    /// Closes the open block and begins another.
    fn seal(&mut self, shape: Arc<Shape>) {
        let alike = self.open.bytes.len();
        let mut block = std::mem::replace(
            &mut self.open,
            Block {
                shape,
                times: Vec::with_capacity(BLOCK_SAMPLES),
                // The blocks of one container are much alike.
                bytes: Vec::with_capacity(alike),
            },
        );
        if block.times.is_empty() {
            return;
        }
        block.bytes.shrink_to_fit();
        block.times.shrink_to_fit();
        self.sealed_bytes += block.cost();
        self.sealed.push_back(Arc::new(block));
    }

    fn evict(&mut self) {
        let oldest = self.oldest_wanted();
        while let Some(block) = self.sealed.front() {
            let expired = block.times.last().copied() <= oldest;
            if !expired && self.sealed_bytes <= self.limits.max_bytes {
                break;
            }
            self.sealed_bytes -= block.cost();
            self.sealed.pop_front();
        }
    }

    /// The time up to which samples are too old.
    fn oldest_wanted(&self) -> Option<Timestamp> {
        self.newest_time()
            .map(|newest| newest.saturating_sub(self.limits.max_age))
    }

    /// When the newest sample was taken.
    pub fn newest_time(&self) -> Option<Timestamp> {
        self.open.times.last().copied()
    }

    /// The newest sample, written into `sample`. False if there is none.
    pub fn latest(&self, sample: &mut Sample) -> bool {
        let Some(time) = self.newest_time() else {
            return false;
        };
        self.open.shape.shape(sample);
        codec::fill(&self.words, sample);
        sample.timestamp = time;
        true
    }

    /// The samples in `range`, to be read without holding on to the ring.
    pub fn series(&self, range: Range) -> Series {
        let too_old = self.oldest_wanted();
        let wanted = |time: &Timestamp| {
            Some(*time) > too_old
                && range.start.is_none_or(|start| *time >= start)
                && range.end.is_none_or(|end| *time <= end)
        };
        let count = |block: &Block| block.times.iter().filter(|time| wanted(time)).count();
        let total = self.sealed.iter().map(|block| count(block)).sum::<usize>() + count(&self.open);
        let mut skip = total.saturating_sub(range.newest.unwrap_or(usize::MAX));
        let mut parts = Vec::new();
        let open = Arc::new(self.open.clone());
        for block in self.sealed.iter().chain([&open]) {
            let indices: Vec<usize> = (0..block.times.len())
                .filter(|&at| wanted(&block.times[at]))
                .collect();
            let dropped = skip.min(indices.len());
            skip -= dropped;
            if let Some(&first) = indices.get(dropped) {
                let last = indices.last().copied().unwrap_or(first);
                parts.push(Part {
                    block: Arc::clone(block),
                    first,
                    last,
                });
            }
        }
        Series { parts }
    }

    /// Bytes of packed samples, with their times.
    pub fn bytes(&self) -> usize {
        self.sealed_bytes + self.open.cost()
    }
}

#[derive(Debug, Clone)]
struct Part {
    block: Arc<Block>,
    first: usize,
    last: usize,
}

/// Some samples of a container, oldest first. A snapshot: what is polled later is not in it.
#[derive(Debug, Clone, Default)]
pub struct Series {
    parts: Vec<Part>,
}

impl Series {
    /// One sample that is in no history, if it is in `range`.
    pub fn of(sample: &Sample, range: Range) -> Self {
        let mut ring = Ring::default();
        ring.push(sample);
        ring.series(range)
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.last + 1 - part.first)
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Calls `visit` with each sample. One sample is unpacked at a time, into the same memory.
    pub fn for_each(&self, mut visit: impl FnMut(&Sample)) {
        let _ = self.try_for_each(|sample| {
            visit(sample);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// As [`for_each`](Self::for_each), ended by the first error.
    pub fn try_for_each<E>(
        &self,
        mut visit: impl FnMut(&Sample) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut words, mut sample) = (Vec::new(), Sample::default());
        for part in &self.parts {
            words.clear();
            part.block.shape.shape(&mut sample);
            let mut bytes = &part.block.bytes[..];
            for at in 0..=part.last {
                let Some(rest) = codec::decode(bytes, &mut words) else {
                    break;
                };
                bytes = rest;
                if at >= part.first {
                    codec::fill(&words, &mut sample);
                    sample.timestamp = part.block.times[at];
                    visit(&sample)?;
                }
            }
        }
        Ok(())
    }

    /// All samples, unpacked.
    pub fn to_vec(&self) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(self.len());
        self.for_each(|sample| samples.push(sample.clone()));
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::stats::DeviceNumber;

    fn sample(second: i64) -> Sample {
        let mut sample = Sample {
            timestamp: Timestamp(second * 1_000_000_000),
            ..Sample::default()
        };
        sample.cpu.usage_ns = Some(second.unsigned_abs() * 7);
        sample
    }

    fn seconds(series: &Series) -> Vec<i64> {
        series
            .to_vec()
            .iter()
            .map(|sample| sample.timestamp.0 / 1_000_000_000)
            .collect()
    }

    fn ring(seconds: i64) -> Ring {
        let mut ring = Ring::new(Limits {
            max_age: Duration::from_secs(120),
            max_bytes: 1 << 20,
        });
        for second in 1..=seconds {
            assert!(ring.push(&sample(second)));
        }
        ring
    }

    #[test]
    fn a_repeated_sample_comes_out_as_often_across_blocks() {
        let mut ring = Ring::new(Limits {
            max_age: Duration::from_secs(1_000),
            max_bytes: 1 << 20,
        });
        ring.repeat(Timestamp(1));
        assert!(ring.series(Range::default()).is_empty(), "of what?");
        let mut first = sample(1);
        first.pids.current = Some(0);
        ring.push(&first);
        for second in 2..=100 {
            ring.repeat(Timestamp(second * 1_000_000_000));
        }
        assert!(ring.push(&sample(101)));
        let all = ring.series(Range::default()).to_vec();
        assert_eq!(
            seconds(&ring.series(Range::default())),
            (1..=101).collect::<Vec<_>>()
        );
        for (entry, second) in all[..100].iter().zip(1..) {
            let timestamp = Timestamp(second * 1_000_000_000);
            assert_eq!(
                *entry,
                Sample {
                    timestamp,
                    ..first.clone()
                }
            );
        }
        assert_eq!(all[100], sample(101));
    }

    #[test]
    fn what_was_put_in_comes_out_in_order_and_within_age() {
        let ring = ring(500);
        assert_eq!(
            seconds(&ring.series(Range::default())),
            (381..=500).collect::<Vec<_>>()
        );
        for entry in ring.series(Range::default()).to_vec() {
            assert_eq!(entry, sample(entry.timestamp.0 / 1_000_000_000));
        }
        assert!(ring.sealed.len() <= 5, "old blocks are dropped");
    }

    #[test]
    fn ranges_are_inclusive_and_keep_the_newest() {
        let ring = ring(100);
        let at = |second: i64| Some(Timestamp(second * 1_000_000_000));
        let range = |start, end, newest| seconds(&ring.series(Range { start, end, newest }));
        assert_eq!(range(at(10), at(12), None), [10, 11, 12]);
        assert_eq!(range(at(30), at(70), Some(3)), [68, 69, 70]);
        assert_eq!(range(None, None, Some(2)), [99, 100]);
        assert_eq!(range(at(90), at(20), None), [0; 0]);
        assert_eq!(range(None, None, Some(0)), [0; 0]);
        assert_eq!(
            ring.series(Range {
                newest: Some(40),
                ..Range::default()
            })
            .len(),
            40
        );
    }

    #[test]
    fn the_latest_sample_is_the_last_one_pushed() {
        let mut out = Sample::default();
        assert!(!Ring::default().latest(&mut out));
        assert!(ring(33).latest(&mut out));
        assert_eq!(out, sample(33));
    }

    #[test]
    fn a_new_device_does_not_disturb_what_was_there() {
        let mut ring = ring(3);
        let mut with_device = sample(4);
        with_device
            .io_mut(DeviceNumber { major: 8, minor: 0 })
            .ops
            .read = Some(5);
        assert!(ring.push(&with_device));
        assert!(ring.push(&sample(5)));
        let samples = ring.series(Range::default()).to_vec();
        assert_eq!(samples[3], with_device);
        assert_eq!(samples[4], sample(5));
    }

    #[test]
    fn an_unchanged_sample_is_told_also_between_blocks() {
        let mut ring = Ring::default();
        let mut idle = sample(1);
        assert!(ring.push(&idle));
        for second in 2..200 {
            idle.timestamp = Timestamp(second * 1_000_000_000);
            assert!(!ring.push(&idle), "second {second}");
        }
        assert!(
            ring.bytes() < 2_400,
            "{} bytes for idle samples",
            ring.bytes()
        );
    }

    #[test]
    fn size_is_bounded() {
        let mut ring = Ring::new(Limits {
            max_age: Duration::from_secs(1_000_000),
            max_bytes: 1_000,
        });
        for second in 1..=10_000 {
            ring.push(&sample(second));
        }
        assert!(ring.bytes() < 1_500, "{}", ring.bytes());
        assert!(ring.series(Range::default()).len() > 50);
    }

    #[test]
    fn a_clock_set_back_does_not_unbound_the_history() {
        let limits = Limits {
            max_age: Duration::from_secs(120),
            max_bytes: 64 * 1024,
        };
        let mut ring = Ring::new(limits);
        // Each sample a second before the one before: none is ever too old.
        let mut same = Sample::default();
        for second in (0..100_000).rev() {
            same.timestamp = Timestamp(second * 1_000_000_000);
            ring.push(&same);
        }
        assert!(ring.bytes() <= limits.max_bytes + 1_024, "{}", ring.bytes());
        let kept: usize = ring.sealed.iter().map(|block| block.times.len()).sum();
        assert!(kept * size_of::<Timestamp>() <= limits.max_bytes, "{kept}");
    }
}
