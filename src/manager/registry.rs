//! The containers that are there now, by name. The manager writes, everyone reads.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::RwLock;

use crate::cgroup::ContainerName;
use crate::handler::Handler;

/// All handlers.
#[derive(Debug, Default)]
pub struct Registry {
    containers: RwLock<BTreeMap<ContainerName, Arc<Handler>>>,
    generation: AtomicU64,
}

impl Registry {
    /// The container of this name.
    pub fn get(&self, name: &ContainerName) -> Option<Arc<Handler>> {
        self.containers.read().get(name).cloned()
    }

    /// The container of this name and all below it, by name.
    pub fn within(&self, name: &ContainerName) -> Vec<Arc<Handler>> {
        let containers = self.containers.read();
        if name.is_root() {
            return containers.values().map(Arc::clone).collect();
        }
        containers
            .range((Bound::Included(name.clone()), Bound::Unbounded))
            .take_while(|(found, _)| found.as_bytes().starts_with(name.as_bytes()))
            .filter(|(found, _)| found.is_within(name))
            .map(|(_, handler)| Arc::clone(handler))
            .collect()
    }

    /// The names of the direct children of `name`, in order.
    pub fn children(&self, name: &ContainerName) -> Vec<ContainerName> {
        let containers = self.containers.read();
        containers
            .range((Bound::Excluded(name.clone()), Bound::Unbounded))
            .take_while(|(found, _)| found.as_bytes().starts_with(name.as_bytes()))
            .filter(|(found, _)| found.is_child_of(name))
            .map(|(found, _)| found.clone())
            .collect()
    }

    /// Rises whenever a container comes or goes: whoever keeps something made from the containers
    /// compares it.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.containers.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.containers.read().is_empty()
    }

    /// Adds a container, and gives the one that had its name.
    pub(super) fn insert(&self, handler: Arc<Handler>) -> Option<Arc<Handler>> {
        let mut containers = self.containers.write();
        self.generation.fetch_add(1, Release);
        containers.insert(handler.name().clone(), handler)
    }

    /// Takes out a container, if it is still that very one.
    pub(super) fn remove(&self, name: &ContainerName, incarnation: u64) -> Option<Arc<Handler>> {
        let mut containers = self.containers.write();
        if containers.get(name)?.incarnation() != incarnation {
            return None;
        }
        self.generation.fetch_add(1, Release);
        containers.remove(name)
    }

    pub(super) fn clear(&self) {
        let mut containers = self.containers.write();
        self.generation.fetch_add(1, Release);
        for handler in std::mem::take(&mut *containers).into_values() {
            handler.remove();
        }
    }
}
