//! Pure: `/proc/diskstats`, the I/O counters of block devices and partitions.

use std::collections::HashMap;

/// Nanoseconds in a millisecond: the kernel counts disk time in milliseconds.
const NS_PER_MS: u64 = 1_000_000;

/// I/O of one block device since boot. Counters only grow, except [`DiskIo::in_progress`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskIo {
    /// Reads completed.
    pub reads_completed: u64,
    /// Reads merged with one next to them.
    pub reads_merged: u64,
    /// Sectors of 512 bytes read.
    pub sectors_read: u64,
    /// Time that reads took, summed over them.
    pub read_time_ns: u64,
    /// Writes completed.
    pub writes_completed: u64,
    /// Writes merged with one next to them.
    pub writes_merged: u64,
    /// Sectors of 512 bytes written.
    pub sectors_written: u64,
    /// Time that writes took, summed over them.
    pub write_time_ns: u64,
    /// Requests under way now.
    pub in_progress: u64,
    /// Time with any request under way.
    pub io_time_ns: u64,
    /// Time under way, summed over the requests.
    pub weighted_io_time_ns: u64,
}

/// The devices of one `/proc/diskstats`.
#[derive(Debug, Clone, Default)]
pub struct DiskStats {
    by_number: HashMap<(u32, u32), DiskIo>,
    by_name: HashMap<String, DiskIo>,
}

impl DiskStats {
    /// The counters of a file system's device: by number, else by the name below `/dev` (btrfs
    /// shows a number that no device has).
    pub fn of(&self, device: &str, major: u32, minor: u32) -> Option<DiskIo> {
        let by_name = || self.by_name.get(device.strip_prefix("/dev/")?);
        let number = (major != 0)
            .then(|| self.by_number.get(&(major, minor)))
            .flatten();
        number.or_else(by_name).copied()
    }
}

/// Reads the text. Lines with fewer than eleven counters are left out; newer kernels append some.
pub fn parse(text: &str) -> DiskStats {
    let mut stats = DiskStats::default();
    for line in text.lines() {
        if let Some((number, name, io)) = device(line) {
            stats.by_number.insert(number, io);
            stats.by_name.insert(name.to_owned(), io);
        }
    }
    stats
}

fn device(line: &str) -> Option<((u32, u32), &str, DiskIo)> {
    let mut words = line.split_whitespace();
    let number = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let name = words.next()?;
    let mut next = || words.next()?.parse::<u64>().ok();
    let io = DiskIo {
        reads_completed: next()?,
        reads_merged: next()?,
        sectors_read: next()?,
        read_time_ns: next()?.saturating_mul(NS_PER_MS),
        writes_completed: next()?,
        writes_merged: next()?,
        sectors_written: next()?,
        write_time_ns: next()?.saturating_mul(NS_PER_MS),
        in_progress: next()?,
        io_time_ns: next()?.saturating_mul(NS_PER_MS),
        weighted_io_time_ns: next()?.saturating_mul(NS_PER_MS),
    };
    Some((number, name, io))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = " 259       0 nvme0n1 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27\n\
                        \x20253       5 dm-5 1 0 0 0 0 0 0 0 0 0 0\n   8       1 sda1 1 2 3 4\nnonsense\n";

    #[test]
    fn counters_are_found_by_number_and_by_name() {
        let stats = parse(TEXT);
        let io = stats.of("/dev/nvme0n1", 259, 0).unwrap();
        assert_eq!(
            (io.reads_completed, io.reads_merged, io.sectors_read),
            (11, 12, 13)
        );
        assert_eq!(
            (io.writes_completed, io.writes_merged, io.sectors_written),
            (15, 16, 17)
        );
        assert_eq!(
            (io.read_time_ns, io.write_time_ns),
            (14_000_000, 18_000_000)
        );
        assert_eq!(
            (io.in_progress, io.io_time_ns, io.weighted_io_time_ns),
            (19, 20_000_000, 21_000_000)
        );
        assert_eq!(
            stats
                .of("/dev/mapper/vg-lv", 253, 5)
                .unwrap()
                .reads_completed,
            1
        );
        assert_eq!(stats.of("/dev/nvme0n1", 0, 44).unwrap(), io);
    }

    #[test]
    fn file_systems_without_a_device_have_no_counters() {
        let stats = parse(TEXT);
        assert_eq!(stats.of("overlay_0-39", 0, 39), None);
        assert_eq!(stats.of("/dev/shm", 0, 24), None);
        assert_eq!(stats.of("/dev/sda1", 8, 1), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ 0-9a-z\\n:.\\-]{0,200}") {
            let stats = parse(&text);
            prop_assert!(stats.by_name.len() <= text.lines().count());
        }
    }
}
