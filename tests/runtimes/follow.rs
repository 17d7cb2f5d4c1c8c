//! A link that is followed as the monitor follows it, and the names that it tells.

use std::sync::Arc;
use std::time::Duration;

use cgauge::runtime::{Identity, Link, LinkState, LinkStatus, Names};

use crate::support::{SOON, wait_for, wait_until};

/// What a container does that only has to be there.
pub const SLEEP: &str = "exec /bin/busybox sleep 100000";

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Waits until this process is the `sleep` that it is to become.
#[track_caller]
pub fn wait_for_sleep(pid: u32) {
    wait_until(SOON, "the container's process sleeps", || {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        line.windows(5).any(|part| part == b"sleep").then_some(())
    });
}

/// A link and what it told. Ends when dropped.
pub struct Followed {
    /// The names.
    pub names: Arc<Names>,
    /// How the link is doing.
    pub status: Arc<LinkStatus>,
    _runtime: tokio::runtime::Runtime,
}

impl Followed {
    /// Follows a link on threads of its own.
    pub fn start(mut link: impl Link + 'static) -> Self {
        let names = Arc::new(Names::default());
        let status = LinkStatus::new(link.runtime(), link.endpoint());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (told, state) = (Arc::clone(&names), Arc::clone(&status));
        runtime.spawn(async move {
            loop {
                let Err(error) = link.follow(&told, &state).await;
                state.failed(&error);
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self {
            names,
            status,
            _runtime: runtime,
        }
    }

    /// Waits until the link has told all that the runtime knew.
    #[track_caller]
    pub fn wait_connected(&self) {
        let connected = wait_for(SOON, || {
            matches!(self.status.state().0, LinkState::Connected { .. }).then_some(())
        });
        assert!(connected.is_some(), "{:?}", self.status.state());
    }

    /// Waits until the container of this id is as `look` wants it.
    #[track_caller]
    pub fn wait<T>(&self, id: &str, what: &str, mut look: impl FnMut(&Identity) -> Option<T>) -> T {
        let found = wait_for(SOON, || look(&*self.names.get(id)?));
        match found {
            Some(found) => found,
            None => panic!(
                "not in time: {what}; {id} is {:?}; the link is {:?}",
                self.names.get(id),
                self.status.state()
            ),
        }
    }

    /// The ids of all whose runtime still knows them, sorted.
    pub fn living(&self) -> Vec<String> {
        let living = self.names.living();
        let mut ids: Vec<_> = living.iter().map(|one| one.id.clone()).collect();
        ids.sort();
        ids
    }
}
