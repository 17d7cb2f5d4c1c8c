//! Podman: by its API where it listens, else by its files.
//!
//! Podman needs no daemon, and most often there is none. Its files are looked at every other second, which
//! costs a few `stat`s, and read when they have changed.

mod files;

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::files::Version;
use super::docker::EngineLink;
use super::supervise::Absence;
use super::{Endpoint, Identity, Link, LinkError, LinkStatus, Names, Runtime};

/// How often the files, and the place of the socket, are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// How long the files may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A link to Podman by whatever there is.
#[derive(Debug)]
pub(super) struct PodmanLink {
    api: EngineLink,
    place: Endpoint,
    absence: Absence,
    storage: Arc<Path>,
    env_prefixes: Arc<[String]>,
}

impl PodmanLink {
    pub(super) fn new(
        place: Endpoint,
        absence: Absence,
        storage: PathBuf,
        env_prefixes: Vec<String>,
        timeout: Duration,
    ) -> Self {
        let runtime = Runtime::Podman;
        Self {
            api: EngineLink::new(runtime, place.clone(), env_prefixes.clone(), timeout),
            place,
            absence,
            storage: storage.into(),
            env_prefixes: env_prefixes.into(),
        }
    }

    /// Follows the files until Podman listens.
    async fn follow_files(&self, names: &Names, status: &LinkStatus) -> Result<(), LinkError> {
        let mut read = Version::default();
        let mut configured = HashSet::new();
        loop {
            let storage = Arc::clone(&self.storage);
            let now = self.on_disk(move || Version::of(&storage)).await?;
            if now.is_empty() && read.is_empty() {
                return Ok(());
            }
            if now != read {
                let (storage, env) = (Arc::clone(&self.storage), Arc::clone(&self.env_prefixes));
                let version = now.clone();
                let done = configured.clone();
                status.asked();
                let found = self
                    .on_disk(move || load(&version, &storage, &env, done))
                    .await?;
                let (identities, done) = found.map_err(|error| LinkError::Answer {
                    endpoint: self.storage.display().to_string(),
                    question: "the list of containers".to_owned(),
                    what: error.to_string(),
                })?;
                tell(names, identities);
                configured = done;
                read = now;
                status.connected(format!("files in {}", self.storage.display()));
            }
            if self.place.mark().is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Does something on a thread that may hang with the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LinkError> {
        let endpoint = self.storage.display().to_string();
        match tokio::time::timeout(READ_TIMEOUT, tokio::task::spawn_blocking(work)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(LinkError::Defect { endpoint }),
            Err(_) => Err(LinkError::Timeout {
                endpoint,
                question: "a look at its files".to_owned(),
                seconds: READ_TIMEOUT.as_secs(),
            }),
        }
    }
}

impl Link for PodmanLink {
    fn runtime(&self) -> Runtime {
        Runtime::Podman
    }

    fn endpoint(&self) -> String {
        self.place.to_string()
    }

    async fn follow(
        &mut self,
        names: &Names,
        status: &LinkStatus,
    ) -> Result<Infallible, LinkError> {
        loop {
            if self.place.mark().is_none() {
                self.follow_files(names, status).await?;
            }
            if self.place.mark().is_some() || self.absence == Absence::IsFailure {
                return self.api.follow(names, status).await;
            }
            status.absent();
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Reads the lists, and the configurations of those that are not `done`.
fn load(
    version: &Version,
    storage: &Path,
    env_prefixes: &[String],
    done: HashSet<String>,
) -> std::io::Result<(Vec<Identity>, HashSet<String>)> {
    let mut identities = version.read(storage)?;
    let mut now_done = HashSet::with_capacity(identities.len());
    for identity in &mut identities {
        if done.contains(&identity.id) || files::configure(identity, storage, env_prefixes) {
            now_done.insert(identity.id.clone());
        }
    }
    Ok((identities, now_done))
}

/// Tells what the files say. They know less than the API did, if it was there before: what they do not
/// know stays.
fn tell(names: &Names, identities: Vec<Identity>) {
    let ids: Vec<String> = identities.iter().map(|one| one.id.clone()).collect();
    for mut identity in identities {
        if let Some(known) = names.told(identity.runtime, &identity.id) {
            // Names are not gathered: a container that was renamed does not keep the old one.
            let aliases = identity.aliases.clone();
            identity.fill_from(&known);
            identity.aliases = aliases;
            // What may have changed since is not known any more.
            (identity.state, identity.health, identity.init_pid) = (None, None, None);
        }
        names.put(identity);
    }
    names.keep_only(Runtime::Podman, &ids);
}
