//! What happens to containers, from whichever stream of events the runtime has.

use tonic::Status;

use super::api::runtime_service_client::RuntimeServiceClient;
use super::api::{ContainerEventResponse, ContainerEventType, GetEventsRequest};
use super::pending::Expect;
use crate::runtime::containerd::event::{Change, read};
use crate::runtime::grpc::{Connection, Events};
use crate::runtime::proto::native::containerd::services::events::v1::SubscribeRequest;
use crate::runtime::proto::native::containerd::services::events::v1::events_client::EventsClient;
use crate::runtime::proto::native::containerd::types::Envelope;

/// The namespace in which containerd keeps the containers of CRI.
const NAMESPACE: &str = "k8s.io";

/// What containerd is told by its own events: all that changes what CRI says.
const TOPICS: [&str; 5] = [
    "/containers/create",
    "/containers/delete",
    "/tasks/start",
    "/tasks/exit",
    "/tasks/oom",
];

/// The name that containerd gives itself in CRI.
const CONTAINERD: &str = "containerd";

/// A stream of events.
pub struct Watch {
    stream: Stream,
    is_containerd: bool,
    /// Whether an event has come: a runtime may take a subscription and have no events.
    proven: bool,
}

enum Stream {
    /// CRI's own.
    Cri(Events<ContainerEventResponse>),
    /// containerd's, on the same connection: before 1.7 it has no other.
    Native(Events<Envelope>),
    /// There is none: listings do all the work.
    None,
}

impl Watch {
    /// Subscribes to CRI's events. Whether there are any the runtime says later.
    pub async fn start(connection: &Connection<'_>, runtime_name: &str) -> Self {
        let mut client =
            RuntimeServiceClient::with_origin(connection.channel(), Connection::origin());
        let request = async move { client.get_container_events(GetEventsRequest {}).await };
        Self {
            stream: Stream::Cri(connection.subscribe(request).await),
            is_containerd: runtime_name == CONTAINERD,
            proven: false,
        }
    }

    /// Whether the runtime is known to tell what happens. containerd does, if it takes a subscription.
    pub fn is_trusted(&self) -> bool {
        match self.stream {
            Stream::Cri(_) | Stream::Native(_) => self.proven || self.is_containerd,
            Stream::None => false,
        }
    }

    /// The next event that says something of a container. Never returns when there are no events.
    ///
    /// # Errors
    /// There are none, or no more.
    pub async fn next(&mut self) -> Result<Option<(String, Expect)>, Status> {
        let news = match &mut self.stream {
            Stream::Cri(events) => of_cri(events.next().await?),
            Stream::Native(events) => of_containerd(&events.next().await?),
            Stream::None => std::future::pending().await,
        };
        self.proven = true;
        Ok(news)
    }

    /// Takes the next best stream.
    pub async fn fall_back(&mut self, connection: &Connection<'_>, why: &Status) {
        self.proven = false;
        let first = matches!(self.stream, Stream::Cri(_));
        self.stream = if first && self.is_containerd {
            tracing::debug!(%why, "no events of CRI: following containerd's");
            let mut client = EventsClient::with_origin(connection.channel(), Connection::origin());
            let filter = |topic| format!("namespace=={NAMESPACE},topic==\"{topic}\"");
            let filters = TOPICS.map(filter).to_vec();
            let request = async move { client.subscribe(SubscribeRequest { filters }).await };
            Stream::Native(connection.subscribe(request).await)
        } else {
            tracing::debug!(%why, "no events: listing now and then");
            Stream::None
        };
    }
}

fn of_cri(event: ContainerEventResponse) -> Option<(String, Expect)> {
    let expect = match event.container_event_type() {
        ContainerEventType::ContainerCreatedEvent => Expect::Present,
        ContainerEventType::ContainerStartedEvent => Expect::Running,
        ContainerEventType::ContainerStoppedEvent => Expect::Exited,
        ContainerEventType::ContainerDeletedEvent => Expect::Gone,
    };
    (!event.container_id.is_empty()).then_some((event.container_id, expect))
}

fn of_containerd(event: &Envelope) -> Option<(String, Expect)> {
    match read(event)? {
        Change::Container { id } => Some((id, Expect::Present)),
        Change::Started { id, .. } => Some((id, Expect::Running)),
        Change::Exited { id, .. } => Some((id, Expect::Exited)),
        Change::Killed { id } => Some((id, Expect::Killed)),
        Change::Gone { id } => Some((id, Expect::Gone)),
        Change::Paused { .. } => None,
    }
}
