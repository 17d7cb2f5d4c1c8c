//! Pure: the kernel's list format, such as `0-3,8,10-11` (`cpu/online`, `cpulist`,
//! `shared_cpu_list`).

use std::collections::BTreeSet;

/// Highest CPU number that is believed; the kernel's own limit is 8,192.
pub const MAX_CPU: u32 = 65_535;

/// The numbers of a list, or `None` if it is not one. Empty text is an empty list: a NUMA node
/// without CPUs has that.
pub fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for range in text
        .trim()
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Option<Vec<u32>> {
        parse(text).map(|cpus| cpus.into_iter().collect())
    }

    #[test]
    fn ranges_and_single_numbers() {
        assert_eq!(list("0-2,8,10-11\n"), Some(vec![0, 1, 2, 8, 10, 11]));
        assert_eq!(list("\n"), Some(vec![]));
        assert_eq!(list("5"), Some(vec![5]));
    }

    #[test]
    fn nonsense_is_not_a_list() {
        for text in ["a", "1-", "3-1", "0-4294967295", "-1", "1-2-3"] {
            assert_eq!(list(text), None, "{text}");
        }
    }
}
