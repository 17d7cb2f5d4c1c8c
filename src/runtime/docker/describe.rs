//! What Docker's and Podman's descriptions of a container say. Pure.
//!
//! Every field is taken by itself: one that is missing, or of another type than it should be, is not
//! known, and changes nothing about the others. A runtime's next version cannot take away more than
//! what it has changed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::events::{ended, health};
use crate::runtime::settings::keeps_env;
use crate::runtime::{Identity, Image, Pod, Runtime, State};
use crate::units::Timestamp;

/// The longest id that is taken for one; theirs have 64 characters.
const MAX_ID: usize = 128;

/// Whether this can be an id, and be put into a path.
pub(crate) fn usable_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(plain)
}

/// Why a container ended, in the words of Kubernetes.
pub(crate) fn exit_reason(code: Option<i32>, out_of_memory: bool) -> Option<String> {
    let reason = match (code, out_of_memory) {
        (_, true) => "OOMKilled",
        (Some(0), _) => "Completed",
        (Some(_), _) => "Error",
        (None, _) => return None,
    };
    Some(reason.to_owned())
}

/// Reads an item of a list: enough to name a container, at once.
pub(crate) fn listed(runtime: Runtime, item: &Value) -> Option<Identity> {
    let mut identity = Identity::new(runtime, id(item)?);
    let mut names = item["Names"].as_array().into_iter().flatten();
    // The names with a further `/` are those that other containers have given it.
    identity.name = names
        .by_ref()
        .filter_map(|name| non_empty(name).map(|name| name.trim_start_matches('/')))
        .find(|name| !name.contains('/'))
        .map(str::to_owned);
    identity.image = image(non_empty(&item["Image"]), non_empty(&item["ImageID"]));
    identity.labels = texts(&item["Labels"]);
    identity.created = match &item["Created"] {
        Value::Number(seconds) => seconds.as_i64().and_then(from_seconds),
        other => time(other),
    };
    identity.state = match item["State"].as_str() {
        Some("created" | "initialized" | "configured") => Some(State::Created),
        Some("running") => Some(State::Running),
        Some("paused") => Some(State::Paused),
        Some("exited" | "dead" | "stopped") => {
            let code = item["ExitCode"].as_i64().and_then(small);
            let at = item["ExitedAt"].as_i64().and_then(from_seconds);
            Some(ended(code, false, at))
        }
        _ => None,
    };
    identity.init_pid = pid(&item["Pid"]);
    identity.network_mode = text(&item["HostConfig"]["NetworkMode"]);
    identity.networks = networks(&item["NetworkSettings"]["Networks"]);
    identity.is_sandbox = item["IsInfra"].as_bool().unwrap_or(false);
    identity.pod = pod(
        &identity,
        non_empty(&item["Pod"]),
        non_empty(&item["PodName"]),
    );
    settle(&mut identity);
    Some(identity)
}

/// Reads what `inspect` says. `pod_name` knows the names of Podman's pods.
pub(crate) fn inspected(
    runtime: Runtime,
    item: &Value,
    env_prefixes: &[String],
    pod_name: impl Fn(&str) -> Option<String>,
) -> Option<Identity> {
    let mut identity = Identity::new(runtime, id(item)?);
    let (config, host) = (&item["Config"], &item["HostConfig"]);
    identity.name = non_empty(&item["Name"]).map(|name| name.trim_start_matches('/').to_owned());
    // Podman's own description has the id where Docker's has it, and the name beside it.
    let reference = non_empty(&item["ImageName"]).or(non_empty(&config["Image"]));
    let digest = non_empty(&item["ImageManifestDescriptor"]["digest"])
        .or(non_empty(&item["ImageDigest"]))
        .or(non_empty(&item["Image"]));
    identity.image = image(reference, digest);
    identity.labels = texts(&config["Labels"]);
    identity.annotations = texts(&host["Annotations"]);
    identity.annotations.extend(texts(&config["Annotations"]));
    identity.env = env(&config["Env"], env_prefixes);
    identity.created = time(&item["Created"]);
    identity.restart_count = item["RestartCount"].as_u64();
    let state = &item["State"];
    identity.started = time(&state["StartedAt"]);
    identity.health = non_empty(&state["Health"]["Status"])
        .or(non_empty(&state["Healthcheck"]["Status"]))
        .and_then(health);
    identity.state = state_of(state);
    identity.init_pid = pid(&state["Pid"]);
    identity.cgroup = text(&state["CgroupPath"]);
    identity.oci_runtime = text(&item["OCIRuntime"]).or(text(&host["Runtime"]));
    let graph = &item["GraphDriver"];
    identity.storage_driver = text(&graph["Name"])
        .or(text(&item["Storage"]["RootFS"]["Snapshot"]["Name"]))
        .or(text(&item["Driver"]));
    identity.writable_layer = text(&graph["Data"]["UpperDir"]).map(PathBuf::from);
    identity.network_mode = text(&host["NetworkMode"]);
    identity.networks = networks(&item["NetworkSettings"]["Networks"]);
    identity.is_sandbox = item["IsInfra"].as_bool().unwrap_or(false);
    let pod_id = non_empty(&item["Pod"]);
    let name = pod_id.and_then(pod_name);
    identity.pod = pod(&identity, pod_id, name.as_deref());
    settle(&mut identity);
    Some(identity)
}

/// What Kubernetes says of a container of Docker stands in its labels.
fn settle(identity: &mut Identity) {
    let label = |name: &str| identity.labels.get(name).cloned();
    let Some(name) = label("io.kubernetes.pod.name") else {
        return;
    };
    let container = label("io.kubernetes.container.name");
    let is_sandbox = label("io.kubernetes.docker.type").as_deref() == Some("podsandbox")
        || container.as_deref() == Some("POD");
    identity.pod = Some(Pod {
        name,
        namespace: label("io.kubernetes.pod.namespace").unwrap_or_default(),
        uid: label("io.kubernetes.pod.uid").unwrap_or_default(),
        container: container.filter(|_| !is_sandbox),
    });
    let restarts = identity
        .annotations
        .get("io.kubernetes.container.restartCount")
        .or(identity
            .labels
            .get("annotation.io.kubernetes.container.restartCount"));
    if let Some(count) = restarts.and_then(|count| count.parse().ok()) {
        identity.restart_count = Some(count);
    }
    identity.is_sandbox = is_sandbox;
}

fn pod(identity: &Identity, id: Option<&str>, name: Option<&str>) -> Option<Pod> {
    let id = id?;
    Some(Pod {
        name: name.unwrap_or_default().to_owned(),
        namespace: String::new(),
        uid: id.to_owned(),
        container: identity.name.clone().filter(|_| !identity.is_sandbox),
    })
}

fn state_of(state: &Value) -> Option<State> {
    let is = |flag: &str| state[flag].as_bool().unwrap_or(false);
    let exited = || {
        ended(
            state["ExitCode"].as_i64().and_then(small),
            is("OOMKilled"),
            time(&state["FinishedAt"]),
        )
    };
    // Between two runs Docker says that it runs, and that it restarts.
    if is("Restarting") {
        return Some(exited());
    }
    match state["Status"].as_str() {
        Some("created" | "initialized" | "configured") => Some(State::Created),
        Some("running" | "stopping") => Some(State::Running),
        Some("paused") => Some(State::Paused),
        Some("exited" | "dead" | "removing" | "stopped" | "restarting") => Some(exited()),
        _ => is("Running").then_some(State::Running),
    }
}

fn id(item: &Value) -> Option<&str> {
    item["Id"].as_str().filter(|id| usable_id(id))
}

fn image(reference: Option<&str>, digest: Option<&str>) -> Option<Image> {
    let digest = digest.map(|digest| {
        // Podman leaves the algorithm out of an image's id.
        let bare = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        match bare {
            true => format!("sha256:{digest}"),
            false => digest.to_owned(),
        }
    });
    let reference = reference.or(digest.as_deref())?.to_owned();
    let digest = digest.filter(|digest| digest.contains(':'));
    Some(Image { reference, digest })
}

fn networks(networks: &Value) -> BTreeMap<String, Option<String>> {
    let networks = networks.as_object().into_iter().flatten();
    networks
        .map(|(name, network)| {
            let address = text(&network["IPAddress"]).or(text(&network["GlobalIPv6Address"]));
            (name.clone(), address)
        })
        .collect()
}

fn env(list: &Value, prefixes: &[String]) -> BTreeMap<String, String> {
    let variables = list.as_array().into_iter().flatten();
    variables
        .filter_map(|variable| variable.as_str()?.split_once('='))
        .filter(|(name, _)| keeps_env(prefixes, name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn texts(map: &Value) -> BTreeMap<String, String> {
    let map = map.as_object().into_iter().flatten();
    map.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn non_empty(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn text(value: &Value) -> Option<String> {
    non_empty(value).map(str::to_owned)
}

fn pid(value: &Value) -> Option<u32> {
    value
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|&pid| pid > 0)
}

fn small(number: i64) -> Option<i32> {
    i32::try_from(number).ok()
}

/// A time in RFC 3339. The year 1 stands for none.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    let time: jiff::Timestamp = non_empty(value)?.parse().ok()?;
    let nanos = i64::try_from(time.as_nanosecond()).ok()?;
    (nanos > 0).then_some(Timestamp(nanos))
}

fn from_seconds(seconds: i64) -> Option<Timestamp> {
    let nanos = seconds.checked_mul(1_000_000_000)?;
    (nanos > 0).then_some(Timestamp(nanos))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::runtime::Health;

    const ID: &str = "e36dd755c5fe233cfb9835c892d8fc921ac1142cb55835bacdf19c9dd8439121";

    fn docker(item: &Value) -> Identity {
        inspected(Runtime::Docker, item, &["A_".to_owned()], |_| None).unwrap()
    }

    #[test]
    fn docker_20_10_with_overlay2() {
        let found = docker(&json!({
            "Id": ID, "Created": "2026-11-22T16:57:22.960355721Z", "Name": "/crash", "RestartCount": 2,
            "State": {
                "Status": "exited", "Running": false, "Paused": false, "Restarting": false, "OOMKilled": true,
                "Dead": false, "Pid": 0, "ExitCode": 137, "Error": "",
                "StartedAt": "2026-11-22T16:57:23.23237541Z", "FinishedAt": "2026-11-22T16:57:23.236553139Z",
                "Health": {"Status": "unhealthy", "FailingStreak": 3, "Log": []},
            },
            "Image": "sha256:082d1c20", "Driver": "overlay2",
            "HostConfig": {"NetworkMode": "container:b0ab67", "Runtime": "runc", "CgroupParent": ""},
            "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/var/lib/docker/overlay2/67/diff", "WorkDir": "/w"}},
            "Config": {"Image": "bb:1.0", "Env": ["A_B=1=2", "A_C", "PATH=/bin"], "Labels": {"app": "x", "odd": 3}},
            "NetworkSettings": {"Networks": {"none": {"IPAddress": "", "GlobalIPv6Address": ""}}},
        }));
        let expected = Identity {
            name: Some("crash".to_owned()),
            image: Some(Image {
                reference: "bb:1.0".to_owned(),
                digest: Some("sha256:082d1c20".to_owned()),
            }),
            labels: [("app".to_owned(), "x".to_owned())].into(),
            env: [("A_B".to_owned(), "1=2".to_owned())].into(),
            created: Some(Timestamp(1_795_366_642_960_355_721)),
            started: Some(Timestamp(1_795_366_643_232_375_410)),
            restart_count: Some(2),
            health: Some(Health::Unhealthy),
            state: Some(State::Exited {
                code: Some(137),
                reason: Some("OOMKilled".to_owned()),
                finished: Some(Timestamp(1_795_366_643_236_553_139)),
            }),
            oci_runtime: Some("runc".to_owned()),
            storage_driver: Some("overlay2".to_owned()),
            writable_layer: Some("/var/lib/docker/overlay2/67/diff".into()),
            networks: [("none".to_owned(), None)].into(),
            network_mode: Some("container:b0ab67".to_owned()),
            ..Identity::new(Runtime::Docker, ID)
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn docker_with_the_image_store_of_containerd_tells_no_layer() {
        let found = docker(&json!({
            "Id": ID, "Name": "/web", "Image": "sha256:aa",
            "ImageManifestDescriptor": {"digest": "sha256:bb"},
            "Storage": {"RootFS": {"Snapshot": {"Name": "overlayfs"}}},
            "State": {"Status": "running", "Running": true, "Pid": 7, "StartedAt": "0001-01-01T00:00:00Z", "Health": {"Status": "none"}},
        }));
        assert_eq!(found.storage_driver.as_deref(), Some("overlayfs"));
        assert_eq!(found.writable_layer, None);
        assert_eq!(found.image.unwrap().digest.as_deref(), Some("sha256:bb"));
        assert_eq!((found.started, found.health), (None, None));
        assert_eq!(
            (found.init_pid, found.state),
            (Some(7), Some(State::Running))
        );
        let older = docker(&json!({"Id": ID, "GraphDriver": {"Name": "overlayfs", "Data": null}}));
        assert_eq!(older.storage_driver.as_deref(), Some("overlayfs"));
    }

    #[test]
    fn between_two_runs_and_frozen() {
        let state = |state: Value| docker(&json!({"Id": ID, "State": state})).state;
        let restarting =
            json!({"Status": "restarting", "Running": true, "Restarting": true, "ExitCode": 1});
        assert_eq!(state(restarting), Some(ended(Some(1), false, None)));
        assert_eq!(
            state(json!({"Status": "paused", "Running": true})),
            Some(State::Paused)
        );
        assert_eq!(state(json!({"Status": "created"})), Some(State::Created));
        assert_eq!(
            state(json!({"Status": "new word", "Running": true})),
            Some(State::Running)
        );
        assert_eq!(state(json!({"Status": "new word"})), None);
        assert_eq!(state(json!(null)), None);
    }

    #[test]
    fn containers_of_kubernetes_through_docker() {
        let labels = json!({
            "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "u",
            "io.kubernetes.container.name": "nginx", "io.kubernetes.docker.type": "container",
            "annotation.io.kubernetes.container.restartCount": "4",
        });
        let found = docker(&json!({"Id": ID, "RestartCount": 0, "Config": {"Labels": labels}}));
        let pod = found.pod.unwrap();
        assert_eq!(
            (pod.name.as_str(), pod.namespace.as_str(), pod.uid.as_str()),
            ("web-0", "shop", "u")
        );
        assert_eq!(pod.container.as_deref(), Some("nginx"));
        assert_eq!((found.restart_count, found.is_sandbox), (Some(4), false));
        let labels =
            json!({"io.kubernetes.pod.name": "web-0", "io.kubernetes.container.name": "POD"});
        let sandbox = docker(&json!({"Id": ID, "Config": {"Labels": labels}}));
        assert!(sandbox.is_sandbox && sandbox.pod.unwrap().container.is_none());
    }

    #[test]
    fn podman_4_3_tells_the_pod_the_cgroup_and_the_runtime() {
        let item = json!({
            "Id": ID, "Name": "inpod", "Image": "39".repeat(32), "ImageName": "localhost/bb:1.0",
            "ImageDigest": "sha256:18015a", "Pod": "3193", "IsInfra": false, "OCIRuntime": "crun",
            "State": {"Status": "running", "CgroupPath": "/machine.slice/libpod-x.scope", "Health": {"Status": ""}},
            "HostConfig": {"Runtime": "oci", "NetworkMode": "host"},
            "Config": {"Annotations": {"io.container.manager": "libpod"}},
        });
        let found = inspected(Runtime::Podman, &item, &[], |id| Some(format!("pod-{id}"))).unwrap();
        assert_eq!(
            found.cgroup.as_deref(),
            Some("/machine.slice/libpod-x.scope")
        );
        assert_eq!(found.oci_runtime.as_deref(), Some("crun"));
        assert_eq!(
            found.image.unwrap().digest.as_deref(),
            Some("sha256:18015a")
        );
        assert_eq!(found.annotations["io.container.manager"], "libpod");
        let pod = found.pod.unwrap();
        assert_eq!((pod.name.as_str(), pod.uid.as_str()), ("pod-3193", "3193"));
        let item = json!({
            "Id": ID, "Names": ["3193-infra"], "Image": "localhost/podman-pause:4.3.1-0", "ImageID": "da".repeat(32),
            "IsInfra": true, "Pod": "3193", "PodName": "mypod", "State": "exited", "ExitCode": 2,
            "ExitedAt": 1_795_366_888, "Created": "2026-11-22T17:01:27.570564594Z", "Pid": 0,
        });
        let found = listed(Runtime::Podman, &item).unwrap();
        assert!(found.is_sandbox);
        assert_eq!(found.name.as_deref(), Some("3193-infra"));
        let pod = found.pod.unwrap();
        assert_eq!((pod.name.as_str(), pod.container), ("mypod", None));
        let at = Some(Timestamp(1_795_366_888_000_000_000));
        assert_eq!(found.state, Some(ended(Some(2), false, at)));
    }

    #[test]
    fn a_list_of_docker() {
        let item = json!({
            "Id": ID, "Names": ["/other/alias", "/oom"], "Image": "bb:1.0", "ImageID": "sha256:08",
            "Created": 1_795_366_643, "Labels": {"a": "b"}, "State": "exited", "Status": "Exited (137) 3 seconds ago",
            "HostConfig": {"NetworkMode": "none"}, "NetworkSettings": {"Networks": {"none": {"IPAddress": ""}}},
        });
        let found = listed(Runtime::Docker, &item).unwrap();
        assert_eq!(found.name.as_deref(), Some("oom"));
        assert_eq!(found.created, Some(Timestamp(1_795_366_643_000_000_000)));
        assert_eq!(found.network_mode.as_deref(), Some("none"));
        assert_eq!(found.pod, None);
        assert_eq!(listed(Runtime::Docker, &json!({"Id": "../x"})), None);
        assert_eq!(
            listed(Runtime::Docker, &json!({"Id": "a".repeat(200)})),
            None
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = [
            "Id",
            "Name",
            "Names",
            "Image",
            "Config",
            "State",
            "Status",
            "Health",
            "Labels",
            "Env",
            "HostConfig",
            "NetworkSettings",
            "Networks",
            "GraphDriver",
            "Data",
            "Pid",
            "ExitCode",
            "StartedAt",
            "Created",
            "Pod",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            Just(json!(ID)),
            Just(json!("-999999-01-01T00:00:00Z")),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            let key = prop::sample::select(keys.to_vec()).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..12)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_described_there_is_no_panic(mut item in any_json()) {
            if item.is_object() {
                item["Id"] = json!(ID);
            }
            let prefixes = ["".to_owned(), "A".to_owned()];
            let inspected = inspected(Runtime::Podman, &item, &prefixes, |_| None);
            let listed = listed(Runtime::Docker, &item);
            prop_assert_eq!(inspected.is_some(), item.is_object());
            prop_assert_eq!(listed.is_some(), item.is_object());
        }
    }
}
