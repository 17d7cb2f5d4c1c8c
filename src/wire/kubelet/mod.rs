//! The shapes of a kubelet: `/stats/summary` and `/metrics/resource`, for agents that read those.
//!
//! Pods and containers are told by uid and id, which are in their cgroup paths; their names are not.

pub mod resource;
pub mod summary;

use std::collections::BTreeMap;

use crate::cgroup::pod::{PodCgroup, is_pods_root};
use crate::query::{ContainerInfo, CpuCounters, CpuRates};
use crate::units::{Limit, Timestamp};

/// A cgroup and how fast it uses CPU time now.
#[derive(Debug)]
pub struct Member {
    info: ContainerInfo,
    rates: Option<CpuRates>,
}

impl Member {
    /// A container whose `stats` are its newest two samples.
    pub fn new(info: ContainerInfo) -> Self {
        let (mut before, mut rates): (Option<CpuCounters>, _) = (None, None);
        info.stats.for_each(|sample| {
            rates = before.as_ref().and_then(|before| before.rates_to(sample));
            before.get_or_insert_default().set(sample);
        });
        Self { info, rates }
    }

    /// Memory that it may still use, bytes, where there is a limit.
    fn available_bytes(&self) -> Option<u64> {
        let used = self.info.latest.as_ref()?.memory.working_set_bytes()?;
        let limit = self.info.spec.memory.as_ref()?.limit?.value()?;
        Some(limit.saturating_sub(used))
    }

    /// Swap that it may still use, bytes, where there is a limit.
    fn swap_available_bytes(&self) -> Option<u64> {
        let used = self.info.latest.as_ref()?.memory.swap_bytes?;
        let memory = self.info.spec.memory.as_ref()?;
        let limit = match (
            memory.swap_limit,
            memory.memory_and_swap_limit,
            memory.limit,
        ) {
            (Some(Limit::Max(swap)), _, _) => swap,
            (None, Some(Limit::Max(both)), Some(Limit::Max(memory))) => both.saturating_sub(memory),
            _ => return None,
        };
        Some(limit.saturating_sub(used))
    }
}

/// A pod.
#[derive(Debug, Default)]
pub struct Pod {
    /// Its own cgroup.
    own: Option<Member>,
    /// Its containers by id, the one that holds its namespaces among them.
    containers: BTreeMap<String, Member>,
}

/// A node and its pods.
#[derive(Debug, Default)]
pub struct Node {
    name: String,
    booted: Option<Timestamp>,
    root: Option<Member>,
    system: BTreeMap<&'static str, Member>,
    pods: BTreeMap<String, Pod>,
}

/// Cgroups that a kubelet calls system containers, by where they usually are.
const SYSTEM: [(&str, &str); 6] = [
    ("/kubelet.slice", "kubelet"),
    ("/runtime.slice/kubelet.service", "kubelet"),
    ("/system.slice/kubelet.service", "kubelet"),
    ("/system.slice/containerd.service", "runtime"),
    ("/system.slice/crio.service", "runtime"),
    ("/system.slice/docker.service", "runtime"),
];

/// The name of a system container; `None` for any other cgroup.
fn system_name(info: &ContainerInfo) -> Option<&'static str> {
    if is_pods_root(&info.name) {
        return Some("pods");
    }
    SYSTEM
        .iter()
        .find(|(path, _)| path.as_bytes() == info.name.as_bytes())
        .map(|(_, name)| *name)
}

/// Whether a container of this name is part of the answers.
pub fn is_told(name: &crate::cgroup::ContainerName) -> bool {
    name.is_root()
        || is_pods_root(name)
        || SYSTEM
            .iter()
            .any(|(path, _)| path.as_bytes() == name.as_bytes())
        || PodCgroup::of(name).is_some()
}

impl Node {
    /// A node with its name and when it booted, of which no cgroup is known yet.
    pub fn new(name: String, booted: Option<Timestamp>) -> Self {
        Self {
            name,
            booted,
            ..Self::default()
        }
    }

    /// Takes in a container. One that is no part of the answers is dropped.
    pub fn add(&mut self, info: ContainerInfo) {
        if info.name.is_root() {
            self.root = Some(Member::new(info));
        } else if let Some(name) = system_name(&info) {
            self.system.insert(name, Member::new(info));
        } else if let Some(of) = PodCgroup::of(&info.name) {
            let pod = self.pods.entry(of.uid).or_default();
            match of.container {
                None => pod.own = Some(Member::new(info)),
                Some(id) => {
                    pod.containers.insert(id, Member::new(info));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
