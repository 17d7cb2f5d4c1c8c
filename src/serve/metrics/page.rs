//! What a scrape shows, and the walk over the rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::encode::{Emit, PIECE_BYTES, Style};
use super::family::{Family, From, Value};
use super::format::Format;
use super::identity::{self, LabelSet};
use super::labels::Labels;
use super::options::{Options, Profile};
use super::table::TABLE;
use super::{Process, budget, workloads};
use crate::cgroup::kind::MetricKind;
use crate::cgroup::plan::Plan;
use crate::cgroup::sockets::SocketStats;
use crate::cgroup::stats::InterfaceStats;
use crate::cgroup::{CgroupPath, ContainerName, Sample, Spec};
use crate::ledger::Workload;
use crate::node::disk_usage::LayerUsage;
use crate::node::{FsTable, MachineInfo, VersionInfo};
use crate::runtime::{Identity, LinkStatus};
use crate::self_metrics::{KINDS, SelfMetrics};
use crate::units::Timestamp;

/// Where the costs of a kind are counted; the last place is for what is always on.
pub(super) fn kind_index(kind: Option<MetricKind>) -> usize {
    kind.map_or(KINDS - 1, |kind| kind as usize)
}

/// A container of a scrape.
#[derive(Debug)]
pub struct Container {
    pub(super) labels: Arc<LabelSet>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) name: ContainerName,
    /// When its cgroup was made.
    pub(super) created_at: Option<Timestamp>,
    pub(super) spec: Arc<Spec>,
    pub(super) sample: Sample,
    pub(super) oom_kills: u64,
    /// What its writable layer takes, as last measured.
    pub(super) layer: Option<Arc<LayerUsage>>,
    /// Whether its network figures are shown under its name; see [`Page::new`].
    pub(super) shows_network: bool,
}

impl Container {
    /// A container with its newest sample, and the labels that were made for it. `created_at` is when it
    /// was noticed, for a container whose spec does not tell when it was made.
    pub fn new(
        labels: Arc<LabelSet>,
        name: ContainerName,
        spec: Arc<Spec>,
        sample: Sample,
        oom_kills: u64,
        created_at: Option<Timestamp>,
    ) -> Self {
        let created_at = spec.created_at.or(created_at);
        Self {
            labels,
            identity: None,
            name,
            created_at,
            spec,
            sample,
            oom_kills,
            layer: None,
            shows_network: false,
        }
    }

    /// With what its writable layer takes, if that has been measured.
    #[must_use]
    pub fn with_layer(mut self, layer: Option<Arc<LayerUsage>>) -> Self {
        self.layer = layer;
        self
    }

    /// Its name.
    pub fn name(&self) -> &ContainerName {
        &self.name
    }

    /// The same container with other labels.
    #[must_use]
    pub fn labelled(mut self, labels: Arc<LabelSet>) -> Self {
        self.labels = labels;
        self
    }

    /// The same container, as its runtime knows it.
    #[must_use]
    pub fn known(mut self, identity: Option<Arc<Identity>>) -> Self {
        self.identity = identity;
        self
    }
}

/// Open files of this process, as its budget sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Held by containers.
    pub used: u64,
    /// How many they may hold.
    pub limit: u64,
}

/// The names that container runtimes told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameCounts {
    /// How many are held.
    pub held: u64,
    /// How many were not taken.
    pub dropped: u64,
}

/// What a page is about, beside the containers.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The machine.
    pub machine: &'a MachineInfo,
    /// Versions.
    pub version: &'a VersionInfo,
    /// cgauge's own counters.
    pub own: &'a SelfMetrics,
    /// What is read, and what that has cost.
    pub plan: &'a Plan,
}

/// Everything that a scrape shows.
#[derive(Debug)]
pub struct Page<'a> {
    pub(super) options: &'a Options,
    pub(super) containers: Vec<Container>,
    pub(super) machine: &'a MachineInfo,
    pub(super) machine_labels: Labels,
    pub(super) version: &'a VersionInfo,
    pub(super) own: &'a SelfMetrics,
    pub(super) plan: &'a Plan,
    pub(super) page_size: u64,
    /// Containers left out for the budget.
    pub(super) dropped: u64,
    /// The file systems of the node, if they have been measured.
    pub filesystems: Option<Arc<FsTable>>,
    /// Whether all containers are known by now.
    pub complete: bool,
    /// Containers left out because they were to be read for this scrape and were not in time.
    pub late: u64,
    /// Open files.
    pub descriptors: Descriptors,
    /// The process, if it may be looked at.
    pub process: Option<Process>,
    /// Totals of workloads, by name; see [`set_workloads`](Self::set_workloads).
    pub(super) workloads: Vec<Workload>,
    /// How the links to container runtimes are doing.
    pub links: Vec<Arc<LinkStatus>>,
    /// How many names there are.
    pub names: Option<NameCounts>,
    /// What runtimes know of their containers, and the labels that say which they are.
    pub(super) of_runtimes: Vec<(Labels, Arc<Identity>)>,
}

impl<'a> Page<'a> {
    /// A page about `containers`.
    ///
    /// Several containers may share a network namespace (those of a pod). Its figures are shown once,
    /// so that sums are right: under the container that lies highest in the tree, the first by name
    /// among equals. Those of the host's own namespace are shown under `/` alone. An option brings
    /// back the old way: under each.
    ///
    /// The lean profile is about containers that have none below them, and about those of runtimes. If the page is to have more
    /// series than [`Options::max_series`] says, whole containers are left out when it is encoded:
    /// the deepest first, since the figures of those above them contain theirs, and of equally deep
    /// ones the last by name first, so that the same ones stay from scrape to scrape.
    pub fn new(mut containers: Vec<Container>, of: Sources<'a>, options: &'a Options) -> Self {
        containers.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if options.profile == Profile::Lean {
            retain_leaves(&mut containers);
        }
        choose_network(&mut containers, options.network_per_container);
        let mut machine_labels = Labels::default();
        let ids = &of.machine.ids;
        for (name, id) in [
            ("boot_id", &ids.boot_id),
            ("machine_id", &ids.machine_id),
            ("system_uuid", &ids.system_uuid),
        ] {
            machine_labels.push(name, &id.as_deref().unwrap_or(""));
        }
        Self {
            options,
            containers,
            machine: of.machine,
            machine_labels,
            version: of.version,
            own: of.own,
            plan: of.plan,
            page_size: procfs::page_size(),
            dropped: 0,
            filesystems: None,
            complete: true,
            late: 0,
            descriptors: Descriptors::default(),
            process: None,
            links: Vec::new(),
            names: None,
            of_runtimes: Vec::new(),
            workloads: Vec::new(),
        }
    }

    /// Shows totals of workloads: those with more than one container or with an OOM kill, at most a
    /// thousand. What containers that are still there have used is to be in them.
    pub fn set_workloads(&mut self, workloads: Vec<Workload>) {
        self.workloads = workloads::shown(workloads);
    }

    /// Also shows what runtimes know of these containers, whether they have a cgroup or not.
    pub fn show_runtimes_containers(&mut self, containers: Vec<Arc<Identity>>) {
        let labelled = |identity: Arc<Identity>| (identity::runtime_labels(&identity), identity);
        self.of_runtimes = containers.into_iter().map(labelled).collect();
    }

    /// The page as bytes of a format.
    pub fn encode(&mut self, format: Format) -> Vec<u8> {
        let mut whole = Vec::new();
        self.write(format, &mut |piece| {
            whole.append(piece);
            true
        });
        whole
    }

    /// The page as bytes of a format, in pieces: `to` takes each out of the buffer that it is given, and says
    /// whether it wants more.
    pub fn write(&mut self, format: Format, to: &mut dyn FnMut(&mut Vec<u8>) -> bool) {
        if let Some(most) = self.options.max_series {
            self.dropped = budget::apply(self, most);
        }
        let style = self.style(format);
        let scrape = &self.own.scrape;
        let mut bytes = 0;
        let mut to = |piece: &mut Vec<u8>| {
            bytes += piece.len() as u64;
            to(piece)
        };
        let (mut series, mut by_kind) = (0, [0; KINDS]);
        let mut out = Vec::new();
        for family in self.families() {
            let begun = Instant::now();
            let Some(found) = self.family(&mut out, style, family, &mut to) else {
                return;
            };
            series += found;
            let kind = kind_index(family.kind);
            by_kind[kind] += found;
            scrape.kinds[kind]
                .encode_ns
                .add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if out.len() >= PIECE_BYTES && !to(&mut out) {
                return;
            }
        }
        for (kind, series) in scrape.kinds.iter().zip(by_kind) {
            kind.series.set(series);
        }
        if format == Format::OpenMetrics {
            out.extend_from_slice(b"# EOF\n");
        }
        to(&mut out);
        scrape.series.set(series);
        scrape.bytes.set(bytes);
    }

    /// The rows that are shown.
    pub(super) fn families(&self) -> impl Iterator<Item = &'static Family> + use<'_> {
        TABLE.iter().filter(|family| {
            (family.kind).is_none_or(|kind| self.options.kinds.contains(kind))
                && self.options.profile.has(family.name)
        })
    }

    pub(super) fn style(&self, format: Format) -> Style {
        Style {
            format,
            timestamps: self.options.timestamps,
            created: self.options.created,
        }
    }

    /// Writes one family; gives the number of its series. `None` if nobody wants more.
    fn family(
        &self,
        out: &mut Vec<u8>,
        style: Style,
        family: &Family,
        to: &mut dyn FnMut(&mut Vec<u8>) -> bool,
    ) -> Option<u64> {
        let none = Labels::default();
        let mut emit = Emit::new(out, style, family, &none);
        match family.from {
            From::Own(figure) => emit.sample(&[], figure(self)),
            From::Page(write) => write(self, &mut emit),
            _ => {
                for container in &self.containers {
                    self.container(family, container, &mut emit);
                    if !emit.pass_on(to) {
                        return None;
                    }
                }
            }
        }
        Some(emit.finish())
    }

    /// Writes what a family has of one container.
    pub(super) fn container<'s>(
        &'s self,
        family: &Family,
        container: &'s Container,
        emit: &mut Emit<'s>,
    ) {
        emit.of_container(container);
        let sample = &container.sample;
        match family.from {
            From::Count(figure) => emit.sample(&[], figure(sample).map(Value::Count)),
            From::Nanos(figure) => emit.sample(&[], figure(sample).map(Value::Nanos)),
            From::Container(figure) => emit.sample(&[], figure(container)),
            From::Several(write) => write(self, container, emit),
            From::Own(_) | From::Page(_) => {}
        }
    }

    /// Whether CPU time is shown by CPU.
    pub(super) fn shows_each_cpu(&self) -> bool {
        self.options.kinds.contains(MetricKind::PerCpu) && !self.sums_up()
    }

    /// Whether devices and interfaces are summed up.
    pub(super) fn sums_up(&self) -> bool {
        self.options.profile == Profile::Lean
    }

    /// The interfaces that are shown under `container`.
    pub(super) fn interfaces<'c>(
        &'c self,
        container: &'c Container,
    ) -> &'c [(Arc<str>, InterfaceStats)] {
        let network = (self.network(container)).and_then(|shown| shown.sample.network.as_ref());
        network.map_or(&[], |network| &network.interfaces)
    }

    /// The sockets that are shown under `container`.
    pub(super) fn sockets<'c>(&'c self, container: &'c Container) -> Option<&'c SocketStats> {
        self.network(container)?.sample.sockets.as_deref()
    }

    /// The container whose network figures are shown under `container`: itself, or `/` if it is in the
    /// host's namespace, whose figures only `/` has.
    fn network<'c>(&'c self, container: &'c Container) -> Option<&'c Container> {
        if !container.shows_network {
            return None;
        }
        if container.sample.network.as_ref()?.host {
            // Names are in order: it comes first.
            self.containers.first().filter(|first| first.name.is_root())
        } else {
            Some(container)
        }
    }
}

/// Leaves only containers that have none below them, and those of runtimes without what is inside of
/// them. They are in the order of names, but names are bytes: `/a-b` comes between `/a` and `/a/c`.
fn retain_leaves(containers: &mut Vec<Container>) {
    let place = |container: &Container| {
        let path = CgroupPath::of(&container.name);
        (path.container.is_some(), path.own_container().is_some())
    };
    containers.retain(|container| !matches!(place(container), (true, false)));
    let parents: HashSet<Vec<u8>> = containers
        .iter()
        .filter_map(|container| {
            let name = container.name.as_bytes();
            let slash = name.iter().rposition(|&byte| byte == b'/')?;
            let parent = name.get(..slash)?;
            (name.len() > 1).then(|| if parent.is_empty() { b"/" } else { parent }.to_vec())
        })
        .collect();
    containers.retain(|container| !parents.contains(container.name.as_bytes()));
}

/// How deep below `/` a container lies.
pub(super) fn depth(name: &ContainerName) -> usize {
    if name.is_root() {
        return 0;
    }
    name.as_bytes().iter().filter(|&&byte| byte == b'/').count()
}

fn choose_network(containers: &mut [Container], under_each: bool) {
    // A pod's sandbox is there for its network; a guest in another container's network has none.
    let rank = |at: usize, container: &Container| {
        let identity = container.identity.as_deref();
        let is_sandbox = identity.is_some_and(|identity| identity.is_sandbox);
        let is_guest = identity.is_some_and(Identity::is_network_guest);
        (!is_sandbox, is_guest, depth(&container.name), at)
    };
    let mut shown: HashMap<u64, (bool, bool, usize, usize)> = HashMap::new();
    for (at, container) in containers.iter_mut().enumerate() {
        let Some(network) = &container.sample.network else {
            continue;
        };
        if under_each || network.host {
            container.shows_network = under_each || container.name.is_root();
            continue;
        }
        let rank = rank(at, container);
        let best = shown.entry(network.namespace).or_insert(rank);
        *best = (*best).min(rank);
    }
    for (.., at) in shown.into_values() {
        if let Some(container) = containers.get_mut(at) {
            container.shows_network = true;
        }
    }
}
