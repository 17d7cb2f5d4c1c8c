//! Pure: what a cgroup is, as its path tells.
//!
//! Runtimes, the kubelet, systemd and batch systems each name cgroups by rules of their own, which
//! are nowhere written down together; `tests.rs` has an example of every one, with its source.
//! Classifying allocates nothing and asks nobody.
//!
//! ```text
//! docker       /docker/<id>   /system.slice/docker-<id>.scope
//! containerd   /default/<id>   /system.slice/nerdctl-<id>.scope   …/cri-containerd-<id>.scope
//! CRI-O        …/crio-<id>   …/crio-<id>.scope[/container]   …/crio-conmon-<id>.scope
//! Podman       …/libpod-<id>   …/libpod-<id>.scope[/container]   …/libpod-payload-<id>   …/libpod-conmon-<id>.scope
//! Kubernetes   /kubepods/burstable/pod<uid>/<container>   /kubepods.slice/…/kubepods-burstable-pod<uid>.slice/<container>
//! LXC          /lxc/<name>   /lxc.payload.<name>   /lxc.monitor.<name>
//! nspawn       /machine.slice/systemd-nspawn@<name>.service   /machine.slice/machine-<name>.scope
//! SLURM        /slurm/uid_<uid>/job_<job>/step_<step>   /system.slice/slurmstepd.scope/{job_<job>,<sluid>}/step_<step>
//! BuildKit     /buildkit/<id>   /docker/buildkit/<id>   /system.slice/buildkit-<id>.scope
//! ```

mod element;
mod kind;

use element::{
    Made, build_id, is_number, lxc, machine, made, pods_slice, qos_class, unit, user,
    without_suffix,
};
pub use kind::{CgroupKind, Maker, PodUid, QosClass};

use super::ContainerName;

/// A cgroup as its path describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupPath<'a> {
    /// What it is.
    pub kind: CgroupKind<'a>,
    /// The pod of Kubernetes that it is, or lies in.
    pub pod: Option<PodUid<'a>>,
    /// How that pod is treated when memory is short.
    pub qos: Option<QosClass>,
    /// The runtime's container that it is, or lies in; the innermost.
    pub container: Option<&'a str>,
    /// Whether that container lies in another one, or in a system container: its runtime is then not
    /// the node's.
    pub is_nested: bool,
}

/// What is known after some elements of a path.
#[derive(Debug, Clone, Copy)]
struct Walk<'a> {
    path: CgroupPath<'a>,
    /// The element before.
    parent: &'a str,
    /// What the element before made of the path.
    parent_kind: CgroupKind<'a>,
    /// Whether this is below a container of any kind.
    within: bool,
    /// Whether this is below SLURM's own cgroup.
    in_slurm: bool,
}

impl<'a> CgroupPath<'a> {
    /// What the cgroup of this name is.
    pub fn of(name: &'a ContainerName) -> Self {
        Self::of_bytes(name.as_bytes())
    }

    /// What the cgroup of this path below its hierarchy's root is.
    pub fn of_bytes(path: &'a [u8]) -> Self {
        let mut walk = Walk {
            path: Self {
                kind: CgroupKind::Root,
                pod: None,
                qos: None,
                container: None,
                is_nested: false,
            },
            parent: "",
            parent_kind: CgroupKind::Root,
            within: false,
            in_slurm: false,
        };
        for element in path.split(|&byte| byte == b'/') {
            if element.is_empty() {
                continue;
            }
            // An element that is no text is none of those below.
            walk.step(std::str::from_utf8(element).unwrap_or(""));
        }
        walk.path
    }

    /// The id of the container whose own cgroup this is: not one inside of it, nor that of its
    /// monitor, nor one of a runtime that runs in a container.
    pub fn own_container(&self) -> Option<&'a str> {
        match self.kind {
            CgroupKind::Container { id, .. } if !self.is_nested => Some(id),
            _ => None,
        }
    }

    /// Whether a container runtime made it: the container's own cgroup or that of its monitor.
    pub fn is_of_runtime(&self) -> bool {
        matches!(
            self.kind,
            CgroupKind::Container { .. } | CgroupKind::Monitor { .. }
        )
    }
}

impl<'a> Walk<'a> {
    /// Takes the next element.
    fn step(&mut self, element: &'a str) {
        let kind = self
            .below_pods(element)
            .or_else(|| self.runtime(element))
            .or_else(|| self.batch(element))
            .or_else(|| lxc(self.parent, element))
            .or_else(|| machine(self.parent, element))
            .or_else(|| build_id(self.parent, element).map(|id| CgroupKind::Build { id }))
            .or_else(|| user(element))
            .or_else(|| unit(element))
            .unwrap_or(CgroupKind::Other);
        self.within |= matches!(kind, CgroupKind::Lxc { .. } | CgroupKind::Machine { .. });
        self.path.kind = kind;
        self.parent = element;
        self.parent_kind = kind;
    }

    /// What stands below a kubelet's root: classes, pods, and what is in a pod.
    fn below_pods(&mut self, element: &'a str) -> Option<CgroupKind<'a>> {
        if self.path.container.is_none()
            && let Some((slice, rest)) = element.split_once(':')
            && let Some((qos, Some(uid))) = pods_slice(slice)
        {
            // The kubelet speaks systemd's language and the runtime does not.
            let (prefix, id) = rest.split_once(':')?;
            let Made { id, .. } = made(id, "")?;
            let maker = match prefix {
                "cri-containerd" => Maker::Containerd,
                "crio" => Maker::Crio,
                _ => Maker::Unknown,
            };
            self.path.pod = Some(uid);
            self.path.qos = Some(qos.unwrap_or(QosClass::Guaranteed));
            return Some(self.container(maker, id));
        }
        match self.parent_kind {
            CgroupKind::Pods(None) => {
                if let Some(qos) = qos_class(element) {
                    return Some(CgroupKind::Pods(Some(qos)));
                }
                self.pod(element, QosClass::Guaranteed)
            }
            CgroupKind::Pods(Some(qos)) => self.pod(element, qos),
            CgroupKind::Pod(_) => {
                let name = without_suffix(element, ".scope");
                let (maker, id, is_monitor) = element::runtime_prefix(name);
                if !element::is_short_id(id) {
                    return None;
                }
                Some(if is_monitor {
                    CgroupKind::Monitor { id, maker }
                } else {
                    self.container(maker, id)
                })
            }
            _ => match pods_slice(element)? {
                (None, None) => Some(CgroupKind::Pods(None)),
                // A slice that is not where the kubelet puts it.
                _ => None,
            },
        }
    }

    fn pod(&mut self, element: &'a str, qos: QosClass) -> Option<CgroupKind<'a>> {
        let uid = element::pod_uid(element)?;
        self.path.pod = Some(uid);
        self.path.qos = Some(qos);
        Some(CgroupKind::Pod(uid))
    }

    /// What runtimes make anywhere.
    fn runtime(&mut self, element: &'a str) -> Option<CgroupKind<'a>> {
        if let Some(id) = element::podman_pod(self.parent, element) {
            return Some(CgroupKind::PodmanPod { id });
        }
        let Made {
            maker,
            id,
            is_monitor,
        } = made(element, self.parent)?;
        Some(if is_monitor {
            CgroupKind::Monitor { id, maker }
        } else {
            self.container(maker, id)
        })
    }

    fn container(&mut self, maker: Maker, id: &'a str) -> CgroupKind<'a> {
        self.path.is_nested = self.within;
        self.within = true;
        self.path.container = Some(id);
        CgroupKind::Container { id, maker }
    }

    /// Jobs of SLURM and their steps.
    fn batch(&mut self, element: &'a str) -> Option<CgroupKind<'a>> {
        let is_scope = element == "slurmstepd.scope" || element.ends_with("_slurmstepd.scope");
        if is_scope || element == "slurm" || element.starts_with("slurm_") {
            self.in_slurm = true;
            return None;
        }
        if !self.in_slurm {
            return None;
        }
        if let Some(uid) = element.strip_prefix("uid_") {
            return is_number(uid).then_some(CgroupKind::User { uid });
        }
        if let Some(job) = element.strip_prefix("job_") {
            return is_number(job).then_some(CgroupKind::Job { job, step: None });
        }
        if self.parent.ends_with("slurmstepd.scope") && is_sluid(element) {
            let job = element;
            return Some(CgroupKind::Job { job, step: None });
        }
        match (self.parent_kind, element.strip_prefix("step_")) {
            (CgroupKind::Job { job, step: None }, step @ Some(_)) => {
                Some(CgroupKind::Job { job, step })
            }
            _ => None,
        }
    }
}

/// Whether this is SLURM's own id of a job: `s` and thirteen digits or capital letters.
fn is_sluid(element: &str) -> bool {
    let rest = element.strip_prefix('s').map(str::as_bytes);
    rest.is_some_and(|rest| {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        rest.len() == 13 && rest.iter().all(is_digit)
    })
}

#[cfg(test)]
mod tests;
