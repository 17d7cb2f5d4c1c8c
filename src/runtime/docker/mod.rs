//! Docker's Engine API, and Podman's, which is much like it.
//!
//! One connection follows the events, another one, kept, asks: once for a list, once for each container
//! that is new or has changed, and twice a minute whether anybody is still there.

mod dialect;
pub(crate) mod describe;
pub(crate) mod events;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;

use self::dialect::Dialect;
use self::events::News;
use self::pending::{Pending, Task};
use super::http::{Client, Lines};
use super::{Endpoint, Identity, Link, LinkError, LinkStatus, Names, Runtime};
use crate::units::{NS_PER_SEC, Timestamp};

/// The largest answers that are read: of `/version`, of a list, of one container.
const MAX_VERSION: usize = 256 * 1024;
const MAX_LIST: usize = 32 * 1024 * 1024;
const MAX_INSPECT: usize = 4 * 1024 * 1024;

/// How often a quiet runtime is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// After a look at containers, what happens to them meanwhile is gathered for this long.
const GATHER: Duration = Duration::from_millis(50);

/// When this many containers in a row cannot be looked at in time, it is the runtime that hangs.
const MAX_HUNG: usize = 3;

/// A container that could not be looked at in time is left alone for this long: a runtime may hang on
/// one and be well otherwise.
const LEAVE_HUNG: Duration = Duration::from_secs(300);

/// The most pods, hung containers, and killed ones that are remembered.
const MAX_REMEMBERED: usize = 4_096;

/// A link to Docker or Podman by its API.
#[derive(Debug)]
pub(super) struct EngineLink {
    runtime: Runtime,
    client: Client,
    env_prefixes: Vec<String>,
    hung: HashMap<String, Instant>,
}

impl EngineLink {
    pub(super) fn new(
        runtime: Runtime,
        endpoint: Endpoint,
        env_prefixes: Vec<String>,
        timeout: Duration,
    ) -> Self {
        Self {
            runtime,
            client: Client::new(endpoint, timeout),
            env_prefixes,
            hung: HashMap::new(),
        }
    }
}

impl Link for EngineLink {
    fn runtime(&self) -> Runtime {
        self.runtime
    }

    fn endpoint(&self) -> String {
        self.client.endpoint().to_string()
    }

    async fn follow(
        &mut self,
        names: &Names,
        status: &LinkStatus,
    ) -> Result<Infallible, LinkError> {
        let answer = ask(&mut self.client, "/version", MAX_VERSION, status).await?;
        let dialect = Dialect::negotiate(&answer).ok_or_else(|| {
            let what = "what neither Docker nor Podman says".to_owned();
            self.client.odd("/version", what)
        })?;
        let now = Timestamp::now().0.div_euclid(NS_PER_SEC.cast_signed());
        // Events first, the list second: what happens between them is told by the events.
        let lines = self.client.stream(&dialect.events(now), status).await?;
        let shared = Shared {
            runtime: dialect.runtime,
            names,
            status,
            pending: Pending::default(),
            pods: Mutex::default(),
        };
        let version = dialect.version.clone();
        let mut worker = Worker {
            client: &mut self.client,
            dialect,
            env_prefixes: &self.env_prefixes,
            hung: &mut self.hung,
            shared: &shared,
        };
        let work = async {
            worker.list().await?;
            status.connected(version);
            worker.work().await
        };
        // Events are read also while many containers are looked at: a runtime drops a reader that is
        // slow.
        tokio::select! {
            error = shared.read(lines) => Err(error),
            ended = work => ended,
        }
    }
}

/// Asks for JSON.
async fn ask(
    client: &mut Client,
    question: &str,
    limit: usize,
    status: &LinkStatus,
) -> Result<Value, LinkError> {
    let answer = client.get(question, limit, status).await?;
    if answer.status != StatusCode::OK {
        return Err(client.refused(question, answer.status, &answer.body));
    }
    serde_json::from_slice(&answer.body).map_err(|error| client.odd(question, error.to_string()))
}

/// What the reader of events and the one who asks have in common.
struct Shared<'a> {
    runtime: Runtime,
    names: &'a Names,
    status: &'a LinkStatus,
    pending: Pending,
    /// The names of Podman's pods.
    pods: Mutex<HashMap<String, String>>,
}

impl Shared<'_> {
    /// Takes events until there are no more.
    async fn read(&self, mut lines: Lines) -> LinkError {
        let mut killed = HashSet::new();
        loop {
            let line = match lines.next().await {
                Ok(line) => line,
                Err(error) => return error,
            };
            match events::parse(&line) {
                Ok(None) => {}
                Ok(Some(news)) => {
                    self.status.event();
                    self.take(news, &mut killed);
                }
                Err(error) => {
                    return LinkError::Answer {
                        endpoint: self.status.endpoint.clone(),
                        question: "/events".to_owned(),
                        what: error.to_string(),
                    };
                }
            }
        }
    }

    /// Notes what an event says by itself. The container may be gone before it can be looked at.
    fn take(&self, news: News, killed: &mut HashSet<String>) {
        let (runtime, names) = (self.runtime, self.names);
        if let Some(id) = news.container() {
            self.pending.push(id);
        }
        match news {
            News::Changed(_) => {}
            News::Renamed(id, name) => {
                names.amend(runtime, &id, |identity| {
                    identity.name = name.or(identity.name.take());
                });
            }
            News::OutOfMemory(id) => {
                if killed.len() < MAX_REMEMBERED {
                    killed.insert(id);
                }
            }
            News::Ended { id, code, at } => {
                let out_of_memory = killed.remove(&id);
                names.amend(runtime, &id, |identity| {
                    identity.state = Some(events::ended(code, out_of_memory, at));
                    identity.init_pid = None;
                });
            }
            News::Health(id, health) => {
                if health.is_some() {
                    names.amend(runtime, &id, |identity| identity.health = health);
                }
            }
            News::Removed(id) => {
                killed.remove(&id);
                names.remove(runtime, &id);
            }
            News::PodNamed(id, name) => self.pod(id, name),
        }
    }

    fn pod(&self, id: String, name: String) {
        let mut pods = self.pods.lock();
        if pods.len() >= MAX_REMEMBERED {
            pods.clear();
        }
        pods.insert(id, name);
    }
}

/// The one who asks.
struct Worker<'a> {
    client: &'a mut Client,
    dialect: Dialect,
    env_prefixes: &'a [String],
    hung: &'a mut HashMap<String, Instant>,
    shared: &'a Shared<'a>,
}

impl Worker<'_> {
    /// Looks at what events name, for ever.
    async fn work(&mut self) -> Result<Infallible, LinkError> {
        loop {
            match tokio::time::timeout(PING_INTERVAL, self.shared.pending.take()).await {
                Ok(Task::List) => self.list().await?,
                Ok(Task::Look(ids)) => self.look_at(&ids).await?,
                Err(_) => {
                    let status = self.shared.status;
                    let answer = self.client.get("/_ping", MAX_VERSION, status).await?;
                    if answer.status != StatusCode::OK {
                        return Err(self.client.refused("/_ping", answer.status, &answer.body));
                    }
                }
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Lists everything. Names are there with the list, the rest with a look at each.
    async fn list(&mut self) -> Result<(), LinkError> {
        let (names, runtime) = (self.shared.names, self.dialect.runtime);
        let question = self.dialect.list();
        let answer = ask(self.client, &question, MAX_LIST, self.shared.status).await?;
        let Value::Array(items) = answer else {
            return Err(self.client.odd(&question, "no list".to_owned()));
        };
        let mut ids = Vec::with_capacity(items.len());
        for item in items {
            let Some(identity) = describe::listed(runtime, &item) else {
                continue;
            };
            if let Some(pod) = identity.pod.as_ref().filter(|pod| !pod.name.is_empty()) {
                self.shared.pod(pod.uid.clone(), pod.name.clone());
            }
            ids.push(identity.id.clone());
            if !names.tells(runtime, &identity.id) {
                names.put(identity);
            }
        }
        names.keep_only(runtime, &ids);
        self.look_at(&ids).await
    }

    async fn look_at(&mut self, ids: &[String]) -> Result<(), LinkError> {
        let now = Instant::now();
        self.hung
            .retain(|_, since| now.saturating_duration_since(*since) < LEAVE_HUNG);
        let mut in_a_row = 0;
        for id in ids {
            if self.hung.contains_key(id) {
                continue;
            }
            match self.inspect(id).await {
                Ok(()) => in_a_row = 0,
                Err(LinkError::Timeout {
                    endpoint, seconds, ..
                }) => {
                    in_a_row += 1;
                    if self.hung.len() < MAX_REMEMBERED {
                        self.hung.insert(id.clone(), Instant::now());
                    }
                    if in_a_row >= MAX_HUNG {
                        // Without the ids: the reason is the same each time.
                        let question = "/containers/…/json".to_owned();
                        return Err(LinkError::Timeout {
                            endpoint,
                            question,
                            seconds,
                        });
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn inspect(&mut self, id: &str) -> Result<(), LinkError> {
        let (names, runtime) = (self.shared.names, self.dialect.runtime);
        let question = self.dialect.inspect(id);
        let status = self.shared.status;
        let answer = self.client.get(&question, MAX_INSPECT, status).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                names.remove(runtime, id);
                return Ok(());
            }
            // Something is wrong with this one: what the list and the events say must do.
            code => {
                tracing::debug!(%runtime, id, %code, "cannot be looked at");
                return Ok(());
            }
        }
        let described: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            let endpoint = self.client.endpoint().to_string();
            LinkError::Answer {
                endpoint,
                question: "/containers/…/json".to_owned(),
                what: error.to_string(),
            }
        })?;
        self.know_pod(&described).await?;
        let pods = self.shared.pods.lock();
        let pod_name = |id: &str| pods.get(id).cloned();
        let identity: Option<Identity> =
            describe::inspected(runtime, &described, self.env_prefixes, pod_name);
        drop(pods);
        if let Some(identity) = identity {
            names.put(identity);
        }
        Ok(())
    }

    /// Asks for the name of a pod that has not been named yet.
    async fn know_pod(&mut self, described: &Value) -> Result<(), LinkError> {
        let Some(id) = described["Pod"].as_str().filter(|id| !id.is_empty()) else {
            return Ok(());
        };
        if self.shared.pods.lock().contains_key(id) {
            return Ok(());
        }
        let Some(question) = self.dialect.pod(id) else {
            return Ok(());
        };
        let status = self.shared.status;
        let answer = self.client.get(&question, MAX_INSPECT, status).await?;
        let pod: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if let (StatusCode::OK, Some(name)) = (answer.status, pod["Name"].as_str()) {
            self.shared.pod(id.to_owned(), name.to_owned());
        }
        Ok(())
    }
}
