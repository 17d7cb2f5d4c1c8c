//! Pure: pods of Kubernetes in cgroup paths, as the kubelet's two drivers name them.
//!
//! ```text
//! cgroupfs   /kubepods/burstable/pod<uid>/<container id>
//! systemd    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
//! ```
//!
//! Guaranteed pods have no element for their class. All of it may lie below a cgroup root of the
//! kubelet's own, whose name systemd repeats (`kubelet-kubepods-…`). In systemd's form a `-` of the
//! uid is `_`. A pod's name and namespace are not in the path.

use super::ContainerName;

/// How a pod is treated when memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QosClass {
    /// Its limits are its requests.
    Guaranteed,
    /// It may use more than it asked for.
    Burstable,
    /// It asked for nothing.
    BestEffort,
}

/// A cgroup of a pod: its own, or that of one of its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCgroup {
    /// The pod's uid; of a static pod, the hash of its file.
    pub uid: String,
    /// The class.
    pub qos: QosClass,
    /// The container's id; `None` for the pod itself.
    pub container: Option<String>,
}

/// What may stand before the id in the name of a container's scope.
const RUNTIMES: [&str; 4] = ["cri-containerd-", "crio-", "docker-", "libpod-"];

/// Shortest id of a container or pod. Runtimes use 64 hexadecimal digits, tests fewer.
const MIN_ID: usize = 8;

impl PodCgroup {
    /// The pod that a cgroup belongs to. `None` if it is no pod's, or lies below a container.
    pub fn of(name: &ContainerName) -> Option<Self> {
        let text = std::str::from_utf8(name.as_bytes()).ok()?;
        let mut elements = text.split('/').filter(|element| !element.is_empty());
        elements.by_ref().find(|element| is_root(element))?;
        let mut element = elements.next()?;
        let class = |element: &str| {
            let element = element.strip_suffix(".slice").unwrap_or(element);
            let element = element.rsplit_once('-').map_or(element, |(_, last)| last);
            match element {
                "burstable" => Some(QosClass::Burstable),
                "besteffort" => Some(QosClass::BestEffort),
                _ => None,
            }
        };
        let qos = class(element);
        if qos.is_some() {
            element = elements.next()?;
        }
        let uid = pod_uid(element)?;
        let container = match elements.next() {
            None => None,
            Some(element) => Some(container_id(element)?.to_owned()),
        };
        elements.next().is_none().then_some(Self {
            uid,
            qos: qos.unwrap_or(QosClass::Guaranteed),
            container,
        })
    }
}

/// Whether this is the cgroup of all pods.
pub fn is_pods_root(name: &ContainerName) -> bool {
    let last = name.as_bytes().rsplit(|&byte| byte == b'/').next();
    last.and_then(|last| std::str::from_utf8(last).ok())
        .is_some_and(is_root)
}

fn is_root(element: &str) -> bool {
    let name = element.strip_suffix(".slice").unwrap_or(element);
    name == "kubepods" || (name != element && name.ends_with("-kubepods"))
}

fn pod_uid(element: &str) -> Option<String> {
    let uid = match element.strip_suffix(".slice") {
        Some(unit) => unit.rsplit_once("-pod")?.1.replace('_', "-"),
        None => element.strip_prefix("pod")?.to_owned(),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (uid.len() >= MIN_ID && uid.bytes().all(valid)).then_some(uid)
}

fn container_id(element: &str) -> Option<&str> {
    let name = element.strip_suffix(".scope").unwrap_or(element);
    let id = RUNTIMES
        .iter()
        .find_map(|runtime| name.strip_prefix(runtime))
        .unwrap_or(name);
    (id.len() >= MIN_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "1b9f2e0a-5c3d-4e6f-8a7b-0c1d2e3f4a5b";
    const ID: &str = "6bb9be375ebd1e839c247dd4b7cfda520873ee770be37bb7084031847b25fcd4";

    fn of(path: &str) -> Option<PodCgroup> {
        PodCgroup::of(&ContainerName::from_request(path))
    }

    fn pod(qos: QosClass, container: Option<&str>) -> Option<PodCgroup> {
        Some(PodCgroup {
            uid: UID.into(),
            qos,
            container: container.map(str::to_owned),
        })
    }

    #[test]
    fn both_drivers_and_all_classes() {
        use QosClass::{BestEffort, Burstable, Guaranteed};
        let unit = UID.replace('-', "_");
        for (path, want) in [
            (format!("/kubepods/pod{UID}"), pod(Guaranteed, None)),
            (
                format!("/kubepods/burstable/pod{UID}"),
                pod(Burstable, None),
            ),
            (
                format!("/kubepods/besteffort/pod{UID}/{ID}"),
                pod(BestEffort, Some(ID)),
            ),
            (
                format!("/kubepods/pod{UID}/crio-{ID}"),
                pod(Guaranteed, Some(ID)),
            ),
            (
                format!("/kubelet/kubepods/pod{UID}/{ID}"),
                pod(Guaranteed, Some(ID)),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{unit}.slice/cri-containerd-{ID}.scope"),
                pod(Guaranteed, Some(ID)),
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{unit}.slice/crio-{ID}.scope"
                ),
                pod(BestEffort, Some(ID)),
            ),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{unit}.slice"
                ),
                pod(Burstable, None),
            ),
        ] {
            assert_eq!(of(&path), want, "{path}");
        }
        assert!(of("/kubepods/burstable/pod0123456789abcdef0123456789abcdef").is_some());
    }

    #[test]
    fn what_is_no_pod() {
        for path in [
            "/".to_owned(),
            "/kubepods".into(),
            "/kubepods/burstable".into(),
            "/kubepods.slice/kubepods-burstable.slice".into(),
            format!("/pod{UID}"),
            format!("/kubepods/pod{UID}/{ID}/init.scope"),
            format!("/kubepods/pod{UID}/crio-conmon-{ID}.scope"),
            "/kubepods/pod".into(),
            "/kubepods/podium".into(),
            format!("/my-kubepods/pod{UID}"),
        ] {
            assert_eq!(of(&path), None, "{path}");
        }
        assert!(is_pods_root(&ContainerName::from_request(
            "/kubepods.slice"
        )));
        assert!(!is_pods_root(&ContainerName::from_request(
            "/kubepods/burstable"
        )));
    }

    proptest! {
        #[test]
        fn any_path_is_read(path in "(/|kubepods|pod|-|\\.slice|[a-z0-9]{8}){0,12}") {
            let _ = of(&path);
        }
    }
}
