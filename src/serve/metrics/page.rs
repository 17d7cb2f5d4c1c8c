//! What a scrape shows, and the walk over the rows.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::encode::Emit;
use super::family::{Family, From, Value};
use super::labels::Labels;
use super::{Process, cpu, io, machine, memory, network, own, pressure, process, spec};
use crate::cgroup::plan::Plan;
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::node::{MachineInfo, VersionInfo};
use crate::self_metrics::SelfMetrics;
use crate::units::Timestamp;

/// The format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A container of a scrape.
#[derive(Debug)]
pub struct Container {
    pub(super) labels: Labels,
    pub(super) name: ContainerName,
    pub(super) created_at: Option<Timestamp>,
    pub(super) spec: Arc<Spec>,
    pub(super) sample: Sample,
    pub(super) oom_kills: u64,
    /// Whether its network figures are shown under its name; see [`Page::new`].
    pub(super) shows_network: bool,
}

impl Container {
    /// A container with its newest sample. `created_at` is when it was noticed, for a container
    /// whose spec does not tell when it was made.
    pub fn new(
        name: ContainerName,
        spec: Arc<Spec>,
        sample: Sample,
        oom_kills: u64,
        created_at: Option<Timestamp>,
    ) -> Self {
        let mut labels = Labels::default();
        labels.push("id", &name);
        let created_at = spec.created_at.or(created_at);
        Self {
            labels,
            name,
            created_at,
            spec,
            sample,
            oom_kills,
            shows_network: false,
        }
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

/// Everything that a scrape shows.
#[derive(Debug)]
pub struct Page<'a> {
    pub(super) containers: Vec<Container>,
    pub(super) machine: &'a MachineInfo,
    pub(super) machine_labels: Labels,
    pub(super) version: &'a VersionInfo,
    pub(super) own: &'a SelfMetrics,
    pub(super) plan: &'a Plan,
    /// Whether all containers are known by now.
    pub complete: bool,
    /// Containers that were to be polled for this scrape and were not in time.
    pub stale: u64,
    /// Open files.
    pub descriptors: Descriptors,
    /// The process, if it may be looked at.
    pub process: Option<Process>,
}

impl<'a> Page<'a> {
    /// A page about `containers`.
    ///
    /// Several containers may share a network namespace (those of a pod). Its figures are shown once,
    /// so that sums are right: under the container that lies highest in the tree, the first by name
    /// among equals. Those of the host's own namespace are shown under `/` alone.
    pub fn new(
        mut containers: Vec<Container>,
        machine: &'a MachineInfo,
        version: &'a VersionInfo,
        own: &'a SelfMetrics,
        plan: &'a Plan,
    ) -> Self {
        containers.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        choose_network(&mut containers);
        let mut machine_labels = Labels::default();
        let ids = &machine.ids;
        for (name, id) in [
            ("boot_id", &ids.boot_id),
            ("machine_id", &ids.machine_id),
            ("system_uuid", &ids.system_uuid),
        ] {
            machine_labels.push(name, &id.as_deref().unwrap_or(""));
        }
        Self {
            containers,
            machine,
            machine_labels,
            version,
            own,
            plan,
            complete: true,
            stale: 0,
            descriptors: Descriptors::default(),
            process: None,
        }
    }

    /// The page as text.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * 1024 + self.containers.len() * BYTES_PER_CONTAINER);
        let none = Labels::default();
        for family in TABLE.iter() {
            let mut emit = Emit::new(&mut out, family, &none);
            match family.from {
                From::Count(figure) => self.each(&mut emit, |container| {
                    figure(&container.sample).map(Value::Count)
                }),
                From::Nanos(figure) => self.each(&mut emit, |container| {
                    figure(&container.sample).map(Value::Nanos)
                }),
                From::Container(figure) => self.each(&mut emit, figure),
                From::Several(write) => {
                    for container in &self.containers {
                        emit.of(&container.labels);
                        write(self, container, &mut emit);
                    }
                }
                From::Own(figure) => emit.sample(&[], figure(self)),
                From::Page(write) => write(self, &mut emit),
            }
        }
        out
    }

    fn each<'s>(&'s self, emit: &mut Emit<'s>, figure: impl Fn(&Container) -> Option<Value>) {
        for container in &self.containers {
            emit.of(&container.labels);
            emit.sample(&[], figure(container));
        }
    }
}

/// What a container takes of a page, about: the first guess of the buffer's size.
const BYTES_PER_CONTAINER: usize = 6 * 1024;

/// All families, by name.
pub(super) static TABLE: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let groups: [&[Family]; 10] = [
        cpu::FAMILIES,
        memory::FAMILIES,
        io::FAMILIES,
        network::FAMILIES,
        pressure::FAMILIES,
        spec::FAMILIES,
        machine::FAMILIES,
        own::FAMILIES,
        own::FILE_FAMILIES,
        process::FAMILIES,
    ];
    let mut table: Vec<Family> = groups.concat();
    table.sort_unstable_by_key(|family| family.name);
    table
});

fn choose_network(containers: &mut [Container]) {
    let mut shown: HashMap<u64, (usize, usize)> = HashMap::new();
    for (at, container) in containers.iter_mut().enumerate() {
        let Some(network) = &container.sample.network else {
            continue;
        };
        if network.host {
            container.shows_network = container.name.is_root();
            continue;
        }
        let depth = container
            .name
            .as_bytes()
            .iter()
            .filter(|&&byte| byte == b'/')
            .count();
        let best = shown.entry(network.namespace).or_insert((depth, at));
        *best = (*best).min((depth, at));
    }
    for (_, at) in shown.into_values() {
        if let Some(container) = containers.get_mut(at) {
            container.shows_network = true;
        }
    }
}
