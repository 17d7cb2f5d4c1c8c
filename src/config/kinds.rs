//! The metric kinds that `--enable-metrics` and `--disable-metrics` switch, as text.

use super::suggest::{did_you_mean, nearest};
pub use crate::cgroup::kind::{DISABLED_BY_DEFAULT, KindSet, MetricKind};

impl KindSet {
    /// Parses comma-separated names; an empty text is the empty set.
    ///
    /// # Errors
    /// Says what would have been right, to go after `"x" is not`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut set = Self::EMPTY;
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let kind = MetricKind::ALL.into_iter().find(|kind| kind.name() == name);
            let Some(kind) = kind else {
                let near = nearest(name, MetricKind::ALL.map(MetricKind::name));
                let all = MetricKind::ALL.map(MetricKind::name).join(",");
                let hint = match near {
                    Some(_) => did_you_mean(near) + " The",
                    None => "; the".to_owned(),
                };
                return Err(format!(
                    "a list of metric kinds: no kind {name:?}{hint} kinds are {all}"
                ));
            };
            set.insert(kind);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_parses_back_from_its_name() {
        for kind in MetricKind::ALL {
            assert_eq!(KindSet::parse(kind.name()).unwrap(), KindSet::of(&[kind]));
        }
        assert_eq!(KindSet::EMPTY.complement().iter().count(), 22);
    }

    #[test]
    fn eleven_kinds_are_off_by_default() {
        let on: Vec<_> = DISABLED_BY_DEFAULT
            .complement()
            .iter()
            .map(MetricKind::name)
            .collect();
        assert_eq!(
            on,
            [
                "cpu",
                "percpu",
                "cpuLoad",
                "memory",
                "disk",
                "diskIO",
                "network",
                "perf_event",
                "oom_event",
                "pressure",
                "app"
            ]
        );
    }

    #[test]
    fn an_unknown_kind_names_the_nearest() {
        let error = KindSet::parse("cpu,memroy").unwrap_err();
        assert!(
            error.contains("\"memroy\"; did you mean memory?"),
            "{error}"
        );
        assert_eq!(KindSet::parse("").unwrap(), KindSet::EMPTY);
    }
}
