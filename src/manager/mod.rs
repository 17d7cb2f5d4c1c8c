//! DECIDE: events of the sources in, handlers and published events out.
//!
//! One thread, the only owner of the [`Registry`]: nobody else makes or removes a handler. It never
//! reads a kernel file of a container and never waits for a poll.

pub mod accept;
pub mod oom;
mod oom_group;
pub mod desk;
pub mod exits;
pub mod registry;
pub mod restore;
mod held;
mod last;
mod naming;
mod thrift;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::naming::Namer;
use self::thrift::Thrift;
use crate::cache::Limits;
use crate::cgroup::file::FdBudget;
use crate::cgroup::plan::Plan;
use crate::cgroup::{ContainerName, HierarchyId, OomCounters};
use crate::event::{EventBus, EventKind};
use crate::handler::{Handler, NewHandler, Sampler};
use crate::ledger::{Ledger, Which};
use crate::node::Node;
use crate::runtime::Runtimes;
use crate::self_metrics::SelfMetrics;
use crate::source::{Change, Directory, FileChange, SourceEvent};
use crate::units::Timestamp;
pub use accept::Accept;
pub use desk::OomDesk;
pub use exits::Exits;
use held::{Held, HeldKill};
pub use registry::Registry;

/// Source events that may wait for the manager. When it is full the watcher waits, and behind it the
/// kernel's queue: an overflow there is noticed and repaired by a listing.
pub const INLET_CAPACITY: usize = 4_096;

/// How often the manager looks after what is due by time.
const TICK: Duration = Duration::from_millis(500);

/// How long a container that has gone may still be being polled.
const LEAVING: Duration = Duration::from_millis(500);

/// Containers that have gone and are kept for that. Past it, they are not waited for.
const MAX_LEAVING: usize = 4_096;

/// Directories that have gone whose counters are remembered: a renamed one comes back at once.
const MAX_MOVED: usize = 1_024;

/// Between two looks at all counters of OOM kills.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(100);

/// What the manager works with.
#[derive(Debug)]
pub struct Parts {
    /// The reading plan.
    pub plan: Arc<Plan>,
    /// The budget of open files.
    pub budget: Arc<FdBudget>,
    /// What each container's history may hold.
    pub limits: Limits,
    /// Which cgroups become containers.
    pub accept: Accept,
    /// Whether the root container is left unpolled.
    pub skip_root: bool,
    /// Where events go.
    pub bus: Arc<EventBus>,
    /// Where lives are kept.
    pub ledger: Arc<Ledger>,
    /// What processes had used that exited, if that is followed.
    pub exits: Option<Exits>,
    /// What runtimes call containers.
    pub runtimes: Arc<Runtimes>,
    /// The node's facts, and how often to read them.
    pub node: Arc<Node>,
    /// How often the node's facts are read.
    pub node_interval: Duration,
    /// CPU seconds per second that cgauge may use; `None` for no bound.
    pub cpu_budget: Option<f64>,
    /// Counters.
    pub metrics: Arc<SelfMetrics>,
}

/// The inlet for sources.
#[derive(Debug, Clone)]
pub struct Inlet(SyncSender<SourceEvent>);

impl Inlet {
    /// Hands an event to the manager, waiting for room if there is none. False once it has stopped.
    pub fn send(&self, event: SourceEvent) -> bool {
        self.0.send(event).is_ok()
    }
}

/// The running manager.
#[derive(Debug)]
pub struct Manager {
    thread: JoinHandle<()>,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl Manager {
    /// Starts the manager's thread. `listed` turns true when all that was there at start is known.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn spawn(
        parts: Parts,
        registry: Arc<Registry>,
        sampler: Arc<Sampler>,
        desk: Arc<OomDesk>,
        listed: watch::Sender<bool>,
    ) -> std::io::Result<(Self, Inlet)> {
        let (sender, events) = sync_channel(INLET_CAPACITY);
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let task = Task {
            parts,
            registry,
            sampler,
            desk,
            listed,
            stop: Arc::clone(&stop),
            leaving: VecDeque::new(),
            moved: VecDeque::new(),
            swept: None,
            sweep: false,
            namer: Namer::default(),
            held: Held::default(),
        };
        let thread = std::thread::Builder::new()
            .name("cgauge-manager".into())
            .spawn(move || task.run(&events))?;
        Ok((Self { thread, stop }, Inlet(sender)))
    }

    /// Stops the thread, which lets go of all handlers, and waits for it.
    pub fn stop(self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the manager had panicked");
        }
    }
}

struct Task {
    parts: Parts,
    registry: Arc<Registry>,
    sampler: Arc<Sampler>,
    desk: Arc<OomDesk>,
    listed: watch::Sender<bool>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    /// Containers that have gone a moment ago: a poll that was under way may still end.
    leaving: VecDeque<(Instant, Timestamp, Arc<Handler>)>,
    /// Directories that have gone a moment ago, with the OOM kills that their counters had: a renamed
    /// one comes back.
    moved: VecDeque<(HierarchyId, u64, OomCounters)>,
    /// When all counters of OOM kills were last asked for, and whether that is to be done again.
    swept: Option<Instant>,
    sweep: bool,
    namer: Namer,
    held: Held,
}

impl Task {
    fn run(mut self, events: &Receiver<SourceEvent>) {
        let mut next_tick = Instant::now() + TICK;
        let mut thrift = Thrift::new(self.parts.cpu_budget, &self.sampler, &self.parts.metrics);
        let mut node_read = Instant::now();
        let mut node_reader: Option<JoinHandle<()>> = None;
        while !self.stop.load(std::sync::atomic::Ordering::Relaxed) {
            match events.recv_timeout(
                next_tick
                    .saturating_duration_since(Instant::now())
                    .min(TICK),
            ) {
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => {}
                // All sources have stopped; what is due by time still is, until we are stopped, too.
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(Duration::from_millis(10))
                }
            }
            let now = Instant::now();
            self.oom_kills(now);
            if next_tick <= now {
                next_tick = now + TICK;
                self.tick(now);
                if let Some(thrift) = &mut thrift {
                    thrift.tick(now);
                }
                let at_it = node_reader
                    .as_ref()
                    .is_some_and(|thread| !thread.is_finished());
                if node_read.elapsed() >= self.parts.node_interval && !at_it {
                    node_read = now;
                    node_reader = self.refresh_node();
                }
            }
        }
        self.oom_kills(Instant::now() + held::PATIENCE);
        self.settle(None);
        self.name();
        self.registry.clear();
    }

    /// Reads the node's facts on a thread of its own: a mount that hangs must not hold up events, and
    /// is not waited for at the end.
    fn refresh_node(&self) -> Option<JoinHandle<()>> {
        let node = Arc::clone(&self.parts.node);
        std::thread::Builder::new()
            .name("cgauge-node".into())
            .spawn(move || drop(node.refresh()))
            .inspect_err(|error| tracing::warn!(%error, "cannot read the node's facts again"))
            .ok()
    }

    fn tick(&mut self, now: Instant) {
        self.sampler.relieve();
        if self.sweep {
            self.sweep_counters(now);
        }
        self.desk.tick(now);
        self.settle(now.checked_sub(LEAVING));
        self.name();
        self.parts.ledger.tick(Timestamp::now());
    }

    fn name(&mut self) {
        let names = self.parts.runtimes.names();
        self.namer.tick(names, &self.parts.ledger, Timestamp::now());
    }

    /// Reads the last figures again of what had gone by `before`; of all if there is no such time.
    fn settle(&mut self, before: Option<Instant>) {
        while let Some((since, ended, handler)) = self.leaving.pop_front() {
            if before.is_some_and(|before| since > before) && self.leaving.len() < MAX_LEAVING {
                self.leaving.push_front((since, ended, handler));
                break;
            }
            let which = which(&handler);
            let (mut figures, mut finality) = last::figures(&handler, ended).unwrap_or_default();
            if let Some(tally) = (self.parts.exits.as_ref()).and_then(|exits| exits.tally(&handler))
            {
                last::add_exits(&tally, &mut figures, &mut finality);
                if let Some(status) = tally.status {
                    self.parts.ledger.exited(&which, last::exit(status));
                }
            }
            self.parts.ledger.amend(&which, &figures, finality);
        }
    }

    /// Has all counters of OOM kills looked at: somebody was killed, and the log does not say where.
    fn sweep_counters(&mut self, now: Instant) {
        self.sweep = (self.swept).is_some_and(|swept| now.duration_since(swept) < BETWEEN_SWEEPS);
        if self.sweep {
            return;
        }
        self.swept = Some(now);
        for handler in self.registry.within(&ContainerName::root()) {
            self.sampler.check_oom_kills(&handler);
        }
    }

    fn handle(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Tree(Change::Added(directory)) => self.added(directory),
            SourceEvent::Tree(Change::Attached(directory)) => {
                if let Some(handler) = self.known(&directory) {
                    self.attach(&handler, &directory);
                    if let Some(inode) = directory.inode {
                        let of = which(&handler);
                        self.parts
                            .ledger
                            .attached(&of, (directory.hierarchy, inode));
                    }
                }
            }
            SourceEvent::Tree(Change::Detached(directory)) => {
                if let Some(handler) = self.known(&directory) {
                    handler.detach(directory.hierarchy);
                    if let (Some(inode), Some(counted)) = (directory.inode, handler.oom_counter()) {
                        self.note_moved(directory.hierarchy, inode, counted);
                    }
                }
            }
            SourceEvent::Tree(Change::Removed { name, incarnation }) => {
                self.removed(&name, incarnation)
            }
            SourceEvent::File(name, change) => self.file_changed(&name, change),
            SourceEvent::Listed => {
                (self.sampler).begin(&self.registry.within(&ContainerName::root()));
                self.find_gone(None, Timestamp::now());
                self.listed.send_replace(true);
            }
            SourceEvent::OomKill(kill, seen_in) => self.held.push(kill, seen_in, Instant::now()),
        }
    }

    /// Tells of kills in containers of which the watcher has told.
    fn oom_kills(&mut self, now: Instant) {
        let hierarchies = &self.parts.plan.hierarchies;
        let is_behind = |held: &HeldKill| {
            let container = held.container(hierarchies);
            let container = container.filter(|name| self.parts.accept.accepts(name));
            container.is_some_and(|name| held::is_behind(&name, &self.registry, hierarchies))
        };
        let mut anywhere = false;
        for HeldKill { kill, seen_in, .. } in self.held.release(now, is_behind) {
            match self.desk.logged(kill, seen_in, hierarchies) {
                Some(name) => {
                    if let Some(handler) = self.registry.get(&name) {
                        self.sampler.check_oom_kills(&handler);
                    }
                }
                None => anywhere = true,
            }
        }
        if anywhere {
            self.sweep_counters(now);
        }
    }

    fn known(&self, directory: &Directory) -> Option<Arc<Handler>> {
        self.registry
            .get(&directory.name)
            .filter(|handler| handler.incarnation() == directory.incarnation)
    }

    /// A directory of a container; one that was renamed brings its counters along.
    fn attach(&self, handler: &Handler, directory: &Directory) {
        handler.attach(directory.hierarchy, directory.inode);
        let moved = self.moved.iter().rev();
        let mut same = moved.filter(|(hierarchy, inode, _)| {
            *hierarchy == directory.hierarchy && Some(*inode) == directory.inode
        });
        if let Some((_, _, counted)) = same.next() {
            handler.assume_oom_counter(*counted);
        }
    }

    fn note_moved(&mut self, hierarchy: HierarchyId, inode: u64, counted: OomCounters) {
        if self.moved.len() >= MAX_MOVED {
            self.moved.pop_front();
        }
        self.moved.push_back((hierarchy, inode, counted));
    }

    /// Tells of containers of an earlier run that are not there any more: of one name, or of all; `at_latest`
    /// they had gone. Gives one that still is there.
    fn find_gone(&mut self, name: Option<&ContainerName>, at_latest: Timestamp) -> Option<u64> {
        let mut still_there = None;
        for unmet in self.parts.ledger.unmet(name) {
            if restore::is_there(&unmet, &self.parts.plan.hierarchies) {
                still_there = Some(unmet.number);
                continue;
            }
            if let Some(life) = self.parts.ledger.gone(unmet.number, at_latest) {
                self.namer.ended_unseen(&life);
                let kind = EventKind::ContainerDeletion {
                    exit_code: None,
                    while_down: true,
                };
                self.parts.bus.publish(at_latest, unmet.name, kind);
            }
        }
        still_there
    }

    fn added(&mut self, directory: Directory) {
        if !self.parts.accept.accepts(&directory.name) {
            return;
        }
        let ledger = &self.parts.ledger;
        // Another of this name was there: when this one was made decides what is told of which.
        let again = ledger.which_at(&directory.name, Timestamp::now());
        let earlier = !ledger.unmet(Some(&directory.name)).is_empty();
        let listed = *self.listed.borrow();
        let noticed = if !listed || again.is_some() || earlier {
            restore::made_at(&directory, &self.parts.plan.hierarchies)
        } else {
            Timestamp::now()
        };
        // One that an earlier run had told of goes on; others of its name are over.
        let known = self.find_gone(Some(&directory.name), noticed);
        let preexisting = known.is_some() || !listed;
        let name = directory.name.clone();
        let incarnation = directory.incarnation;
        let polled = !(self.parts.skip_root && name.is_root());
        let new = NewHandler {
            name: name.clone(),
            incarnation,
            noticed,
            preexisting,
            polled,
        };
        let interval = self.sampler.housekeeping().interval;
        let parts = &self.parts;
        let handler = Arc::new(Handler::new(
            new,
            &parts.plan,
            &parts.budget,
            parts.limits,
            interval,
        ));
        self.attach(&handler, &directory);
        let (ledger, of) = (&self.parts.ledger, which(&handler));
        let first = directory.inode.map(|inode| (directory.hierarchy, inode));
        match known {
            Some(number) => {
                if let Some(counted) = ledger.resume(number, of.clone()) {
                    handler.continue_oom_counter(counted);
                }
                if let Some(first) = first {
                    ledger.attached(&of, first);
                }
            }
            None => ledger.begin(of.clone(), noticed, preexisting, first),
        }
        self.namer.begin(of, noticed);
        if let Some(old) = self.registry.insert(Arc::clone(&handler)) {
            // The tree removes before it adds; should it ever not, no handler is left behind.
            old.remove();
        }
        self.parts
            .metrics
            .containers
            .set(self.registry.len() as u64);
        // When it was made may be before the time at which the end of the one before was noticed: events are
        // told in the order in which they are noticed.
        let told = if preexisting {
            noticed
        } else {
            Timestamp::now()
        };
        if known.is_none() {
            let kind = EventKind::ContainerCreation;
            self.parts.bus.publish(told, name.clone(), kind);
        }
        if polled {
            self.sampler.add(&handler, listed);
        }
    }

    fn removed(&mut self, name: &ContainerName, incarnation: u64) {
        let Some(handler) = self.registry.remove(name, incarnation) else {
            return;
        };
        handler.remove();
        let ended = Timestamp::now();
        let (figures, finality) = last::figures(&handler, ended).unwrap_or_default();
        let of = which(&handler);
        self.parts.ledger.end(&of, ended, figures, finality);
        self.namer.end(&of, ended);
        if let Some(counted) = handler.oom_counter() {
            for (hierarchy, inode) in handler.directories() {
                self.note_moved(hierarchy, inode, counted);
            }
        }
        self.leaving.push_back((Instant::now(), ended, handler));
        self.parts
            .metrics
            .containers
            .set(self.registry.len() as u64);
        let kind = EventKind::ContainerDeletion {
            exit_code: None,
            while_down: false,
        };
        self.parts.bus.publish(ended, name.clone(), kind);
    }

    fn file_changed(&self, name: &ContainerName, change: FileChange) {
        let Some(handler) = self.registry.get(name) else {
            return;
        };
        match change {
            FileChange::MemoryEvents => self.sampler.check_oom_kills(&handler),
            FileChange::Members => handler.members_changed(),
            FileChange::Settings => {
                if handler.settings_changed() {
                    self.sampler.hasten(&handler);
                }
            }
            FileChange::Populated => {
                handler.members_changed();
                // When the last process leaves, the figures are final, and the directory often goes
                // a moment later: now or never.
                drop(self.sampler.request(&handler, Duration::ZERO));
            }
        }
    }
}

fn which(handler: &Handler) -> Which {
    Which {
        name: handler.name().clone(),
        incarnation: handler.incarnation(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cgroup::Hierarchies;
    use crate::cgroup::network::NetworkNamespaces;
    use crate::cgroup::plan::ReadOptions;
    use crate::event::EventRequest;
    use crate::handler::Housekeeping;
    use crate::node::test_tree::TestTree;
    use std::path::Path;

    fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !there() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_node_file_that_hangs_holds_up_neither_events_nor_the_end() {
        let host = TestTree::new();
        host.file("root/cgroup/cgroup.controllers", "");
        let meminfo = host.roots.procfs.join("meminfo");
        let root = host.roots.rootfs.join("cgroup");
        let found = Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(&root)).unwrap();
        let metrics = Arc::new(SelfMetrics::default());
        let bus = Arc::new(EventBus::new(Default::default(), Arc::clone(&metrics)));
        let ledger = Ledger::new(Default::default(), Arc::clone(&metrics));
        let ledger = Arc::new(ledger);
        let node = Arc::new(Node::read(host.roots.clone()));
        nix::unistd::mkfifo(&meminfo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let parts = Parts {
            plan: Arc::new(Plan::new(Arc::new(found), &ReadOptions::default())),
            budget: Arc::new(FdBudget::of(0)),
            limits: Limits::default(),
            accept: Accept::default(),
            skip_root: true,
            bus: Arc::clone(&bus),
            ledger: Arc::clone(&ledger),
            exits: None,
            runtimes: Arc::default(),
            node: Arc::clone(&node),
            node_interval: Duration::ZERO,
            cpu_budget: None,
            metrics: Arc::clone(&metrics),
        };
        let namespaces = Arc::new(NetworkNamespaces::new(Path::new("/proc")));
        let sampler = Sampler::start(
            1,
            Housekeeping::default(),
            namespaces,
            Arc::clone(&metrics),
            Arc::new(|_, _| {}),
        );
        let sampler = Arc::new(sampler.unwrap());
        let registry = Arc::<Registry>::default();
        let desk = OomDesk::new(Arc::clone(&registry), ledger, Arc::clone(&bus), metrics);
        let desk = Arc::new(desk);
        let (listed, _) = watch::channel(false);
        let (manager, inlet) =
            Manager::spawn(parts, registry, Arc::clone(&sampler), desk, listed).unwrap();

        // A writer can be had as soon as somebody waits for one.
        let mut writer = None;
        let flags = nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_NONBLOCK;
        wait_for("the node is being read", || {
            writer = nix::fcntl::open(&meminfo, flags, nix::sys::stat::Mode::empty()).ok();
            writer.is_some()
        });
        let directory = Directory {
            name: ContainerName::root(),
            incarnation: 1,
            hierarchy: HierarchyId(0),
            inode: None,
        };
        assert!(inlet.send(SourceEvent::Tree(Change::Added(directory))));
        wait_for("the event", || {
            bus.past(&EventRequest::everything()).len() == 1
        });
        drop(inlet);
        manager.stop();
        sampler.stop(Instant::now() + Duration::from_secs(20));
        drop(writer);
    }
}
