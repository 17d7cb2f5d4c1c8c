//! Who a container is, in the words that clients know.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::query::ContainerInfo;
use crate::runtime::{Health, Identity, Pod, Runtime};
use crate::units::Timestamp;
use crate::wire::object::objects;
use crate::wire::shared::history::Point;

/// The label that tells how often a container was started again, if ever: no label of the container's
/// own.
pub const RESTART_COUNT: &str = "restartcount";

/// All names of a container: as its runtime calls it, its id, and what else it is called.
#[derive(Debug, Clone, Copy)]
pub struct Aliases<'a>(pub &'a Identity);

impl Serialize for Aliases<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.all_names())
    }
}

/// Labels, with [`RESTART_COUNT`] among them if there was a restart.
#[derive(Debug, Clone)]
pub struct Labels<'a>(BTreeMap<&'a str, Cow<'a, str>>);

impl<'a> Labels<'a> {
    /// The labels of a container; `None` if it has none.
    pub fn of(identity: &'a Identity) -> Option<Self> {
        let own = identity.labels.iter();
        let mut labels: BTreeMap<_, _> = own
            .map(|(key, value)| (key.as_str(), Cow::from(value.as_str())))
            .collect();
        if let Some(count) = identity.restart_count.filter(|&count| count > 0) {
            labels.insert(RESTART_COUNT, Cow::from(count.to_string()));
        }
        (!labels.is_empty()).then_some(Self(labels))
    }
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

/// The allowed environment of a container.
#[derive(Debug, Clone, Copy)]
pub struct Envs<'a>(&'a Identity);

impl<'a> Envs<'a> {
    /// The environment of a container; `None` if nothing of it is allowed, or there.
    pub fn of(identity: &'a Identity) -> Option<Self> {
        (!identity.env.is_empty()).then_some(Self(identity))
    }
}

impl Serialize for Envs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.0.env.iter();
        let shown: BTreeMap<_, _> = all
            .map(|(key, value)| (env_key(self.0.runtime, key), value))
            .collect();
        serializer.collect_map(shown)
    }
}

/// The name of an environment variable as clients know it: that of Docker and Podman in small letters.
pub fn env_key(runtime: Runtime, key: &str) -> Cow<'_, str> {
    match runtime {
        Runtime::Docker | Runtime::Podman => Cow::from(key.to_lowercase()),
        _ => Cow::from(key),
    }
}

/// When the container was made: as its runtime told, else its cgroup.
pub fn created(info: &ContainerInfo) -> Option<Timestamp> {
    let told = info.identity.as_ref().and_then(|identity| identity.created);
    told.or(info.spec.created_at)
}

/// When the container was started, if its runtime told.
pub fn started(info: &ContainerInfo) -> Option<Timestamp> {
    info.identity.as_ref()?.started
}

/// What the container was made from.
pub fn image(info: &ContainerInfo) -> Option<&str> {
    let image = info.identity.as_ref()?.image.as_ref()?;
    Some(image.reference.as_str()).filter(|reference| !reference.is_empty())
}

/// The name by which a person means it: within its pod, if it is in one.
fn short_name(identity: &Identity) -> Option<&str> {
    let in_pod = pod(identity).and_then(|pod| pod.container.as_deref());
    in_pod.or(identity.name.as_deref())
}

fn pod(identity: &Identity) -> Option<&Pod> {
    (identity.pod.as_ref()).filter(|pod| !pod.name.is_empty())
}

/// Why a container has no samples though it has a cgroup.
pub fn no_stats_reason(info: &ContainerInfo) -> Option<&'static str> {
    (info.is_elsewhere && info.latest.is_none()).then_some(
        "it runs in a sandbox of its pod, outside of this cgroup: see the figures of the pod",
    )
}

/// What the health check says now: shown with the newest sample alone, since nobody knows what it
/// said before.
pub fn health(point: Point<'_>) -> Option<Health> {
    let newest = point.info.latest.as_ref()?.timestamp;
    let identity = point.info.identity.as_ref()?;
    identity.health.filter(|_| point.sample.timestamp == newest)
}

objects! {
    /// Who a container is, in short: as the ledger's lives have it.
    pub struct Called<'a>(&'a Identity) |identity| {
        "name" => short_name(identity),
        "id" => Some(identity.id.as_str()),
        "image" => identity.image.as_ref().map(|image| image.reference.as_str()),
        "pod" => pod(identity).map(|pod| pod.name.as_str()),
        "namespace" => pod(identity).map(|pod| pod.namespace.as_str()).filter(|name| !name.is_empty()),
    }

    /// What the health check says.
    pub struct HealthState(Option<Health>) |health| {
        "status" => health.map(|health| match health {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }),
    }
}
