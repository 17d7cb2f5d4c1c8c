//! The labels that say who a container is, and the families that a runtime's knowledge fills.
//!
//! Labels of one container are made once and used again until its identity changes: see
//! [`LabelCache`]. Of a container's own labels, two that become the same label name count as the one
//! whose key comes first; long values are cut, and no container has more than [`MAX_LABELS`] of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;

use super::family::{Family, From, Value, counter, gauge};
use super::labels::Labels;
use super::page::{Container, Page};
use crate::cgroup::{CgroupKind, CgroupPath, ContainerName};
use crate::runtime::{Health, Identity, Isolation, Pod, State};
use crate::units::NS_PER_SEC;
use crate::wire::shared::identity::{RESTART_COUNT, env_key};

/// The most labels of its own that a container has in metrics.
pub const MAX_LABELS: usize = 128;

/// The longest value of a label that a container or its runtime made up, in bytes.
pub const MAX_LABEL_VALUE: usize = 1_024;

/// Which of the containers' own labels become labels of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelChoice {
    /// All of them.
    pub all: bool,
    /// Otherwise those of these names. Annotations of these names are labels of
    /// `cgauge_container_info` in any case.
    pub allowed: Vec<String>,
}

impl Default for LabelChoice {
    fn default() -> Self {
        Self {
            all: true,
            allowed: Vec::new(),
        }
    }
}

impl LabelChoice {
    fn names(&self, key: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == key)
    }
}

/// The labels of one container.
#[derive(Debug, Default)]
pub struct LabelSet {
    /// Of every sample.
    pub(super) base: Labels,
    /// Of `cgauge_container_info` beyond those.
    pub(super) info: Vec<(Cow<'static, str>, String)>,
}

/// Labels by name, the first of a name.
type Sorted<'a> = BTreeMap<Cow<'static, str>, Cow<'a, str>>;

impl LabelSet {
    /// The labels of the container of this name. `pod` is the pod of Kubernetes that it is, or is in.
    pub fn of(
        name: &ContainerName,
        identity: Option<&Identity>,
        pod: Option<&Pod>,
        choice: &LabelChoice,
    ) -> Self {
        let path = CgroupPath::of(name);
        let mut base: Sorted<'_> = BTreeMap::new();
        let mut info: Sorted<'_> = BTreeMap::new();
        base.insert("id".into(), name.to_string().into());
        info.insert("kind".into(), path.kind.as_str().into());
        if let Some(qos) = path.qos {
            info.insert("qos".into(), qos.as_str().into());
        }
        if let Some(uid) = path.pod {
            info.insert("pod_uid".into(), uid.to_string().into());
        }
        if let Some(pod) = pod.filter(|_| is_of_pod(&path)) {
            put(&mut base, "pod", &pod.name);
            put(&mut base, "namespace", &pod.namespace);
            put(
                &mut base,
                "container",
                pod.container.as_deref().unwrap_or(""),
            );
        }
        if let Some(identity) = identity {
            put(&mut base, "name", identity.all_names().next().unwrap_or(""));
            if let Some(image) = &identity.image {
                put(&mut base, "image", &image.reference);
                put(
                    &mut info,
                    "image_digest",
                    image.digest.as_deref().unwrap_or(""),
                );
            }
            put(&mut info, "container_id", &identity.id);
            put(&mut info, "runtime", identity.runtime.as_str());
            if let Some(isolation) = identity.isolation() {
                put(&mut info, "isolation", isolation_name(isolation));
            }
            put(
                &mut info,
                "oci_runtime",
                identity.oci_runtime.as_deref().unwrap_or(""),
            );
            own_labels(identity, choice, &mut base);
            for (key, value) in &identity.annotations {
                if choice.names(key) && info.len() < MAX_LABELS {
                    put_own(&mut info, "container_annotation_", key, value);
                }
            }
        }
        let mut labels = Labels::default();
        for (name, value) in base {
            labels.push(name, &value);
        }
        Self {
            base: labels,
            info: info
                .into_iter()
                .map(|(name, value)| (name, value.into_owned()))
                .collect(),
        }
    }
}

fn isolation_name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::UserKernel => "kernel",
        Isolation::VirtualMachine => "machine",
    }
}

/// Whether the labels of the pod belong to this cgroup: the pod's own, or that of a container in it.
fn is_of_pod(path: &CgroupPath<'_>) -> bool {
    matches!(path.kind, CgroupKind::Pod(_) | CgroupKind::Container { .. })
}

/// The labels and the allowed environment of a container.
fn own_labels<'a>(identity: &'a Identity, choice: &LabelChoice, into: &mut Sorted<'a>) {
    let fixed = into.len();
    for (key, value) in &identity.labels {
        if into.len() - fixed < MAX_LABELS && (choice.all || choice.names(key)) {
            put_own(into, "container_label_", key, value);
        }
    }
    if let Some(count) = identity.restart_count.filter(|&count| count > 0)
        && choice.names(RESTART_COUNT)
    {
        into.insert(
            "container_label_restartcount".into(),
            count.to_string().into(),
        );
    }
    for (key, value) in &identity.env {
        if into.len() - fixed < MAX_LABELS {
            let key = env_key(identity.runtime, key);
            put_own(into, "container_env_", &key, value);
        }
    }
}

/// A label whose value is not empty: Prometheus takes an empty one for none.
fn put<'a>(into: &mut Sorted<'a>, name: &'static str, value: &'a str) {
    if !value.is_empty() {
        into.insert(name.into(), cut(value).into());
    }
}

/// A label under a name that somebody made up.
fn put_own<'a>(into: &mut Sorted<'a>, prefix: &str, key: &str, value: &'a str) {
    if value.is_empty() {
        return;
    }
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name = String::with_capacity(prefix.len() + key.len());
    name.push_str(prefix);
    name.extend(cut(key).chars().map(allowed));
    into.entry(name.into()).or_insert_with(|| cut(value).into());
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_LABEL_VALUE))
        .unwrap_or(text)
}

/// Labels made before, while they are true: a container's series change once, when its name comes.
#[derive(Debug, Default)]
pub struct LabelCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    round: u64,
    known: HashMap<ContainerName, Entry>,
}

#[derive(Debug)]
struct Entry {
    identity: Option<Arc<Identity>>,
    pod: Option<Pod>,
    labels: Arc<LabelSet>,
    round: u64,
}

impl LabelCache {
    /// The labels of many containers: `ask` is given a function that has them one by one. What was
    /// not asked for is forgotten.
    pub fn round<T>(
        &self,
        choice: &LabelChoice,
        ask: impl FnOnce(
            &mut dyn FnMut(&ContainerName, Option<&Arc<Identity>>, Option<&Pod>) -> Arc<LabelSet>,
        ) -> T,
    ) -> T {
        let mut cached = self.0.lock();
        let Cached { round, known } = &mut *cached;
        *round += 1;
        let mut look =
            |name: &ContainerName, identity: Option<&Arc<Identity>>, pod: Option<&Pod>| {
                if let Some(entry) = known.get_mut(name)
                    && same(entry.identity.as_ref(), identity)
                    && entry.pod.as_ref() == pod
                {
                    entry.round = *round;
                    return Arc::clone(&entry.labels);
                }
                let labels = Arc::new(LabelSet::of(name, identity.map(|arc| &**arc), pod, choice));
                let entry = Entry {
                    identity: identity.cloned(),
                    pod: pod.cloned(),
                    labels: Arc::clone(&labels),
                    round: *round,
                };
                known.insert(name.clone(), entry);
                labels
            };
        let told = ask(&mut look);
        let now = *round;
        known.retain(|_, entry| entry.round == now);
        told
    }
}

fn same(a: Option<&Arc<Identity>>, b: Option<&Arc<Identity>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// What the runtime alone knows of a container that has a cgroup.
pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "cgauge_container_info",
        "1 for each container, with all labels that are known of it.",
        From::Several(|_, c, emit| {
            let labels = &c.labels.info;
            let labels: Vec<(&str, &dyn Display)> = labels
                .iter()
                .map(|(name, value)| (&**name, value as &dyn Display))
                .collect();
            emit.sample(&labels, Some(Value::Count(1)));
        }),
    ),
    gauge(
        "container_health_state",
        "1 if the health check of the container passes, 0 if it does not (yet); absent without one.",
        From::Container(|c| {
            let health = c.identity.as_ref()?.health?;
            Some(Value::Count(u64::from(health == Health::Healthy)))
        }),
    ),
];

/// What the runtime knows of its containers, whether they have a cgroup or not.
pub(super) const RUNTIME: &[Family] = &[
    gauge(
        "cgauge_container_running",
        "Whether a container runs: 1, or 0 once it has ended, for as long as ended ones are shown.",
        From::Page(|p, emit| {
            each(p, emit, |identity| match identity.state.as_ref()? {
                State::Running | State::Paused => Some(1),
                State::Exited { .. } => Some(0),
                State::Created => None,
            });
        }),
    ),
    gauge(
        "cgauge_container_exit_code",
        "Exit code of a container that has ended; 128 and the number of a signal that killed it.",
        From::Page(|p, emit| {
            for (labels, identity) in &p.of_runtimes {
                if let Some(State::Exited {
                    code: Some(code),
                    reason,
                    ..
                }) = &identity.state
                {
                    emit.of(labels);
                    let reason = reason.as_deref().filter(|reason| !reason.is_empty());
                    let reason = reason.map(|reason| ("reason", reason));
                    let value = Some(Value::Signed(i64::from(*code)));
                    match &reason {
                        Some((name, reason)) => emit.sample(&[(name, reason)], value),
                        None => emit.sample(&[], value),
                    }
                }
            }
        }),
    ),
    gauge(
        "cgauge_container_finished_time_seconds",
        "Unix time at which a container ended.",
        From::Page(|p, emit| {
            each(p, emit, |identity| match identity.state.as_ref()? {
                State::Exited { finished, .. } => {
                    u64::try_from((*finished)?.0).ok().map(|ns| ns / NS_PER_SEC)
                }
                _ => None,
            });
        }),
    ),
    counter(
        "cgauge_container_restarts_total",
        "How often a container was started again, as its runtime counts.",
        From::Page(|p, emit| each(p, emit, |identity| identity.restart_count)),
    ),
];

/// One figure of each container of a runtime.
fn each<'a>(
    page: &'a Page<'_>,
    emit: &mut super::encode::Emit<'a>,
    figure: fn(&Identity) -> Option<u64>,
) {
    for (labels, identity) in &page.of_runtimes {
        emit.of(labels);
        emit.sample(&[], figure(identity).map(Value::Count));
    }
}

/// The labels of the families that do not need a cgroup.
pub(super) fn runtime_labels(identity: &Identity) -> Labels {
    let mut sorted: Sorted<'_> = BTreeMap::new();
    put(&mut sorted, "container_id", &identity.id);
    put(&mut sorted, "runtime", identity.runtime.as_str());
    put(
        &mut sorted,
        "name",
        identity.all_names().next().unwrap_or(""),
    );
    if let Some(image) = &identity.image {
        put(&mut sorted, "image", &image.reference);
    }
    if let Some(pod) = &identity.pod {
        put(&mut sorted, "pod", &pod.name);
        put(&mut sorted, "namespace", &pod.namespace);
        put(
            &mut sorted,
            "container",
            pod.container.as_deref().unwrap_or(""),
        );
    }
    let mut labels = Labels::default();
    for (name, value) in sorted {
        labels.push(name, &value);
    }
    labels
}

impl Container {
    /// When it was started, as its runtime told.
    pub(super) fn started_at(&self) -> Option<crate::units::Timestamp> {
        self.identity.as_ref()?.started
    }
}

#[cfg(test)]
mod tests;
