//! How fast CPU time was used between two samples.

use crate::cgroup::Sample;
use crate::units::{NS_PER_SEC, Timestamp};

/// CPU use between two samples, in nanocores: nanoseconds of CPU time in a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuRates {
    /// Of all CPUs together.
    pub total: u64,
    /// Of that, in user mode.
    pub user: Option<u64>,
    /// Of that, in the kernel.
    pub system: Option<u64>,
    /// By CPU, where the kernel tells.
    pub per_cpu: Vec<u64>,
}

/// The CPU counters of one sample, to compare the next with. Reused for a whole history.
#[derive(Debug, Clone, Default)]
pub struct CpuCounters {
    timestamp: Timestamp,
    total: Option<u64>,
    user: Option<u64>,
    system: Option<u64>,
    per_cpu: Vec<u64>,
}

impl CpuCounters {
    /// The counters of a sample.
    pub fn of(sample: &Sample) -> Self {
        let mut counters = Self::default();
        counters.set(sample);
        counters
    }

    /// Takes over the counters of a sample.
    pub fn set(&mut self, sample: &Sample) {
        self.timestamp = sample.timestamp;
        self.total = sample.cpu.usage_ns;
        self.user = sample.cpu.user_ns;
        self.system = sample.cpu.system_ns;
        self.per_cpu.clone_from(&sample.per_cpu_ns);
    }

    /// The rates from these counters to those of a later sample. `None` if it is not later, if a
    /// counter has decreased, or if the number of CPUs has changed: then they cannot be compared.
    pub fn rates_to(&self, sample: &Sample) -> Option<CpuRates> {
        let elapsed = u64::try_from(sample.timestamp.since(self.timestamp).as_nanos()).ok()?;
        if elapsed == 0 || self.per_cpu.len() != sample.per_cpu_ns.len() {
            return None;
        }
        let rate = |before: u64, after: u64| {
            let nanocores = u128::from(after.checked_sub(before)?) * u128::from(NS_PER_SEC)
                / u128::from(elapsed);
            u64::try_from(nanocores).ok()
        };
        // Absent on either side is absent; decreased is no rate at all.
        let optional = |before: Option<u64>, after: Option<u64>| match before.zip(after) {
            Some((before, after)) => rate(before, after).map(Some),
            None => Some(None),
        };
        Some(CpuRates {
            total: rate(self.total?, sample.cpu.usage_ns?)?,
            user: optional(self.user, sample.cpu.user_ns)?,
            system: optional(self.system, sample.cpu.system_ns)?,
            per_cpu: self
                .per_cpu
                .iter()
                .zip(&sample.per_cpu_ns)
                .map(|(&before, &after)| rate(before, after))
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sample(time: i64, total: u64, per_cpu: &[u64]) -> Sample {
        let mut sample = Sample {
            timestamp: Timestamp(time),
            per_cpu_ns: per_cpu.to_vec(),
            ..Sample::default()
        };
        sample.cpu.usage_ns = Some(total);
        sample.cpu.user_ns = Some(total / 2);
        sample
    }

    #[test]
    fn a_second_of_cpu_time_in_a_second_is_a_core() {
        let second = 1_000_000_000;
        let before = CpuCounters::of(&sample(0, 5, &[1, 2]));
        let rates = before
            .rates_to(&sample(second, 5 + 1_000_000_000, &[1, 1_000_000_002]))
            .unwrap();
        assert_eq!(rates.total, 1_000_000_000);
        assert_eq!((rates.user, rates.system), (Some(500_000_000), None));
        assert_eq!(rates.per_cpu, [0, 1_000_000_000]);
        // A third of a second: the fraction is cut off.
        let rates = before.rates_to(&sample(3 * second, 15, &[1, 2])).unwrap();
        assert_eq!(rates.total, 3);
    }

    #[test]
    fn what_cannot_be_compared_has_no_rate() {
        let before = CpuCounters::of(&sample(1_000, 50, &[1, 2]));
        for after in [
            sample(1_000, 60, &[1, 2]),
            sample(900, 60, &[1, 2]),
            sample(2_000, 40, &[1, 2]),
            sample(2_000, 60, &[1]),
            sample(2_000, 60, &[1, 1]),
        ] {
            assert_eq!(before.rates_to(&after), None, "{after:?}");
        }
        assert_eq!(CpuCounters::default().rates_to(&sample(1, 1, &[])), None);
    }
}
