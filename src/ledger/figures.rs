//! What a container had used by the end, and how near to the end that was read.

use std::time::Duration;

use crate::cgroup::{Sample, Spec};

/// The figures of a whole life. `None` is what the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// CPU time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Of that, in user mode.
    pub cpu_user_ns: Option<u64>,
    /// Of that, in the kernel.
    pub cpu_system_ns: Option<u64>,
    /// The most memory ever charged, bytes: the kernel's own figure where it has one (v1, and v2
    /// since 5.19), else the most that a poll saw.
    pub memory_peak_bytes: Option<u64>,
    /// The memory limit at the end, bytes; `None` also if there was none.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes read from block devices.
    pub io_read_bytes: Option<u64>,
    /// Bytes written to block devices.
    pub io_write_bytes: Option<u64>,
    /// Read operations.
    pub io_reads: Option<u64>,
    /// Write operations.
    pub io_writes: Option<u64>,
    /// Bytes received, all interfaces of the container's own network but the loopback.
    pub network_rx_bytes: Option<u64>,
    /// Bytes sent.
    pub network_tx_bytes: Option<u64>,
    /// Enforcement periods of the CPU quota.
    pub periods: Option<u64>,
    /// Periods in which it was throttled.
    pub throttled_periods: Option<u64>,
    /// Time throttled, nanoseconds.
    pub throttled_ns: Option<u64>,
}

impl Figures {
    /// Of a sample and the settings at its time.
    pub fn of(sample: &Sample, spec: Option<&Spec>) -> Self {
        let io = |figure: fn(&crate::cgroup::stats::IoStats) -> Option<u64>| {
            sum(sample.io.iter().map(figure))
        };
        let network = |figure: fn(&crate::cgroup::stats::InterfaceStats) -> Option<u64>| {
            let network = sample.network.as_ref().filter(|network| !network.host)?;
            sum(network.interfaces.iter().map(|(_, of)| figure(of)))
        };
        Self {
            cpu_ns: sample.cpu.usage_ns,
            cpu_user_ns: sample.cpu.user_ns,
            cpu_system_ns: sample.cpu.system_ns,
            memory_peak_bytes: sample.memory.peak_bytes.or(sample.memory.usage_bytes),
            memory_limit_bytes: (spec.and_then(|spec| spec.memory.as_ref()))
                .and_then(|memory| memory.limit?.value()),
            io_read_bytes: io(|of| of.bytes.read),
            io_write_bytes: io(|of| of.bytes.write),
            io_reads: io(|of| of.ops.read),
            io_writes: io(|of| of.ops.write),
            network_rx_bytes: network(|of| of.rx_bytes),
            network_tx_bytes: network(|of| of.tx_bytes),
            periods: sample.cpu.nr_periods,
            throttled_periods: sample.cpu.nr_throttled,
            throttled_ns: sample.cpu.throttled_ns,
        }
    }

    /// Takes from `other` what is larger or was not known: everything here only grows while a
    /// container lives, but for the limit, of which the newest counts.
    pub fn raise(&mut self, other: &Self) {
        let limit = other.memory_limit_bytes.or(self.memory_limit_bytes);
        // `None` is less than any number.
        for (mine, theirs) in self.each_mut().into_iter().zip(other.each()) {
            *mine = theirs.max(*mine);
        }
        self.memory_limit_bytes = limit;
    }

    /// All of them, in an order that is on disk: more are only ever added to the end.
    pub(super) fn each(&self) -> [Option<u64>; 14] {
        let mut copy = *self;
        copy.each_mut().map(|figure| *figure)
    }

    /// Reads what [`each`](Self::each) gave; what is not there is not known.
    pub(super) fn from_each(figures: &[Option<u64>]) -> Self {
        let mut read = Self::default();
        for (figure, stored) in read.each_mut().into_iter().zip(figures) {
            *figure = *stored;
        }
        read
    }

    fn each_mut(&mut self) -> [&mut Option<u64>; 14] {
        [
            &mut self.cpu_ns,
            &mut self.cpu_user_ns,
            &mut self.cpu_system_ns,
            &mut self.memory_peak_bytes,
            &mut self.memory_limit_bytes,
            &mut self.io_read_bytes,
            &mut self.io_write_bytes,
            &mut self.io_reads,
            &mut self.io_writes,
            &mut self.network_rx_bytes,
            &mut self.network_tx_bytes,
            &mut self.periods,
            &mut self.throttled_periods,
            &mut self.throttled_ns,
        ]
    }
}

/// The sum of those that are known; `None` if none is.
fn sum(figures: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    figures.flatten().reduce(u64::saturating_add)
}

/// Which reading the final figures are from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastRead {
    /// None: the container had gone before its first poll.
    #[default]
    Never,
    /// A poll while processes may have been at work: what they did after it is not in the figures.
    Poll,
    /// A poll after the last process had left: nothing is missing.
    Empty,
    /// A look at its CPU time when its last process was gone: of that nothing is missing; the rest is as
    /// of the last poll.
    Exit,
    /// What the kernel says of each process that exits makes up for the CPU time that no poll saw; up to
    /// some milliseconds of each are missing.
    ExitRecords,
}

impl LastRead {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Poll => "poll",
            Self::Empty => "empty",
            Self::Exit => "exit",
            Self::ExitRecords => "exit-records",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.as_str() == name)
    }

    /// Its number, in memory alone.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// From its number.
    pub(super) fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|of| u64::from(of.number()) == number)
    }

    const ALL: [Self; 5] = [
        Self::Never,
        Self::Poll,
        Self::Empty,
        Self::Exit,
        Self::ExitRecords,
    ];
}

/// How final the final figures are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finality {
    /// From which reading they are.
    pub last_read: LastRead,
    /// How long before the end was noticed that was; `None` for a container that was never read.
    pub age: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::stats::{DeviceNumber, IoStats};

    #[test]
    fn devices_are_added_up_and_the_hosts_network_is_not_the_containers() {
        let mut sample = Sample::default();
        for minor in 0..3 {
            let mut io = IoStats::new(DeviceNumber { major: 8, minor });
            io.bytes.read = (minor < 2).then_some(10);
            sample.io.push(io);
        }
        let mut network = crate::cgroup::stats::NetworkStats {
            namespace: 1,
            host: true,
            interfaces: vec![("eth0".into(), Default::default())],
        };
        if let Some((_, eth0)) = network.interfaces.first_mut() {
            eth0.rx_bytes = Some(7);
        }
        sample.network = Some(network.clone());
        let figures = Figures::of(&sample, None);
        assert_eq!(figures.io_read_bytes, Some(20));
        assert_eq!(figures.io_write_bytes, None);
        assert_eq!(figures.network_rx_bytes, None);
        network.host = false;
        sample.network = Some(network);
        assert_eq!(Figures::of(&sample, None).network_rx_bytes, Some(7));
    }

    #[test]
    fn figures_are_only_ever_raised_but_for_the_limit() {
        let mut figures = Figures {
            cpu_ns: Some(5),
            memory_limit_bytes: Some(100),
            ..Figures::default()
        };
        figures.raise(&Figures {
            cpu_ns: Some(3),
            periods: Some(1),
            memory_limit_bytes: Some(50),
            ..Figures::default()
        });
        assert_eq!((figures.cpu_ns, figures.periods), (Some(5), Some(1)));
        assert_eq!(figures.memory_limit_bytes, Some(50));
    }
}
