//! Makes and ends pods as a kubelet does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;

use self::api::runtime_service_client::RuntimeServiceClient;
use self::api::{
    ContainerConfig, ContainerMetadata, ContainerRequest, CreateContainerRequest, ImageSpec,
    KeyValue, LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxRequest, RunPodSandboxRequest, StopContainerRequest,
};
use crate::runtimes::containerd_host::{Containerd, IMAGE};
use crate::support::{SOON, wait_until};

#[allow(clippy::all, unused_qualifications, rust_2018_idioms)]
mod api {
    include!(concat!(env!("OUT_DIR"), "/test/runtime.v1.rs"));
}

/// The node's own network, so that no network plugin is needed.
const NODE: i32 = 2;

/// A client that makes and ends pods.
pub struct Driver {
    runtime: tokio::runtime::Runtime,
    client: RuntimeServiceClient<Channel>,
}

/// A pod that was made.
pub struct Pod {
    /// The sandbox's id.
    pub id: String,
    config: PodSandboxConfig,
}

impl Driver {
    /// Connects to a containerd.
    pub fn connect(containerd: &Containerd) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let path = containerd.socket();
        let sender = runtime.block_on(async {
            let stream = tokio::net::UnixStream::connect(path).await.unwrap();
            let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(driver);
            sender
        });
        let origin = "http://localhost".parse().unwrap();
        let driver = Self {
            runtime,
            client: RuntimeServiceClient::with_origin(Channel(sender), origin),
        };
        // After its start containerd first finds out what runs.
        wait_until(SOON, "CRI is ready", || {
            let mut client = driver.client.clone();
            let pod_sandbox_id = "none".to_owned();
            let answer = client.remove_pod_sandbox(PodSandboxRequest { pod_sandbox_id });
            driver.runtime.block_on(answer).is_ok().then_some(())
        });
        driver
    }

    fn call<T>(
        &self,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> T {
        self.runtime.block_on(answer).unwrap().into_inner()
    }

    /// A call that needs the image: CRI learns a moment later what `ctr` has imported.
    fn call_with_image<T, F>(&self, call: impl Fn(RuntimeServiceClient<Channel>) -> F) -> T
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        wait_until(SOON, "the image is known", || {
            match self.runtime.block_on(call(self.client.clone())) {
                Err(status) if status.message().contains("image") => None,
                answer => Some(answer.unwrap().into_inner()),
            }
        })
    }

    /// Makes a pod without containers on the node's network.
    pub fn run_pod(&self, name: &str, cgroup: &str) -> Pod {
        self.run_pod_by("", name, cgroup)
    }

    /// The same by the OCI runtime of this handler; the usual one if it is empty.
    pub fn run_pod_by(&self, handler: &str, name: &str, cgroup: &str) -> Pod {
        let labels = kubelet_labels(name);
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "prod".to_owned(),
                attempt: 0,
            }),
            hostname: String::new(),
            labels: labels.into_iter().collect(),
            annotations: Default::default(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: cgroup.to_owned(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(node_network()),
                }),
            }),
        };
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        let made = self.call_with_image(|mut client| {
            let request = request.clone();
            async move { client.run_pod_sandbox(request).await }
        });
        Pod {
            id: made.pod_sandbox_id,
            config,
        }
    }

    /// Starts a container in a pod. A memory limit of 0 is none.
    pub fn run_container(
        &self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        script: &str,
        memory: i64,
    ) -> String {
        let id = self.create_container(pod, name, attempt, script, memory);
        let mut client = self.client.clone();
        let container_id = id.clone();
        self.call(client.start_container(ContainerRequest { container_id }));
        id
    }

    /// Makes a container in a pod and does not start it.
    pub fn create_container(
        &self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        script: &str,
        memory: i64,
    ) -> String {
        let pod_name = &pod.config.metadata.as_ref().unwrap().name;
        let mut labels = kubelet_labels(pod_name);
        labels.push(("io.kubernetes.container.name".to_owned(), name.to_owned()));
        let variable = |key: &str, value: &str| KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let annotations = [
            (
                "io.kubernetes.container.restartCount".to_owned(),
                attempt.to_string(),
            ),
            ("team".to_owned(), "blue".to_owned()),
        ];
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt,
            }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
            command: ["/bin/busybox", "sh", "-c", script]
                .map(str::to_owned)
                .to_vec(),
            envs: vec![variable("SHOWN_ID", "7"), variable("SECRET", "x")],
            labels: labels.into_iter().collect(),
            annotations: annotations.into_iter().collect(),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources {
                    memory_limit_in_bytes: memory,
                    memory_swap_limit_in_bytes: memory,
                }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(node_network()),
                }),
            }),
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let made = self.call_with_image(|mut client| {
            let request = request.clone();
            async move { client.create_container(request).await }
        });
        made.container_id
    }

    /// Stops a container at once and removes it.
    pub fn remove_container(&self, id: &str) {
        let mut client = self.client.clone();
        let container_id = id.to_owned();
        self.call(client.stop_container(StopContainerRequest {
            container_id: container_id.clone(),
            timeout: 0,
        }));
        self.call(client.remove_container(ContainerRequest { container_id }));
    }

    /// Stops a pod and removes it.
    pub fn remove_pod(&self, pod: &Pod) {
        let mut client = self.client.clone();
        let pod_sandbox_id = pod.id.clone();
        let request = PodSandboxRequest { pod_sandbox_id };
        self.call(client.stop_pod_sandbox(request.clone()));
        self.call(client.remove_pod_sandbox(request));
    }
}

fn node_network() -> NamespaceOption {
    NamespaceOption {
        network: NODE,
        pid: 1,
        ipc: 0,
    }
}

fn kubelet_labels(pod: &str) -> Vec<(String, String)> {
    let own = |key: &str, value: String| (key.to_owned(), value);
    vec![
        own("app", pod.to_owned()),
        own("io.kubernetes.pod.name", pod.to_owned()),
        own("io.kubernetes.pod.namespace", "prod".to_owned()),
        own("io.kubernetes.pod.uid", format!("uid-{pod}")),
    ]
}

#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
