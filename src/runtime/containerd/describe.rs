//! An identity from what containerd says of a container.

use std::path::PathBuf;

use prost_types::Timestamp as Time;

use super::api::services::containers::v1::Container;
use super::api::types::Mount;
use super::api::v1::types::{Process, Status};
use crate::runtime::bounded::Labels;
use crate::runtime::{Identity, Image, Pod, Runtime, State, oci};
use crate::units::{NS_PER_SEC, Timestamp};

/// Says whether a container of CRI is a pod's sandbox or one of its containers.
const KIND: &str = "io.cri-containerd.kind";

/// Who made the pod: labels that the kubelet gives to sandboxes and containers alike.
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// The name that nerdctl gives.
const NERDCTL_NAME: &str = "nerdctl/name";

/// How often containerd's restart monitor started it again.
const RESTARTS: &str = "containerd.io/restart.count";

/// The length of an id that a program made up; another one was given by a person and is a name.
const MADE_UP_ID: usize = 64;

/// Everything that the container's record says.
pub fn describe(namespace: &str, container: Container, env_prefixes: &[String]) -> Identity {
    let mut identity = Identity::new(Runtime::Containerd, container.id);
    identity.runtime_namespace = Some(namespace.to_owned());
    identity.created = time(container.created_at.as_ref());
    identity.oci_runtime = container.runtime.map(|runtime| runtime.name);
    identity.oci_runtime.take_if(|name| name.is_empty());
    identity.storage_driver = Some(container.snapshotter).filter(|name| !name.is_empty());
    identity.image = (!container.image.is_empty()).then(|| Image {
        digest: digest_of(&container.image),
        reference: container.image,
    });
    identity.labels = Labels::from_iter(container.labels).into_map();
    let label = |key: &str| identity.labels.get(key).cloned();
    identity.is_sandbox = label(KIND).is_some_and(|kind| kind == "sandbox");
    identity.restart_count = label(RESTARTS).and_then(|count| count.parse().ok());
    identity.pod = label(POD_NAME).map(|name| Pod {
        name,
        namespace: label(POD_NAMESPACE).unwrap_or_default(),
        uid: label(POD_UID).unwrap_or_default(),
        container: label(CONTAINER_NAME).filter(|_| !identity.is_sandbox),
    });
    identity.name = label(NERDCTL_NAME).or_else(|| {
        let is_name = !is_made_up(&identity.id);
        is_name.then(|| identity.id.clone())
    });
    if let Some(spec) = container.spec.and_then(|any| oci::Spec::parse(&any.value)) {
        identity.cgroup = spec.cgroup();
        identity.env = spec.env(env_prefixes);
        identity.annotations = spec.annotations.into_map();
    }
    identity
}

/// Adds what its task says.
pub fn set_task(identity: &mut Identity, task: &Process) {
    identity.init_pid = (task.pid != 0).then_some(task.pid);
    identity.state = match task.status() {
        Status::Unknown => None,
        Status::Created => Some(State::Created),
        Status::Running => Some(State::Running),
        Status::Paused | Status::Pausing => Some(State::Paused),
        Status::Stopped => {
            identity.init_pid = None;
            Some(State::Exited {
                code: i32::try_from(task.exit_status).ok(),
                reason: None,
                finished: time(task.exited_at.as_ref()),
            })
        }
    };
}

/// Takes over what was learnt of the same container earlier and is not asked again.
pub fn carry_over(before: &Identity, identity: &mut Identity) {
    if before.created != identity.created {
        return;
    }
    identity.writable_layer.clone_from(&before.writable_layer);
    if let (Some(old), Some(new)) = (&before.image, &mut identity.image)
        && new.digest.is_none()
        && old.reference == new.reference
    {
        new.digest.clone_from(&old.digest);
    }
    match (&before.state, &identity.state) {
        (Some(State::Exited { code: old, .. }), Some(State::Exited { code: new, .. }))
            if old == new =>
        {
            identity.state.clone_from(&before.state);
            identity.started = before.started;
        }
        _ if before.init_pid == identity.init_pid => identity.started = before.started,
        _ => {}
    }
}

/// What was known of the task of the same container, for when that was not asked anew.
pub fn carry_over_task(before: &Identity, identity: &mut Identity) {
    if before.created == identity.created {
        identity.state.clone_from(&before.state);
        identity.started = before.started;
        identity.init_pid = before.init_pid;
    }
}

/// A container whose record has outlived its task. How it ended was told once, or by nobody: a
/// containerd that starts clears away the tasks that ended while it was stopped.
pub fn carry_over_end(before: &Identity, identity: &mut Identity) {
    carry_over_task(before, identity);
    if matches!(identity.state, Some(State::Running | State::Paused)) {
        identity.init_pid = None;
        identity.state = Some(State::Exited {
            code: None,
            reason: None,
            finished: None,
        });
    }
}

/// Where an overlay is written, or the directory that is mounted as it is.
pub fn upper_directory(mounts: &[Mount]) -> Option<PathBuf> {
    let [mount] = mounts else { return None };
    if mount.options.iter().any(|option| option == "ro") {
        return None;
    }
    let path = match mount.r#type.as_str() {
        "overlay" => {
            let mut options = mount.options.iter();
            options.find_map(|option| option.strip_prefix("upperdir="))?
        }
        "bind" => &mount.source,
        _ => return None,
    };
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// A time of protobuf; `None` if it is not set: containerd sends the year 1 then.
pub fn time(time: Option<&Time>) -> Option<Timestamp> {
    let time = time.filter(|time| time.seconds > 0)?;
    let seconds = time.seconds.checked_mul(i64::try_from(NS_PER_SEC).ok()?)?;
    Some(Timestamp(seconds.checked_add(i64::from(time.nanos))?))
}

/// The digest in `name@sha256:…`.
fn digest_of(reference: &str) -> Option<String> {
    let (_, digest) = reference.split_once('@')?;
    Some(digest.to_owned())
}

fn is_made_up(id: &str) -> bool {
    id.len() == MADE_UP_ID && id.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost_types::Any;

    use super::*;
    use crate::runtime::containerd::api::services::containers::v1::container;

    fn record() -> Container {
        Container {
            id: "web".to_owned(),
            image: "localhost/library/busybox:1".to_owned(),
            runtime: Some(container::Runtime {
                name: "io.containerd.runc.v2".to_owned(),
            }),
            snapshotter: "overlayfs".to_owned(),
            snapshot_key: "web".to_owned(),
            created_at: Some(Time {
                seconds: 100,
                nanos: 5,
            }),
            spec: Some(Any {
                type_url: String::new(),
                value:
                    br#"{"linux":{"cgroupsPath":"/default/web"},"process":{"env":["A_B=c","D=e"]}}"#
                        .to_vec(),
            }),
            ..Container::default()
        }
    }

    #[test]
    fn a_record_makes_an_identity() {
        let identity = describe("default", record(), &["A_".to_owned()]);
        assert_eq!(identity.name.as_deref(), Some("web"));
        assert_eq!(identity.runtime_namespace.as_deref(), Some("default"));
        assert_eq!(identity.created, Some(Timestamp(100_000_000_005)));
        assert_eq!(identity.cgroup.as_deref(), Some("/default/web"));
        assert_eq!(identity.storage_driver.as_deref(), Some("overlayfs"));
        assert_eq!(identity.env.len(), 1);
        assert_eq!((identity.state, identity.pod), (None, None));
        let image = identity.image.unwrap();
        assert_eq!(
            (image.reference.as_str(), image.digest),
            ("localhost/library/busybox:1", None)
        );
    }

    #[test]
    fn containers_of_pods_say_so_and_made_up_ids_are_no_names() {
        let labels = |kind: &str| {
            [
                (KIND, kind),
                (POD_NAME, "shop"),
                (POD_NAMESPACE, "prod"),
                (POD_UID, "u-1"),
                (CONTAINER_NAME, "web"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
        };
        let mut one = record();
        one.id = "ab".repeat(32);
        one.labels.extend(labels("container"));
        one.image = "localhost/a/b@sha256:12".to_owned();
        let identity = describe("k8s.io", one, &[]);
        assert_eq!(identity.name, None);
        assert!(!identity.is_sandbox && identity.env.is_empty());
        let pod = identity.pod.unwrap();
        assert_eq!(
            (
                pod.name.as_str(),
                pod.namespace.as_str(),
                pod.uid.as_str(),
                pod.container.as_deref()
            ),
            ("shop", "prod", "u-1", Some("web"))
        );
        assert_eq!(identity.image.unwrap().digest.as_deref(), Some("sha256:12"));
        let mut sandbox = record();
        sandbox.labels.extend(labels("sandbox"));
        let identity = describe("k8s.io", sandbox, &[]);
        assert!(identity.is_sandbox);
        assert_eq!(identity.pod.unwrap().container, None);
    }

    #[test]
    fn tasks_say_whether_it_runs() {
        let mut identity = describe("default", record(), &[]);
        let task = |status: Status, code| Process {
            pid: 42,
            status: status.into(),
            exit_status: code,
            ..Process::default()
        };
        set_task(&mut identity, &task(Status::Running, 0));
        assert_eq!(
            (identity.init_pid, &identity.state),
            (Some(42), &Some(State::Running))
        );
        set_task(&mut identity, &task(Status::Stopped, 3));
        let exited = State::Exited {
            code: Some(3),
            reason: None,
            finished: None,
        };
        assert_eq!((identity.init_pid, &identity.state), (None, &Some(exited)));
        set_task(&mut identity, &task(Status::Unknown, 0));
        assert_eq!(identity.state, None);
    }

    #[test]
    fn what_was_learnt_is_carried_over_to_the_same_container_only() {
        let mut before = describe("default", record(), &[]);
        before.writable_layer = Some("/upper".into());
        before.image.as_mut().unwrap().digest = Some("sha256:9".to_owned());
        before.started = Some(Timestamp(7));
        before.state = Some(State::Exited {
            code: Some(137),
            reason: Some("OOMKilled".to_owned()),
            finished: None,
        });
        let mut again = describe("default", record(), &[]);
        carry_over(&before, &mut again);
        carry_over_end(&before, &mut again);
        assert_eq!(again, before);
        let mut other = record();
        other.created_at = None;
        let mut other = describe("default", other, &[]);
        carry_over(&before, &mut other);
        carry_over_task(&before, &mut other);
        assert_eq!((other.writable_layer, other.state), (None, None));
    }

    #[test]
    fn without_a_task_it_does_not_run() {
        let mut before = describe("default", record(), &[]);
        before.state = Some(State::Running);
        before.init_pid = Some(7);
        let mut unasked = describe("default", record(), &[]);
        carry_over_task(&before, &mut unasked);
        assert_eq!(unasked, before);
        let mut ended = describe("default", record(), &[]);
        carry_over_end(&before, &mut ended);
        assert!(matches!(
            ended.state,
            Some(State::Exited { code: None, .. })
        ));
        assert_eq!(ended.init_pid, None);
    }

    #[test]
    fn layers_of_snapshotters() {
        let mount = |kind: &str, source: &str, options: &[&str]| Mount {
            r#type: kind.to_owned(),
            source: source.to_owned(),
            options: options.iter().map(|&one| one.to_owned()).collect(),
        };
        let overlay = mount(
            "overlay",
            "overlay",
            &["index=off", "workdir=/s/1/work", "upperdir=/s/1/fs"],
        );
        assert_eq!(
            upper_directory(std::slice::from_ref(&overlay)),
            Some("/s/1/fs".into())
        );
        let bind = mount("bind", "/s/2/fs", &["rw", "rbind"]);
        assert_eq!(
            upper_directory(std::slice::from_ref(&bind)),
            Some("/s/2/fs".into())
        );
        assert_eq!(
            upper_directory(&[mount("overlay", "", &["lowerdir=/a:/b"])]),
            None
        );
        assert_eq!(upper_directory(&[mount("ext4", "/dev/dm-1", &[])]), None);
        assert_eq!(
            upper_directory(&[mount("overlay", "", &["upperdir=rel"])]),
            None
        );
        assert_eq!(upper_directory(&[mount("bind", "/s/3", &["ro"])]), None);
        assert_eq!(upper_directory(&[overlay, bind]), None);
        assert_eq!(upper_directory(&[]), None);
    }

    #[test]
    fn times_that_are_not_set() {
        let at = |seconds, nanos| time(Some(&Time { seconds, nanos }));
        assert_eq!(at(-62_135_596_800, 0), None);
        assert_eq!(at(i64::MAX, 0), None);
        assert_eq!(at(1, 2), Some(Timestamp(1_000_000_002)));
        assert_eq!(time(None), None);
    }
}
