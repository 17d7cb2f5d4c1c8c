//! Pure: the kernel's list format, such as `0-3,8,10-11` (`cpu/online`, `cpulist`,
//! `shared_cpu_list`).

use std::collections::BTreeSet;

/// Highest CPU number that is believed; the kernel's own limit is 8,192.
pub const MAX_CPU: u32 = 16_383;

/// The numbers of a list, or `None` if it is not one. Empty text is an empty list: a NUMA node
/// without CPUs has that.
pub fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    // The kernel writes them in ascending order; insisting on it also bounds the work.
    let mut least = 0;
    for range in text
        .trim()
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first < least || first > last || last > MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
        least = last + 1;
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        for text in [
            "a",
            "1-",
            "3-1",
            "0-4294967295",
            "-1",
            "1-2-3",
            "0-3,2",
            "4,1",
        ] {
            assert_eq!(list(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_set_comes_back_from_what_the_kernel_would_write(
            cpus in proptest::collection::btree_set(0..200_u32, 0..60)
        ) {
            let mut ranges: Vec<(u32, u32)> = Vec::new();
            for &cpu in &cpus {
                match ranges.last_mut() {
                    Some((_, last)) if *last + 1 == cpu => *last = cpu,
                    _ => ranges.push((cpu, cpu)),
                }
            }
            let text: Vec<String> = ranges
                .iter()
                .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
                .collect();
            prop_assert_eq!(parse(&text.join(",")), Some(cpus));
        }

        #[test]
        fn any_text_is_a_bounded_list_or_none(text in "[0-9,\\- a]{0,40}") {
            if let Some(cpus) = parse(&text) {
                prop_assert!(cpus.iter().all(|&cpu| cpu <= MAX_CPU));
            }
        }
    }
}
