//! Pure: samples as bytes, each as its difference from the one before.
//!
//! Most figures of a container do not change between two polls, and those that do change by little.
//! A sample is a list of `(distance to the next changed column, zigzag difference)`, both as LEB128
//! varints, ended by a zero. An idle container costs a byte or two per sample, a busy one about a
//! hundred; the plain struct is four kilobytes.

use std::sync::Arc;

use crate::cgroup::columns::Columns;
use crate::cgroup::stats::{
    DeviceNumber, HugetlbStats, InterfaceStats, IoStats, NetworkStats, NumaStats, Sample,
};

/// More columns than any sample has: a host with ten thousand CPUs and as many devices.
const MAX_COLUMNS: usize = 1 << 20;

/// What varies in the columns of a sample: which devices, page sizes, interfaces and how many CPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    cpus: usize,
    devices: Vec<DeviceNumber>,
    page_sizes: Vec<u64>,
    network: Option<(u64, bool, Vec<Arc<str>>)>,
    nodes: Vec<u32>,
    sockets: bool,
}

impl Shape {
    /// The shape of `sample`.
    pub fn of(sample: &Sample) -> Self {
        Self {
            cpus: sample.per_cpu_ns.len(),
            devices: sample.io.iter().map(|entry| entry.device).collect(),
            page_sizes: sample.hugetlb.iter().map(|entry| entry.0).collect(),
            network: sample.network.as_ref().map(|network| {
                let names = network
                    .interfaces
                    .iter()
                    .map(|(name, _)| Arc::clone(name))
                    .collect();
                (network.namespace, network.host, names)
            }),
            nodes: sample.numa.iter().map(|entry| entry.0).collect(),
            sockets: sample.sockets.is_some(),
        }
    }

    /// Whether `sample` has this shape. Allocates nothing.
    pub fn fits(&self, sample: &Sample) -> bool {
        let network = match (&self.network, &sample.network) {
            (None, None) => true,
            (Some((namespace, host, names)), Some(network)) => {
                *namespace == network.namespace
                    && *host == network.host
                    && names
                        .iter()
                        .eq(network.interfaces.iter().map(|(name, _)| name))
            }
            _ => false,
        };
        network
            && self.cpus == sample.per_cpu_ns.len()
            && self
                .devices
                .iter()
                .eq(sample.io.iter().map(|entry| &entry.device))
            && self
                .page_sizes
                .iter()
                .eq(sample.hugetlb.iter().map(|entry| &entry.0))
            && self
                .nodes
                .iter()
                .eq(sample.numa.iter().map(|entry| &entry.0))
            && self.sockets == sample.sockets.is_some()
    }

    /// Gives `sample` this shape; its figures are to be filled in.
    pub fn shape(&self, sample: &mut Sample) {
        if self.fits(sample) {
            return;
        }
        sample.per_cpu_ns.clear();
        sample.per_cpu_ns.resize(self.cpus, 0);
        sample.io.clear();
        sample
            .io
            .extend(self.devices.iter().map(|&device| IoStats::new(device)));
        sample.hugetlb.clear();
        sample.hugetlb.extend(
            self.page_sizes
                .iter()
                .map(|&size| (size, HugetlbStats::default())),
        );
        sample.numa.clear();
        sample
            .numa
            .extend(self.nodes.iter().map(|&node| (node, NumaStats::default())));
        sample.sockets = self.sockets.then(Box::default);
        sample.network = self
            .network
            .as_ref()
            .map(|(namespace, host, names)| NetworkStats {
                namespace: *namespace,
                host: *host,
                interfaces: names
                    .iter()
                    .map(|name| (Arc::clone(name), InterfaceStats::default()))
                    .collect(),
            });
    }
}

/// Appends the difference between `sample` and `words` (the sample before, as words) to `out`, and
/// leaves `sample` in `words`. True if anything changed. `words` shorter than the sample stand for
/// absent figures.
pub fn encode(sample: &Sample, words: &mut Vec<u64>, out: &mut Vec<u8>) -> bool {
    let (mut at, mut gap, mut changed) = (0, 0, false);
    sample.each(&mut |column| {
        let word = to_word(column);
        if at == words.len() {
            words.push(0);
        }
        gap += 1;
        let before = std::mem::replace(&mut words[at], word);
        if before != word {
            varint(gap, out);
            varint(zigzag(word.wrapping_sub(before).cast_signed()), out);
            gap = 0;
            changed = true;
        }
        at += 1;
    });
    words.truncate(at);
    out.push(0);
    changed
}

/// Appends that nothing changed to `out`.
pub fn encode_same(out: &mut Vec<u8>) {
    out.push(0);
}

/// Appends the difference between `words` and nothing to `out`.
pub fn encode_from_nothing(words: &[u64], out: &mut Vec<u8>) {
    let mut gap = 0;
    for &word in words {
        gap += 1;
        if word != 0 {
            varint(gap, out);
            varint(zigzag(word.cast_signed()), out);
            gap = 0;
        }
    }
    out.push(0);
}

/// Reads the difference at the start of `bytes` into `words`, and gives what follows it.
pub fn decode<'a>(mut bytes: &'a [u8], words: &mut Vec<u64>) -> Option<&'a [u8]> {
    let mut at = 0_usize;
    loop {
        let (gap, rest) = read_varint(bytes)?;
        bytes = rest;
        if gap == 0 {
            return Some(bytes);
        }
        let (difference, rest) = read_varint(bytes)?;
        bytes = rest;
        at = at.checked_add(usize::try_from(gap).ok()?)?;
        if at > MAX_COLUMNS {
            return None;
        }
        if at > words.len() {
            words.resize(at, 0);
        }
        let word = &mut words[at - 1];
        *word = word.wrapping_add(unzigzag(difference).cast_unsigned());
    }
}

/// Fills in the figures of a sample that has its shape already.
pub fn fill(words: &[u64], sample: &mut Sample) {
    let mut words = words.iter();
    sample.each_mut(&mut |column| *column = words.next().and_then(|&word| from_word(word)));
}

/// Absent is 0, a figure is one more than itself; no figure is `u64::MAX` (`format::number`).
fn to_word(column: Option<u64>) -> u64 {
    column.map_or(0, |value| value.wrapping_add(1))
}

fn from_word(word: u64) -> Option<u64> {
    word.checked_sub(1)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_figures_come_back(series in prop::collection::vec(prop::collection::vec(prop::option::of(0..u64::MAX), 1..160), 1..5)) {
            let (mut words, mut bytes, mut samples) = (Vec::new(), Vec::new(), Vec::new());
            for figures in &series {
                let mut sample = Sample::default();
                let mut figures = figures.iter();
                sample.each_mut(&mut |column| *column = figures.next().copied().flatten());
                encode(&sample, &mut words, &mut bytes);
                samples.push(sample);
            }
            let (mut words, mut rest) = (Vec::new(), &bytes[..]);
            for expected in &samples {
                rest = decode(rest, &mut words).expect("what was encoded decodes");
                let mut sample = Sample::default();
                fill(&words, &mut sample);
                prop_assert_eq!(&sample, expected);
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn broken_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut words = Vec::new();
            let rest = decode(&bytes, &mut words);
            prop_assert!(words.len() <= MAX_COLUMNS);
            prop_assert!(rest.is_none_or(|rest| rest.len() < bytes.len()));
        }
    }

    #[test]
    fn an_unchanged_sample_is_one_byte() {
        let mut sample = Sample::default();
        sample.cpu.usage_ns = Some(123_456_789);
        let (mut words, mut bytes) = (Vec::new(), Vec::new());
        assert!(encode(&sample, &mut words, &mut bytes));
        let first = bytes.len();
        assert!(!encode(&sample, &mut words, &mut bytes));
        assert_eq!(bytes.len(), first + 1);
    }
}
