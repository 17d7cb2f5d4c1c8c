//! The view itself: every question, answered from memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::join::{Join, Joined, is_elsewhere};
use super::{ContainerInfo, InfoRequest, QueryError, RequestOptions};
use crate::cache::{Range, Series};
use crate::cgroup::file::FdBudget;
use crate::cgroup::plan::Plan;
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::event::{Event, EventBus, EventRequest, Position, Subscription};
use crate::handler::{Handler, Sampler, Stretch};
use crate::journal::Journal;
use crate::ledger::{Finality, LastRead, Ledger, LedgerRequest, Life};
use crate::manager::Registry;
use crate::node::disk_usage::{LayerUsage, LayerUsages, Location};
use crate::node::setup::{self, Setup};
use crate::node::{
    FsError, FsInfo, FsTable, MachineInfo, Node, Process, ProcessError, VersionInfo, processes,
};
use crate::runtime::{Identity, LinkStatus, Names, Runtimes};
use crate::self_metrics::SelfMetrics;
use crate::units::Timestamp;

/// How long an answer about a container that has just been noticed waits for its first poll.
const FIRST_POLL: Duration = Duration::from_secs(2);

/// How long an answer waits for the polls that its `max_age` asks for. What has not been polled by
/// then is answered as it was.
const MAX_REFRESH: Duration = Duration::from_secs(10);

/// Everything that can be asked.
#[derive(Debug, Clone)]
pub struct View {
    inner: Arc<Inner>,
    join: Arc<Join>,
}

/// What the view looks at.
#[derive(Debug)]
pub struct Inner {
    /// The containers.
    pub registry: Arc<Registry>,
    /// Who polls them.
    pub sampler: Arc<Sampler>,
    /// The events.
    pub bus: Arc<EventBus>,
    /// What became of containers.
    pub ledger: Arc<Ledger>,
    /// The node.
    pub node: Arc<Node>,
    /// The reading plan, with the cost of each file.
    pub plan: Arc<Plan>,
    /// The budget of open files.
    pub budget: Arc<FdBudget>,
    /// What is kept on disk, if anything is.
    pub journal: Option<Arc<Journal>>,
    /// What the container runtimes told.
    pub runtimes: Arc<Runtimes>,
    /// Counters.
    pub metrics: Arc<SelfMetrics>,
    /// What containers have written to disks.
    pub layers: Arc<LayerUsages>,
    /// Whether all that was there at start is known.
    pub listed: watch::Receiver<bool>,
}

/// What became of polling all containers.
#[derive(Debug, Default)]
pub struct Polled {
    /// Those whose newest sample is young enough, by name.
    pub in_time: Vec<Arc<Handler>>,
    /// How many were not polled in time.
    pub late: usize,
}

impl View {
    /// A view of these parts.
    pub fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
            join: Arc::default(),
        }
    }

    /// The machine: processors, memory, disks, networks, ids. As of the last reading, which is
    /// repeated every `update_machine_info_interval`.
    pub fn machine_info(&self) -> Arc<MachineInfo> {
        Arc::clone(&self.inner.node.latest().machine)
    }

    /// Versions of the kernel, the operating system and cgauge.
    pub fn version_info(&self) -> VersionInfo {
        self.inner.node.latest().version.clone()
    }

    /// The file system that `/` is on.
    ///
    /// # Errors
    /// If it cannot be measured; a hung one is given up after two seconds.
    pub async fn root_fs_info(&self) -> Result<FsInfo, FsError> {
        self.measure(|node| node.filesystems().root_fs_info()).await
    }

    /// The name of the node: of its `/etc/hostname`, else of this process's host.
    pub fn node_name(&self) -> Option<String> {
        setup::node_name(self.inner.node.roots())
    }

    /// When the node booted.
    pub fn boot_time(&self) -> Option<Timestamp> {
        setup::boot_time(self.inner.node.roots())
    }

    /// How cgroups are set up on the node. Reads two files of procfs.
    pub fn setup(&self) -> Setup {
        Setup::read(self.inner.node.roots())
    }

    /// The processes in a container itself, not below it; all of the node for `/`. Reads procfs, on a
    /// thread that may block.
    ///
    /// # Errors
    /// [`ProcessError`] if procfs cannot be read, or has too many processes.
    pub async fn processes(&self, name: &ContainerName) -> Result<Vec<Process>, ProcessError> {
        let (node, name) = (Arc::clone(&self.inner.node), name.clone());
        let list = move || processes::list(node.roots(), &name);
        match tokio::task::spawn_blocking(list).await {
            Ok(answer) => answer,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// Whether there is a container of this name.
    ///
    /// # Errors
    /// [`QueryError::UnknownContainer`] if there is none.
    pub fn exists(&self, name: &ContainerName) -> Result<(), QueryError> {
        self.find(name).map(drop)
    }

    /// The file systems as last measured, some seconds ago; `None` before the first time. Never
    /// blocks.
    pub fn latest_filesystems(&self) -> Option<Arc<FsTable>> {
        self.inner.node.filesystems().latest()
    }

    /// The file systems as measured in the last minutes, oldest first. Never blocks.
    pub fn recent_filesystems(&self) -> Vec<Arc<FsTable>> {
        self.inner.node.filesystems().recent()
    }

    /// The file system with a UUID, as last measured.
    ///
    /// # Errors
    /// [`FsError::NoUuid`] if there is none.
    pub fn filesystem_by_uuid(&self, table: &FsTable, uuid: &str) -> Result<FsInfo, FsError> {
        self.inner.node.filesystems().by_uuid_in(table, uuid)
    }

    /// The file systems with a label: `root`, `docker-images` …
    ///
    /// # Errors
    /// If no file system has the label.
    pub async fn fs_info(&self, label: &str) -> Result<Vec<FsInfo>, FsError> {
        let label = label.to_owned();
        self.measure(move |node| node.filesystems().fs_info(Some(&label)))
            .await
    }

    /// The file system that a directory is on.
    ///
    /// # Errors
    /// If the directory is on none that counts, or on one that hangs.
    pub async fn dir_fs_info(&self, directory: &Path) -> Result<FsInfo, FsError> {
        let directory = PathBuf::from(directory);
        self.measure(move |node| node.filesystems().dir_fs_info(&directory))
            .await
    }

    /// Asks about file systems on a thread that may block.
    async fn measure<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Node) -> Result<T, FsError> + Send + 'static,
    ) -> Result<T, FsError> {
        let node = Arc::clone(&self.inner.node);
        match tokio::task::spawn_blocking(move || ask(&node)).await {
            Ok(answer) => answer,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// One container: settings, direct children and samples. Waits for the first poll of one that
    /// has just been noticed, and for the settings of one that was written to.
    ///
    /// # Errors
    /// [`QueryError::UnknownContainer`] if there is none of this name.
    pub async fn container_info(
        &self,
        name: &ContainerName,
        request: &InfoRequest,
    ) -> Result<ContainerInfo, QueryError> {
        let handler = self.find(name)?;
        self.await_first_poll(std::slice::from_ref(&handler)).await;
        Ok(self.describe(&handler, request.range(), true))
    }

    /// A container and everything below it, by name.
    ///
    /// # Errors
    /// [`QueryError::UnknownContainer`] if there is none of this name.
    pub async fn subcontainers_info(
        &self,
        name: &ContainerName,
        request: &InfoRequest,
    ) -> Result<Vec<ContainerInfo>, QueryError> {
        self.find(name)?;
        let handlers = self.inner.registry.within(name);
        self.await_first_poll(&handlers).await;
        Ok(handlers
            .iter()
            .map(|handler| self.describe(handler, request.range(), true))
            .collect())
    }

    /// A container, with `recursive` also everything below it; with `max_age`, polled anew where the
    /// last poll is older.
    ///
    /// # Errors
    /// [`QueryError::UnknownContainer`] if there is none of this name.
    pub async fn container_info_v2(
        &self,
        name: &ContainerName,
        options: &RequestOptions,
    ) -> Result<Vec<ContainerInfo>, QueryError> {
        let handlers = self.select(name, options).await?;
        let range = Range {
            newest: options.count,
            ..Range::default()
        };
        Ok(handlers
            .iter()
            .map(|handler| self.describe(handler, range, false))
            .collect())
    }

    /// The handlers that [`container_info_v2`](Self::container_info_v2) tells of, polled as it says:
    /// for answers that are made one container at a time.
    ///
    /// # Errors
    /// [`QueryError::UnknownContainer`] if there is none of this name.
    pub async fn select(
        &self,
        name: &ContainerName,
        options: &RequestOptions,
    ) -> Result<Vec<Arc<Handler>>, QueryError> {
        let handler = self.find(name)?;
        let handlers = if options.recursive {
            self.inner.registry.within(name)
        } else {
            vec![handler]
        };
        self.polled(&handlers, options.max_age).await;
        Ok(handlers)
    }

    /// Waits until these are polled as a question asks: what was polled longer ago than `max_age`, and
    /// whatever never was.
    pub async fn polled(&self, handlers: &[Arc<Handler>], max_age: Option<Duration>) {
        match max_age {
            Some(max_age) => {
                self.poll(handlers, max_age, Instant::now() + MAX_REFRESH)
                    .await;
            }
            None => self.await_first_poll(handlers).await,
        }
    }

    /// The handlers of a container and of everything below it, by name: for answers that are made
    /// one container at a time.
    pub fn containers_within(&self, name: &ContainerName) -> Vec<Arc<Handler>> {
        self.inner.registry.within(name)
    }

    /// The names of a container's direct children, in order.
    pub fn children(&self, name: &ContainerName) -> Vec<ContainerName> {
        self.inner.registry.children(name)
    }

    /// Polls what is within `name` and was polled longer than `max_age` ago, until `deadline`. Gives
    /// the number of containers that were not done in time.
    pub async fn refresh(
        &self,
        name: &ContainerName,
        max_age: Duration,
        deadline: Instant,
    ) -> usize {
        self.poll(&self.inner.registry.within(name), max_age, deadline)
            .await
    }

    /// Polls every container that was polled longer than `max_age` ago, until `deadline`. However many
    /// ask at once, one poll of a container serves them all.
    pub async fn poll_all(&self, max_age: Duration, deadline: Instant) -> Polled {
        let handlers = self.inner.registry.within(&ContainerName::root());
        let asked = self.inner.sampler.request_all(handlers, max_age);
        let deadline = tokio::time::Instant::from_std(deadline);
        let mut polled = Polled::default();
        // The last first: once that is done, so are all but few, and nobody is woken for each.
        for (handler, done) in asked.into_iter().rev() {
            let Some(done) = done else {
                polled.in_time.push(handler);
                continue;
            };
            match tokio::time::timeout_at(deadline, done).await {
                Ok(Ok(())) => polled.in_time.push(handler),
                // It has gone while it waited for its turn.
                Ok(Err(_)) => {}
                Err(_) => polled.late += 1,
            }
        }
        polled.in_time.reverse();
        polled
    }

    /// The file systems of the node, measured anew if the last table is old and that takes no longer
    /// than `wait`; else as they were. `None` if they never have been.
    pub async fn filesystems(&self, wait: Duration) -> Option<Arc<FsTable>> {
        let node = Arc::clone(&self.inner.node);
        let table = tokio::task::spawn_blocking(move || node.filesystems().table_unless_busy());
        match tokio::time::timeout(wait, table).await {
            Ok(Ok(table)) => table,
            _ => self.inner.node.filesystems().latest(),
        }
    }

    /// Which container of a runtime each cgroup is, as of now. Of one piece, however long it is held.
    pub fn joined(&self) -> Arc<Joined> {
        self.join.now(self.names(), &self.inner.registry)
    }

    /// Which container of a runtime the cgroup of this name is. `None` if it is none, or no runtime has
    /// told (yet).
    pub fn identity(&self, name: &ContainerName) -> Option<Arc<Identity>> {
        self.joined().identity(name).cloned()
    }

    /// What a handler knows, as an answer. With `children`, also the names of its children.
    pub fn describe(&self, handler: &Handler, range: Range, children: bool) -> ContainerInfo {
        let mut latest = Sample::default();
        let mut latest = handler.latest(&mut latest).then_some(latest);
        let identity = self.identity(handler.name());
        let is_elsewhere = latest
            .as_ref()
            .is_some_and(|sample| is_elsewhere(identity.as_deref(), sample));
        let told = is_elsewhere
            .then(|| self.told_by_runtime(identity.as_deref()?))
            .flatten();
        if is_elsewhere {
            latest = told.clone();
        }
        ContainerInfo {
            name: handler.name().clone(),
            incarnation: handler.incarnation(),
            subcontainers: if children {
                self.children(handler.name())
            } else {
                Vec::new()
            },
            spec: handler.spec().unwrap_or_else(|| Arc::new(Spec::default())),
            oom_kills: handler.oom_kills(),
            layer: self.layer_usages(handler),
            identity,
            is_elsewhere,
            stats: match (is_elsewhere, told) {
                (false, _) => handler.series(range),
                (true, Some(sample)) => Series::of(&sample, range),
                (true, None) => Series::default(),
            },
            latest,
        }
    }

    /// What a runtime says of a container whose cgroup says nothing of it, as of a moment ago.
    pub fn told_by_runtime(&self, identity: &Identity) -> Option<Sample> {
        let figures = self.inner.runtimes.stats().get(&identity.id)?;
        Some(figures.sample())
    }

    /// What a container's writable layer took at the last few measurements, oldest first: each says
    /// when that was. Empty if it was not measured.
    pub fn layer_usages(&self, handler: &Handler) -> Vec<Arc<LayerUsage>> {
        (self.inner.layers).of(handler.name(), handler.incarnation())
    }

    /// Says where a container's files are: for a caller that has it from the container's runtime, which
    /// knows better than the mount tables that else are read. `None` takes it back. False if there are
    /// too many.
    pub fn set_layer_location(&self, name: &ContainerName, location: Option<Location>) -> bool {
        self.inner.layers.set_location(name, location)
    }

    /// Past events, oldest first, with the exit codes that runtimes have told since.
    pub fn past_events(&self, request: &EventRequest) -> Vec<Event> {
        let mut past = self.inner.bus.past(request);
        self.tell_exit_codes(&mut past);
        past
    }

    /// Events from now on.
    pub fn watch_events(&self, request: EventRequest) -> Subscription {
        self.inner.bus.subscribe(request)
    }

    /// The lives of containers, those that have gone too, newest first; with a journal, only once that
    /// has them. On a thread that may block. Of those that are there the
    /// figures are those of the newest sample.
    pub fn lives(&self, request: &LedgerRequest) -> Vec<Life> {
        let mut lives = self.inner.ledger.lives(request);
        for life in lives.iter_mut().take_while(|life| life.ended.is_none()) {
            let handler = self.inner.registry.get(&life.which.name);
            let same = handler.filter(|it| it.incarnation() == life.which.incarnation);
            if let Some((figures, sample)) = same.and_then(|handler| handler.figures()) {
                life.figures = figures;
                life.finality = Finality {
                    last_read: LastRead::Poll,
                    age: Some(Timestamp::now().since(sample.timestamp)),
                };
            }
        }
        self.inner.ledger.settle();
        lives
    }

    /// What became of containers: totals by workload.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    /// The container of this name that is there now.
    pub fn container(&self, name: &ContainerName) -> Option<Arc<Handler>> {
        self.inner.registry.get(name)
    }

    /// Events behind a position: those that are past and then those to come.
    pub fn resume_events(&self, request: EventRequest, position: Position) -> Subscription {
        self.inner.bus.resume(request, position)
    }

    /// Events behind a position that are past. Unlike [`past_events`](Self::past_events) it holds no
    /// more than a page of them at once, and gives them by number.
    pub fn read_events(&self, request: EventRequest, position: Position) -> Subscription {
        self.inner.bus.read(request, position)
    }

    /// The place behind the event of this number, to be resumed from in this life or, with a
    /// journal, a later one.
    pub fn event_position(&self, id: u64) -> Position {
        self.inner.bus.position(id)
    }

    /// The names that container runtimes told, by container id.
    pub fn names(&self) -> &Names {
        self.inner.runtimes.names()
    }

    /// How the link to each container runtime is doing, by runtime and endpoint.
    pub fn links(&self) -> Vec<Arc<LinkStatus>> {
        self.inner.runtimes.links()
    }

    /// What the container runtimes told, and how the links to them are doing.
    pub fn runtimes(&self) -> &Arc<Runtimes> {
        &self.inner.runtimes
    }

    /// The reading plan, with the cost of each file.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.inner.plan
    }

    /// cgauge's own counters.
    pub fn self_metrics(&self) -> &Arc<SelfMetrics> {
        &self.inner.metrics
    }

    /// The budget of open files.
    pub fn descriptors(&self) -> &FdBudget {
        &self.inner.budget
    }

    /// What is kept on disk; `None` if nothing is.
    pub fn journal(&self) -> Option<&Journal> {
        self.inner.journal.as_deref()
    }

    /// How many event readers there are.
    pub fn event_readers(&self) -> usize {
        self.inner.bus.readers()
    }

    /// How many containers there are.
    pub fn container_count(&self) -> usize {
        self.inner.registry.len()
    }

    /// Whether all containers that were there at start are known.
    pub fn is_ready(&self) -> bool {
        *self.inner.listed.borrow()
    }

    /// Waits until all containers that were there at start are known.
    pub async fn ready(&self) {
        // An error says that the manager has stopped: nothing more to wait for.
        let _ = self.inner.listed.clone().wait_for(|listed| *listed).await;
    }

    /// How far the intervals of polling are stretched now, to stay within the CPU budget.
    pub fn poll_stretch(&self) -> Stretch {
        self.inner.sampler.stretch()
    }

    /// Stops polling, closes the journal and ends event streams.
    pub(crate) fn stop(&self, deadline: Instant, journal: Duration) {
        self.inner.sampler.stop(deadline);
        if let Some(open) = &self.inner.journal {
            open.close(Instant::now() + journal);
        }
        self.inner.bus.close();
    }

    /// The handler of a container, if it is there now.
    pub(super) fn handler_of(&self, name: &ContainerName) -> Option<Arc<Handler>> {
        self.inner.registry.get(name)
    }

    fn find(&self, name: &ContainerName) -> Result<Arc<Handler>, QueryError> {
        self.inner
            .registry
            .get(name)
            .ok_or_else(|| QueryError::UnknownContainer(name.to_string()))
    }

    async fn await_first_poll(&self, handlers: &[Arc<Handler>]) {
        let unpolled: Vec<Arc<Handler>> = handlers
            .iter()
            .filter(|handler| handler.latest_time().is_none())
            .cloned()
            .collect();
        if !unpolled.is_empty() {
            self.poll(&unpolled, FIRST_POLL, Instant::now() + FIRST_POLL)
                .await;
        }
        // Settings are read with a poll, too.
        let rewritten: Vec<Arc<Handler>> = handlers
            .iter()
            .filter(|handler| handler.settings_are_old())
            .cloned()
            .collect();
        if !rewritten.is_empty() {
            self.poll(&rewritten, Duration::ZERO, Instant::now() + FIRST_POLL)
                .await;
        }
    }

    async fn poll(&self, handlers: &[Arc<Handler>], max_age: Duration, deadline: Instant) -> usize {
        let asked = (self.inner.sampler).request_all(handlers.iter().cloned(), max_age);
        let deadline = tokio::time::Instant::from_std(deadline);
        let mut late = 0;
        for done in asked.into_iter().rev().filter_map(|(_, done)| done) {
            late += usize::from(tokio::time::timeout_at(deadline, done).await.is_err());
        }
        late
    }
}
