//! The words for what a cgroup is.

use std::fmt;

/// What a cgroup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupKind<'a> {
    /// `/`: the node.
    Root,
    /// All pods of Kubernetes, or all of a class.
    Pods(Option<QosClass>),
    /// A pod of Kubernetes.
    Pod(PodUid<'a>),
    /// A pod of Podman.
    PodmanPod {
        /// Its id.
        id: &'a str,
    },
    /// A container of a runtime: its own cgroup, none inside of it. A pod's sandbox (pause) is one,
    /// which only the runtime can tell.
    Container {
        /// Its id.
        id: &'a str,
        /// Whose, as far as the path tells.
        maker: Maker,
    },
    /// What watches over a container from outside: conmon, or a virtual machine's own threads.
    Monitor {
        /// The container's id.
        id: &'a str,
        /// Whose, as far as the path tells.
        maker: Maker,
    },
    /// A container of LXC, LXD or Incus.
    Lxc {
        /// Its name.
        name: &'a str,
    },
    /// The monitor of such a container.
    LxcMonitor {
        /// The container's name.
        name: &'a str,
    },
    /// A machine of systemd-nspawn, or another that is registered with systemd-machined.
    Machine {
        /// Its name, with systemd's escapes.
        name: &'a str,
    },
    /// A step of an image's build.
    Build {
        /// Its id.
        id: &'a str,
    },
    /// A job of SLURM, or a step of it.
    Job {
        /// The job's number.
        job: &'a str,
        /// The step: a number, `batch`, `extern` or `interactive`.
        step: Option<&'a str>,
    },
    /// All that a user runs.
    User {
        /// The user's number.
        uid: &'a str,
    },
    /// A login session.
    Session {
        /// Its id.
        id: &'a str,
    },
    /// A service of systemd.
    Service {
        /// The unit's name, with its suffix.
        unit: &'a str,
    },
    /// A scope of systemd.
    Scope {
        /// The unit's name, with its suffix.
        unit: &'a str,
    },
    /// A slice of systemd: what holds others.
    Slice {
        /// The unit's name, with its suffix.
        unit: &'a str,
    },
    /// A mount, swap area or socket of systemd, which hardly ever has a process.
    Mount {
        /// The unit's name, with its suffix.
        unit: &'a str,
    },
    /// None of these; what a program made for itself, or below one of them.
    Other,
}

impl CgroupKind<'_> {
    /// The kind's name, as a metric's label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Pods(_) => "pods",
            Self::Pod(_) | Self::PodmanPod { .. } => "pod",
            Self::Container { .. } | Self::Lxc { .. } | Self::Machine { .. } => "container",
            Self::Monitor { .. } | Self::LxcMonitor { .. } => "monitor",
            Self::Build { .. } => "build",
            Self::Job { .. } => "job",
            Self::User { .. } => "user",
            Self::Session { .. } => "session",
            Self::Service { .. } => "service",
            Self::Scope { .. } => "scope",
            Self::Slice { .. } => "slice",
            Self::Mount { .. } => "mount",
            Self::Other => "other",
        }
    }
}

/// Whose a container is, as far as its path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Maker {
    /// Docker.
    Docker,
    /// containerd, for Kubernetes or for nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// Kata Containers.
    Kata,
    /// The path has an id, and nothing that says whose.
    Unknown,
}

/// How a pod is treated when memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QosClass {
    /// Its limits are its requests.
    Guaranteed,
    /// It may use more than it asked for.
    Burstable,
    /// It asked for nothing.
    BestEffort,
}

impl QosClass {
    /// The class as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// A pod's uid, of a static pod the hash of its file. In a unit's name each `-` of it is `_`: it is
/// printed and compared as the uid.
#[derive(Debug, Clone, Copy)]
pub struct PodUid<'a>(&'a str);

impl<'a> PodUid<'a> {
    /// The uid in this text.
    pub(super) const fn new(text: &'a str) -> Self {
        Self(text)
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + use<'a> {
        let dashes = |byte| if byte == b'_' { b'-' } else { byte };
        self.0.bytes().map(dashes)
    }
}

impl PartialEq for PodUid<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for PodUid<'_> {}

impl PartialEq<str> for PodUid<'_> {
    fn eq(&self, other: &str) -> bool {
        *self == PodUid(other)
    }
}

impl fmt::Display for PodUid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.split('_').enumerate() {
            if at > 0 {
                f.write_str("-")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}
