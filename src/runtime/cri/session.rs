//! One connection's worth of following a runtime by CRI.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::api::runtime_service_client::RuntimeServiceClient;
use super::api::{
    ContainerStatsRequest, ContainerStatusRequest, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxStatusRequest, UInt64Value, VersionRequest, VersionResponse,
};
use super::pending::{Expect, Pending};
use super::{CriLink, describe};
use crate::runtime::grpc::{Channel, Connection, MAX_MESSAGE};
use crate::runtime::stats::RuntimeFigures;
use crate::runtime::{Identity, LinkError, Names, State};
use crate::units::Timestamp;

/// Sandboxes and containers at most that are taken from one listing.
const MAX_CONTAINERS: usize = 20_000;

/// How long a listing waits for the statuses of what is new, so that a name comes with all that belongs
/// to it and the series of metrics change once. Thousands take a few seconds; what hangs comes later.
const COMPLETE_FIRST: Duration = Duration::from_secs(5);

/// The version of the question about the version: the same since the first CRI.
const VERSION: &str = "0.1.0";

/// What there is not where CRI is not: containerd's packages for Docker come with it switched off, and
/// runtimes of before Kubernetes 1.23 have an older one only.
const WANT: &str = "CRI (runtime.v1); if it should, take \"cri\" out of disabled_plugins in containerd's config.toml";

/// What a listing said of a container or sandbox: while it says the same, nothing is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    is_sandbox: bool,
    state: i32,
}

/// What is known while a connection lasts.
pub struct Session<'a> {
    link: &'a CriLink,
    names: &'a Names,
    connection: &'a Connection<'a>,
    client: RuntimeServiceClient<Channel>,
    seen: HashMap<String, Seen>,
    sandboxes: HashMap<String, describe::Shared>,
    pending: Pending,
}

impl<'a> Session<'a> {
    /// Nothing is known yet.
    pub fn new(link: &'a CriLink, names: &'a Names, connection: &'a Connection<'a>) -> Self {
        let client = RuntimeServiceClient::with_origin(connection.channel(), Connection::origin());
        Self {
            link,
            names,
            connection,
            client: client.max_decoding_message_size(MAX_MESSAGE),
            seen: HashMap::new(),
            sandboxes: HashMap::new(),
            pending: Pending::default(),
        }
    }

    /// Which runtime it is.
    pub async fn version(&mut self) -> Result<VersionResponse, LinkError> {
        let version = VERSION.to_owned();
        let answer = self.client.version(VersionRequest { version });
        let connection = self.connection;
        connection.ask_for_service("Version", answer, WANT).await
    }

    /// Something happened to a container.
    pub fn expect(&mut self, id: String, expect: Expect) {
        self.pending.add(id, expect, Instant::now());
    }

    /// Returns when a question is due.
    pub async fn due(&self) {
        match self.pending.next() {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Asks all that is due.
    pub async fn ask_due(&mut self) -> Result<(), LinkError> {
        while let Some(due) = self.pending.take(Instant::now()) {
            let known = self.seen.get(&due.id).map(|seen| seen.is_sandbox);
            let answer = self.ask(&due.id, known).await?;
            let met = due.expect.is_met(answer.as_ref(), due.asked);
            if answer.is_none() && due.expect == Expect::Gone {
                self.forget(&due.id);
            } else if !met {
                self.pending.again(due, Instant::now());
            }
        }
        Ok(())
    }

    /// Lists everything, asks about what is new or has changed, and tells that. Returns how long the
    /// runtime took to list.
    pub async fn list(&mut self) -> Result<Duration, LinkError> {
        let began = Instant::now();
        let answer = self.client.list_pod_sandbox(ListPodSandboxRequest {});
        let sandboxes = self.connection.ask("ListPodSandbox", answer).await?.items;
        let answer = self.client.list_containers(ListContainersRequest {});
        let containers = self.connection.ask("ListContainers", answer).await?;
        let took = began.elapsed();
        let runtime = self.link.runtime;

        let mut now = HashMap::new();
        let mut fresh = Vec::new();
        for listed in sandboxes.into_iter().take(MAX_CONTAINERS) {
            let seen = Seen {
                is_sandbox: true,
                state: listed.state,
            };
            if self.is_news(&listed.id, seen, &mut now) {
                let mut shared = describe::Shared::of(&listed);
                let before = self.sandboxes.get(&listed.id);
                shared.on_host_network = before.and_then(|before| before.on_host_network);
                self.sandboxes.insert(listed.id.clone(), shared);
                fresh.push(describe::sandbox(runtime, listed));
            }
        }
        for listed in containers.containers.into_iter().take(MAX_CONTAINERS) {
            let seen = Seen {
                is_sandbox: false,
                state: listed.state,
            };
            if self.is_news(&listed.id, seen, &mut now) {
                fresh.push(describe::container(runtime, listed, &self.sandboxes));
            }
        }
        for identity in &mut fresh {
            if let Some(told) = self.names.claim(runtime, &identity.id) {
                describe::carry_over(&told, identity);
            }
        }
        let first = self.seen.is_empty();
        let before = std::mem::replace(&mut self.seen, now);
        let rest = self.complete(&mut fresh).await?;
        if first {
            // What was told over an earlier connection and is there no more is forgotten, too.
            self.names.replace_all(runtime, fresh);
        } else {
            fresh.into_iter().for_each(|one| self.names.put(one));
            for id in before.keys().filter(|id| !self.seen.contains_key(*id)) {
                self.names.remove(runtime, id);
                self.link.stats.remove(id);
                self.sandboxes.remove(id);
            }
        }
        for (id, is_sandbox) in rest {
            self.ask(&id, Some(is_sandbox)).await?;
        }
        Ok(took)
    }

    /// Adds to each what its status says, so that it is told once. Returns those that there was no
    /// time for.
    async fn complete(&mut self, fresh: &mut [Identity]) -> Result<Vec<(String, bool)>, LinkError> {
        let mut asked = 0;
        let all = async {
            for identity in fresh.iter_mut() {
                let kind = Some(identity.is_sandbox);
                if let Some(status) = self.status(&identity.id, kind).await? {
                    *identity = status;
                }
                asked += 1;
            }
            Ok(())
        };
        if let Ok(done) = tokio::time::timeout(COMPLETE_FIRST, all).await {
            done?;
        }
        let rest = fresh.iter().skip(asked);
        Ok(rest.map(|one| (one.id.clone(), one.is_sandbox)).collect())
    }

    /// Notes what a listing says of one; whether it said something else before.
    fn is_news(&self, id: &str, seen: Seen, now: &mut HashMap<String, Seen>) -> bool {
        now.insert(id.to_owned(), seen);
        self.seen.get(id) != Some(&seen)
    }

    fn forget(&mut self, id: &str) {
        self.names.remove(self.link.runtime, id);
        self.link.stats.remove(id);
        self.seen.remove(id);
        self.sandboxes.remove(id);
    }

    /// Asks for the status of one and tells it. `is_sandbox` is `None` when it is not known which it
    /// is. Returns its state; `None` if there is none of that id.
    async fn ask(
        &mut self,
        id: &str,
        is_sandbox: Option<bool>,
    ) -> Result<Option<Option<State>>, LinkError> {
        let Some(identity) = self.status(id, is_sandbox).await? else {
            return Ok(None);
        };
        let state = identity.state.clone();
        self.names.put(identity);
        Ok(Some(state))
    }

    async fn status(
        &mut self,
        id: &str,
        is_sandbox: Option<bool>,
    ) -> Result<Option<Identity>, LinkError> {
        match is_sandbox {
            Some(true) => self.ask_sandbox(id).await,
            Some(false) => self.ask_container(id).await,
            None => match self.ask_container(id).await? {
                None => self.ask_sandbox(id).await,
                found => Ok(found),
            },
        }
    }

    async fn ask_sandbox(&mut self, id: &str) -> Result<Option<Identity>, LinkError> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        let answer = self.client.pod_sandbox_status(request);
        let answer = self
            .connection
            .ask_about("PodSandboxStatus", answer)
            .await?;
        let Some((answer, status)) = answer.and_then(|mut answer| {
            let status = answer.status.take()?;
            (status.id == id).then_some((answer, status))
        }) else {
            return Ok(None);
        };
        let seen = Seen {
            is_sandbox: true,
            state: status.state,
        };
        self.seen.insert(id.to_owned(), seen);
        let shared = describe::Shared::of_status(&status);
        self.sandboxes.insert(id.to_owned(), shared);
        let info = describe::Info::parse(&answer.info);
        let link = self.link;
        Ok(Some(describe::sandbox_status(
            link.runtime,
            status,
            info,
            &link.env_prefixes,
        )))
    }

    async fn ask_container(&mut self, id: &str) -> Result<Option<Identity>, LinkError> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let answer = self.client.container_status(request);
        let answer = self.connection.ask_about("ContainerStatus", answer).await?;
        let Some((answer, status)) = answer.and_then(|mut answer| {
            let status = answer.status.take()?;
            (status.id == id).then_some((answer, status))
        }) else {
            return Ok(None);
        };
        let seen = Seen {
            is_sandbox: false,
            state: status.state,
        };
        self.seen.insert(id.to_owned(), seen);
        let info = describe::Info::parse(&answer.info);
        if let Some(sandbox) = info.sandbox.as_deref()
            && !self.sandboxes.contains_key(sandbox)
            && let Some(identity) = self.ask_sandbox(sandbox).await?
        {
            self.names.put(identity);
        }
        let link = self.link;
        Ok(Some(describe::container_status(
            link.runtime,
            status,
            info,
            &self.sandboxes,
            &link.env_prefixes,
        )))
    }

    /// Asks what those containers use of which the cgroups do not tell it.
    pub async fn ask_stats(&mut self) -> Result<(), LinkError> {
        let elsewhere = |id: &&String| {
            let told = self.names.claim(self.link.runtime, id);
            told.is_some_and(|one| !one.in_own_cgroup() && one.state == Some(State::Running))
        };
        let containers = self.seen.iter().filter(|(_, seen)| !seen.is_sandbox);
        let ids: Vec<String> = containers
            .map(|(id, _)| id)
            .filter(elsewhere)
            .cloned()
            .collect();
        for id in ids {
            let request = ContainerStatsRequest {
                container_id: id.clone(),
            };
            let answer = self.client.container_stats(request);
            let answer = self.connection.ask_about("ContainerStats", answer);
            let Some(stats) = answer.await?.and_then(|answer| answer.stats) else {
                continue;
            };
            let (cpu, memory) = (
                stats.cpu.unwrap_or_default(),
                stats.memory.unwrap_or_default(),
            );
            let at = cpu.timestamp.max(memory.timestamp);
            let number = |value: Option<UInt64Value>| value.map(|value| value.value);
            // containerd says 0 where the sandbox says nothing: gVisor has neither of these.
            let known = |value| number(value).filter(|&value| value > 0);
            let faults = known(memory.page_faults);
            let figures = RuntimeFigures {
                at: Timestamp(at),
                cpu_usage_ns: number(cpu.usage_core_nano_seconds),
                memory_usage_bytes: number(memory.usage_bytes),
                memory_working_set_bytes: number(memory.working_set_bytes),
                memory_rss_bytes: known(memory.rss_bytes),
                page_faults: faults,
                major_page_faults: faults.and_then(|_| number(memory.major_page_faults)),
            };
            if at > 0 {
                self.link.stats.put(&id, figures);
            }
        }
        Ok(())
    }
}
