//! Which links there are, and the thread that they run on.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::docker::EngineLink;
use super::podman::PodmanLink;
use super::supervise::{self, Absence};
use super::users::{self, UserSocket};
use super::{
    Ask, ContainerdLink, CriLink, Endpoint, Link, LinkId, LinkStatus, Names, Runtime,
    RuntimeSettings, RuntimeStats,
};

/// How often names are looked through for those that have been gone for too long.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is looked whether users have come or gone.
const USERS_INTERVAL: Duration = Duration::from_secs(5);

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

    fn remove(&self, status: &Arc<LinkStatus>) {
        self.links.write().retain(|one| !Arc::ptr_eq(one, status));
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

/// A link to the runtime of a user, while there is one.
struct UserLink {
    socket: UserSocket,
    status: Arc<LinkStatus>,
    names: Names,
    stop: CancellationToken,
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
        let mut expire = tokio::time::interval(EXPIRE_INTERVAL);
        let mut users = tokio::time::interval(USERS_INTERVAL);
        for ticks in [&mut expire, &mut users] {
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut user_links = Vec::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = expire.tick() => self.runtimes.names.expire(Instant::now()),
                _ = users.tick() => self.look_for_users(&mut user_links),
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Starts the link to a runtime of the node.
    fn start(&mut self, runtime: Runtime, endpoint: Endpoint, absence: Absence) {
        let env = self.settings.env_prefixes.clone();
        let timeout = self.settings.timeout;
        match (runtime, self.settings.podman_storage.clone()) {
            (Runtime::Podman, Some(storage)) => {
                let link = PodmanLink::new(endpoint.clone(), absence, storage, env, timeout);
                // It knows itself what to do while there is no socket.
                self.keep(link, endpoint, Absence::IsFailure);
            }
            (Runtime::Docker | Runtime::Podman, _) => {
                let link = EngineLink::new(runtime, endpoint.clone(), env, timeout);
                self.keep(link, endpoint, absence);
            }
            (Runtime::Crio | Runtime::Cri, _) => {
                let stats = Arc::clone(&self.runtimes.stats);
                let link = CriLink::new(runtime, endpoint.clone(), env, timeout, stats);
                self.keep(link, endpoint, absence);
            }
            (Runtime::Containerd, _) => {
                let namespaces = self.settings.containerd_namespaces.clone();
                let link = ContainerdLink::new(endpoint.clone(), namespaces, env, timeout);
                self.keep(link, endpoint, absence);
            }
        }
    }

    /// Runs a link for as long as the thread does.
    fn keep<L: Link + 'static>(&mut self, link: L, place: Endpoint, absence: Absence) {
        let stop = self.stop.clone();
        self.spawn(link, place, absence, false, stop);
    }

    fn spawn<L: Link + 'static>(
        &mut self,
        link: L,
        place: Endpoint,
        absence: Absence,
        of_user: bool,
        stop: CancellationToken,
    ) -> (Arc<LinkStatus>, Names) {
        self.started = self.started.saturating_add(1);
        let id = LinkId {
            of_user,
            number: self.started,
        };
        let status = LinkStatus::new(link.runtime(), link.endpoint());
        self.runtimes.add(Arc::clone(&status));
        let names = self.runtimes.names.for_link(id);
        let told = (Arc::clone(&status), names.for_link(id));
        self.tasks.spawn(async move {
            supervise::run(link, &place, absence, &names, &status, &stop).await;
        });
        told
    }

    /// Starts links to the runtimes of users who have come, and ends those to the ones of users who have
    /// gone.
    fn look_for_users(&mut self, links: &mut Vec<UserLink>) {
        let Some(directory) = self.settings.users.clone() else {
            return;
        };
        links.retain(|link| {
            let stays = link.socket.home.exists();
            if !stays {
                link.stop.cancel();
                link.names.forget_link();
                self.runtimes.remove(&link.status);
            }
            stays
        });
        for socket in users::find(&directory) {
            if links.iter().any(|link| link.socket == socket) || links.len() >= users::MAX_SOCKETS {
                continue;
            }
            let endpoint = Endpoint::Unix(socket.path.clone());
            let env = self.settings.env_prefixes.clone();
            let timeout = self.settings.timeout;
            let link = EngineLink::new(socket.runtime, endpoint.clone(), env, timeout);
            let stop = self.stop.child_token();
            // One's own runtime is as good as the node's.
            let of_user = socket.uid != nix::unistd::geteuid().as_raw();
            let (status, names) =
                self.spawn(link, endpoint, Absence::IsNormal, of_user, stop.clone());
            links.push(UserLink {
                socket,
                status,
                names,
                stop,
            });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn until(what: &str, look: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !look() {
            assert!(Instant::now() < end, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn users_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let settings = RuntimeSettings {
            users: Some(root.path().to_owned()),
            ..RuntimeSettings::none()
        };
        let (supervisor, runtimes) = Supervisor::spawn(settings).unwrap();
        let home = root.path().join(nix::unistd::geteuid().to_string());
        std::fs::create_dir_all(home.join("podman")).unwrap();
        let listener = UnixListener::bind(home.join("podman/podman.sock")).unwrap();
        until("a link", || runtimes.links().len() == 1);
        let link = runtimes.links().remove(0);
        assert_eq!(link.runtime, Runtime::Podman);
        until("it is asked", || link.counts().requests > 0);
        drop(listener);
        std::fs::remove_dir_all(&home).unwrap();
        until("no link", || runtimes.links().is_empty());
        supervisor.stop();
    }

    #[test]
    fn no_runtime_no_link_and_a_stop_is_quick() {
        let (supervisor, runtimes) = Supervisor::spawn(RuntimeSettings::none()).unwrap();
        assert!(runtimes.links().is_empty() && runtimes.names().is_empty());
        drop(supervisor);
    }
}
