//! The monitor as a library: every stage put together, without any socket.
//!
//! [`Monitor::builder`] makes one, [`Monitor::start`](MonitorBuilder::start) runs it; it answers by
//! [`View`], to which it dereferences, and ends with [`Monitor::shutdown`].

use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;

use crate::cache::Limits;
use crate::cgroup::file::FdBudget;
use crate::cgroup::hierarchy::DetectError;
use crate::cgroup::network::NetworkNamespaces;
use crate::cgroup::plan::{Plan, ReadOptions};
use crate::cgroup::{CgroupPath, ContainerName, Hierarchies, Mode};
use crate::event::{EventLimits, OomKill};
use crate::handler::{Housekeeping, Sampler};
use crate::journal;
use crate::ledger::{Ledger, LedgerLimits};
use crate::manager::{Accept, Exits, Manager, OomDesk, Parts, Registry, restore};
use crate::node::fs_recent::Refresher;
use crate::node::{Node, Roots, disk_usage};
use crate::query::View;
use crate::query::view::Inner;
use crate::runtime::{Names, RuntimeSettings, Supervisor};
use crate::self_metrics::SelfMetrics;
use crate::source::SourceEvent;
use crate::source::exits::{ExitError, ExitReader};
use crate::source::kmsg_reader::KmsgReader;
use crate::source::oom::place;
use crate::source::watcher::Watcher;

/// How long [`MonitorBuilder::start`] waits for the first listing. A tree that takes longer is still
/// listed, but is not complete when it returns.
const FIRST_LISTING: Duration = Duration::from_secs(5);

/// How long stopping waits for a listing that is under way.
const STOP_WATCHER: Duration = Duration::from_secs(2);

/// How long stopping waits for samplers that a slow file holds up.
const STOP_SAMPLERS: Duration = Duration::from_secs(2);

/// How long stopping waits for a disk to take what is left of the journal.
const STOP_JOURNAL: Duration = Duration::from_secs(2);

/// What an interval may be: a shorter one would leave no time for anything else, a longer one is
/// beyond what clocks can reckon and means "never" all the same.
const INTERVALS: (Duration, Duration) = (
    Duration::from_millis(1),
    Duration::from_secs(10 * 365 * 24 * 60 * 60),
);

/// The settings of a monitor. The defaults monitor the host that the process runs on.
#[derive(Debug, Clone)]
pub struct MonitorBuilder {
    cgroup_root: Option<PathBuf>,
    roots: Roots,
    kmsg: Option<PathBuf>,
    housekeeping: Housekeeping,
    listing_interval: Duration,
    history: Limits,
    events: EventLimits,
    ledger: LedgerLimits,
    accept: Accept,
    skip_root: bool,
    exit_accounting: bool,
    read: ReadOptions,
    samplers: usize,
    max_open_files: usize,
    node_interval: Duration,
    cpu_budget: Option<f64>,
    disk_usage: disk_usage::Mode,
    journal: Option<journal::Options>,
    runtimes: RuntimeSettings,
}

impl Default for MonitorBuilder {
    fn default() -> Self {
        Self {
            cgroup_root: None,
            roots: Roots::default(),
            kmsg: Some(PathBuf::from("/dev/kmsg")),
            housekeeping: Housekeeping::default(),
            listing_interval: Duration::from_secs(60),
            history: Limits::default(),
            events: EventLimits::default(),
            ledger: LedgerLimits::default(),
            accept: Accept::default(),
            skip_root: false,
            exit_accounting: false,
            read: ReadOptions {
                per_cpu: true,
                network: true,
                ..ReadOptions::default()
            },
            samplers: 2,
            max_open_files: 16_384,
            node_interval: Duration::from_secs(300),
            cpu_budget: None,
            disk_usage: disk_usage::Mode::default(),
            journal: None,
            runtimes: RuntimeSettings::default(),
        }
    }
}

/// Why a monitor did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// There are no cgroups to monitor.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The state directory cannot be used at all.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// A thread could not be started.
    #[error(
        "cannot start a thread: {0}; raise the limit of processes (ulimit -u, or pids.max of cgauge's own cgroup)"
    )]
    Thread(#[source] io::Error),
}

/// Something that this monitor cannot tell, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortcoming {
    /// What is missing.
    pub what: String,
    /// Why, and what to do about it.
    pub why: String,
}

impl Shortcoming {
    fn of_exits(error: &ExitError) -> Self {
        Self {
            what: "what containers used in their last moments (--exit-accounting)".to_owned(),
            why: error.to_string(),
        }
    }
}

impl MonitorBuilder {
    /// Where the cgroup hierarchies are; found in the mount table if not set.
    #[must_use]
    pub fn cgroup_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.cgroup_root = Some(path.into());
        self
    }

    /// Where procfs, sysfs and the root file system of the monitored host are.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// The kernel log; `None` to know OOM kills from the kernel's counters alone.
    #[must_use]
    pub fn kmsg(mut self, path: Option<PathBuf>) -> Self {
        self.kmsg = path;
        self
    }

    /// How often containers are polled that do something.
    #[must_use]
    pub fn housekeeping_interval(mut self, interval: Duration) -> Self {
        self.housekeeping.interval = interval;
        self.housekeeping.max_interval = self.housekeeping.max_interval.max(interval);
        self
    }

    /// All settings of housekeeping.
    #[must_use]
    pub fn housekeeping(mut self, housekeeping: Housekeeping) -> Self {
        self.housekeeping = housekeeping;
        self
    }

    /// How often everything is listed, whatever inotify says.
    #[must_use]
    pub fn listing_interval(mut self, interval: Duration) -> Self {
        self.listing_interval = interval;
        self
    }

    /// What the history of each container may hold.
    #[must_use]
    pub fn history(mut self, limits: Limits) -> Self {
        self.history = limits;
        self
    }

    /// What the history of events may hold.
    #[must_use]
    pub fn events(mut self, limits: EventLimits) -> Self {
        self.events = limits;
        self
    }

    /// What the ledger may hold of containers that have gone.
    #[must_use]
    pub fn ledger(mut self, limits: LedgerLimits) -> Self {
        self.ledger = limits;
        self
    }

    /// Which cgroups become containers.
    #[must_use]
    pub fn accept(mut self, accept: Accept) -> Self {
        self.accept = accept;
        self
    }

    /// Leaves the root container unpolled: on large hosts its files are slow.
    #[must_use]
    pub fn skip_root(mut self, skip: bool) -> Self {
        self.skip_root = skip;
        self
    }

    /// Follows the exits of processes, so that the last moments of containers are known. Takes root in
    /// the initial namespaces; without, [`Monitor::shortcomings`] says so.
    #[must_use]
    pub fn exit_accounting(mut self, follow: bool) -> Self {
        self.exit_accounting = follow;
        self
    }

    /// What to read beyond the base set.
    #[must_use]
    pub fn read(mut self, options: ReadOptions) -> Self {
        self.read = options;
        self
    }

    /// How many threads poll.
    #[must_use]
    pub fn samplers(mut self, threads: usize) -> Self {
        self.samplers = threads;
        self
    }

    /// How many cgroup files and directories may be kept open. The process's limit of open files is
    /// raised to make room; where it cannot be, fewer are kept.
    #[must_use]
    pub fn max_open_files(mut self, number: usize) -> Self {
        self.max_open_files = number;
        self
    }

    /// How often the facts about the node are read.
    #[must_use]
    pub fn node_interval(mut self, interval: Duration) -> Self {
        self.node_interval = interval;
        self
    }

    /// CPU seconds per second that the process may use: above it, containers are polled less often, those
    /// first that stand still.
    #[must_use]
    pub fn cpu_budget(mut self, cores: Option<f64>) -> Self {
        self.cpu_budget = cores.filter(|cores| *cores > 0.0);
        self
    }

    /// What is done to know how much of a disk each container has written.
    #[must_use]
    pub fn disk_usage(mut self, mode: disk_usage::Mode) -> Self {
        self.disk_usage = mode;
        self
    }

    /// Keeps what happened on disk, too, and begins with what is there; `None` to remember as long as
    /// the process lives.
    #[must_use]
    pub fn journal(mut self, options: Option<journal::Options>) -> Self {
        self.journal = options;
        self
    }

    /// Which container runtimes are asked for the names of containers. By default, every one that
    /// listens at its usual place; nothing waits for their answers.
    #[must_use]
    pub fn runtimes(mut self, settings: RuntimeSettings) -> Self {
        self.runtimes = settings;
        self
    }

    /// Starts the monitor. When this returns, the containers that are there are known (on a tree
    /// that takes longer than five seconds to list: those found by then).
    ///
    /// Must be called within a tokio runtime. Polling does not run on it.
    ///
    /// # Errors
    /// [`StartError`] says what is missing. Being unable to read the kernel log, or to look into
    /// other users' processes, is no error: see [`Monitor::shortcomings`].
    pub async fn start(self) -> Result<Monitor, StartError> {
        let monitor = match tokio::task::spawn_blocking(move || self.build()).await {
            Ok(built) => built?,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        };
        if tokio::time::timeout(FIRST_LISTING, monitor.view.ready())
            .await
            .is_err()
        {
            tracing::warn!("the cgroup tree is large or slow: still listing it");
        }
        Ok(monitor)
    }

    fn build(self) -> Result<Monitor, StartError> {
        let Self {
            cgroup_root,
            roots,
            kmsg,
            mut housekeeping,
            mut listing_interval,
            read,
            ..
        } = self;
        for interval in [
            &mut housekeeping.interval,
            &mut housekeeping.max_interval,
            &mut listing_interval,
        ] {
            *interval = (*interval).clamp(INTERVALS.0, INTERVALS.1);
        }
        let hierarchies =
            Hierarchies::detect(&roots.procfs, &roots.rootfs, cgroup_root.as_deref())?;
        let hierarchies = Arc::new(hierarchies);
        let namespaces = Arc::new(NetworkNamespaces::new(&roots.procfs));
        let mut shortcomings = Vec::new();
        if !namespaces.host_is_known() && read.network {
            shortcomings.push(Shortcoming {
                what: "network figures of containers".to_owned(),
                why: format!(
                    "{}/1/ns/net may not be looked at; grant CAP_SYS_PTRACE",
                    roots.procfs.display()
                ),
            });
        }
        let metrics = Arc::new(SelfMetrics::default());
        let plan = Arc::new(Plan::new(Arc::clone(&hierarchies), &read));
        let budget = Arc::new(FdBudget::within_limits(self.max_open_files));
        let procfs = roots.procfs.clone();
        let node = Arc::new(Node::read(roots));
        let ledger = Arc::new(Ledger::new(self.ledger, Arc::clone(&metrics)));
        let boot = node.latest().machine.ids.boot_id.clone();
        let (journal, bus) = restore::remember(self.journal, self.events, &ledger, boot, &metrics)?;
        let bus = Arc::new(bus);
        let registry = Arc::new(Registry::default());
        let desk = Arc::new(OomDesk::new(
            Arc::clone(&registry),
            Arc::clone(&ledger),
            Arc::clone(&bus),
            Arc::clone(&metrics),
        ));
        let (counted, witness) = (Arc::clone(&desk), Arc::clone(&desk));
        let housekeeping = Housekeeping {
            in_step: hierarchies.mode == Mode::V2,
            ..housekeeping
        };
        let sampler = Sampler::start(
            self.samplers,
            housekeeping,
            namespaces,
            Arc::clone(&metrics),
            Arc::new(move |handler, number| counted.counted(handler, number)),
        )
        .map_err(StartError::Thread)?;
        let sampler = Arc::new(sampler);
        let (listed, is_listed) = watch::channel(false);
        let exits = (self.exit_accounting).then(|| Exits::new(&hierarchies));
        let (links, runtimes) = Supervisor::spawn(self.runtimes).map_err(StartError::Thread)?;
        let parts = Parts {
            plan: Arc::clone(&plan),
            budget: Arc::clone(&budget),
            limits: self.history,
            accept: self.accept,
            skip_root: self.skip_root,
            bus: Arc::clone(&bus),
            ledger: Arc::clone(&ledger),
            exits: exits.clone(),
            runtimes: Arc::clone(&runtimes),
            node: Arc::clone(&node),
            node_interval: self.node_interval,
            cpu_budget: self.cpu_budget,
            metrics: Arc::clone(&metrics),
        };
        let (manager, inlet) = Manager::spawn(
            parts,
            Arc::clone(&registry),
            Arc::clone(&sampler),
            desk,
            listed,
        )
        .map_err(StartError::Thread)?;
        // The log before the tree: a kill while the tree is being listed is not lost.
        let log = kmsg.and_then(|path| {
            let inlet = inlet.clone();
            let (hierarchies, procfs) = (Arc::clone(&hierarchies), procfs.clone());
            let on_kill = move |kill: OomKill| {
                let seen_in = place::of_victim(&kill, &procfs, &hierarchies);
                inlet.send(SourceEvent::OomKill(Box::new(kill), seen_in));
            };
            KmsgReader::spawn(&path, Arc::clone(&metrics), on_kill)
                .inspect(|log| witness.has_log(log.looker()))
                .inspect_err(|error| {
                    shortcomings.push(Shortcoming {
                        what: "who was killed by the OOM killer (that somebody was is known from counters)".to_owned(),
                        why: error.to_string(),
                    });
                })
                .ok()
        });
        let followed = exits.and_then(|exits| {
            let (hierarchies, metrics) = (Arc::clone(&hierarchies), Arc::clone(&metrics));
            exits
                .follow(&registry, &sampler, procfs, hierarchies, metrics)
                .inspect_err(|error| shortcomings.push(Shortcoming::of_exits(error)))
                .ok()
        });
        let (exits, moves) = followed.unzip();
        let watcher = Watcher::spawn(
            Arc::clone(&hierarchies),
            listing_interval,
            Arc::clone(&metrics),
            Box::new(move |event| {
                moves.iter().for_each(|moves| moves.notice(&event));
                inlet.send(event)
            }),
        )
        .map_err(StartError::Thread)?;
        let filesystems = Refresher::spawn(Arc::clone(&node)).map_err(StartError::Thread)?;
        let layers = Arc::new(disk_usage::LayerUsages::default());
        let walker = match self.disk_usage {
            disk_usage::Mode::Off => None,
            mode => {
                let (registry, named) = (Arc::clone(&registry), Arc::clone(&runtimes));
                let walker = disk_usage::Walker::spawn(
                    mode,
                    Arc::clone(&node),
                    Arc::clone(&hierarchies),
                    Box::new(move || containers_of(&registry, named.names())),
                    Arc::clone(&layers),
                    Arc::clone(&metrics),
                );
                Some(walker.map_err(StartError::Thread)?)
            }
        };
        shortcomings.extend(node.latest().problems.iter().map(|problem| Shortcoming {
            what: format!("a fact about the node from {}", problem.path.display()),
            why: problem.cause.to_string(),
        }));
        let inner = Inner {
            registry,
            sampler,
            bus,
            ledger,
            node,
            plan,
            budget,
            journal,
            runtimes,
            metrics,
            layers,
            listed: is_listed,
        };
        Ok(Monitor {
            view: View::new(inner),
            running: Some(Running {
                watcher,
                log,
                exits,
                manager,
                filesystems,
                walker,
                links,
            }),
            hierarchies,
            shortcomings,
        })
    }
}

/// A running monitor. Ask it by the methods of [`View`].
#[derive(Debug)]
pub struct Monitor {
    view: View,
    running: Option<Running>,
    hierarchies: Arc<Hierarchies>,
    shortcomings: Vec<Shortcoming>,
}

#[derive(Debug)]
struct Running {
    watcher: Watcher,
    log: Option<KmsgReader>,
    exits: Option<ExitReader>,
    manager: Manager,
    filesystems: Refresher,
    links: Supervisor,
    walker: Option<disk_usage::Walker>,
}

/// The containers whose disk usage is measured: all but the root, whose file systems are the node's.
/// With the layer that a runtime names, unless it is a user's own runtime: what that says is not where
/// a walk by root goes.
fn containers_of(registry: &Registry, names: &Names) -> Vec<disk_usage::Container> {
    let handlers = registry.within(&ContainerName::root());
    let containers = handlers.iter().filter(|handler| !handler.name().is_root());
    containers
        .map(|handler| disk_usage::Container {
            name: handler.name().clone(),
            incarnation: handler.incarnation(),
            layer: Some(handler.name())
                .filter(|name| !name.as_bytes().starts_with(b"/user.slice/"))
                .and_then(|name| names.get(CgroupPath::of(name).own_container()?))
                .and_then(|identity| identity.writable_layer.clone()),
        })
        .collect()
}

impl Monitor {
    /// A monitor to be configured.
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder::default()
    }

    /// The view, to be handed on. It answers as long as it is held; after
    /// [`shutdown`](Self::shutdown) it knows no container.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// The kind of host: cgroup v1, v2 or hybrid.
    pub fn mode(&self) -> Mode {
        self.hierarchies.mode
    }

    /// The hierarchies that are monitored.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// What this monitor cannot tell, and what would change that.
    pub fn shortcomings(&self) -> &[Shortcoming] {
        &self.shortcomings
    }

    /// Stops: the sources, then the manager with its handlers, then the samplers, then the event
    /// streams, behind their last event. Takes milliseconds, unless a kernel file holds up a sampler.
    pub async fn shutdown(mut self) {
        if let Some(running) = self.running.take() {
            let view = self.view.clone();
            let stopped = tokio::task::spawn_blocking(move || running.stop(&view));
            if stopped.await.is_err() {
                tracing::error!("stopping the monitor had panicked");
            }
        }
    }
}

impl Deref for Monitor {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop(&self.view);
        }
    }
}

impl Running {
    fn stop(self, view: &View) {
        self.watcher.stop(Instant::now() + STOP_WATCHER);
        if let Some(log) = self.log {
            log.stop();
        }
        if let Some(exits) = self.exits {
            exits.stop();
        }
        self.manager.stop();
        self.filesystems.stop();
        self.walker.into_iter().for_each(disk_usage::Walker::stop);
        self.links.stop();
        view.stop(Instant::now() + STOP_SAMPLERS, STOP_JOURNAL);
    }
}
