//! The results: the last few measurements of each container, and what runtimes say of their places.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Container, LayerUsage, Location};
use crate::cgroup::ContainerName;
use crate::units::Timestamp;

/// Measurements that are kept of a container: an answer tells with each sample what was known then,
/// and measurements are at least a minute apart.
pub const MAX_KEPT: usize = 4;

/// Containers whose places may be told. A node has hundreds.
pub const MAX_LOCATIONS: usize = 20_000;

/// What is known of the writable layers. Shared: the walker writes, answers read, nobody waits.
#[derive(Debug, Default)]
pub struct LayerUsages {
    usages: RwLock<HashMap<ContainerName, Kept>>,
    locations: RwLock<HashMap<ContainerName, Location>>,
}

#[derive(Debug)]
struct Kept {
    incarnation: u64,
    /// Oldest first.
    usages: Vec<Arc<LayerUsage>>,
}

impl LayerUsages {
    /// The last measurements of a container, oldest first; none if it was not measured (yet).
    pub fn of(&self, name: &ContainerName, incarnation: u64) -> Vec<Arc<LayerUsage>> {
        let usages = self.usages.read();
        let kept = usages
            .get(name)
            .filter(|kept| kept.incarnation == incarnation);
        kept.map_or_else(Vec::new, |kept| kept.usages.clone())
    }

    /// Says where the files of a container are; `None` takes it back. It goes before what mount tables
    /// say, and is measured at the walker's next round. True unless there are too many.
    pub fn set_location(&self, name: &ContainerName, location: Option<Location>) -> bool {
        let mut locations = self.locations.write();
        match location {
            None => drop(locations.remove(name)),
            Some(_) if locations.len() >= MAX_LOCATIONS && !locations.contains_key(name) => {
                return false;
            }
            Some(location) => drop(locations.insert(name.clone(), location)),
        }
        true
    }

    pub(super) fn location(&self, name: &ContainerName) -> Option<Location> {
        self.locations.read().get(name).cloned()
    }

    pub(super) fn add(&self, container: &Container, usage: LayerUsage) {
        let mut usages = self.usages.write();
        let kept = usages
            .entry(container.name.clone())
            .or_insert_with(|| Kept {
                incarnation: container.incarnation,
                usages: Vec::new(),
            });
        if kept.incarnation != container.incarnation {
            kept.incarnation = container.incarnation;
            kept.usages.clear();
        }
        if kept.usages.len() >= MAX_KEPT {
            kept.usages.remove(0);
        }
        kept.usages.push(Arc::new(usage));
    }

    /// Forgets what is not of one of these. Gives how many are left, and how old the last measurement
    /// of each is at most (the time of it).
    pub(super) fn retain(
        &self,
        keep: impl Fn(&ContainerName, u64) -> bool,
    ) -> (usize, Option<Timestamp>) {
        let mut usages = self.usages.write();
        usages.retain(|name, kept| keep(name, kept.incarnation));
        let last = |kept: &Kept| kept.usages.last().map(|usage| usage.measured);
        (usages.len(), usages.values().filter_map(last).min())
    }
}

/// What was known at a time: of measurements, oldest first, the newest that was complete by then.
pub fn at(usages: &[Arc<LayerUsage>], time: Timestamp) -> Option<&LayerUsage> {
    let known = usages.iter().rev().find(|usage| usage.measured <= time);
    known.map(|usage| &**usage)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::node::disk_usage::Source;
    use std::time::Duration;

    /// A measurement at a time.
    pub(crate) fn usage(measured: i64) -> LayerUsage {
        LayerUsage {
            measured: Timestamp(measured),
            took: Duration::from_millis(3),
            source: Source::Walk,
            usage_bytes: 8192,
            base_bytes: 4096,
            inodes: Some(3),
            limit_bytes: None,
            device: Some("/dev/vda".into()),
        }
    }

    fn container(incarnation: u64) -> Container {
        Container {
            name: ContainerName::from_request("/a"),
            incarnation,
        }
    }

    #[test]
    fn the_last_few_are_kept_of_one_life() {
        let store = LayerUsages::default();
        for time in 0..10 {
            store.add(&container(1), usage(time));
        }
        let name = container(1).name;
        let times = |incarnation| -> Vec<i64> {
            let kept = store.of(&name, incarnation);
            kept.iter().map(|usage| usage.measured.0).collect()
        };
        assert_eq!(times(1), [6, 7, 8, 9]);
        assert!(times(2).is_empty());
        let kept = store.of(&name, 1);
        let known = |time| at(&kept, Timestamp(time)).map(|usage| usage.measured.0);
        assert_eq!((known(5), known(7), known(100)), (None, Some(7), Some(9)));
        store.add(&container(2), usage(20));
        assert_eq!((times(1).len(), times(2)), (0, vec![20]));
        assert_eq!(store.retain(|_, _| true), (1, Some(Timestamp(20))));
        assert_eq!(store.retain(|_, _| false), (0, None));
    }

    #[test]
    fn places_are_told_taken_back_and_bounded() {
        let store = LayerUsages::default();
        let place = Location {
            layer: "/l".into(),
            extra: None,
        };
        let name = |number: usize| ContainerName::from_request(&format!("/{number}"));
        for number in 0..MAX_LOCATIONS {
            assert!(store.set_location(&name(number), Some(place.clone())));
        }
        assert!(!store.set_location(&name(MAX_LOCATIONS), Some(place.clone())));
        assert!(store.set_location(&name(1), Some(place.clone())));
        assert_eq!(store.location(&name(1)), Some(place));
        assert!(store.set_location(&name(1), None));
        assert_eq!(store.location(&name(1)), None);
    }
}
