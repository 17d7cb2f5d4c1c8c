//! DECIDE: events of the sources in, handlers and published events out.
//!
//! One thread, the only owner of the [`Registry`]: nobody else makes or removes a handler. It never
//! reads a kernel file of a container and never waits for a poll.

pub mod accept;
pub mod oom;
pub mod registry;
mod thrift;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use self::thrift::Thrift;
use crate::cache::Limits;
use crate::cgroup::ContainerName;
use crate::cgroup::file::FdBudget;
use crate::cgroup::plan::Plan;
use crate::event::{EventBus, EventKind, OomKill};
use crate::handler::{Handler, NewHandler, Sampler};
use crate::node::Node;
use crate::self_metrics::{KmsgState, SelfMetrics};
use crate::source::kmsg_reader::wall_clock;
use crate::source::{Change, Directory, FileChange, SourceEvent};
use crate::units::Timestamp;
pub use accept::Accept;
use oom::{Kill, OomMatcher};
pub use registry::Registry;

/// Source events that may wait for the manager. When it is full the watcher waits, and behind it the
/// kernel's queue: an overflow there is noticed and repaired by a listing.
pub const INLET_CAPACITY: usize = 4_096;

/// How often the manager looks after what is due by time.
const TICK: Duration = Duration::from_millis(500);

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

/// OOM kills as two witnesses tell of them, shared by the manager and the samplers.
#[derive(Debug)]
pub struct OomDesk {
    matcher: Mutex<OomMatcher>,
    bus: Arc<EventBus>,
    metrics: Arc<SelfMetrics>,
}

impl OomDesk {
    /// A desk that publishes to `bus`.
    pub fn new(bus: Arc<EventBus>, metrics: Arc<SelfMetrics>) -> Self {
        Self {
            matcher: Mutex::new(OomMatcher::default()),
            bus,
            metrics,
        }
    }

    /// A container's counter has grown by `number`.
    pub fn counted(&self, handler: &Handler, number: u64) {
        let followed = self.metrics.kmsg_state() == KmsgState::Following;
        let kills = self.matcher.lock().counted(
            handler.name(),
            handler.incarnation(),
            number,
            followed,
            Instant::now(),
        );
        for kill in kills {
            self.publish(kill, Some(handler));
        }
    }

    fn publish(&self, kill: Kill, handler: Option<&Handler>) {
        if let Some(handler) = handler {
            handler.count_oom_kill();
        }
        let timestamp = match &kill.record {
            Some(record) => wall_clock(record.stamp),
            None => Timestamp::now(),
        };
        let known = match kill.record {
            Some(record) => {
                self.metrics.oom_kills_from_kmsg.inc();
                if let Some(exhausted) = kill.exhausted {
                    self.bus.publish(timestamp, exhausted, EventKind::Oom);
                }
                record
            }
            None => {
                self.metrics.oom_kills_from_counters.inc();
                Box::default()
            }
        };
        self.bus
            .publish(timestamp, kill.victim, EventKind::OomKill(Arc::from(known)));
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
}

impl Task {
    fn run(self, events: &Receiver<SourceEvent>) {
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

    fn tick(&self, now: Instant) {
        self.sampler.relieve();
        let overdue = self.desk.matcher.lock().overdue(now);
        for kill in overdue {
            self.publish(kill);
        }
    }

    fn handle(&self, event: SourceEvent) {
        match event {
            SourceEvent::Tree(Change::Added(directory)) => self.added(directory),
            SourceEvent::Tree(Change::Attached(directory)) => {
                if let Some(handler) = self.known(&directory) {
                    handler.attach(directory.hierarchy, directory.inode);
                }
            }
            SourceEvent::Tree(Change::Detached(directory)) => {
                if let Some(handler) = self.known(&directory) {
                    handler.detach(directory.hierarchy);
                }
            }
            SourceEvent::Tree(Change::Removed { name, incarnation }) => {
                self.removed(&name, incarnation)
            }
            SourceEvent::File(name, change) => self.file_changed(&name, change),
            SourceEvent::Listed => {
                self.listed.send_replace(true);
            }
            SourceEvent::OomKill(record) => self.oom_kill(record),
        }
    }

    fn known(&self, directory: &Directory) -> Option<Arc<Handler>> {
        self.registry
            .get(&directory.name)
            .filter(|handler| handler.incarnation() == directory.incarnation)
    }

    fn added(&self, directory: Directory) {
        if !self.parts.accept.accepts(&directory.name) {
            return;
        }
        let preexisting = !*self.listed.borrow();
        let noticed = if preexisting {
            self.made_at(&directory)
        } else {
            Timestamp::now()
        };
        let Directory {
            name,
            incarnation,
            hierarchy,
            inode,
        } = directory;
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
        handler.attach(hierarchy, inode);
        if let Some(old) = self.registry.insert(Arc::clone(&handler)) {
            // The tree removes before it adds; should it ever not, no handler is left behind.
            old.remove();
        }
        self.parts
            .metrics
            .containers
            .set(self.registry.len() as u64);
        self.parts
            .bus
            .publish(noticed, name.clone(), EventKind::ContainerCreation);
        if polled {
            self.sampler.add(&handler);
        }
    }

    /// When a container that was there before us was made.
    fn made_at(&self, directory: &Directory) -> Timestamp {
        let root = &self.parts.plan.hierarchies.get(directory.hierarchy).root;
        std::fs::metadata(directory.name.below(root))
            .and_then(|metadata| metadata.modified())
            .map_or_else(|_| Timestamp::now(), Timestamp::from)
    }

    fn removed(&self, name: &ContainerName, incarnation: u64) {
        let Some(handler) = self.registry.remove(name, incarnation) else {
            return;
        };
        handler.remove();
        self.parts
            .metrics
            .containers
            .set(self.registry.len() as u64);
        let kind = EventKind::ContainerDeletion { exit_code: None };
        self.parts.bus.publish(Timestamp::now(), name.clone(), kind);
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

    fn oom_kill(&self, record: Box<OomKill>) {
        let hierarchies = &self.parts.plan.hierarchies;
        let container = |path: &Option<String>| {
            path.as_deref()
                .map(|path| hierarchies.container_of_memcg(path))
        };
        // A kill without a cgroup of its own in the record is the root's.
        let victim = container(&record.task_memcg).unwrap_or_else(ContainerName::root);
        let exhausted = container(&record.oom_memcg).unwrap_or_else(ContainerName::root);
        let now = self
            .registry
            .get(&victim)
            .map(|handler| handler.incarnation());
        let kill = self
            .desk
            .matcher
            .lock()
            .logged(record, victim, now, exhausted, Instant::now());
        self.publish(kill);
    }

    /// Publishes a kill, and counts it on its container if that is still there.
    fn publish(&self, kill: Kill) {
        let handler = self.registry.get(&kill.victim).filter(|handler| {
            kill.incarnation
                .is_none_or(|incarnation| incarnation == handler.incarnation())
        });
        self.desk.publish(kill, handler.as_deref());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cgroup::network::NetworkNamespaces;
    use crate::cgroup::plan::ReadOptions;
    use crate::cgroup::{Hierarchies, HierarchyId};
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
        let node = Arc::new(Node::read(host.roots.clone()));
        nix::unistd::mkfifo(&meminfo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let parts = Parts {
            plan: Arc::new(Plan::new(Arc::new(found), &ReadOptions::default())),
            budget: Arc::new(FdBudget::of(0)),
            limits: Limits::default(),
            accept: Accept::default(),
            skip_root: true,
            bus: Arc::clone(&bus),
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
        let desk = Arc::new(OomDesk::new(Arc::clone(&bus), metrics));
        let (listed, _) = watch::channel(false);
        let (manager, inlet) =
            Manager::spawn(parts, Arc::default(), Arc::clone(&sampler), desk, listed).unwrap();

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
