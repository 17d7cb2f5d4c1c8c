//! Runtimes that hang, answer garbage, answer too much, or refuse.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tonic::{Request, Response, Status};

use crate::runtime::proto::cri::runtime::v1 as api;
use crate::runtime::stats::RuntimeStats;
use crate::runtime::{
    ContainerdLink, CriLink, Endpoint, Link, LinkError, LinkState, LinkStatus, Names, Runtime,
};
use api::runtime_service_server::{RuntimeService, RuntimeServiceServer};

/// How long the links of these tests wait for an answer.
const LIMIT: Duration = Duration::from_millis(300);

/// No failure may take longer to notice.
const NOTICED: Duration = Duration::from_secs(10);

/// A socket in a directory of its own.
struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        Self {
            _directory: directory,
            path,
        }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    /// Does this with the first connection.
    fn serve(&self, work: impl FnOnce(UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(&self.path).unwrap();
        thread::spawn(move || work(listener.accept().unwrap().0));
    }

    /// Answers as this runtime, until the test ends.
    fn answer(&self, fake: Fake) {
        let listener = tokio::net::UnixListener::bind(&self.path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = RuntimeServiceServer::new(fake.clone());
                let service = TowerToHyperService::new(server);
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    }

    fn cri(&self) -> CriLink {
        self.cri_within(LIMIT)
    }

    fn cri_within(&self, limit: Duration) -> CriLink {
        let stats = Arc::new(RuntimeStats::default());
        CriLink::new(Runtime::Cri, self.endpoint(), Vec::new(), limit, stats)
    }

    fn native(&self) -> ContainerdLink {
        ContainerdLink::new(self.endpoint(), Vec::new(), Vec::new(), LIMIT)
    }
}

/// Follows until the link fails.
async fn fails(mut link: impl Link) -> LinkError {
    let names = Names::default();
    let status = LinkStatus::new(link.runtime(), link.endpoint());
    let Err(error) = tokio::time::timeout(NOTICED, link.follow(&names, &status))
        .await
        .unwrap();
    error
}

#[tokio::test]
async fn nobody_is_there() {
    let place = Place::new();
    let error = fails(place.native()).await;
    assert!(matches!(error, LinkError::Connect { .. }), "{error}");
    assert!(
        error.to_string().contains("is the runtime running"),
        "{error}"
    );
}

#[tokio::test]
async fn it_hangs() {
    for work in [
        // Accepts and reads nothing.
        (|stream: UnixStream| {
            thread::sleep(NOTICED);
            drop(stream);
        }) as fn(UnixStream),
        // Takes everything and says nothing.
        |mut stream: UnixStream| while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {},
    ] {
        let place = Place::new();
        place.serve(work);
        let error = fails(place.cri()).await;
        assert!(matches!(error, LinkError::Timeout { .. }), "{error}");
    }
}

#[tokio::test]
async fn it_answers_garbage_or_closes() {
    let place = Place::new();
    place.serve(|mut stream| {
        let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n * 7 + n / 251) as u8).collect();
        let _ = stream.write_all(&garbage);
        let _ = stream.read(&mut [0; 4096]);
    });
    let error = fails(place.native()).await;
    assert!(
        matches!(error, LinkError::Answer { .. } | LinkError::Closed { .. }),
        "{error}"
    );

    let place = Place::new();
    place.serve(|mut stream| {
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(answer);
    });
    let error = fails(place.cri()).await;
    assert!(
        matches!(error, LinkError::Answer { .. } | LinkError::Closed { .. }),
        "{error}"
    );

    let place = Place::new();
    place.serve(drop);
    let error = fails(place.native()).await;
    assert!(matches!(error, LinkError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn containers_are_told_and_a_large_answer_is_refused() {
    let place = Place::new();
    place.answer(Fake {
        containers: 2_000,
        label: 1_000,
        ..Fake::default()
    });
    let mut link = place.cri_within(NOTICED);
    let names = Arc::new(Names::default());
    let status = LinkStatus::new(Runtime::Cri, "fake");
    let (told, state) = (Arc::clone(&names), Arc::clone(&status));
    let following = tokio::spawn(async move { link.follow(&told, &state).await });
    let end = Instant::now() + NOTICED * 3;
    while !matches!(status.state().0, LinkState::Connected { .. }) {
        assert!(
            Instant::now() < end && !following.is_finished(),
            "{:?}",
            status.state()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(names.living().len(), 2_001);
    let one = names.get("c7").unwrap();
    assert_eq!(one.pod.as_ref().unwrap().name, "shop");
    assert_eq!(one.init_pid, Some(107));
    following.abort();

    // 50 MB.
    let place = Place::new();
    place.answer(Fake {
        containers: 2_000,
        label: 25_000,
        ..Fake::default()
    });
    let error = fails(place.cri_within(NOTICED)).await;
    assert!(matches!(error, LinkError::Answer { .. }), "{error}");
    assert!(error.to_string().contains("ListContainers"), "{error}");
    assert!(error.to_string().contains("too large"), "{error}");
}

#[tokio::test]
async fn a_refusal_says_why_and_another_service_is_said_to_be_another() {
    let place = Place::new();
    place.answer(Fake {
        refuses: true,
        ..Fake::default()
    });
    let error = fails(place.cri()).await;
    let said = error.to_string();
    assert!(
        said.contains("ListPodSandbox") && said.contains("not ready yet"),
        "{said}"
    );
    assert!(said.len() < 600, "{}", said.len());

    let place = Place::new();
    place.answer(Fake::default());
    let error = fails(place.native()).await;
    assert!(matches!(error, LinkError::NotServed { .. }), "{error}");
}

#[tokio::test]
async fn one_container_that_hangs_holds_up_no_other() {
    let place = Place::new();
    place.answer(Fake {
        containers: 5,
        hangs: Some("c2"),
        ..Fake::default()
    });
    let mut link = place.cri();
    let names = Arc::new(Names::default());
    let status = LinkStatus::new(Runtime::Cri, "fake");
    let (told, state) = (Arc::clone(&names), Arc::clone(&status));
    let following = tokio::spawn(async move { link.follow(&told, &state).await });
    let end = Instant::now() + NOTICED;
    while !matches!(status.state().0, LinkState::Connected { .. }) {
        assert!(
            Instant::now() < end && !following.is_finished(),
            "{:?}",
            status.state()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(names.get("c4").unwrap().init_pid, Some(104));
    let hung = names.get("c2").unwrap();
    assert_eq!(
        (hung.init_pid, hung.restart_count),
        (None, Some(0)),
        "what the listing said"
    );
    following.abort();
}

#[tokio::test]
async fn a_sandboxed_container_is_asked_what_it_uses_and_events_are_followed() {
    let place = Place::new();
    let (events, _) = tokio::sync::broadcast::channel(8);
    place.answer(Fake {
        containers: 2,
        handler: "gvisor",
        events: Some(events.clone()),
        ..Fake::default()
    });
    let stats = Arc::new(RuntimeStats::default());
    let mut link = CriLink::new(
        Runtime::Cri,
        place.endpoint(),
        Vec::new(),
        LIMIT,
        Arc::clone(&stats),
    );
    let names = Arc::new(Names::default());
    let status = LinkStatus::new(Runtime::Cri, "fake");
    let (told, state) = (Arc::clone(&names), Arc::clone(&status));
    let following = tokio::spawn(async move { link.follow(&told, &state).await });
    let end = Instant::now() + NOTICED;
    while stats.get("c1").is_none() {
        assert!(
            Instant::now() < end && !following.is_finished(),
            "{:?}",
            status.state()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let figures = stats.get("c1").unwrap();
    assert_eq!(
        (figures.cpu_usage_ns, figures.memory_rss_bytes),
        (Some(77), None)
    );
    let one = names.get("c1").unwrap();
    assert!(!one.in_own_cgroup(), "{one:?}");
    assert!(names.get("box").unwrap().in_own_cgroup());

    // One that no listing has shown yet.
    let event = api::ContainerEventResponse {
        container_id: "c9".to_owned(),
        container_event_type: 1,
    };
    while names.get("c9").is_none() {
        assert!(
            Instant::now() < end && !following.is_finished(),
            "{:?}",
            status.state()
        );
        let _ = events.send(event.clone());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(names.get("c9").unwrap().pod.as_ref().unwrap().name, "shop");
    assert!(status.counts().events > 0);
    following.abort();
}

/// A runtime with one pod.
#[derive(Debug, Clone, Default)]
struct Fake {
    containers: usize,
    /// How long each container's label is.
    label: usize,
    refuses: bool,
    hangs: Option<&'static str>,
    handler: &'static str,
    events: Option<tokio::sync::broadcast::Sender<api::ContainerEventResponse>>,
}

type Answer<T> = Result<Response<T>, Status>;
type Stream = std::pin::Pin<
    Box<dyn futures_util::Stream<Item = Result<api::ContainerEventResponse, Status>> + Send>,
>;

#[tonic::async_trait]
impl RuntimeService for Fake {
    async fn version(&self, _: Request<api::VersionRequest>) -> Answer<api::VersionResponse> {
        Ok(Response::new(api::VersionResponse {
            runtime_name: "fake".to_owned(),
            runtime_version: "1".to_owned(),
            ..Default::default()
        }))
    }

    async fn list_pod_sandbox(
        &self,
        _: Request<api::ListPodSandboxRequest>,
    ) -> Answer<api::ListPodSandboxResponse> {
        if self.refuses {
            return Err(Status::unknown("not ready yet ".repeat(100)));
        }
        let metadata = api::PodSandboxMetadata {
            name: "shop".to_owned(),
            ..Default::default()
        };
        let pod = api::PodSandbox {
            id: "box".to_owned(),
            metadata: Some(metadata),
            runtime_handler: self.handler.to_owned(),
            ..Default::default()
        };
        Ok(Response::new(api::ListPodSandboxResponse {
            items: vec![pod],
        }))
    }

    async fn pod_sandbox_status(
        &self,
        _: Request<api::PodSandboxStatusRequest>,
    ) -> Answer<api::PodSandboxStatusResponse> {
        Err(Status::not_found("none"))
    }

    async fn list_containers(
        &self,
        _: Request<api::ListContainersRequest>,
    ) -> Answer<api::ListContainersResponse> {
        let container = |number: usize| api::Container {
            id: format!("c{number}"),
            pod_sandbox_id: "box".to_owned(),
            state: 1,
            created_at: 5,
            labels: [("a".to_owned(), "x".repeat(self.label))].into(),
            ..Default::default()
        };
        let containers = (0..self.containers).map(container).collect();
        Ok(Response::new(api::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<api::ContainerStatusRequest>,
    ) -> Answer<api::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        if self.hangs == Some(id.as_str()) {
            std::future::pending::<()>().await;
        }
        let number: u32 = id.trim_start_matches('c').parse().unwrap();
        let info = format!("{{\"sandboxID\":\"box\",\"pid\":{}}}", 100 + number);
        let status = api::ContainerStatus {
            id,
            state: 1,
            created_at: 5,
            ..Default::default()
        };
        Ok(Response::new(api::ContainerStatusResponse {
            status: Some(status),
            info: [("info".to_owned(), info)].into(),
        }))
    }

    async fn container_stats(
        &self,
        _: Request<api::ContainerStatsRequest>,
    ) -> Answer<api::ContainerStatsResponse> {
        let value = |value| Some(api::UInt64Value { value });
        let cpu = api::CpuUsage {
            timestamp: 5,
            usage_core_nano_seconds: value(77),
        };
        let stats = api::ContainerStats {
            cpu: Some(cpu),
            memory: None,
        };
        Ok(Response::new(api::ContainerStatsResponse {
            stats: Some(stats),
        }))
    }

    type GetContainerEventsStream = Stream;

    async fn get_container_events(
        &self,
        _: Request<api::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let Some(events) = &self.events else {
            return Err(Status::unimplemented("no"));
        };
        let receiver = events.subscribe();
        let next = |mut receiver: tokio::sync::broadcast::Receiver<_>| async move {
            let event = receiver.recv().await.ok()?;
            Some((Ok(event), receiver))
        };
        let stream = futures_util::stream::unfold(receiver, next);
        Ok(Response::new(Box::pin(stream)))
    }
}
