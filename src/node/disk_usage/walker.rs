//! The thread: finds layers, measures one after the other, and gives way to everybody.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::statvfs::{fstatvfs, statvfs};

use super::layer::{self, Layer};
use super::layer_dir::open_below;
use super::quota::{self, Quota, Space};
use super::schedule::{self, Turn};
use super::walk::{Budget, Step, Total, Walk, WalkError};
use super::{Container, LayerUsage, LayerUsages, Location, Mode, Source, idle};
use crate::cgroup::{ContainerName, Hierarchies, members, mountinfo};
use crate::node::{FsInfo, Node, mounts};
use crate::self_metrics::{DiskUsageFailure, SelfMetrics};
use crate::units::Timestamp;

/// How often the containers are compared with those that are known.
const ROUND: Duration = Duration::from_secs(2);

/// Containers whose processes are looked at in one round, at most.
const LOOKS: usize = 200;

/// Processes of a container whose mounts are looked at: the first may have changed its root.
const PROCESSES: usize = 3;

/// What is done of a walk before there is a rest.
const STEP: Budget = Budget {
    entries: 2_000,
    time: Duration::from_millis(10),
};

/// How long stopping waits for a file system that holds the thread up.
const STOP: Duration = Duration::from_millis(200);

/// Gives the containers that there are now.
pub type List = Box<dyn Fn() -> Vec<Container> + Send>;

/// The running thread.
#[derive(Debug)]
pub struct Walker {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Walker {
    /// Starts the thread, which writes what it finds into `store`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn spawn(
        mode: Mode,
        node: Arc<Node>,
        hierarchies: Arc<Hierarchies>,
        list: List,
        store: Arc<LayerUsages>,
        metrics: Arc<SelfMetrics>,
    ) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let work = Work {
            mode,
            node,
            hierarchies,
            list,
            store,
            metrics,
            members: HashMap::new(),
            targets: BTreeMap::new(),
            current: None,
        };
        let thread = std::thread::Builder::new()
            .name("cgauge-du".to_owned())
            .spawn(move || {
                idle::give_way();
                work.run(&stopped);
            })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread. One that a file system holds up is left behind: it ends when the kernel lets
    /// go.
    pub fn stop(self) {
        drop(self.stop);
        let deadline = Instant::now() + STOP;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("the thread that measures disk usage had panicked");
        }
    }
}

/// A cgroup, and the layer of its processes as far as is known.
#[derive(Debug)]
struct Member {
    incarnation: u64,
    /// Once found it stays: what a container mounts later does not change what it was made of.
    layer: Option<Layer>,
    /// Whether it had processes when it was looked at.
    looked: bool,
    looks: u32,
    look_again: Instant,
}

/// A container that has a layer.
#[derive(Debug)]
struct Target {
    incarnation: u64,
    location: Location,
    turn: Turn,
}

/// A measurement that is under way.
#[derive(Debug)]
struct Current {
    container: Container,
    location: Location,
    device: Option<String>,
    walk: Walk,
    /// Of the layer, once it is done and the rest is being walked.
    base: Option<Total>,
    took: Duration,
}

struct Work {
    mode: Mode,
    node: Arc<Node>,
    hierarchies: Arc<Hierarchies>,
    list: List,
    store: Arc<LayerUsages>,
    metrics: Arc<SelfMetrics>,
    members: HashMap<ContainerName, Member>,
    targets: BTreeMap<ContainerName, Target>,
    current: Option<Current>,
}

/// Why a container has no figure this time.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its writable layer has no figure: {0}")]
    Walk(#[from] WalkError),
    #[error("its writable layer {} cannot be opened: {errno}; in a pod, check --rootfs and that the directory is mounted below it", path.display())]
    Open { path: PathBuf, errno: Errno },
    #[error("its writable layer is on a file system of another machine, which is not walked")]
    Network,
}

impl Work {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut round = Instant::now();
        loop {
            let begun = Instant::now();
            if begun >= round {
                self.round();
                round = Instant::now() + ROUND;
            } else if self.current.is_some() {
                self.go_on();
            } else {
                self.begin();
            }
            let now = Instant::now();
            let due = self.targets.values().map(|target| target.turn.due).min();
            let idle_until = due.unwrap_or(round).min(round);
            let mut rest = schedule::rest(now - begun);
            if self.current.is_none() {
                rest = rest.max(idle_until.saturating_duration_since(now));
            }
            if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Brings what is known of the containers up to date.
    fn round(&mut self) {
        let now = Instant::now();
        let containers = (self.list)();
        let present: HashMap<&ContainerName, u64> = containers
            .iter()
            .map(|container| (&container.name, container.incarnation))
            .collect();
        let is_present =
            |name: &ContainerName, incarnation| present.get(name) == Some(&incarnation);
        self.members
            .retain(|name, member| is_present(name, member.incarnation));
        self.look(&containers, now);
        let members: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.looked)
            .map(|(name, member)| (name.clone(), member.layer.clone()))
            .collect();
        let owners = layer::owners(&members, |name| present.contains_key(name));
        let mut wanted: BTreeMap<ContainerName, Location> = BTreeMap::new();
        let own_mounts = mounts::read(self.node.roots(), &mut Default::default());
        for (layer, name) in owners {
            if let Some(directory) = layer::directory(&layer, &own_mounts) {
                let extra = None;
                let location = Location {
                    layer: directory,
                    extra,
                };
                wanted.insert(name, location);
            }
        }
        for container in &containers {
            if let Some(location) = self.store.location(&container.name) {
                wanted.insert(container.name.clone(), location);
            }
        }
        self.targets.retain(|name, target| {
            is_present(name, target.incarnation) && wanted.get(name) == Some(&target.location)
        });
        for (name, location) in wanted {
            if let Some(&incarnation) = present.get(&name) {
                self.targets.entry(name).or_insert(Target {
                    incarnation,
                    location,
                    turn: Turn::now(now),
                });
            }
        }
        if let Some(current) = &self.current
            && !self.targets.contains_key(&current.container.name)
        {
            self.current = None;
        }
        let targets = &self.targets;
        let (measured, oldest) = self.store.retain(|name, incarnation| {
            let target = targets.get(name);
            target.is_some_and(|target| target.incarnation == incarnation)
        });
        let own = &self.metrics.disk_usage;
        own.layers.set(self.targets.len() as u64);
        own.measured.set(measured as u64);
        let age = oldest.map_or(Duration::ZERO, |oldest| Timestamp::now().since(oldest));
        own.oldest_ns.set(nanos(age));
    }

    /// Looks at processes of containers whose layer is not known.
    fn look(&mut self, containers: &[Container], now: Instant) {
        let procfs = self.node.roots().procfs.clone();
        let read_mounts = |pid: &str| {
            let text = std::fs::read(procfs.join(pid).join("mountinfo")).ok()?;
            layer::of_process(&mountinfo::parse(&text))
        };
        let namespace = |pid: &str| std::fs::read_link(procfs.join(pid).join("ns/mnt")).ok();
        let of_node = namespace("1").or_else(|| namespace("self"));
        let mut layer_of_node: Option<Option<Layer>> = None;
        let mut looks = LOOKS;
        for container in containers {
            let member = self
                .members
                .entry(container.name.clone())
                .or_insert_with(|| Member {
                    incarnation: container.incarnation,
                    layer: None,
                    looked: false,
                    looks: 0,
                    look_again: now,
                });
            if member.layer.is_some() || member.look_again > now || looks == 0 {
                continue;
            }
            looks -= 1;
            let pids = first_processes(&self.hierarchies, &container.name);
            member.looked |= !pids.is_empty();
            member.looks = member.looks.saturating_add(1);
            member.look_again = now + schedule::look_again(member.looks);
            member.layer = pids.iter().find_map(|pid| {
                let pid = pid.to_string();
                // Most cgroups are of the node's own, whose mount table may be long.
                let own = namespace(&pid);
                if own.is_some() && own == of_node {
                    return None;
                }
                let found = read_mounts(&pid)?;
                // A node that is a container itself: its own services are on its own layer.
                let of_node = layer_of_node.get_or_insert_with(|| read_mounts("1"));
                (of_node.as_ref() != Some(&found)).then_some(found)
            });
        }
    }

    /// Begins with the container that has waited longest, if one is due.
    fn begin(&mut self) {
        let now = Instant::now();
        let due = self
            .targets
            .iter()
            .min_by_key(|(_, target)| target.turn.due);
        let Some((name, target)) = due.filter(|(_, target)| target.turn.due <= now) else {
            return;
        };
        let container = Container {
            name: name.clone(),
            incarnation: target.incarnation,
        };
        let location = target.location.clone();
        match self.measure(&container, location) {
            Ok(()) => {}
            Err(failure) => self.failed(&container, &failure, now.elapsed()),
        }
    }

    /// Asks the file system, or begins a walk.
    fn measure(&mut self, container: &Container, location: Location) -> Result<(), Failure> {
        let begun = Instant::now();
        let table = self.node.filesystems().latest();
        let fs = table
            .as_ref()
            .and_then(|table| table.holding(&location.layer));
        if fs.is_some_and(FsInfo::is_network) {
            return Err(Failure::Network);
        }
        let rootfs = &self.node.roots().rootfs;
        let open = |path: &PathBuf| {
            open_below(rootfs, path).map_err(|errno| Failure::Open {
                path: path.clone(),
                errno,
            })
        };
        let directory = open(&location.layer)?;
        let device = fs.map(|fs| fs.device.clone());
        let quota = fs.filter(|fs| quota::is_known(&fs.fs_type)).and_then(|fs| {
            let whole = statvfs(&mounts::here(self.node.roots(), &fs.mount_point)).ok()?;
            quota::own(fstatvfs(&directory).ok()?.into(), Space::from(whole))
        });
        // What belongs to the container beside its layer is in no quota of the layer.
        if let (Some(quota), None) = (quota, &location.extra) {
            self.metrics.disk_usage.quota_reads.inc();
            let took = begun.elapsed();
            self.store.add(container, of_quota(quota, device, took));
            self.done(container, took);
            return Ok(());
        }
        if self.mode != Mode::Walk {
            self.done(container, begun.elapsed());
            return Ok(());
        }
        let walk = Walk::new(directory)?;
        self.current = Some(Current {
            container: container.clone(),
            location,
            device,
            walk,
            base: None,
            took: begun.elapsed(),
        });
        Ok(())
    }

    /// Goes on with the walk that is under way.
    fn go_on(&mut self) {
        let Some(mut current) = self.current.take() else {
            return;
        };
        let begun = Instant::now();
        let step = current.walk.step(STEP);
        current.took += begun.elapsed();
        self.metrics.disk_usage.walk_ns.add(nanos(begun.elapsed()));
        match step {
            Err(error) => self.failed(&current.container, &Failure::Walk(error), current.took),
            Ok(Step::More) => self.current = Some(current),
            Ok(Step::Done(total)) => {
                self.metrics.disk_usage.entries.add(total.entries);
                let extra = current
                    .location
                    .extra
                    .as_ref()
                    .filter(|_| current.base.is_none());
                let more = extra.and_then(|extra| {
                    let opened = open_below(&self.node.roots().rootfs, extra).ok()?;
                    Walk::new(opened).ok()
                });
                if let Some(walk) = more {
                    current.walk = walk;
                    current.base = Some(total);
                    self.current = Some(current);
                    return;
                }
                let (base, extra) = match current.base {
                    Some(base) => (base, total),
                    None => (total, Total::default()),
                };
                self.metrics.disk_usage.walks.inc();
                let usage = LayerUsage {
                    measured: Timestamp::now(),
                    took: current.took,
                    source: Source::Walk,
                    usage_bytes: base.bytes.saturating_add(extra.bytes),
                    base_bytes: base.bytes,
                    inodes: Some(base.inodes),
                    limit_bytes: None,
                    device: current.device,
                };
                self.store.add(&current.container, usage);
                self.done(&current.container, current.took);
            }
        }
    }

    fn done(&mut self, container: &Container, cost: Duration) {
        self.set_turn(container, cost, |_| 0);
    }

    fn failed(&mut self, container: &Container, failure: &Failure, cost: Duration) {
        tracing::debug!(container = %container.name, %failure, "disk usage is not known");
        let kind = match failure {
            Failure::Walk(WalkError::TooLarge | WalkError::TooDeep) => DiskUsageFailure::TooLarge,
            Failure::Walk(WalkError::Unreadable(_)) => DiskUsageFailure::Unreadable,
            Failure::Open { .. } => DiskUsageFailure::NotFound,
            Failure::Network => DiskUsageFailure::Network,
        };
        self.metrics.disk_usage.failed(kind).inc();
        self.set_turn(container, cost, |failures| failures.saturating_add(1));
    }

    fn set_turn(&mut self, container: &Container, cost: Duration, failures: fn(u32) -> u32) {
        let Some(target) = self.targets.get_mut(&container.name) else {
            return;
        };
        target.turn.cost = cost;
        target.turn.failures = failures(target.turn.failures);
        let failures = target.turn.failures;
        let all = self.targets.values().map(|target| target.turn.cost).sum();
        let wait = match failures {
            0 => schedule::interval(cost, all),
            failures => schedule::retry(failures, cost),
        };
        if let Some(target) = self.targets.get_mut(&container.name) {
            target.turn.due = Instant::now() + wait;
        }
    }
}

fn of_quota(quota: Quota, device: Option<String>, took: Duration) -> LayerUsage {
    LayerUsage {
        measured: Timestamp::now(),
        took,
        source: Source::Quota,
        usage_bytes: quota.usage_bytes,
        base_bytes: quota.usage_bytes,
        inodes: quota.inodes,
        limit_bytes: Some(quota.limit_bytes),
        device,
    }
}

/// Some processes of the container itself. Those of a cgroup made again under its name are noticed when
/// the list of containers says so.
fn first_processes(hierarchies: &Hierarchies, name: &ContainerName) -> Vec<u32> {
    let found = hierarchies.iter().find_map(|(_, hierarchy)| {
        let text = std::fs::read(name.below(&hierarchy.root).join("cgroup.procs")).ok()?;
        let pids: Vec<u32> = members::pids(&text).take(PROCESSES).collect();
        (!pids.is_empty()).then_some(pids)
    });
    found.unwrap_or_default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "walker_tests.rs"]
mod tests;
