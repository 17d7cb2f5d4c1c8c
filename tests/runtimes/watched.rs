//! A monitor in this process, and waiting for what it learns from a runtime.

use std::sync::Arc;
use std::time::Duration;

use cgauge::Monitor;
use cgauge::runtime::{Ask, Endpoint, Identity, RuntimeSettings};

use crate::support::wait_until;

/// For what a runtime does, which may wait for others on this machine.
pub const RUNTIME_SOON: Duration = Duration::from_secs(30);

/// A monitor in this process, with an executor of its own.
pub struct Watched {
    monitor: Option<Monitor>,
    executor: tokio::runtime::Runtime,
}

impl Watched {
    /// Starts one that asks these runtimes.
    pub fn start(settings: RuntimeSettings) -> Self {
        let executor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let start = Monitor::builder().kmsg(None).runtimes(settings).start();
        let monitor = executor.block_on(start).unwrap();
        Self {
            monitor: Some(monitor),
            executor,
        }
    }

    pub fn monitor(&self) -> &Monitor {
        self.monitor.as_ref().unwrap()
    }

    /// Who bears this name now, if exactly one does.
    pub fn named(&self, name: &str) -> Option<Arc<Identity>> {
        let living = self.monitor().names().living();
        let mut found = living
            .into_iter()
            .filter(|one| one.name.as_deref() == Some(name));
        found.next().filter(|_| found.next().is_none())
    }

    /// Waits until `look` has an answer about the one of this name.
    #[track_caller]
    pub fn until<T>(&self, name: &str, what: &str, look: impl Fn(&Identity) -> Option<T>) -> T {
        wait_until(RUNTIME_SOON, &format!("{name}: {what}"), || {
            look(&*self.named(name)?)
        })
    }

    /// The same of an id, which may have gone.
    #[track_caller]
    pub fn until_id<T>(&self, id: &str, what: &str, look: impl Fn(&Identity) -> Option<T>) -> T {
        wait_until(RUNTIME_SOON, &format!("{id}: {what}"), || {
            look(&*self.monitor().names().get(id)?)
        })
    }

    /// Waits until the only link is up, or down.
    #[track_caller]
    pub fn until_up(&self, up: bool) {
        let what = format!("the link is up: {up}");
        wait_until(RUNTIME_SOON, &what, || {
            let links = self.monitor().links();
            assert_eq!(links.len(), 1);
            (links[0].is_up() == Some(up)).then_some(())
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(monitor) = self.monitor.take() {
            self.executor.block_on(monitor.shutdown());
        }
    }
}

/// At this socket.
pub fn at(socket: &std::path::Path) -> Ask {
    Ask::At(Endpoint::Unix(socket.to_owned()))
}
