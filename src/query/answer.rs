//! Questions and answers about containers.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Range, Series};
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::node::disk_usage::LayerUsage;
use crate::runtime::Identity;
use crate::units::Timestamp;

/// What to tell of a container, in the manner of API v1: samples by number and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfoRequest {
    /// The newest so many samples; all if `None`.
    pub num_stats: Option<usize>,
    /// Samples not taken before this time.
    pub start: Option<Timestamp>,
    /// Samples not taken after this time.
    pub end: Option<Timestamp>,
}

impl Default for InfoRequest {
    fn default() -> Self {
        Self {
            num_stats: Some(60),
            start: None,
            end: None,
        }
    }
}

impl InfoRequest {
    /// As a range of the history.
    pub fn range(&self) -> Range {
        Range {
            start: self.start,
            end: self.end,
            newest: self.num_stats,
        }
    }
}

/// What to tell of containers, in the manner of API v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOptions {
    /// The newest so many samples; all if `None`.
    pub count: Option<usize>,
    /// Also of all containers below.
    pub recursive: bool,
    /// Poll what was polled longer ago than this, and wait for it.
    pub max_age: Option<Duration>,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            count: Some(64),
            recursive: false,
            max_age: None,
        }
    }
}

/// What is known about a container: who it is, what it may use and what it used.
#[derive(Debug, Clone)]
pub struct ContainerInfo {
    /// Its cgroup path.
    pub name: ContainerName,
    /// Tells it apart from others that had or will have its name.
    pub incarnation: u64,
    /// Its direct children, by name. Empty where they were not asked for.
    pub subcontainers: Vec<ContainerName>,
    /// Its settings.
    pub spec: Arc<Spec>,
    /// OOM kills of processes in it since it was noticed.
    pub oom_kills: u64,
    /// What its writable layer took at the last few measurements, oldest first; empty if it was not
    /// measured.
    pub layer: Vec<Arc<LayerUsage>>,
    /// Who it is, as its runtime told; `None` if it is no runtime's, or none has told.
    pub identity: Option<Arc<Identity>>,
    /// Whether its processes run in a sandbox elsewhere: its samples are what the runtime says, if it does;
    /// those of its cgroup would say 0.
    pub is_elsewhere: bool,
    /// Its samples, oldest first.
    pub stats: Series,
    /// The newest sample, even if `stats` does not have it. `None` before the first poll.
    pub latest: Option<Sample>,
}
