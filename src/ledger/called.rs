//! Pure: what the ledger keeps of what a runtime knows, and the name under which totals are kept.

use super::life::Identity;
use crate::runtime;

/// Labels that name what a container is one of, beside pods: Docker's and Podman's Compose, and Swarm.
const SWARM_SERVICE: &str = "com.docker.swarm.service.name";
const COMPOSE: [(&str, &str); 2] = [
    ("com.docker.compose.project", "com.docker.compose.service"),
    ("io.podman.compose.project", "io.podman.compose.service"),
];

impl Identity {
    /// Of a container as its runtime describes it.
    pub fn of(told: &runtime::Identity) -> Self {
        let pod = told.pod.as_ref().filter(|pod| !pod.name.is_empty());
        let in_pod = pod.and_then(|pod| pod.container.as_deref());
        Self {
            workload: workload(told),
            name: in_pod.or(told.name.as_deref()).map(str::to_owned),
            id: Some(told.id.clone()),
            image: told.image.as_ref().map(|image| image.reference.clone()),
            pod: pod.map(|pod| pod.name.clone()),
            namespace: pod
                .map(|pod| pod.namespace.clone())
                .filter(|namespace| !namespace.is_empty()),
        }
    }
}

/// A container that is made again in its pod or for its service goes on with its totals; one that bears
/// its name alone, with those of that name.
fn workload(told: &runtime::Identity) -> Option<String> {
    if let Some(pod) = told.pod.as_ref().filter(|pod| !pod.name.is_empty()) {
        let container = match told.is_sandbox {
            true => None,
            false => pod.container.as_deref().or(told.name.as_deref()),
        };
        let parts = [Some(&*pod.namespace), Some(&*pod.name), container];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let named: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        return Some(named.join("/"));
    }
    let label = |name: &str| told.labels.get(name).filter(|value| !value.is_empty());
    let composed = COMPOSE.iter().find_map(|(project, service)| {
        let (project, service) = (label(project)?, label(service)?);
        Some(format!("{project}/{service}"))
    });
    label(SWARM_SERVICE)
        .cloned()
        .or(composed)
        .or_else(|| told.name.clone().filter(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Image, Pod, Runtime};

    fn told(runtime: Runtime, name: &str) -> runtime::Identity {
        runtime::Identity {
            name: Some(name.to_owned()),
            image: Some(Image {
                reference: "busybox:1".to_owned(),
                digest: None,
            }),
            ..runtime::Identity::new(runtime, "abc")
        }
    }

    fn in_pod(namespace: &str, container: Option<&str>) -> runtime::Identity {
        runtime::Identity {
            pod: Some(Pod {
                name: "web-1".to_owned(),
                namespace: namespace.to_owned(),
                uid: "u".to_owned(),
                container: container.map(str::to_owned),
            }),
            is_sandbox: container.is_none() && !namespace.is_empty(),
            ..told(Runtime::Cri, "k8s_app_web-1")
        }
    }

    #[test]
    fn the_name_of_the_totals() {
        let workload = |told: &runtime::Identity| Identity::of(told).workload;
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(
            workload(&in_pod("shop", Some("app"))),
            some("shop/web-1/app")
        );
        assert_eq!(workload(&in_pod("shop", None)), some("shop/web-1"));
        assert_eq!(workload(&in_pod("", None)), some("web-1/k8s_app_web-1"));
        let mut one = told(Runtime::Docker, "stack.1.xyz");
        assert_eq!(workload(&one), some("stack.1.xyz"));
        for (key, value) in [
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "db"),
        ] {
            one.labels.insert(key.to_owned(), value.to_owned());
        }
        assert_eq!(workload(&one), some("shop/db"));
        one.labels
            .insert(SWARM_SERVICE.to_owned(), "stack".to_owned());
        assert_eq!(workload(&one), some("stack"));
        assert_eq!(
            workload(&runtime::Identity::new(Runtime::Docker, "abc")),
            None
        );
    }

    #[test]
    fn what_is_kept() {
        let kept = Identity::of(&in_pod("shop", Some("app")));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        assert_eq!(
            [
                &kept.name,
                &kept.id,
                &kept.image,
                &kept.pod,
                &kept.namespace
            ]
            .map(text),
            ["app", "abc", "busybox:1", "web-1", "shop"]
        );
    }
}
