//! Which identity belongs to which cgroup.
//!
//! A runtime knows ids, the kernel knows directories. They meet where the id stands in the directory's
//! name, or where the runtime says which cgroup it has given to a container. One container has one
//! cgroup of its own: the one that lies highest in the tree. What lies inside of it, its monitor's
//! cgroup, and whatever somebody else named like it bear no name.
//!
//! Made anew when names or cgroups have changed, and only when somebody asks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cgroup::path::PodUid;
use crate::cgroup::{CgroupPath, ContainerName, Sample};
use crate::manager::Registry;
use crate::runtime::{Identity, Names, Pod};
use crate::self_metrics::Counter;

/// Names and cgroups as they were when it was made.
#[derive(Debug, Default)]
pub struct Joined {
    versions: (u64, u64),
    by_cgroup: HashMap<ContainerName, Arc<Identity>>,
    /// A container of each pod of Kubernetes, by the pod's uid.
    pods: HashMap<String, Arc<Identity>>,
}

impl Joined {
    /// Who has the cgroup of this name.
    pub fn identity(&self, name: &ContainerName) -> Option<&Arc<Identity>> {
        self.by_cgroup.get(name)
    }

    /// The pod of Kubernetes that has this uid.
    pub fn pod(&self, uid: PodUid<'_>) -> Option<&Pod> {
        self.pods.get(&uid.to_string())?.pod.as_ref()
    }

    /// The pod of Kubernetes that a cgroup is, or that its container is in.
    pub fn pod_of(&self, name: &ContainerName) -> Option<&Pod> {
        if let Some(identity) = self.identity(name) {
            return identity.pod.as_ref();
        }
        if self.pods.is_empty() {
            return None;
        }
        self.pod(CgroupPath::of(name).pod?)
    }

    /// The cgroups of a runtime's namespace and who has them, in no order.
    pub fn of_namespace(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = (&ContainerName, &Arc<Identity>)> {
        let all = self.by_cgroup.iter();
        all.filter(move |(_, identity)| identity.runtime.namespace() == namespace)
    }

    /// How many cgroups have a name.
    pub fn len(&self) -> usize {
        self.by_cgroup.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.by_cgroup.is_empty()
    }

    fn of(names: &Names, registry: &Registry, versions: (u64, u64)) -> Self {
        let mut joined = Self {
            versions,
            ..Self::default()
        };
        if names.is_empty() {
            return joined;
        }
        let cgroups = registry.within(&ContainerName::root());
        let mut own: HashMap<&str, (usize, &ContainerName)> = HashMap::new();
        for handler in &cgroups {
            let name = handler.name();
            if let Some(id) = CgroupPath::of(name).own_container() {
                let depth = name.as_bytes().iter().filter(|&&byte| byte == b'/').count();
                let best = own.entry(id).or_insert((depth, name));
                *best = (*best).min((depth, name));
            }
        }
        names.for_each(|known| {
            let identity = known.identity;
            let by_id = own.get(&*identity.id).map(|(_, name)| (*name).clone());
            let own_cgroup = by_id.or_else(|| {
                let told = identity.own_cgroup()?;
                registry.get(&told).map(|_| told)
            });
            if let Some(name) = own_cgroup.filter(|name| known.may_name(name)) {
                joined.by_cgroup.insert(name, Arc::clone(identity));
            }
            let in_pod = identity.pod.as_ref();
            if let Some(pod) = in_pod.filter(|pod| !pod.namespace.is_empty() && !known.of_user) {
                joined.pods.insert(pod.uid.clone(), Arc::clone(identity));
            }
        });
        joined
    }
}

/// Whether what a container's cgroup tells says nothing of the container: it runs in a sandbox (gVisor,
/// Kata), its processes are in the cgroup of the pod's sandbox, and there are none in its own.
pub fn is_elsewhere(identity: Option<&Identity>, sample: &Sample) -> bool {
    let none_inside = match sample.pids.current {
        Some(tasks) => tasks == 0,
        None => sample.cpu.usage_ns == Some(0),
    };
    none_inside && identity.is_some_and(|identity| !identity.in_own_cgroup())
}

/// Keeps the newest [`Joined`].
#[derive(Debug, Default)]
pub struct Join {
    newest: Mutex<Arc<Joined>>,
    /// How often it was made.
    pub made: Counter,
}

impl Join {
    /// The join of these names and cgroups, as they are now.
    pub fn now(&self, names: &Names, registry: &Registry) -> Arc<Joined> {
        // Before looking: what changes meanwhile is seen the next time.
        let versions = (names.generation(), registry.generation());
        let mut newest = self.newest.lock();
        if newest.versions != versions {
            *newest = Arc::new(Joined::of(names, registry, versions));
            self.made.inc();
        }
        Arc::clone(&newest)
    }
}
