//! Whether a container's processes are in the container's cgroup.
//!
//! gVisor and Kata run a whole pod in one sandbox: a process of gVisor's, or a virtual machine. It is
//! in the cgroup of the pod's sandbox container; the cgroups of the pod's other containers exist and
//! are empty, and their figures are zeros that mean nothing.

use super::Identity;

/// What stands between a container and the node's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// gVisor: a kernel in user space.
    UserKernel,
    /// Kata, Firecracker, libkrun …: a virtual machine.
    VirtualMachine,
}

/// Words in the names of handlers and shims: `io.containerd.runsc.v1`, `gvisor`, `kata-qemu`,
/// `io.containerd.kata-fc.v2`, `aws.firecracker`, `krun`.
const WORDS: [(&str, Isolation); 6] = [
    ("runsc", Isolation::UserKernel),
    ("gvisor", Isolation::UserKernel),
    ("kata", Isolation::VirtualMachine),
    ("firecracker", Isolation::VirtualMachine),
    ("krun", Isolation::VirtualMachine),
    ("runv", Isolation::VirtualMachine),
];

/// What the name of an OCI runtime, its handler or its shim says. A runtime under another name is
/// taken for one that shares the kernel, as nearly all do.
pub fn isolation(oci_runtime: &str) -> Option<Isolation> {
    let name = oci_runtime.rsplit('/').next().unwrap_or_default();
    name.split(['.', '-', '_']).find_map(|part| {
        let known = WORDS.iter().find(|(word, _)| part == *word);
        known.map(|(_, isolation)| *isolation)
    })
}

impl Identity {
    /// What stands between it and the node's kernel; `None`: nothing, or nothing that is known.
    pub fn isolation(&self) -> Option<Isolation> {
        isolation(self.oci_runtime.as_deref()?)
    }

    /// Whether its processes are in its own cgroup, so that the cgroup's figures are its own. Those of
    /// a sandboxed pod are in the cgroup of the pod's sandbox, which has the figures of the whole pod;
    /// a sandboxed container without a pod is its own sandbox.
    pub fn in_own_cgroup(&self) -> bool {
        self.is_sandbox || self.pod.is_none() || self.isolation().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Pod, Runtime};

    #[test]
    fn names_of_runtimes() {
        for (name, expected) in [
            ("io.containerd.runsc.v1", Some(Isolation::UserKernel)),
            ("runsc-kvm", Some(Isolation::UserKernel)),
            ("gvisor", Some(Isolation::UserKernel)),
            ("/usr/local/bin/runsc", Some(Isolation::UserKernel)),
            ("io.containerd.kata.v2", Some(Isolation::VirtualMachine)),
            (
                "io.containerd.kata-qemu.v2",
                Some(Isolation::VirtualMachine),
            ),
            ("kata-cc-tdx", Some(Isolation::VirtualMachine)),
            ("aws.firecracker", Some(Isolation::VirtualMachine)),
            ("io.containerd.runc.v2", None),
            ("/usr/bin/crun", None),
            ("crun", None),
            ("nvidia", None),
            ("youki", None),
            ("katalog", None),
            ("", None),
        ] {
            assert_eq!(isolation(name), expected, "{name}");
        }
    }

    #[test]
    fn only_containers_of_a_sandboxed_pod_are_elsewhere() {
        let mut one = Identity::new(Runtime::Cri, "a");
        assert!(one.in_own_cgroup());
        one.oci_runtime = Some("io.containerd.runsc.v1".to_owned());
        assert!(one.in_own_cgroup(), "without a pod it is its own sandbox");
        one.pod = Some(Pod::default());
        assert!(!one.in_own_cgroup());
        one.is_sandbox = true;
        assert!(one.in_own_cgroup());
        one.is_sandbox = false;
        one.oci_runtime = Some("runc".to_owned());
        assert!(one.in_own_cgroup());
    }
}
