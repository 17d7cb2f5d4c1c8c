//! Which links there are, and the thread that they run on.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::supervise::{self, Absence};
use super::{
    Ask, ContainerdLink, CriLink, Endpoint, Link, LinkId, LinkStatus, Names, Runtime,
    RuntimeSettings, RuntimeStats,
};

/// How often names are looked through for those that have been gone for too long.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60);

/// How long stopping waits for what hangs in the file system.
const STOP: Duration = Duration::from_millis(500);

/// What the runtimes told, and how the links to them are doing.
#[derive(Debug, Default)]
pub struct Runtimes {
    names: Names,
    stats: Arc<RuntimeStats>,
    links: RwLock<Vec<Arc<LinkStatus>>>,
}

impl Runtimes {
    /// What containers use whose processes are in no cgroup of theirs.
    pub fn stats(&self) -> &RuntimeStats {
        &self.stats
    }

    /// The names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// How each link is doing, by runtime and endpoint.
    pub fn links(&self) -> Vec<Arc<LinkStatus>> {
        self.links.read().clone()
    }

    fn add(&self, status: Arc<LinkStatus>) {
        let mut links = self.links.write();
        links.push(status);
        links.sort_by(|a, b| (a.runtime, &a.endpoint).cmp(&(b.runtime, &b.endpoint)));
    }
}

/// The thread of the links. Ends with [`Supervisor::stop`] or when dropped.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What starts links.
struct Starter {
    runtimes: Arc<Runtimes>,
    settings: RuntimeSettings,
    stop: CancellationToken,
    tasks: TaskTracker,
    started: u32,
}

impl Supervisor {
    /// Starts a thread, and on it a link to each runtime that the settings name. Links do not run
    /// where requests are answered or containers are polled: a runtime's answer may be large.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn spawn(settings: RuntimeSettings) -> io::Result<(Self, Arc<Runtimes>)> {
        let runtimes = Arc::new(Runtimes {
            names: Names::new(settings.names),
            stats: Arc::default(),
            links: RwLock::default(),
        });
        let executor = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()?;
        let stop = CancellationToken::new();
        let mut starter = Starter {
            runtimes: Arc::clone(&runtimes),
            settings,
            stop: stop.clone(),
            tasks: TaskTracker::new(),
            started: 0,
        };
        let thread = std::thread::Builder::new()
            .name("cgauge-runtimes".to_owned())
            .spawn(move || {
                executor.block_on(starter.run());
                executor.shutdown_timeout(STOP);
            })?;
        let supervisor = Self {
            stop,
            thread: Some(thread),
        };
        Ok((supervisor, runtimes))
    }

    /// Ends all links. Takes milliseconds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the runtime links had panicked");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

impl Starter {
    async fn run(&mut self) {
        for runtime in Runtime::ALL {
            let (endpoint, absence) = match self.settings.of(runtime).clone() {
                Ask::Never => continue,
                Ask::Usual(endpoint) => (endpoint, Absence::IsNormal),
                Ask::At(endpoint) => (endpoint, Absence::IsFailure),
            };
            self.start(runtime, endpoint, absence);
        }
        let mut ticks = tokio::time::interval(EXPIRE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = ticks.tick() => self.runtimes.names.expire(Instant::now()),
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Starts the link to a runtime of the node.
    fn start(&mut self, runtime: Runtime, endpoint: Endpoint, absence: Absence) {
        match runtime {
            // Each arm makes its link and has it kept: `self.keep(link, endpoint, absence, false)`.
            Runtime::Docker | Runtime::Podman => {}
            Runtime::Crio | Runtime::Cri => {
                let RuntimeSettings {
                    env_prefixes,
                    timeout,
                    ..
                } = self.settings.clone();
                let stats = Arc::clone(&self.runtimes.stats);
                let link = CriLink::new(runtime, endpoint.clone(), env_prefixes, timeout, stats);
                self.keep(link, endpoint, absence, false);
            }
            Runtime::Containerd => {
                let RuntimeSettings {
                    containerd_namespaces,
                    env_prefixes,
                    timeout,
                    ..
                } = self.settings.clone();
                let link = ContainerdLink::new(
                    endpoint.clone(),
                    containerd_namespaces,
                    env_prefixes,
                    timeout,
                );
                self.keep(link, endpoint, absence, false);
            }
        }
    }

    /// Runs a link for as long as the thread does.
    fn keep<L: Link + 'static>(
        &mut self,
        link: L,
        place: Endpoint,
        absence: Absence,
        of_user: bool,
    ) {
        self.started = self.started.saturating_add(1);
        let id = LinkId {
            of_user,
            number: self.started,
        };
        let status = LinkStatus::new(link.runtime(), link.endpoint());
        self.runtimes.add(Arc::clone(&status));
        let names = self.runtimes.names.for_link(id);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            supervise::run(link, &place, absence, &names, &status, &stop).await;
        });
    }
}
