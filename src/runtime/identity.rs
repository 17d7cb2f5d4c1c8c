//! What a runtime knows about a container.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::cgroup::ContainerName;
use crate::units::Timestamp;

/// Who runs a container, in the order in which they are believed: Docker's containers are also
/// known to the containerd beneath it, which knows less about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runtime {
    /// Docker, by the Engine API.
    Docker,
    /// Podman, by its Docker-like API or its files.
    Podman,
    /// CRI-O, by CRI.
    Crio,
    /// A Kubernetes runtime that is not CRI-O, by CRI.
    Cri,
    /// containerd, by its own API.
    Containerd,
}

impl Runtime {
    /// All of them, the most believed first.
    pub const ALL: [Self; 5] = [
        Self::Docker,
        Self::Podman,
        Self::Crio,
        Self::Cri,
        Self::Containerd,
    ];

    /// The name of the link, for logs and as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Crio => "crio",
            Self::Cri => "cri",
            Self::Containerd => "containerd",
        }
    }

    /// The namespace of a container's aliases, as clients know it. A container of CRI that is not
    /// CRI-O's is containerd's.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Cri => "containerd",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A container as its runtime describes it. What the runtime did not say is `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who says so.
    pub runtime: Runtime,
    /// The id, as it stands in the cgroup's path.
    pub id: String,
    /// The name, without a leading `/`.
    pub name: Option<String>,
    /// Further names.
    pub aliases: Vec<String>,
    /// The runtime's own namespace: containerd's `k8s.io`, `moby`.
    pub runtime_namespace: Option<String>,
    /// What it was made from.
    pub image: Option<Image>,
    /// Labels that the user or the orchestrator gave.
    pub labels: BTreeMap<String, String>,
    /// Annotations (CRI and OCI).
    pub annotations: BTreeMap<String, String>,
    /// Environment variables whose names the settings allow; others are never kept.
    pub env: BTreeMap<String, String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it last started.
    pub started: Option<Timestamp>,
    /// How often it was started again.
    pub restart_count: Option<u64>,
    /// What its health check says; `None` without one.
    pub health: Option<Health>,
    /// Whether it runs.
    pub state: Option<State>,
    /// The pod it is part of.
    pub pod: Option<Pod>,
    /// Whether this is the pod's sandbox (pause) rather than one of its containers.
    pub is_sandbox: bool,
    /// Its first process, in the runtime's PID namespace.
    pub init_pid: Option<u32>,
    /// The cgroup, if the runtime names it: helps where the path bears no id.
    pub cgroup: Option<String>,
    /// The OCI runtime: `runc`, `io.containerd.runsc.v1`, `kata` …
    pub oci_runtime: Option<String>,
    /// The storage driver or snapshotter.
    pub storage_driver: Option<String>,
    /// Where its writable layer is on the node.
    pub writable_layer: Option<PathBuf>,
    /// The networks it is in, with its address there.
    pub networks: BTreeMap<String, Option<String>>,
    /// `host`, `none`, `bridge`, `container:<id>` …, as the runtime calls it.
    pub network_mode: Option<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// As the user wrote it: `localhost/library/busybox:1.36`.
    pub reference: String,
    /// `sha256:…`, if known.
    pub digest: Option<String>,
}

/// What a health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not enough checks yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// Several checks failed.
    Unhealthy,
}

/// Whether a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// It ended.
    Exited {
        /// The exit status; 128 and the signal's number for a signal.
        code: Option<i32>,
        /// Why, in the runtime's words: `OOMKilled`, `Error`, `Completed`.
        reason: Option<String>,
        /// When.
        finished: Option<Timestamp>,
    },
}

/// A pod of Kubernetes or Podman.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace; empty with Podman.
    pub namespace: String,
    /// Its uid or id.
    pub uid: String,
    /// The name of the container within the pod; `None` for the sandbox.
    pub container: Option<String>,
}

impl Identity {
    /// An identity of which only the id is known.
    pub fn new(runtime: Runtime, id: impl Into<String>) -> Self {
        Self {
            runtime,
            id: id.into(),
            name: None,
            aliases: Vec::new(),
            runtime_namespace: None,
            image: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            env: BTreeMap::new(),
            created: None,
            started: None,
            restart_count: None,
            health: None,
            state: None,
            pod: None,
            is_sandbox: false,
            init_pid: None,
            cgroup: None,
            oci_runtime: None,
            storage_driver: None,
            writable_layer: None,
            networks: BTreeMap::new(),
            network_mode: None,
        }
    }

    /// Every name that it is known by: what its runtime calls it, its id, its aliases; each once.
    pub fn all_names(&self) -> impl Iterator<Item = &str> {
        let first = self.name.as_deref().filter(|name| *name != self.id);
        let known = move |alias: &&str| Some(*alias) != first && *alias != self.id;
        let aliases = self.aliases.iter().map(String::as_str).filter(known);
        first.into_iter().chain([self.id.as_str()]).chain(aliases)
    }

    /// The cgroup that the runtime says it gave to the container, where it is told as a path; systemd's
    /// form (`slice:prefix:id`) has the id in it. crun makes another cgroup in the container's, and Podman
    /// tells that one.
    pub fn own_cgroup(&self) -> Option<ContainerName> {
        let path = self.cgroup.as_deref()?;
        if !path.starts_with('/') || path.len() < 2 {
            return None;
        }
        let path = path.strip_suffix("/container").unwrap_or(path);
        Some(ContainerName::from_request(path))
    }

    /// Takes from a less believed description what this one leaves open.
    pub fn fill_from(&mut self, other: &Self) {
        fn fill<T: Clone>(field: &mut Option<T>, other: &Option<T>) {
            if field.is_none() {
                field.clone_from(other);
            }
        }
        fn fill_map<V: Clone>(field: &mut BTreeMap<String, V>, other: &BTreeMap<String, V>) {
            for (key, value) in other {
                field.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        fill(&mut self.name, &other.name);
        fill(&mut self.runtime_namespace, &other.runtime_namespace);
        fill(&mut self.image, &other.image);
        fill(&mut self.created, &other.created);
        fill(&mut self.started, &other.started);
        fill(&mut self.restart_count, &other.restart_count);
        fill(&mut self.health, &other.health);
        fill(&mut self.state, &other.state);
        fill(&mut self.pod, &other.pod);
        fill(&mut self.init_pid, &other.init_pid);
        fill(&mut self.cgroup, &other.cgroup);
        fill(&mut self.oci_runtime, &other.oci_runtime);
        fill(&mut self.storage_driver, &other.storage_driver);
        fill(&mut self.writable_layer, &other.writable_layer);
        fill(&mut self.network_mode, &other.network_mode);
        fill_map(&mut self.labels, &other.labels);
        fill_map(&mut self.annotations, &other.annotations);
        fill_map(&mut self.env, &other.env);
        fill_map(&mut self.networks, &other.networks);
        self.is_sandbox |= other.is_sandbox;
        for alias in &other.aliases {
            if !self.aliases.contains(alias) {
                self.aliases.push(alias.clone());
            }
        }
    }
}
