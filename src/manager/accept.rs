//! Pure: which cgroups become containers.

use crate::cgroup::{CgroupPath, ContainerName};

/// The rule that the settings make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// Only the root and what a container runtime made: containers and their monitors.
    pub runtime_only: bool,
    /// Others only if their name starts with one of these. Empty: no restriction.
    pub prefixes: Vec<String>,
}

impl Accept {
    /// Whether the cgroup of this name becomes a container.
    pub fn accepts(&self, name: &ContainerName) -> bool {
        if name.is_root() {
            return true;
        }
        let has_prefix = self
            .prefixes
            .iter()
            .any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()));
        let of_runtime = || CgroupPath::of(name).is_of_runtime();
        if self.runtime_only {
            return has_prefix || of_runtime();
        }
        self.prefixes.is_empty() || has_prefix || of_runtime()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_and_prefixes() {
        let id = "ab".repeat(32);
        let accepts = |runtime_only, prefixes: &[&str], name: &str| {
            let prefixes = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
            Accept {
                runtime_only,
                prefixes,
            }
            .accepts(&ContainerName::from_request(name))
        };
        assert!(accepts(false, &[], "/system.slice"));
        assert!(accepts(true, &[], "/"));
        assert!(accepts(true, &[], &format!("/docker/{id}")));
        assert!(accepts(
            true,
            &[],
            &format!("/system.slice/docker-{id}.scope")
        ));
        assert!(!accepts(true, &[], &format!("/docker/{id}/init")));
        assert!(!accepts(
            true,
            &[],
            &format!("/system.slice/run-containerd-{id}-rootfs.mount")
        ));
        assert!(!accepts(true, &[], "/system.slice"));
        assert!(accepts(true, &["/system"], "/system.slice"));
        assert!(!accepts(false, &["/kubepods"], "/system.slice"));
        assert!(accepts(false, &["/kubepods"], "/kubepods/burstable"));
    }
}
