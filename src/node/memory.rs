//! Memory of the node: total and swap, huge pages, and memory by type where the memory controller
//! driver (EDAC) tells it.

use std::collections::BTreeMap;
use std::path::Path;

use super::Roots;
use super::reader::{Cause, Reader};
use crate::units::BYTES_PER_KB;

/// Bytes in a mebibyte: EDAC gives sizes in these.
const BYTES_PER_MB: u64 = 1 << 20;

/// Total memory and swap, from `/proc/meminfo`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryTotals {
    /// `MemTotal`, in bytes: what the kernel manages, a little less than what is fitted.
    pub memory_bytes: Option<u64>,
    /// `SwapTotal`, in bytes; `Some(0)` on a node without swap.
    pub swap_bytes: Option<u64>,
}

/// A pool of huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// Size of a page, in bytes.
    pub page_size_bytes: u64,
    /// `nr_hugepages`: pages in the pool, used or not.
    pub pages: u64,
}

/// Memory modules of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryOfType {
    /// Sum of the sizes of the modules, in bytes.
    pub capacity_bytes: u64,
    /// How many modules.
    pub dimms: u64,
}

/// Reads `/proc/meminfo`.
pub fn read_totals(roots: &Roots, reader: &mut Reader) -> MemoryTotals {
    let path = roots.procfs.join("meminfo");
    let Some(text) = reader.required(&path) else {
        return MemoryTotals::default();
    };
    let totals = MemoryTotals {
        memory_bytes: meminfo_value(&text, "MemTotal"),
        swap_bytes: meminfo_value(&text, "SwapTotal"),
    };
    if totals.memory_bytes.is_none() {
        reader.problem(&path, Cause::Unexpected("a line `MemTotal: N kB`"));
    }
    totals
}

/// `MemTotal` of one NUMA node, in bytes, from `node<N>/meminfo`.
pub fn read_numa_total(node_dir: &Path, reader: &mut Reader) -> Option<u64> {
    let text = reader.text(&node_dir.join("meminfo"))?;
    meminfo_value(&text, "MemTotal")
}

/// The huge page pools below a directory such as `/sys/kernel/mm/hugepages`, smallest pages first.
pub fn read_hugepages(dir: &Path, reader: &mut Reader) -> Vec<HugePages> {
    let mut pools: Vec<HugePages> = reader
        .names(dir)
        .iter()
        .filter_map(|name| {
            let kb: u64 = name
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let pages = reader.number(&dir.join(name).join("nr_hugepages"))?;
            Some(HugePages {
                page_size_bytes: kb.checked_mul(BYTES_PER_KB)?,
                pages,
            })
        })
        .collect();
    pools.sort_unstable_by_key(|pool| pool.page_size_bytes);
    pools
}

/// Memory by type, from `/sys/devices/system/edac/mc/mc<N>/dimm<N>/{dimm_mem_type,size}`. Empty
/// where no memory controller driver is loaded, as in most virtual machines.
pub fn read_by_type(roots: &Roots, reader: &mut Reader) -> BTreeMap<String, MemoryOfType> {
    let controllers = roots.sysfs.join("devices/system/edac/mc");
    let mut types: BTreeMap<String, MemoryOfType> = BTreeMap::new();
    for controller in reader.numbered(&controllers, "mc") {
        let controller = controllers.join(format!("mc{controller}"));
        for dimm in reader.numbered(&controller, "dimm") {
            let dimm = controller.join(format!("dimm{dimm}"));
            let kind = reader.text(&dimm.join("dimm_mem_type"));
            let size: Option<u64> = reader.number(&dimm.join("size"));
            if let (Some(kind), Some(size)) = (kind, size) {
                let sum = types.entry(kind).or_default();
                sum.capacity_bytes = sum
                    .capacity_bytes
                    .saturating_add(size.saturating_mul(BYTES_PER_MB));
                sum.dimms += 1;
            }
        }
    }
    types
}

/// The value of `key` in bytes, from `MemTotal: 16 kB` or, in a NUMA node's file,
/// `Node 0 MemTotal: 16 kB`.
fn meminfo_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.split_whitespace().next_back() == Some(key)).then_some(())?;
        let kb: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kb.checked_mul(BYTES_PER_KB)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn totals_are_bytes_and_no_swap_is_zero_not_absent() {
        let tree = TestTree::new();
        tree.file(
            "proc/meminfo",
            "MemTotal:   24682416 kB\nMemFree: 1 kB\nSwapTotal:  0 kB\n",
        );
        let totals = read_totals(&tree.roots, &mut Reader::default());
        assert_eq!(totals.memory_bytes, Some(24_682_416 * 1024));
        assert_eq!(totals.swap_bytes, Some(0));
    }

    #[test]
    fn a_broken_meminfo_is_a_problem_and_an_absent_value() {
        let tree = TestTree::new();
        tree.file("proc/meminfo", "MemTotal:  lots\n");
        let mut reader = Reader::default();
        assert_eq!(
            read_totals(&tree.roots, &mut reader),
            MemoryTotals::default()
        );
        assert_eq!(reader.into_problems().len(), 1);
        assert_eq!(
            meminfo_value("MemTotal: 18446744073709551615 kB", "MemTotal"),
            None
        );
    }

    #[test]
    fn a_numa_node_prefixes_its_lines() {
        assert_eq!(
            meminfo_value("Node 0 MemFree: 1 kB\nNode 0 MemTotal: 4 kB", "MemTotal"),
            Some(4096)
        );
    }

    #[test]
    fn hugepages_are_sorted_by_size_and_foreign_entries_left_out() {
        let tree = TestTree::new();
        tree.file("sys/h/hugepages-1048576kB/nr_hugepages", "1\n")
            .file("sys/h/hugepages-2048kB/nr_hugepages", "512\n")
            .dir("sys/h/hugepages-64kB")
            .dir("sys/h/other");
        assert_eq!(
            read_hugepages(&tree.roots.sysfs.join("h"), &mut Reader::default()),
            [
                HugePages {
                    page_size_bytes: 2 << 20,
                    pages: 512
                },
                HugePages {
                    page_size_bytes: 1 << 30,
                    pages: 1
                },
            ]
        );
    }

    #[test]
    fn modules_are_summed_by_type_over_all_controllers() {
        let tree = TestTree::new();
        for (dimm, kind) in [
            ("mc0/dimm0", "Unbuffered-DDR4"),
            ("mc0/dimm1", "Non-volatile-RAM"),
            ("mc1/dimm3", "Unbuffered-DDR4"),
        ] {
            let dir = format!("sys/devices/system/edac/mc/{dimm}");
            tree.file(&format!("{dir}/dimm_mem_type"), kind)
                .file(&format!("{dir}/size"), "16384\n");
        }
        let types = read_by_type(&tree.roots, &mut Reader::default());
        assert_eq!(
            types["Unbuffered-DDR4"],
            MemoryOfType {
                capacity_bytes: 32 << 30,
                dimms: 2
            }
        );
        assert_eq!(types["Non-volatile-RAM"].dimms, 1);
    }
}
