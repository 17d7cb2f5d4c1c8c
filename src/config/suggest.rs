//! The nearest known name to a mistyped one: pure.

/// The one of `known` that is nearest to `given`, if one is near enough to be what was meant.
///
/// `-` and `_` count as the same character and case does not count, so that the answer is about
/// the letters. Ties go to the first.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = fold(given);
    // A third of the letters may be wrong, and in short names two, but something must be right.
    let limit = (given.len() / 3).max(2).min(given.len().saturating_sub(1));
    known
        .into_iter()
        .map(|name| (distance(&given, &fold(name)), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A ready-made ending for an error message: `; did you mean X?`, or nothing.
pub fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

fn fold(name: &str) -> Vec<char> {
    /// Longer names are nobody's typing error; the bound keeps the distance cheap.
    const MAX_CHARS: usize = 80;
    name.chars()
        .take(MAX_CHARS)
        .map(|c| {
            if c == '_' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Edits (insert, delete, replace, swap two neighbours) that make `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row[j] = best;
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = [
        "port",
        "housekeeping-interval",
        "global-housekeeping-interval",
        "docker-only",
    ];

    #[test]
    fn finds_what_was_meant() {
        for (given, want) in [
            ("housekeping-interval", Some("housekeeping-interval")),
            ("housekeeping_intreval", Some("housekeeping-interval")),
            ("prot", Some("port")),
            ("DOCKER_ONLY", Some("docker-only")),
            ("completely-different", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, KNOWN), want, "{given}");
        }
    }

    #[test]
    fn counts_edits() {
        let count = |a: &str, b: &str| distance(&fold(a), &fold(b));
        assert_eq!(count("abc", "abc"), 0);
        assert_eq!(count("abc", "acb"), 1);
        assert_eq!(count("", "ab"), 2);
        assert_eq!(count("kitten", "sitting"), 3);
    }
}
