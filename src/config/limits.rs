//! Limits of the event history by event type: `default=24h,oom=1h`.

use std::time::Duration;

use super::suggest::{did_you_mean, nearest};
use super::values::{number, signed_duration_ns};
use crate::units::Limit;

/// Event types as the limits name them.
pub const EVENT_TYPES: [&str; 4] = ["oom", "oomKill", "containerCreation", "containerDeletion"];

/// One limit for every event type, and others for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerEventType<T> {
    /// For the types that have none of their own.
    pub default: T,
    /// Type name (one of [`EVENT_TYPES`]) and its own limit.
    pub by_type: Vec<(&'static str, T)>,
}

impl<T: Copy> PerEventType<T> {
    /// The same limit for all types.
    pub const fn all(default: T) -> Self {
        Self {
            default,
            by_type: Vec::new(),
        }
    }

    /// The limit for an event type.
    pub fn of(&self, event_type: &str) -> T {
        self.by_type
            .iter()
            .find(|(name, _)| *name == event_type)
            .map_or(self.default, |(_, limit)| *limit)
    }

    /// Parses `type=value,…` over `self`, whose values stay where the text has none.
    ///
    /// A type that does not exist is skipped with a warning, as cAdvisor does.
    fn parse(
        mut self,
        text: &str,
        want: &str,
        value: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(Self, Vec<String>), String> {
        let mut warnings = Vec::new();
        for item in text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let (name, limit) = item
                .split_once('=')
                .ok_or_else(|| format!("a list of type={want}"))?;
            let (name, limit) = (name.trim(), value(limit.trim())?);
            if name == "default" {
                self.default = limit;
            } else if let Some(known) = event_type(name) {
                self.by_type.retain(|(other, _)| *other != known);
                self.by_type.push((known, limit));
            } else {
                let hint = did_you_mean(nearest(name, EVENT_TYPES));
                warnings.push(format!(
                    "no event type {name:?}, {item:?} has no effect{hint}"
                ));
            }
        }
        Ok((self, warnings))
    }
}

/// The event type of this name. Short names that users write although cAdvisor skips them count.
pub fn event_type(name: &str) -> Option<&'static str> {
    match name {
        "creation" => Some("containerCreation"),
        "deletion" => Some("containerDeletion"),
        _ => EVENT_TYPES.into_iter().find(|known| *known == name),
    }
}

/// Age limits; negative is no limit (`None`).
///
/// # Errors
/// Says what would have been right.
pub fn age_limits(
    base: PerEventType<Option<Duration>>,
    text: &str,
) -> Result<(PerEventType<Option<Duration>>, Vec<String>), String> {
    base.parse(text, "duration, such as default=24h,oom=1h", |value| {
        let ns = signed_duration_ns(value)?;
        if ns < 0 {
            return Ok(None);
        }
        let ns = u64::try_from(ns).map_err(|_| "at most 584 years".to_owned())?;
        Ok(Some(Duration::from_nanos(ns)))
    })
}

/// Count limits; 0 keeps none, negative is no limit.
///
/// # Errors
/// Says what would have been right.
pub fn count_limits(
    base: PerEventType<Limit>,
    text: &str,
) -> Result<(PerEventType<Limit>, Vec<String>), String> {
    const WANT: &str = "number, such as default=100000,oom=1000";
    base.parse(text, WANT, |value| {
        let count: i64 = number(value, &format!("a list of type={WANT}"))?;
        Ok(u64::try_from(count).map_or(Limit::Unlimited, Limit::Max))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn ages() {
        let base = || PerEventType::all(Some(DAY));
        let (ages, warnings) = age_limits(
            base(),
            "oom=1h, oomKill=1m30s,containerDeletion=-1s,creation=0",
        )
        .unwrap();
        assert!(warnings.is_empty());
        assert_eq!(ages.of("oom"), Some(Duration::from_secs(3600)));
        assert_eq!(ages.of("oomKill"), Some(Duration::from_secs(90)));
        assert_eq!(ages.of("containerDeletion"), None);
        assert_eq!(ages.of("containerCreation"), Some(Duration::ZERO));
        let (ages, _) = age_limits(base(), "default=2h").unwrap();
        assert_eq!(ages.of("oom"), Some(Duration::from_secs(7200)));
        for bad in ["24h", "default=24", "oom=x"] {
            assert!(age_limits(base(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts() {
        let base = || PerEventType::all(Limit::Max(100_000));
        let (counts, _) = count_limits(base(), "default=10,oom=0,oomKill=-1").unwrap();
        assert_eq!(counts.of("containerCreation"), Limit::Max(10));
        assert_eq!(counts.of("oom"), Limit::Max(0));
        assert_eq!(counts.of("oomKill"), Limit::Unlimited);
        assert_eq!(count_limits(base(), "").unwrap().0, base());
        assert!(count_limits(base(), "default=1h").is_err());
    }

    #[test]
    fn an_unknown_type_is_skipped_with_a_warning() {
        let (counts, warnings) =
            count_limits(PerEventType::all(Limit::Max(5)), "ooom=3,default=7").unwrap();
        assert_eq!(counts.of("oom"), Limit::Max(7));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("did you mean oom?"), "{}", warnings[0]);
    }
}
