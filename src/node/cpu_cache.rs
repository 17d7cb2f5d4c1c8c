//! Caches of one CPU, from `/sys/devices/system/cpu/cpu<N>/cache/index<N>/`.

use std::collections::BTreeSet;
use std::path::Path;

use super::cpu_list;
use super::reader::Reader;
use crate::units::BYTES_PER_KB;

/// The first level that cores usually share.
const FIRST_SHARED_LEVEL: u32 = 3;

/// One cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// `id`, unique among caches of one level and type. Where the kernel has none (many arm64
    /// machines), the lowest CPU that uses the cache, which is as unique.
    pub id: u32,
    /// `size`, in bytes.
    pub size_bytes: u64,
    /// `type`: `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// `level`: 1 is nearest to the core.
    pub level: u32,
}

/// A cache and the CPUs that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCache {
    /// The cache.
    pub cache: Cache,
    /// `shared_cpu_list`.
    pub cpus: BTreeSet<u32>,
}

/// Whose cache it is, seen from one core of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The core's own.
    Core,
    /// Shared by some cores.
    Some,
    /// Shared by all cores of the node.
    Node,
}

impl SharedCache {
    /// Whose cache it is, for a core with these `threads` in a node whose online CPUs are `node`.
    ///
    /// A last-level cache of a node with one core is the node's, an inner one the core's.
    pub fn reach(&self, threads: &[u32], node: &BTreeSet<u32>) -> Reach {
        if self.cache.level >= FIRST_SHARED_LEVEL {
            // A cache may span several nodes: it is each one's.
            if node.is_subset(&self.cpus) {
                Reach::Node
            } else {
                Reach::Some
            }
        } else if self
            .cpus
            .iter()
            .filter(|cpu| node.contains(cpu))
            .eq(threads.iter())
        {
            Reach::Core
        } else {
            Reach::Some
        }
    }
}

/// The caches below a CPU's `cache` directory, in index order; empty if there is none. A cache
/// without size, type or level is left out (virtual machines have such).
pub fn read(dir: &Path, reader: &mut Reader) -> Vec<SharedCache> {
    reader
        .numbered(dir, "index")
        .into_iter()
        .filter_map(|index| {
            let dir = dir.join(format!("index{index}"));
            let cpus = cpu_list::parse(&reader.text(&dir.join("shared_cpu_list"))?)?;
            let id: Option<u32> = reader.number(&dir.join("id"));
            let cache = Cache {
                id: id.or(cpus.first().copied())?,
                size_bytes: size(&reader.text(&dir.join("size"))?)?,
                kind: reader.text(&dir.join("type"))?,
                level: reader.number(&dir.join("level"))?,
            };
            Some(SharedCache { cache, cpus })
        })
        .collect()
}

/// `512K` to bytes. The kernel writes K only; M is taken too.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix('M') {
        Some(number) => (number, BYTES_PER_KB * BYTES_PER_KB),
        None => (text.strip_suffix('K')?, BYTES_PER_KB),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_kibibytes() {
        assert_eq!(size("32768K"), Some(32 << 20));
        assert_eq!(size("2M"), Some(2 << 20));
        for text in ["", "K", "12", "18446744073709551615K", "-1K"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
