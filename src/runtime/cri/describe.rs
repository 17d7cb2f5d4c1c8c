//! An identity from what CRI says of a container or a pod's sandbox.

use std::collections::HashMap;

use serde::Deserialize;

use super::api::{
    Container, ContainerState, ContainerStatus, ImageSpec, NamespaceMode, PodSandbox,
    PodSandboxMetadata, PodSandboxState, PodSandboxStatus,
};
use crate::runtime::bounded::Labels;
use crate::runtime::isolation::isolation;
use crate::runtime::{Identity, Image, Pod, Runtime, State, oci};
use crate::units::Timestamp;

/// How often the kubelet made the container again; an annotation of its own.
const RESTARTS: &str = "io.kubernetes.container.restartCount";

/// Labels that the kubelet gives to sandboxes and containers alike.
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";

/// A larger verbose answer is not read.
const MAX_INFO: usize = 4 << 20;

/// The key under which runtimes put their JSON.
const INFO: &str = "info";

/// The name under which a pod's network is shown: CRI gives it none.
const POD_NETWORK: &str = "pod";

/// What the containers of a pod have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shared {
    /// Their pod, without a container.
    pub pod: Pod,
    /// The runtime class's handler; empty for the runtime's default.
    pub handler: String,
    /// Whether they use the node's network; known once its status was asked.
    pub on_host_network: Option<bool>,
}

/// What the runtimes say in the JSON of a verbose answer. containerd's and CRI-O's agree in these
/// keys; what another one writes is not understood and left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Info {
    /// The pod's sandbox.
    #[serde(rename = "sandboxID")]
    pub sandbox: Option<String>,
    pid: Option<u32>,
    snapshotter: Option<String>,
    runtime_type: Option<String>,
    runtime_spec: Option<oci::Spec>,
}

impl Info {
    /// Reads what a verbose answer has under `info`.
    pub fn parse(answer: &HashMap<String, String>) -> Self {
        let json = answer.get(INFO).filter(|json| json.len() <= MAX_INFO);
        json.and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default()
    }

    fn apply(self, runtime: Runtime, identity: &mut Identity, env_prefixes: &[String]) {
        identity.init_pid = self.pid.filter(|&pid| pid != 0);
        let named = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(shim) = named(self.runtime_type) {
            // The usual shim may run a sandbox, too: then it is the handler's name that tells.
            if identity.isolation().is_none() || isolation(&shim).is_some() {
                identity.oci_runtime = Some(shim);
            }
        }
        if let Some(snapshotter) = named(self.snapshotter) {
            identity.storage_driver = Some(snapshotter);
        }
        if let Some(spec) = self.runtime_spec {
            identity.cgroup = spec.cgroup();
            identity.env = spec.env(env_prefixes);
            // CRI-O mounts the overlay where its parts lie side by side.
            let merged = (runtime == Runtime::Crio)
                .then(|| spec.root()?.strip_suffix("/merged"))
                .flatten();
            if let Some(directory) = merged.filter(|directory| directory.starts_with('/')) {
                identity.storage_driver = Some("overlay".to_owned());
                identity.writable_layer = Some(format!("{directory}/diff").into());
            }
        }
    }
}

impl Shared {
    /// What a listing says of a sandbox.
    pub fn of(sandbox: &PodSandbox) -> Self {
        Self {
            pod: pod(sandbox.metadata.as_ref()),
            handler: sandbox.runtime_handler.clone(),
            on_host_network: None,
        }
    }

    /// What its status says.
    pub fn of_status(status: &PodSandboxStatus) -> Self {
        let namespaces = status.linux.as_ref().and_then(|l| l.namespaces.as_ref());
        let options = namespaces.and_then(|namespaces| namespaces.options.as_ref());
        Self {
            pod: pod(status.metadata.as_ref()),
            handler: status.runtime_handler.clone(),
            on_host_network: options.map(|options| options.network() == NamespaceMode::Node),
        }
    }

    fn handler(&self) -> Option<String> {
        Some(self.handler.clone()).filter(|handler| !handler.is_empty())
    }
}

fn pod(metadata: Option<&PodSandboxMetadata>) -> Pod {
    let metadata = metadata.cloned().unwrap_or_default();
    Pod {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        container: None,
    }
}

/// The name that the runtimes reserve for a container: unique on the node, and what users of Docker
/// beneath Kubernetes know.
fn reserved_name(container: &str, pod: &Pod, attempt: u32) -> String {
    let Pod {
        name,
        namespace,
        uid,
        ..
    } = pod;
    format!("k8s_{container}_{name}_{namespace}_{uid}_{attempt}")
}

/// A sandbox as a listing has it.
pub fn sandbox(runtime: Runtime, listed: PodSandbox) -> Identity {
    let shared = Shared::of(&listed);
    let attempt = listed.metadata.map_or(0, |metadata| metadata.attempt);
    let mut identity = Identity::new(runtime, listed.id);
    identity.is_sandbox = true;
    identity.name = Some(reserved_name("POD", &shared.pod, attempt));
    identity.oci_runtime = shared.handler();
    identity.pod = Some(shared.pod);
    identity.created = time(listed.created_at);
    identity.state = sandbox_state(listed.state);
    identity.labels = Labels::from_iter(listed.labels).into_map();
    identity.annotations = Labels::from_iter(listed.annotations).into_map();
    identity
}

/// A sandbox as its status has it.
pub fn sandbox_status(
    runtime: Runtime,
    status: PodSandboxStatus,
    info: Info,
    env_prefixes: &[String],
) -> Identity {
    let shared = Shared::of_status(&status);
    let address = status.network.map(|network| network.ip);
    let mut identity = sandbox(
        runtime,
        PodSandbox {
            id: status.id,
            metadata: status.metadata,
            state: status.state,
            created_at: status.created_at,
            labels: status.labels,
            annotations: status.annotations,
            runtime_handler: status.runtime_handler,
        },
    );
    if shared.on_host_network == Some(true) {
        identity.network_mode = Some("host".to_owned());
    } else if let Some(address) = address.filter(|address| !address.is_empty()) {
        let network = (POD_NETWORK.to_owned(), Some(address));
        identity.networks.extend([network]);
    }
    info.apply(runtime, &mut identity, env_prefixes);
    identity
}

/// A container as a listing has it.
pub fn container(
    runtime: Runtime,
    listed: Container,
    sandboxes: &HashMap<String, Shared>,
) -> Identity {
    let mut identity = Identity::new(runtime, listed.id);
    identity.created = time(listed.created_at);
    identity.state = container_state(listed.state);
    identity.image = image(listed.image, &listed.image_ref);
    identity.labels = Labels::from_iter(listed.labels).into_map();
    identity.annotations = Labels::from_iter(listed.annotations).into_map();
    let (name, attempt) = listed
        .metadata
        .map_or_else(Default::default, |m| (m.name, m.attempt));
    place(
        &mut identity,
        name,
        attempt,
        &listed.pod_sandbox_id,
        sandboxes,
    );
    identity
}

/// A container as its status has it.
pub fn container_status(
    runtime: Runtime,
    status: ContainerStatus,
    info: Info,
    sandboxes: &HashMap<String, Shared>,
    env_prefixes: &[String],
) -> Identity {
    let mut identity = container(
        runtime,
        Container {
            id: status.id,
            pod_sandbox_id: info.sandbox.clone().unwrap_or_default(),
            metadata: status.metadata,
            image: status.image,
            image_ref: status.image_ref,
            state: status.state,
            created_at: status.created_at,
            labels: status.labels,
            annotations: status.annotations,
        },
        sandboxes,
    );
    identity.started = time(status.started_at);
    info.apply(runtime, &mut identity, env_prefixes);
    if let Some(State::Exited { .. }) = identity.state {
        identity.init_pid = None;
        identity.state = Some(State::Exited {
            code: Some(status.exit_code),
            reason: Some(status.reason).filter(|reason| !reason.is_empty()),
            finished: time(status.finished_at),
        });
    }
    identity
}

/// Says where in which pod a container is.
fn place(
    identity: &mut Identity,
    name: String,
    attempt: u32,
    sandbox: &str,
    sandboxes: &HashMap<String, Shared>,
) {
    let shared = sandboxes.get(sandbox);
    let label = |key: &str| identity.labels.get(key).cloned();
    let mut pod = match shared {
        Some(shared) => Some(shared.pod.clone()),
        None => label(POD_NAME).map(|name| Pod {
            name,
            namespace: label(POD_NAMESPACE).unwrap_or_default(),
            uid: label(POD_UID).unwrap_or_default(),
            container: None,
        }),
    };
    identity.name = Some(match &pod {
        Some(pod) => reserved_name(&name, pod, attempt),
        None => name.clone(),
    });
    identity.oci_runtime = shared.and_then(Shared::handler);
    identity.network_mode = match shared.and_then(|shared| shared.on_host_network) {
        Some(true) => Some("host".to_owned()),
        _ if sandbox.is_empty() => None,
        _ => Some(format!("container:{sandbox}")),
    };
    if let Some(pod) = &mut pod {
        pod.container = Some(name);
    }
    identity.pod = pod;
    let counted = identity.annotations.get(RESTARTS);
    let counted = counted.and_then(|count| count.parse().ok());
    identity.restart_count = counted.or(Some(u64::from(attempt)));
}

/// What a listing does not say and a status said before.
pub fn carry_over(before: &Identity, identity: &mut Identity) {
    if before.created != identity.created {
        return;
    }
    let exited = |state: &Option<State>| matches!(state, Some(State::Exited { .. }));
    if exited(&before.state) == exited(&identity.state) {
        identity.state.clone_from(&before.state);
        identity.init_pid = before.init_pid;
        identity.started = before.started;
    }
    if before.image.is_some() {
        identity.image.clone_from(&before.image);
    }
    if before.network_mode.is_some() {
        identity.network_mode.clone_from(&before.network_mode);
    }
    if before.oci_runtime.is_some() {
        identity.oci_runtime.clone_from(&before.oci_runtime);
    }
    identity.cgroup.clone_from(&before.cgroup);
    identity.env.clone_from(&before.env);
    identity.networks.clone_from(&before.networks);
    identity.storage_driver.clone_from(&before.storage_driver);
    identity.writable_layer.clone_from(&before.writable_layer);
}

fn container_state(state: i32) -> Option<State> {
    match ContainerState::try_from(state).ok()? {
        ContainerState::ContainerCreated => Some(State::Created),
        ContainerState::ContainerRunning => Some(State::Running),
        ContainerState::ContainerExited => Some(ended()),
        ContainerState::ContainerUnknown => None,
    }
}

fn sandbox_state(state: i32) -> Option<State> {
    match PodSandboxState::try_from(state).ok()? {
        PodSandboxState::SandboxReady => Some(State::Running),
        PodSandboxState::SandboxNotready => Some(ended()),
    }
}

fn ended() -> State {
    State::Exited {
        code: None,
        reason: None,
        finished: None,
    }
}

/// An image from its name (or id, if it was pulled by one) and the reference it was resolved to.
fn image(spec: Option<ImageSpec>, resolved: &str) -> Option<Image> {
    let spec = spec.unwrap_or_default();
    let is_id = |name: &str| name.starts_with("sha256:");
    let mut names = [spec.user_specified_image, spec.image]
        .into_iter()
        .filter(|name| !name.is_empty());
    let first = names.next();
    let by_name = first.filter(|name| !is_id(name)).or_else(|| names.next());
    let reference = by_name.or_else(|| Some(resolved.to_owned()).filter(|r| !r.is_empty()))?;
    let digest = match resolved.split_once('@') {
        Some((_, digest)) => Some(digest.to_owned()),
        None => is_id(resolved).then(|| resolved.to_owned()),
    };
    Some(Image { reference, digest })
}

/// A time of CRI; zero means that there is none.
fn time(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then_some(Timestamp(nanoseconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runtime::cri::api::ContainerMetadata;

    fn sandboxes() -> HashMap<String, Shared> {
        let shared = Shared {
            pod: Pod {
                name: "shop".to_owned(),
                namespace: "prod".to_owned(),
                uid: "u1".to_owned(),
                container: None,
            },
            handler: "gvisor".to_owned(),
            on_host_network: None,
        };
        HashMap::from([("box".to_owned(), shared)])
    }

    fn status(state: ContainerState) -> ContainerStatus {
        ContainerStatus {
            id: "c".to_owned(),
            metadata: Some(ContainerMetadata {
                name: "web".to_owned(),
                attempt: 2,
            }),
            state: state.into(),
            created_at: 10,
            started_at: 20,
            finished_at: 30,
            exit_code: 137,
            reason: "OOMKilled".to_owned(),
            image: Some(ImageSpec {
                image: "localhost/library/busybox:1".to_owned(),
                ..ImageSpec::default()
            }),
            image_ref: "localhost/library/busybox@sha256:12".to_owned(),
            annotations: HashMap::from([(RESTARTS.to_owned(), "3".to_owned())]),
            ..ContainerStatus::default()
        }
    }

    const CONTAINERD: &str = r#"{"sandboxID":"box","pid":77,"removing":false,"snapshotKey":"c",
        "snapshotter":"overlayfs","runtimeType":"io.containerd.runc.v2","runtimeOptions":{},
        "runtimeSpec":{"process":{"env":["A=b"]},"root":{"path":"rootfs"},
        "linux":{"cgroupsPath":"kubepods-pod1.slice:cri-containerd:c"}}}"#;

    const CRIO: &str = r#"{"sandboxID":"box","pid":78,"privileged":false,"runtimeSpec":
        {"root":{"path":"/var/lib/containers/storage/overlay/12ab/merged"},"annotations":null,
        "linux":{"cgroupsPath":"kubepods-pod1.slice:crio:c"}}}"#;

    fn info(json: &str) -> Info {
        Info::parse(&HashMap::from([(INFO.to_owned(), json.to_owned())]))
    }

    #[test]
    fn a_status_of_containerd() {
        let status = status(ContainerState::ContainerRunning);
        let prefixes = ["A".to_owned()];
        let identity = container_status(
            Runtime::Cri,
            status,
            info(CONTAINERD),
            &sandboxes(),
            &prefixes,
        );
        assert_eq!(identity.name.as_deref(), Some("k8s_web_shop_prod_u1_2"));
        assert_eq!(identity.init_pid, Some(77));
        assert_eq!(identity.restart_count, Some(3));
        // The handler's name, since that of the shim does not tell of a sandbox.
        assert_eq!(identity.oci_runtime.as_deref(), Some("gvisor"));
        assert_eq!(
            identity.cgroup.as_deref(),
            Some("/kubepods.slice/kubepods-pod1.slice/cri-containerd-c.scope")
        );
        assert_eq!(identity.storage_driver.as_deref(), Some("overlayfs"));
        assert_eq!(identity.writable_layer, None);
        assert_eq!(identity.env.get("A").map(String::as_str), Some("b"));
        assert_eq!(identity.network_mode.as_deref(), Some("container:box"));
        assert_eq!(identity.state, Some(State::Running));
        assert_eq!(
            (identity.created, identity.started),
            (Some(Timestamp(10)), Some(Timestamp(20)))
        );
        let pod = identity.pod.unwrap();
        assert_eq!(
            (pod.uid.as_str(), pod.container.as_deref()),
            ("u1", Some("web"))
        );
        let image = identity.image.unwrap();
        assert_eq!(image.reference, "localhost/library/busybox:1");
        assert_eq!(image.digest.as_deref(), Some("sha256:12"));
    }

    #[test]
    fn a_status_of_crio_and_an_exit() {
        let status = status(ContainerState::ContainerExited);
        let identity = container_status(Runtime::Crio, status, info(CRIO), &sandboxes(), &[]);
        assert_eq!(
            identity.writable_layer.as_deref(),
            Some("/var/lib/containers/storage/overlay/12ab/diff".as_ref())
        );
        assert_eq!(identity.storage_driver.as_deref(), Some("overlay"));
        assert_eq!(identity.oci_runtime.as_deref(), Some("gvisor"));
        assert!(!identity.in_own_cgroup());
        assert_eq!(identity.init_pid, None);
        assert_eq!(
            identity.state,
            Some(State::Exited {
                code: Some(137),
                reason: Some("OOMKilled".to_owned()),
                finished: Some(Timestamp(30)),
            })
        );
    }

    #[test]
    fn sandboxes_and_their_networks() {
        let status = |mode: NamespaceMode| PodSandboxStatus {
            id: "box".to_owned(),
            metadata: Some(PodSandboxMetadata {
                name: "shop".to_owned(),
                uid: "u1".to_owned(),
                namespace: "prod".to_owned(),
                attempt: 0,
            }),
            network: Some(super::super::api::PodSandboxNetworkStatus {
                ip: "10.0.0.9".to_owned(),
            }),
            linux: Some(super::super::api::LinuxPodSandboxStatus {
                namespaces: Some(super::super::api::Namespace {
                    options: Some(super::super::api::NamespaceOption {
                        network: mode.into(),
                    }),
                }),
            }),
            ..PodSandboxStatus::default()
        };
        let own = sandbox_status(
            Runtime::Cri,
            status(NamespaceMode::Pod),
            Info::default(),
            &[],
        );
        assert!(own.is_sandbox);
        assert_eq!(own.name.as_deref(), Some("k8s_POD_shop_prod_u1_0"));
        assert_eq!(own.networks.get("pod"), Some(&Some("10.0.0.9".to_owned())));
        assert_eq!((own.network_mode, own.state), (None, Some(State::Running)));
        let host = sandbox_status(
            Runtime::Cri,
            status(NamespaceMode::Node),
            Info::default(),
            &[],
        );
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert!(host.networks.is_empty());
    }

    #[test]
    fn images_by_name_id_and_digest() {
        let of = |user: &str, image_name: &str, resolved: &str| {
            let spec = ImageSpec {
                image: image_name.to_owned(),
                user_specified_image: user.to_owned(),
            };
            image(Some(spec), resolved).map(|image| (image.reference, image.digest))
        };
        let some =
            |name: &str, digest: Option<&str>| Some((name.to_owned(), digest.map(str::to_owned)));
        assert_eq!(
            of("a:1", "sha256:1", "a@sha256:2"),
            some("a:1", Some("sha256:2"))
        );
        assert_eq!(of("", "a:1", "sha256:3"), some("a:1", Some("sha256:3")));
        assert_eq!(
            of("", "sha256:1", "a@sha256:2"),
            some("a@sha256:2", Some("sha256:2"))
        );
        assert_eq!(of("", "", ""), None);
    }

    #[test]
    fn odd_information_is_left_out() {
        for json in ["", "[]", "{\"pid\":-1}", "{\"runtimeSpec\":7}"] {
            assert!(info(json).pid.is_none(), "{json}");
        }
        assert!(info(&" ".repeat(MAX_INFO + 1)).sandbox.is_none());
    }

    #[test]
    fn a_listing_keeps_what_a_status_said() {
        let first = status(ContainerState::ContainerExited);
        let before = container_status(Runtime::Cri, first, info(CONTAINERD), &sandboxes(), &[]);
        let listed = |state: ContainerState, created_at| Container {
            id: "c".to_owned(),
            pod_sandbox_id: "box".to_owned(),
            metadata: Some(ContainerMetadata {
                name: "web".to_owned(),
                attempt: 2,
            }),
            state: state.into(),
            created_at,
            annotations: HashMap::from([(RESTARTS.to_owned(), "3".to_owned())]),
            ..Container::default()
        };
        let mut again = container(
            Runtime::Cri,
            listed(ContainerState::ContainerExited, 10),
            &sandboxes(),
        );
        carry_over(&before, &mut again);
        assert_eq!(again, before);
        let mut other = container(
            Runtime::Cri,
            listed(ContainerState::ContainerExited, 11),
            &sandboxes(),
        );
        carry_over(&before, &mut other);
        assert_eq!((other.cgroup, other.image), (None, None));
    }
}
