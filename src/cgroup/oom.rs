//! What the kernel counts of OOM kills in one cgroup.

use super::stats::MemoryEvents;

/// The kernel's counters of OOM kills of one cgroup, without those below it.
///
/// They count more than there was where `memory.oom.group` is set: the process that was chosen is killed
/// first, and then, if it has not ended by that time, once more with all others, and counted each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OomCounters {
    /// Kills of its processes: `oom_kill`.
    pub kills: u64,
    /// How often it went down as a group, with all below it: `oom_group_kill`, which is counted behind the
    /// kill of the chosen process and before the others. `None` on v1, and before 5.17.
    pub groups: Option<u64>,
}

impl OomCounters {
    /// From the local events of a cgroup; `None` if they do not tell.
    pub fn of(events: &MemoryEvents) -> Option<Self> {
        Some(Self {
            kills: events.oom_kill?,
            groups: events.oom_group_kill,
        })
    }

    /// What has been counted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            kills: self.kills.saturating_sub(before.kills),
            groups: self.groups.map(|groups| {
                // Those of a time that nobody remembers are none of ours.
                before
                    .groups
                    .map_or(0, |before| groups.saturating_sub(before))
            }),
        }
    }

    /// The higher of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            kills: self.kills.max(other.kills),
            groups: self.groups.max(other.groups),
        }
    }

    /// Whether there is none.
    pub fn is_zero(self) -> bool {
        self.kills == 0 && self.groups.unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_on_top() {
        let of = |kills, groups| OomCounters { kills, groups };
        assert_eq!(of(5, Some(2)).since(of(3, Some(1))), of(2, Some(1)));
        assert_eq!(of(5, Some(2)).since(of(3, None)), of(2, Some(0)));
        assert_eq!(of(5, None).since(of(3, Some(1))), of(2, None));
        assert_eq!(of(1, Some(0)).since(of(3, Some(1))), of(0, Some(0)));
        assert_eq!(of(5, None).max(of(3, Some(1))), of(5, Some(1)));
        assert!(of(0, Some(0)).is_zero() && of(0, None).is_zero());
        assert!(!of(0, Some(1)).is_zero());
        let none = MemoryEvents::default();
        assert_eq!(OomCounters::of(&none), None);
    }
}
