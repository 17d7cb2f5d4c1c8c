//! Which runtimes are asked, and where.

use std::path::PathBuf;
use std::time::Duration;

use super::{Endpoint, NameLimits, Runtime};

/// Where Docker, Podman, containerd and CRI-O listen unless told otherwise.
const DOCKER: &str = "/var/run/docker.sock";
const PODMAN: &str = "/var/run/podman/podman.sock";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
const CRIO: &str = "/var/run/crio/crio.sock";

/// Where Podman keeps its containers, for when it does not listen.
const PODMAN_STORAGE: &str = "/var/lib/containers/storage";

/// Where users have their sockets: `/run/user/<uid>`.
const USERS: &str = "/run/user";

/// One runtime's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// It is not asked.
    Never,
    /// At its usual place, if something is there: not to be there is no failure.
    Usual(Endpoint),
    /// There, as the settings say: not to be there is a failure.
    At(Endpoint),
}

impl Ask {
    /// Where, if anywhere.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Never => None,
            Self::Usual(endpoint) | Self::At(endpoint) => Some(endpoint),
        }
    }

    fn usual(path: &str) -> Self {
        Self::Usual(Endpoint::Unix(PathBuf::from(path)))
    }
}

/// Which runtimes are asked, and what is kept of their answers. The defaults ask every runtime that
/// listens at its usual place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Docker's Engine API.
    pub docker: Ask,
    /// Podman's API.
    pub podman: Ask,
    /// Where Podman keeps its containers; read while its API is not there. `None`: never.
    pub podman_storage: Option<PathBuf>,
    /// containerd's own API.
    pub containerd: Ask,
    /// The namespaces of containerd that are looked at; empty: all.
    pub containerd_namespaces: Vec<String>,
    /// CRI, as containerd and others serve it.
    pub cri: Ask,
    /// CRI-O, by CRI.
    pub crio: Ask,
    /// Where the directories of users are, with the sockets of their own Docker and Podman; `None`:
    /// those are not asked.
    pub users: Option<PathBuf>,
    /// Environment variables that start with one of these are kept; empty: none is.
    pub env_prefixes: Vec<String>,
    /// How many names are kept, and how long.
    pub names: NameLimits,
    /// How long a question may take.
    pub timeout: Duration,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self {
            docker: Ask::usual(DOCKER),
            podman: Ask::usual(PODMAN),
            podman_storage: Some(PODMAN_STORAGE.into()),
            containerd: Ask::usual(CONTAINERD),
            containerd_namespaces: Vec::new(),
            cri: Ask::usual(CONTAINERD),
            crio: Ask::usual(CRIO),
            users: Some(USERS.into()),
            env_prefixes: Vec::new(),
            names: NameLimits::default(),
            timeout: Duration::from_secs(10),
        }
    }
}

impl RuntimeSettings {
    /// No runtime is asked.
    pub fn none() -> Self {
        Self {
            docker: Ask::Never,
            podman: Ask::Never,
            podman_storage: None,
            containerd: Ask::Never,
            cri: Ask::Never,
            crio: Ask::Never,
            users: None,
            ..Self::default()
        }
    }

    /// Where a runtime is asked.
    pub fn of(&self, runtime: Runtime) -> &Ask {
        match runtime {
            Runtime::Docker => &self.docker,
            Runtime::Podman => &self.podman,
            Runtime::Containerd => &self.containerd,
            Runtime::Cri => &self.cri,
            Runtime::Crio => &self.crio,
        }
    }

    /// What is odd about them, for the log.
    pub fn warnings(&self) -> Vec<String> {
        let far = Runtime::ALL.into_iter().filter_map(|runtime| {
            let endpoint = self.of(runtime).endpoint().filter(|at| !at.is_local())?;
            Some(format!(
                "{runtime} is asked at {endpoint}, which is another machine: its containers are not this node's, and \
                 what it says is not encrypted"
            ))
        });
        far.collect()
    }

    /// Whether an environment variable of this name is kept.
    pub fn keeps_env(&self, name: &str) -> bool {
        keeps_env(&self.env_prefixes, name)
    }
}

/// Whether an environment variable of this name is kept.
pub fn keeps_env(prefixes: &[String], name: &str) -> bool {
    prefixes
        .iter()
        .any(|prefix| !prefix.is_empty() && name.starts_with(prefix.as_str()))
}
