//! The shapes of a kubelet: `/stats/summary` and `/metrics/resource`, for agents that read those.
//!
//! Pods and containers are found by their cgroup paths, which have the pod's uid and the container's id.
//! Their names are what a runtime told; without one, uid and id stand in their places.

pub mod resource;
pub mod summary;

use std::collections::BTreeMap;

use crate::cgroup::path::PodUid;
use crate::cgroup::{CgroupKind, CgroupPath, ContainerName};
use crate::query::{ContainerInfo, CpuCounters, CpuRates};
use crate::runtime;
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

    fn started(&self) -> Option<Timestamp> {
        started(&self.info)
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
    /// Its name and namespace, if a runtime told.
    named: Option<runtime::Pod>,
    /// Its own cgroup.
    own: Option<Member>,
    /// Its containers, by their names in the pod, or by id where no runtime told.
    containers: BTreeMap<String, Member>,
    /// What holds its namespaces, where a runtime told which of its containers that is.
    sandbox: Option<Member>,
}

impl Pod {
    fn name(&self) -> Option<&str> {
        self.named.as_ref().map(|named| &*named.name)
    }

    fn namespace(&self) -> &str {
        self.named.as_ref().map_or("", |named| &named.namespace)
    }

    /// Takes in the cgroup of a container with this id.
    fn add(&mut self, id: &str, info: ContainerInfo) {
        let identity = info.identity.clone();
        let named = identity.as_ref().and_then(|identity| identity.pod.as_ref());
        if let Some(named) = named {
            self.named.get_or_insert_with(|| named.clone());
        }
        if identity
            .as_ref()
            .is_some_and(|identity| identity.is_sandbox)
        {
            self.sandbox = Some(Member::new(info));
            return;
        }
        let name = named.and_then(|named| named.container.clone());
        let name = name.unwrap_or_else(|| id.to_owned());
        // A container that was started again may have its predecessor beside it for a moment.
        let newer = |known: &Member| known.started() < started(&info);
        if self.containers.get(&name).is_none_or(newer) {
            self.containers.insert(name, Member::new(info));
        }
    }
}

/// When it was started, as its runtime told, else when its cgroup was made.
fn started(info: &ContainerInfo) -> Option<Timestamp> {
    let told = info.identity.as_ref().and_then(|identity| identity.started);
    told.or(info.spec.created_at)
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
    if CgroupPath::of(&info.name).kind == CgroupKind::Pods(None) {
        return Some("pods");
    }
    SYSTEM
        .iter()
        .find(|(path, _)| path.as_bytes() == info.name.as_bytes())
        .map(|(_, name)| *name)
}

/// The pod that a cgroup is, or is a container of; and that container's id.
fn of_pod(name: &ContainerName) -> Option<(PodUid<'_>, Option<&str>)> {
    let path = CgroupPath::of(name);
    match path.kind {
        CgroupKind::Pod(uid) => Some((uid, None)),
        CgroupKind::Container { id, .. } => Some((path.pod?, Some(id))),
        _ => None,
    }
}

/// Whether a container of this name is part of the answers.
pub fn is_told(name: &ContainerName) -> bool {
    name.is_root()
        || CgroupPath::of(name).kind == CgroupKind::Pods(None)
        || SYSTEM
            .iter()
            .any(|(path, _)| path.as_bytes() == name.as_bytes())
        || of_pod(name).is_some()
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
        } else if let Some((uid, id)) = of_pod(&info.name.clone()) {
            let pod = self.pods.entry(uid.to_string()).or_default();
            match id {
                None => pod.own = Some(Member::new(info)),
                Some(id) => pod.add(id, info),
            }
        }
    }
}

#[cfg(test)]
mod tests;
