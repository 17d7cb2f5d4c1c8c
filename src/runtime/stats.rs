//! Figures that only a runtime can tell: of containers whose processes are in no cgroup of theirs
//! (see [`isolation`](super::isolation)).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::cgroup::Sample;
use crate::units::Timestamp;

/// Figures older than this are not shown: the runtime does not tell them any more.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// Containers at most.
const MAX_CONTAINERS: usize = 4_096;

/// What a runtime says that a container uses. What it does not say is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuntimeFigures {
    /// When the runtime measured.
    pub at: Timestamp,
    /// CPU time since the container's start, nanoseconds.
    pub cpu_usage_ns: Option<u64>,
    /// Memory in use with page cache, bytes.
    pub memory_usage_bytes: Option<u64>,
    /// Memory in use without what can be given up at once, bytes.
    pub memory_working_set_bytes: Option<u64>,
    /// Anonymous memory, bytes.
    pub memory_rss_bytes: Option<u64>,
    /// Minor page faults since the container's start.
    pub page_faults: Option<u64>,
    /// Major page faults since the container's start.
    pub major_page_faults: Option<u64>,
}

impl RuntimeFigures {
    /// As a sample, with what the runtime does not say left absent.
    pub fn sample(&self) -> Sample {
        let mut sample = Sample {
            timestamp: self.at,
            ..Sample::default()
        };
        sample.cpu.usage_ns = self.cpu_usage_ns;
        let memory = &mut sample.memory;
        memory.usage_bytes = self.memory_usage_bytes;
        memory.anon_bytes = self.memory_rss_bytes;
        // The working set is what is used without inactive page cache, here as everywhere.
        memory.inactive_file_bytes = (self.memory_usage_bytes)
            .zip(self.memory_working_set_bytes)
            .map(|(usage, working_set)| usage.saturating_sub(working_set));
        memory.pgmajfault = self.major_page_faults;
        // The kernel's counter has both kinds.
        memory.pgfault = (self.page_faults)
            .zip(self.major_page_faults)
            .and_then(|(minor, major)| minor.checked_add(major));
        sample
    }
}

/// The latest figures by container id. Written by links, read by everyone.
#[derive(Debug, Default)]
pub struct RuntimeStats {
    latest: RwLock<HashMap<String, (Instant, RuntimeFigures)>>,
}

impl RuntimeStats {
    /// What the runtime last said of a container, if it did lately.
    pub fn get(&self, id: &str) -> Option<RuntimeFigures> {
        self.get_at(id, Instant::now())
    }

    fn get_at(&self, id: &str, now: Instant) -> Option<RuntimeFigures> {
        let latest = self.latest.read();
        let (told, figures) = latest.get(id)?;
        (now.saturating_duration_since(*told) < STALE_AFTER).then_some(*figures)
    }

    /// Takes what a runtime says.
    pub fn put(&self, id: &str, figures: RuntimeFigures) {
        self.put_at(id, figures, Instant::now());
    }

    fn put_at(&self, id: &str, figures: RuntimeFigures, now: Instant) {
        let mut latest = self.latest.write();
        if latest.len() >= MAX_CONTAINERS {
            latest.retain(|_, (told, _)| now.saturating_duration_since(*told) < STALE_AFTER);
        }
        if let Some(known) = latest.get_mut(id) {
            *known = (now, figures);
        } else if latest.len() < MAX_CONTAINERS {
            latest.insert(id.to_owned(), (now, figures));
        }
    }

    /// A container is gone.
    pub fn remove(&self, id: &str) {
        self.latest.write().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_a_sample_without_inventing_any() {
        let figures = RuntimeFigures {
            at: Timestamp(7),
            cpu_usage_ns: Some(5),
            memory_usage_bytes: Some(100),
            memory_working_set_bytes: Some(70),
            ..RuntimeFigures::default()
        };
        let sample = figures.sample();
        assert_eq!(
            (sample.timestamp, sample.cpu.usage_ns),
            (Timestamp(7), Some(5))
        );
        assert_eq!(sample.memory.working_set_bytes(), Some(70));
        assert_eq!(
            (sample.memory.pgfault, sample.memory.anon_bytes),
            (None, None)
        );
        let faults = RuntimeFigures {
            page_faults: Some(3),
            major_page_faults: Some(1),
            ..RuntimeFigures::default()
        };
        assert_eq!(faults.sample().memory.pgfault, Some(4));
        assert_eq!(faults.sample().memory.working_set_bytes(), None);
    }

    #[test]
    fn old_figures_are_not_shown_and_make_room() {
        let stats = RuntimeStats::default();
        let start = Instant::now();
        for number in 0..MAX_CONTAINERS + 1 {
            stats.put_at(&number.to_string(), RuntimeFigures::default(), start);
        }
        assert_eq!(stats.latest.read().len(), MAX_CONTAINERS);
        assert!(stats.get_at("0", start).is_some());
        assert_eq!(stats.get_at("0", start + STALE_AFTER), None);
        stats.put_at("new", RuntimeFigures::default(), start + STALE_AFTER);
        assert_eq!(stats.latest.read().len(), 1);
        stats.remove("new");
        assert_eq!(stats.get("new"), None);
    }
}
