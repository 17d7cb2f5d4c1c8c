//! The link to containerd's own API: every container of every namespace, whoever made it.
//!
//! Comes in: containers, tasks, snapshots and events over one gRPC connection. Goes out: an identity
//! for each container. The events are subscribed to before anything is listed, so that nothing
//! falls between; what an event does not say is asked, once for each container.

mod describe;
pub(super) mod event;

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use self::describe::{
    carry_over, carry_over_end, carry_over_task, describe, set_task, upper_directory,
};
use self::event::{Change, TOPICS, read};
use super::grpc::{Channel, Connection, Events};
use super::proto::native::containerd as api;
use super::{Endpoint, Identity, Link, LinkError, LinkStatus, Names, Runtime, State};
use api::services::containers::v1::containers_client::ContainersClient;
use api::services::containers::v1::{GetContainerRequest, ListContainersRequest};
use api::services::events::v1::SubscribeRequest;
use api::services::events::v1::events_client::EventsClient;
use api::services::images::v1::GetImageRequest;
use api::services::images::v1::images_client::ImagesClient;
use api::services::namespaces::v1::ListNamespacesRequest;
use api::services::namespaces::v1::namespaces_client::NamespacesClient;
use api::services::snapshots::v1::MountsRequest;
use api::services::snapshots::v1::snapshots_client::SnapshotsClient;
use api::services::tasks::v1::tasks_client::TasksClient;
use api::services::tasks::v1::{GetRequest, ListTasksRequest};
use api::services::version::v1::version_client::VersionClient;
use api::types::Envelope;
use api::v1::types::Process;

/// How often a silent runtime is asked whether it still answers.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often everything is listed although the events should have told it. Seldom: containerd asks
/// the shim of every container for this.
const LISTING: Duration = Duration::from_secs(600);

/// How long a listing waits for what it does not say itself, so that a name comes with all that belongs
/// to it and the series of metrics change once. A snapshotter that hangs is not waited for.
const COMPLETE_FIRST: Duration = Duration::from_secs(5);

/// Containers at most that are taken from one listing.
const MAX_CONTAINERS: usize = 20_000;

/// Namespaces at most.
const MAX_NAMESPACES: usize = 256;

/// A kill by the kernel and the exit that follows are told separately, in either order, this far
/// apart at most.
const KILL_AND_EXIT: Duration = Duration::from_secs(10);

/// How many kills are remembered until their exit.
const MAX_KILLS: usize = 1_024;

/// What an exit is called that a kill by the kernel explains: CRI's word.
const OOM_KILLED: &str = "OOMKilled";

/// The exit status of a process that SIGKILL ended.
const SIGKILLED: i32 = 128 + 9;

/// The link to containerd's own API.
#[derive(Debug)]
pub struct ContainerdLink {
    endpoint: Endpoint,
    namespaces: Vec<String>,
    env_prefixes: Vec<String>,
    limit: Duration,
}

impl ContainerdLink {
    /// A link to the containerd that listens there. Looks at `namespaces`, or at all if there are
    /// none; keeps environment variables whose names start with one of `env_prefixes`; waits for
    /// each answer as long as `limit`.
    pub fn new(
        endpoint: Endpoint,
        namespaces: Vec<String>,
        env_prefixes: Vec<String>,
        limit: Duration,
    ) -> Self {
        Self {
            endpoint,
            namespaces,
            env_prefixes,
            limit,
        }
    }

    fn wants(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == namespace)
    }
}

impl Link for ContainerdLink {
    fn runtime(&self) -> Runtime {
        Runtime::Containerd
    }

    fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    async fn follow(
        &mut self,
        names: &Names,
        status: &LinkStatus,
    ) -> Result<Infallible, LinkError> {
        let connection = Connection::open(&self.endpoint, self.limit, status).await?;
        let mut session = Session {
            link: self,
            names,
            connection: &connection,
            kills: HashMap::new(),
        };
        let mut events = session.subscribe().await;
        // Its answer also says that the subscription, sent before, has been read.
        let version = session.version().await?;
        session.list().await?;
        status.connected(version);

        let mut heartbeat = interval(HEARTBEAT);
        let mut listing = interval(LISTING);
        for timer in [&mut heartbeat, &mut listing] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer.tick().await;
        }
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Ok(event) => {
                        status.event();
                        session.take(event).await?;
                    }
                    Err(why) => return Err(connection.error("Events.Subscribe", &why)),
                },
                _ = heartbeat.tick() => drop(session.version().await?),
                _ = listing.tick() => session.list().await?,
            }
        }
    }
}

/// One connection's worth of following.
struct Session<'a> {
    link: &'a ContainerdLink,
    names: &'a Names,
    connection: &'a Connection<'a>,
    /// When the kernel killed something in a container, by the container's id.
    kills: HashMap<String, Instant>,
}

impl Session<'_> {
    async fn subscribe(&self) -> Events<Envelope> {
        let mut client = EventsClient::with_origin(self.connection.channel(), Connection::origin());
        let filters = TOPICS.map(|topic| format!("topic==\"{topic}\"")).to_vec();
        self.connection
            .subscribe(async move { client.subscribe(SubscribeRequest { filters }).await })
            .await
    }

    async fn version(&self) -> Result<String, LinkError> {
        let mut client =
            VersionClient::with_origin(self.connection.channel(), Connection::origin());
        let answer = client.version(());
        let asked = self
            .connection
            .ask_for_service("Version", answer, "containerd's API");
        Ok(asked.await?.version)
    }

    /// Lists everything, asks what no listing says, and tells all of it.
    async fn list(&mut self) -> Result<(), LinkError> {
        let mut all = Vec::new();
        for namespace in self.namespaces().await? {
            self.list_namespace(&namespace, &mut all).await?;
        }
        let mut filled = 0;
        let mut digests = HashMap::new();
        let complete = async {
            for (identity, snapshot) in &mut all {
                self.fill(identity, snapshot, &mut digests).await?;
                filled += 1;
            }
            Ok(())
        };
        if let Ok(done) = tokio::time::timeout(COMPLETE_FIRST, complete).await {
            done?;
        }
        let rest = all.split_off(filled);
        let late = rest.iter().map(|(identity, _)| identity.clone());
        let told = all.into_iter().map(|(identity, _)| identity);
        self.names
            .replace_all(Runtime::Containerd, told.chain(late).collect());
        for (mut identity, snapshot) in rest {
            self.fill(&mut identity, &snapshot, &mut digests).await?;
            self.names.put(identity);
        }
        Ok(())
    }

    async fn namespaces(&self) -> Result<Vec<String>, LinkError> {
        let mut client =
            NamespacesClient::with_origin(self.connection.channel(), Connection::origin());
        let request = ListNamespacesRequest::default();
        let answer = self.connection.ask("Namespaces.List", client.list(request));
        let all = answer.await?.namespaces.into_iter();
        let wanted = all
            .map(|one| one.name)
            .filter(|name| self.link.wants(name))
            .take(MAX_NAMESPACES);
        Ok(wanted.collect())
    }

    async fn list_namespace(
        &self,
        namespace: &str,
        all: &mut Vec<(Identity, Snapshot)>,
    ) -> Result<(), LinkError> {
        let Some(channel) = self.connection.channel_in(namespace) else {
            return Ok(());
        };
        let mut tasks = self.tasks(channel.clone()).await?;
        let mut client = containers(channel);
        let request = ListContainersRequest::default();
        let question = "Containers.ListStream";
        let mut stream = self
            .connection
            .ask(question, client.list_stream(request))
            .await?;
        while let Some(message) = self.connection.next(question, &mut stream).await? {
            let Some(container) = message.container else {
                continue;
            };
            if all.len() >= MAX_CONTAINERS {
                tracing::warn!(
                    MAX_CONTAINERS,
                    "containerd has more containers than are named"
                );
                break;
            }
            let snapshot = Snapshot::of(namespace, &container);
            let mut identity = describe(namespace, container, &self.link.env_prefixes);
            let task = tasks.as_mut().map(|tasks| tasks.remove(&identity.id));
            if let Some(Some(task)) = &task {
                set_task(&mut identity, task);
            }
            if let Some(before) = self.names.claim(Runtime::Containerd, &identity.id) {
                match task {
                    Some(Some(_)) => {}
                    Some(None) => carry_over_end(&before, &mut identity),
                    None => carry_over_task(&before, &mut identity),
                }
                carry_over(&before, &mut identity);
            }
            all.push((identity, snapshot));
        }
        Ok(())
    }

    /// The tasks of a namespace by container. One shim that hangs may keep containerd from answering:
    /// then it is `None`, and names do not wait for it.
    async fn tasks(&self, channel: Channel) -> Result<Option<HashMap<String, Process>>, LinkError> {
        let mut client = tasks(channel);
        let request = ListTasksRequest::default();
        let answer = self
            .connection
            .ask_about("Tasks.List", client.list(request));
        let Some(answer) = answer.await? else {
            return Ok(None);
        };
        let by_container = |task: Process| match task.container_id.is_empty() {
            true => (task.id.clone(), task),
            false => (task.container_id.clone(), task),
        };
        Ok(Some(answer.tasks.into_iter().map(by_container).collect()))
    }

    /// Adds the writable layer and the image's digest.
    async fn fill(
        &self,
        identity: &mut Identity,
        snapshot: &Snapshot,
        digests: &mut HashMap<(String, String), Option<String>>,
    ) -> Result<(), LinkError> {
        let Some(channel) = self.connection.channel_in(&snapshot.namespace) else {
            return Ok(());
        };
        if identity.writable_layer.is_none() && snapshot.is_there() {
            let mut client = snapshots(channel.clone());
            let request = MountsRequest {
                snapshotter: snapshot.snapshotter.clone(),
                key: snapshot.key.clone(),
            };
            let answer = self
                .connection
                .ask_about("Snapshots.Mounts", client.mounts(request));
            identity.writable_layer = upper_directory(&answer.await?.unwrap_or_default().mounts);
        }
        if let Some(image) = identity.image.as_mut().filter(|one| one.digest.is_none()) {
            let key = (snapshot.namespace.clone(), image.reference.clone());
            image.digest = match digests.get(&key) {
                Some(known) => known.clone(),
                None => {
                    let mut client = ImagesClient::with_origin(channel, Connection::origin());
                    let name = image.reference.clone();
                    let request = client.get(GetImageRequest { name });
                    let answer = self.connection.ask_about("Images.Get", request).await?;
                    let found = answer.and_then(|answer| answer.image?.target);
                    let digest = found.map(|target| target.digest).filter(|d| !d.is_empty());
                    digests.insert(key, digest.clone());
                    digest
                }
            };
        }
        Ok(())
    }

    async fn take(&mut self, envelope: Envelope) -> Result<(), LinkError> {
        if !self.link.wants(&envelope.namespace) {
            return Ok(());
        }
        let Some(change) = read(&envelope) else {
            return Ok(());
        };
        match change {
            Change::Container { id } => self.ask(&envelope.namespace, &id).await,
            Change::Gone { id } => {
                self.kills.remove(&id);
                self.names.remove(Runtime::Containerd, &id);
                Ok(())
            }
            Change::Started { id, pid, at } => {
                let change = |identity: &mut Identity| {
                    identity.init_pid = Some(pid);
                    identity.started = at;
                    identity.state = Some(State::Running);
                };
                self.change(&envelope.namespace, &id, change).await
            }
            Change::Exited { id, code, at } => {
                let killed = self.kills.remove(&id);
                let by_kernel = killed.is_some_and(|when| when.elapsed() < KILL_AND_EXIT);
                let reason = (by_kernel && code == SIGKILLED).then(|| OOM_KILLED.to_owned());
                let change = |identity: &mut Identity| {
                    identity.init_pid = None;
                    identity.state = Some(State::Exited {
                        code: Some(code),
                        reason,
                        finished: at,
                    });
                };
                self.change(&envelope.namespace, &id, change).await
            }
            Change::Killed { id } => {
                self.killed(id);
                Ok(())
            }
            Change::Paused { id, paused } => {
                let change = |identity: &mut Identity| {
                    identity.state = Some(if paused {
                        State::Paused
                    } else {
                        State::Running
                    });
                };
                self.change(&envelope.namespace, &id, change).await
            }
        }
    }

    /// The kernel killed something in a container: explains the exit that follows, or came before.
    fn killed(&mut self, id: String) {
        if let Some(identity) = self.names.claim(Runtime::Containerd, &id)
            && let Some(State::Exited {
                code: Some(SIGKILLED),
                reason: None,
                finished,
            }) = identity.state
        {
            let mut identity = Identity::clone(&identity);
            identity.state = Some(State::Exited {
                code: Some(SIGKILLED),
                reason: Some(OOM_KILLED.to_owned()),
                finished,
            });
            self.names.put(identity);
            return;
        }
        if self.kills.len() >= MAX_KILLS {
            self.kills.retain(|_, when| when.elapsed() < KILL_AND_EXIT);
        }
        if self.kills.len() < MAX_KILLS {
            self.kills.insert(id, Instant::now());
        }
    }

    /// Changes what is told of a container; one that was not known is asked about first.
    async fn change(
        &self,
        namespace: &str,
        id: &str,
        change: impl FnOnce(&mut Identity),
    ) -> Result<(), LinkError> {
        if self.names.claim(Runtime::Containerd, id).is_none() {
            self.ask(namespace, id).await?;
        }
        if let Some(identity) = self.names.claim(Runtime::Containerd, id) {
            let mut identity = Identity::clone(&identity);
            change(&mut identity);
            self.names.put(identity);
        }
        Ok(())
    }

    /// Asks all about one container and tells it. One that is gone already is passed over.
    async fn ask(&self, namespace: &str, id: &str) -> Result<(), LinkError> {
        let Some(channel) = self.connection.channel_in(namespace) else {
            return Ok(());
        };
        let mut client = containers(channel.clone());
        let request = GetContainerRequest { id: id.to_owned() };
        let answer = self
            .connection
            .ask_about("Containers.Get", client.get(request));
        let Some(container) = answer.await?.and_then(|answer| answer.container) else {
            return Ok(());
        };
        let snapshot = Snapshot::of(namespace, &container);
        let mut identity = describe(namespace, container, &self.link.env_prefixes);
        let before = self.names.claim(Runtime::Containerd, id);
        if let Some(before) = before.filter(|before| before.created == identity.created) {
            carry_over_task(&before, &mut identity);
            carry_over(&before, &mut identity);
        } else {
            let mut client = tasks(channel);
            let request = GetRequest {
                container_id: id.to_owned(),
            };
            let answer = self.connection.ask_about("Tasks.Get", client.get(request));
            if let Some(task) = answer.await?.and_then(|answer| answer.process) {
                set_task(&mut identity, &task);
            }
        }
        self.fill(&mut identity, &snapshot, &mut HashMap::new())
            .await?;
        self.names.put(identity);
        Ok(())
    }
}

/// Where a container's file system is kept.
struct Snapshot {
    namespace: String,
    snapshotter: String,
    key: String,
}

impl Snapshot {
    fn of(namespace: &str, container: &api::services::containers::v1::Container) -> Self {
        Self {
            namespace: namespace.to_owned(),
            snapshotter: container.snapshotter.clone(),
            key: container.snapshot_key.clone(),
        }
    }

    fn is_there(&self) -> bool {
        !self.snapshotter.is_empty() && !self.key.is_empty()
    }
}

fn containers(channel: Channel) -> ContainersClient<Channel> {
    ContainersClient::with_origin(channel, Connection::origin())
        .max_decoding_message_size(super::grpc::MAX_MESSAGE)
}

fn tasks(channel: Channel) -> TasksClient<Channel> {
    TasksClient::with_origin(channel, Connection::origin())
        .max_decoding_message_size(super::grpc::MAX_MESSAGE)
}

fn snapshots(channel: Channel) -> SnapshotsClient<Channel> {
    SnapshotsClient::with_origin(channel, Connection::origin())
}
