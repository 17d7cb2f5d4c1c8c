//! Pure: how a container used CPU and memory over the last minute, hour and day.
//!
//! Of the last minute the samples are kept; when it is over, one `Minute` of six numbers stays.
//! Minutes are kept for an hour; after that, thirty at a time become one `Batch`, of which a day's
//! worth is kept. After a day that is some 8 KB of a container that is polled each second, and never
//! more than 13 KB. Minutes are summed
//! up when they end, hours and days only when somebody asks.
//!
//! Units: CPU in thousandths of a core, memory (the working set) in bytes.

use std::collections::VecDeque;

use crate::units::Timestamp;

/// A minute is over when its samples span more than this.
const MINUTE_NS: i64 = 60_000_000_000;

/// Samples nearer to each other than this have no rate between them.
const MIN_ELAPSED_NS: u64 = 10_000_000;

/// Samples kept of a minute. More are passed over until it ends.
const MAX_SAMPLES: usize = 256;

/// Minutes in an hour.
const HOUR: usize = 60;

/// Minutes in a day.
const DAY: usize = 1_440;

/// Minutes that become one batch.
const BATCH: usize = 30;

/// Batches that make a day, beside the minutes of the last hour.
const MAX_BATCHES: usize = (DAY - HOUR) / BATCH;

/// What is said of many values of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Their mean.
    pub mean: u64,
    /// Their standard deviation.
    pub std: u64,
    /// The greatest.
    pub max: u64,
    /// The median.
    pub fifty: u64,
    /// 90 of 100 are not greater.
    pub ninety: u64,
    /// 95 of 100 are not greater.
    pub ninety_five: u64,
    /// How many there are.
    pub count: u64,
}

/// Use over one span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How much of the span is known.
    pub percent_complete: u64,
    /// CPU, thousandths of a core.
    pub cpu: Percentiles,
    /// Memory, bytes.
    pub memory: Percentiles,
}

/// What is derived of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derived {
    /// When the last sample was taken.
    pub timestamp: Timestamp,
    /// CPU between the last two samples, thousandths of a core; `None` if there is no rate between them.
    pub latest_cpu: Option<u64>,
    /// Working set at the last sample, bytes.
    pub latest_memory: Option<u64>,
    /// The last full minute; all three are `None` before it is over.
    pub minute: Option<Usage>,
    /// The last hour.
    pub hour: Option<Usage>,
    /// The last day.
    pub day: Option<Usage>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    time: Timestamp,
    cpu_ns: u64,
    memory: u64,
}

/// What stays of one resource in one minute, or in several.
#[derive(Debug, Clone, Copy, Default)]
struct Digest {
    mean: u64,
    max: u64,
    ninety: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    cpu: Digest,
    memory: Digest,
}

/// Thirty minutes, as if each had been like their mean.
type Batch = Minute;

/// What one container used.
#[derive(Debug, Default)]
pub struct Summary {
    samples: Vec<Point>,
    last_minute: Option<Usage>,
    minutes: VecDeque<Minute>,
    batches: VecDeque<Batch>,
    latest: Option<(Timestamp, Option<u64>, Option<u64>)>,
}

impl Summary {
    /// Takes in a sample: CPU time used so far in nanoseconds, working set in bytes. What is absent
    /// counts as zero in the sums, and as absent in the latest figures.
    pub fn push(&mut self, time: Timestamp, cpu_ns: Option<u64>, memory: Option<u64>) {
        let point = Point {
            time,
            cpu_ns: cpu_ns.unwrap_or(0),
            memory: memory.unwrap_or(0),
        };
        let rate = match self.samples.last() {
            None => None,
            Some(last) => match millicores(last, &point) {
                Some(rate) => Some(rate),
                // Not comparable: neither counted nor the one to compare with, unless time itself or
                // the counter went back for good.
                None if time < last.time || point.cpu_ns < last.cpu_ns => {
                    self.samples.clear();
                    None
                }
                None => {
                    self.latest = Some((time, None, memory));
                    return;
                }
            },
        };
        self.latest = Some((time, rate.filter(|_| cpu_ns.is_some()), memory));
        let over = self
            .samples
            .first()
            .is_some_and(|first| time.0.saturating_sub(first.time.0) > MINUTE_NS);
        if over || self.samples.len() < MAX_SAMPLES {
            self.samples.push(point);
        }
        if over {
            self.end_minute();
            self.samples.clear();
            self.samples.push(point);
        }
    }

    fn end_minute(&mut self) {
        let rates = self
            .samples
            .windows(2)
            .filter_map(|pair| millicores(pair.first()?, pair.get(1)?));
        let cpu = percentiles(&mut rates.collect::<Vec<_>>());
        let memory = percentiles(&mut self.samples.iter().map(|s| s.memory).collect::<Vec<_>>());
        self.last_minute = Some(Usage {
            percent_complete: 100,
            cpu,
            memory,
        });
        self.minutes.push_back(Minute {
            cpu: Digest::of(&cpu),
            memory: Digest::of(&memory),
        });
        if self.minutes.len() >= HOUR + BATCH {
            let old: Vec<Minute> = self.minutes.drain(..BATCH).collect();
            if self.batches.len() >= MAX_BATCHES {
                self.batches.pop_front();
            }
            self.batches.push_back(Minute {
                cpu: Digest::merge(old.iter().map(|minute| minute.cpu)),
                memory: Digest::merge(old.iter().map(|minute| minute.memory)),
            });
        }
    }

    /// What is known now; `None` before the first sample.
    pub fn derived(&self) -> Option<Derived> {
        let (timestamp, latest_cpu, latest_memory) = self.latest?;
        let newest = |count: usize| self.minutes.iter().rev().take(count);
        let day: Vec<Minute> = newest(DAY)
            .chain(
                self.batches
                    .iter()
                    .rev()
                    .flat_map(|batch| std::iter::repeat_n(batch, BATCH)),
            )
            .take(DAY)
            .copied()
            .collect();
        let hour: Vec<Minute> = newest(HOUR).copied().collect();
        Some(Derived {
            timestamp,
            latest_cpu,
            latest_memory,
            minute: self.last_minute,
            hour: span(&hour, HOUR),
            day: span(&day, DAY),
        })
    }
}

impl Digest {
    fn of(values: &Percentiles) -> Self {
        Self {
            mean: values.mean,
            max: values.max,
            ninety: values.ninety,
        }
    }

    fn merge(digests: impl Iterator<Item = Self> + Clone) -> Self {
        Self {
            mean: mean(&digests.clone().map(|d| d.mean).collect::<Vec<_>>()),
            max: digests.clone().map(|d| d.max).max().unwrap_or(0),
            ninety: mean(&digests.map(|d| d.ninety).collect::<Vec<_>>()),
        }
    }
}

/// CPU use between two points, thousandths of a core; `None` if they cannot be compared.
fn millicores(before: &Point, after: &Point) -> Option<u64> {
    let elapsed = u64::try_from(after.time.0.checked_sub(before.time.0)?).ok()?;
    let used = after.cpu_ns.checked_sub(before.cpu_ns)?;
    let rate = u128::from(used) * 1_000 / u128::from(elapsed.max(1));
    (elapsed >= MIN_ELAPSED_NS).then(|| u64::try_from(rate).unwrap_or(u64::MAX))
}

/// A span of `full` minutes of which these are known. Deviation and percentiles are those of the
/// minutes' own 90th percentiles.
fn span(minutes: &[Minute], full: usize) -> Option<Usage> {
    if minutes.is_empty() {
        return None;
    }
    let resource = |of: fn(&Minute) -> Digest| {
        let mut nineties: Vec<u64> = minutes.iter().map(|minute| of(minute).ninety).collect();
        Percentiles {
            mean: mean(&minutes.iter().map(|m| of(m).mean).collect::<Vec<_>>()),
            max: minutes.iter().map(|m| of(m).max).max().unwrap_or(0),
            ..percentiles(&mut nineties)
        }
    };
    let percent = minutes.len() * 100 / full;
    Some(Usage {
        percent_complete: u64::try_from(percent).unwrap_or(100),
        cpu: resource(|minute| minute.cpu),
        memory: resource(|minute| minute.memory),
    })
}

fn percentiles(values: &mut [u64]) -> Percentiles {
    values.sort_unstable();
    Percentiles {
        mean: mean(values),
        std: deviation(values),
        max: values.last().copied().unwrap_or(0),
        fifty: percentile(values, 0.5),
        ninety: percentile(values, 0.9),
        ninety_five: percentile(values, 0.95),
        count: u64::try_from(values.len()).unwrap_or(u64::MAX),
    }
}

fn float_mean(values: &[u64]) -> f64 {
    let sum: u128 = values.iter().map(|&value| u128::from(value)).sum();
    sum as f64 / values.len().max(1) as f64
}

fn mean(values: &[u64]) -> u64 {
    float_mean(values) as u64
}

/// The standard deviation of a sample of a larger whole (n - 1); 0 for fewer than two values.
fn deviation(values: &[u64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let mean = float_mean(values);
    let squares: f64 = values
        .iter()
        .map(|&value| (value as f64 - mean).powi(2))
        .sum();
    (squares / (values.len() - 1) as f64).sqrt() as u64
}

/// The value below which `share` of the sorted values are: interpolated between neighbours at
/// position `share * (n + 1)`, cut to a whole number.
fn percentile(sorted: &[u64], share: f64) -> u64 {
    let position = share * (sorted.len() as f64 + 1.0);
    let whole = position as usize;
    let at = |place: usize| sorted.get(place.saturating_sub(1)).copied();
    let Some(value) = at(whole.clamp(1, sorted.len().max(1))) else {
        return 0;
    };
    match at(whole + 1) {
        Some(next) if whole > 1 => {
            value + ((position - whole as f64) * next.saturating_sub(value) as f64) as u64
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn up_to(n: u64) -> Vec<u64> {
        (1..=n).collect()
    }

    #[test]
    fn percentiles_interpolate_between_neighbours() {
        let of = |n, share| percentile(&up_to(n), share);
        assert_eq!([0.2, 0.7, 0.9].map(|share| of(100, share)), [20, 70, 90]);
        assert_eq!([0.2, 0.7, 0.9].map(|share| of(105, share)), [21, 74, 95]);
        assert_eq!(percentile(&[], 0.5), 0);
        assert_eq!(percentile(&[7], 0.95), 7);
        assert_eq!(percentile(&[1, 9], 0.1), 1);
    }

    #[test]
    fn a_minute_of_one_core_and_growing_memory() {
        let minute: Vec<Point> = (1..100)
            .map(|second| Point {
                time: Timestamp(second * SECOND),
                cpu_ns: second as u64 * 1_000_000_000,
                memory: second as u64 * 1024,
            })
            .collect();
        let mut summary = Summary {
            samples: minute,
            ..Summary::default()
        };
        summary.end_minute();
        let usage = summary.last_minute.unwrap();
        assert_eq!(
            usage.cpu,
            Percentiles {
                mean: 1000,
                std: 0,
                max: 1000,
                fifty: 1000,
                ninety: 1000,
                ninety_five: 1000,
                count: 98,
            }
        );
        let kb = 1024;
        assert_eq!(
            usage.memory,
            Percentiles {
                mean: 50 * kb,
                std: 29_412, // 28.7228 KiB
                max: 99 * kb,
                fifty: 50 * kb,
                ninety: 90 * kb,
                ninety_five: 95 * kb,
                count: 99,
            }
        );
    }

    /// One sample each second, half a core, 1000 bytes.
    fn run(summary: &mut Summary, seconds: std::ops::Range<i64>) {
        for second in seconds {
            let cpu = second as u64 * 500_000_000;
            summary.push(Timestamp(second * SECOND), Some(cpu), Some(1000));
        }
    }

    #[test]
    fn minutes_end_when_samples_span_more_than_one() {
        let mut summary = Summary::default();
        assert_eq!(summary.derived(), None);
        run(&mut summary, 0..61);
        let early = summary.derived().unwrap();
        assert_eq!(
            (early.latest_cpu, early.latest_memory),
            (Some(500), Some(1000))
        );
        assert_eq!((early.minute, early.hour, early.day), (None, None, None));
        run(&mut summary, 61..62);
        let derived = summary.derived().unwrap();
        let minute = derived.minute.unwrap();
        assert_eq!(minute.percent_complete, 100);
        assert_eq!((minute.cpu.mean, minute.cpu.count), (500, 61));
        assert_eq!((minute.memory.max, minute.memory.count), (1000, 62));
        let hour = derived.hour.unwrap();
        assert_eq!((hour.percent_complete, hour.cpu.count), (1, 1));
        assert_eq!(derived.day.unwrap().percent_complete, 0);
    }

    #[test]
    fn hours_and_days_fill_up_and_memory_stays_bounded() {
        let mut summary = Summary::default();
        run(&mut summary, 0..30 * 3600);
        let derived = summary.derived().unwrap();
        let (hour, day) = (derived.hour.unwrap(), derived.day.unwrap());
        assert_eq!((hour.percent_complete, hour.cpu.count), (100, 60));
        assert_eq!((day.percent_complete, day.cpu.count), (100, 1440));
        assert_eq!(
            (day.cpu.mean, day.cpu.ninety_five, day.memory.max),
            (500, 500, 1000)
        );
        assert!(summary.samples.len() <= 62);
        assert!(summary.minutes.len() < HOUR + BATCH);
        assert_eq!(summary.batches.len(), MAX_BATCHES);
    }

    #[test]
    fn polls_at_any_rate_keep_a_bounded_number_of_samples() {
        let mut summary = Summary::default();
        for step in 0..100_000 {
            let time = Timestamp(step * 20_000_000);
            summary.push(time, Some(step as u64), Some(1));
            assert!(summary.samples.len() <= MAX_SAMPLES + 1);
        }
        assert!(summary.last_minute.is_some());
    }

    #[test]
    fn samples_that_cannot_be_compared_are_passed_over() {
        let mut summary = Summary::default();
        summary.push(Timestamp(0), Some(5), Some(1));
        summary.push(Timestamp(1_000_000), Some(6), Some(2));
        assert_eq!(summary.samples.len(), 1);
        assert_eq!(summary.derived().unwrap().latest_cpu, None);
        // The clock was set back: begin anew rather than wait for it to catch up.
        summary.push(Timestamp(-SECOND), Some(7), None);
        summary.push(Timestamp(0), Some(7), None);
        let derived = summary.derived().unwrap();
        assert_eq!((derived.latest_cpu, derived.latest_memory), (Some(0), None));
    }
}
