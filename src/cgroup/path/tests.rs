//! An example of every way to name a cgroup, with its source.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::CgroupKind::{self, *};
use super::*;

const ID: &str = "6bb9be375ebd1e839c247dd4b7cfda520873ee770be37bb7084031847b25fcd4";
const INNER: &str = "bdef82c42ae4f0a00c72562e7b7504ee05ed6e1cc3f237b63838dbb7dd4ef749";
const UID: &str = "1b9f2e0a-5c3d-4e6f-8a7b-0c1d2e3f4a5b";
/// The hash of a static pod's file.
const STATIC: &str = "0123456789abcdef0123456789abcdef";
const BUILD: &str = "z2n8k4f5xq0d7c1m9w3b6h8jt";

/// A rule of naming: the path with `ID`, `INNER`, `UID` (and `UNIT`, the same in a unit's name),
/// `STATIC` and `BUILD` in their places, and what it is.
type Rule = (&'static str, CgroupKind<'static>);

const fn container(maker: Maker) -> CgroupKind<'static> {
    Container { id: ID, maker }
}

const fn monitor(maker: Maker) -> CgroupKind<'static> {
    Monitor { id: ID, maker }
}

const RULES: &[Rule] = &[
    ("/", Root),
    // Docker, native.cgroupdriver=cgroupfs, v1 and v2 alike: moby daemon/oci_linux.go, and captured
    // from dockerd 20.10 in the samples of the API.
    ("/docker/ID", container(Maker::Docker)),
    // The same with --cgroup-parent=/batch.
    ("/batch/ID", container(Maker::Unknown)),
    // Docker, native.cgroupdriver=systemd, the default on v2: runc's systemd driver joins the
    // "slice:docker:id" of moby to a scope.
    ("/system.slice/docker-ID.scope", container(Maker::Docker)),
    (
        "/my.slice/my-batch.slice/docker-ID.scope",
        container(Maker::Docker),
    ),
    // Docker, rootless: docs.docker.com/engine/security/rootless, by the user's own systemd.
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
        container(Maker::Docker),
    ),
    // systemd in a container, on v2.
    (
        "/system.slice/docker-ID.scope/init.scope",
        Scope { unit: "init.scope" },
    ),
    (
        "/docker/ID/system.slice/ssh.service",
        Service {
            unit: "ssh.service",
        },
    ),
    // Docker in Docker, and a kubelet in it (kind).
    ("/docker/INNER/docker/ID", container(Maker::Docker)),
    (
        "/docker/INNER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUNIT.slice/cri-containerd-ID.scope",
        container(Maker::Containerd),
    ),
    // What systemd mounts of a container: names with its id that are no container (cAdvisor issues
    // 1572, 1704).
    (
        "/system.slice/var-lib-docker-overlay2-ID-merged.mount",
        Mount {
            unit: "var-lib-docker-overlay2-ID-merged.mount",
        },
    ),
    (
        "/system.slice/run-docker-runtime\\x2drunc-moby-ID-runc.AbCdEf.mount",
        Mount {
            unit: "run-docker-runtime\\x2drunc-moby-ID-runc.AbCdEf.mount",
        },
    ),
    // containerd by ctr and nerdctl: containerd oci.WithNamespacedCgroup, nerdctl
    // pkg/cmd/container/run_cgroup_linux.go; the scope as seen in falcosecurity/plugins #1378.
    ("/default/ID", container(Maker::Unknown)),
    ("/k8s.io/ID", container(Maker::Unknown)),
    (
        "/system.slice/nerdctl-ID.scope",
        container(Maker::Containerd),
    ),
    // Kubernetes, cgroupfs driver: kubelet pkg/kubelet/cm (pod_container_manager_linux.go), below which
    // CRI plugins put the bare id (containerd) or their prefix.
    ("/kubepods", Pods(None)),
    ("/kubepods/besteffort", Pods(Some(QosClass::BestEffort))),
    ("/kubepods/podUID", Pod(PodUid::new(UID))),
    ("/kubepods/burstable/podUID", Pod(PodUid::new(UID))),
    ("/kubepods/burstable/podUID/ID", container(Maker::Unknown)),
    ("/kubepods/podUID/crio-ID", container(Maker::Crio)),
    ("/kubepods/podUID/crio-conmon-ID", monitor(Maker::Crio)),
    ("/kubelet/kubepods/podUID/ID", container(Maker::Unknown)),
    // Static pods have the hash of their file for a uid: seen in netdata #4868.
    ("/kubepods/burstable/podSTATIC", Pod(PodUid::new(STATIC))),
    (
        "/kubepods.slice/kubepods-podSTATIC.slice",
        Pod(PodUid::new(STATIC)),
    ),
    // Kubernetes, systemd driver: kubelet pkg/kubelet/cm/cgroup_manager_linux.go (ToSystemd), containerd
    // internal/cri/server/helpers_linux.go (getCgroupsPath), cri-o internal/config/cgmgr/systemd_linux.go.
    // Trees of real nodes: netdata #4868 (containerd), minikube #11280 (CRI-O in Docker).
    ("/kubepods.slice", Pods(None)),
    (
        "/kubepods.slice/kubepods-burstable.slice",
        Pods(Some(QosClass::Burstable)),
    ),
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUNIT.slice",
        Pod(PodUid::new(UID)),
    ),
    (
        "/kubepods.slice/kubepods-podUNIT.slice/cri-containerd-ID.scope",
        container(Maker::Containerd),
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNIT.slice/crio-ID.scope",
        container(Maker::Crio),
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNIT.slice/docker-ID.scope",
        container(Maker::Docker),
    ),
    // crun's subgroup on v2, and conmon with conmon_cgroup = "pod": seen in runc #4620.
    (
        "/kubepods.slice/kubepods-podUNIT.slice/crio-ID.scope/container",
        Other,
    ),
    (
        "/kubepods.slice/kubepods-podUNIT.slice/crio-conmon-ID.scope",
        monitor(Maker::Crio),
    ),
    ("/system.slice/crio-conmon-ID.scope", monitor(Maker::Crio)),
    // A kubelet with a root of its own (--cgroup-root): systemd repeats the parents' names.
    (
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podUNIT.slice",
        Pod(PodUid::new(UID)),
    ),
    // kubelet on the systemd driver, containerd with SystemdCgroup = false: containerd issue 4262.
    (
        "/system.slice/containerd.service/kubepods-burstable-podUNIT.slice:cri-containerd:ID",
        container(Maker::Containerd),
    ),
    // Kata Containers: src/runtime/pkg/resourcecontrol/utils_linux.go; seen in kata-containers #5551 (the
    // sandbox) and #11598 (the overhead).
    ("/kubepods/podUID/kata_ID", container(Maker::Kata)),
    ("/kata_overhead/ID", monitor(Maker::Kata)),
    // Podman, systemd driver, rootful: podman libpod/oci_util.go and container_internal_linux.go; crun's
    // subgroup; conmon beside it.
    ("/machine.slice/libpod-ID.scope", container(Maker::Podman)),
    ("/machine.slice/libpod-ID.scope/container", Other),
    (
        "/machine.slice/libpod-conmon-ID.scope",
        monitor(Maker::Podman),
    ),
    // Podman, rootless.
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        Other,
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_INNER.slice/libpod-ID.scope",
        container(Maker::Podman),
    ),
    // Podman, pods: libpod/pod_internal.go; seen in podman #13673, and of a user in podman #23664.
    (
        "/machine.slice/machine-libpod_pod_ID.slice",
        PodmanPod { id: ID },
    ),
    ("/libpod_parent/ID", PodmanPod { id: ID }),
    // Podman, cgroupfs driver.
    ("/libpod_parent/libpod-ID", container(Maker::Podman)),
    ("/libpod_parent/INNER/libpod-ID", container(Maker::Podman)),
    ("/libpod_parent/conmon", Other),
    // Podman by Quadlet (--cgroups=split): the unit's cgroup holds the payload and conmon, beside it in
    // `supervisor` or, as seen in podman #16589 and #13673, `runtime`.
    (
        "/system.slice/web.service/libpod-payload-ID",
        container(Maker::Podman),
    ),
    (
        "/system.slice/web.service/libpod-payload-ID/container",
        Other,
    ),
    ("/system.slice/web.service/supervisor", Other),
    ("/system.slice/web.service/runtime", Other),
    // Podman's health checks are transient units named for the container: libpod/healthcheck_linux.go.
    ("/system.slice/ID.service", Service { unit: "ID.service" }),
    (
        "/system.slice/ID-6f0f81b2.service",
        Service {
            unit: "ID-6f0f81b2.service",
        },
    ),
    // LXC 4 and later, LXD and Incus: lxc src/lxc/cgroups/cgroup_utils.h; 3.1 and 4 without a dot: lxc
    // #2782, netdata #7760.
    ("/lxc.payload.web", Lxc { name: "web" }),
    (
        "/lxc.payload.project_web/system.slice/ssh.service",
        Service {
            unit: "ssh.service",
        },
    ),
    ("/lxc.monitor.web", LxcMonitor { name: "web" }),
    ("/lxc.payload/web", Lxc { name: "web" }),
    ("/lxc.monitor/web", LxcMonitor { name: "web" }),
    // LXC before, and Proxmox.
    ("/lxc/web", Lxc { name: "web" }),
    ("/lxc/100/ns", Other),
    ("/lxc/100/ns/docker/ID", container(Maker::Docker)),
    // systemd-nspawn: systemd src/nspawn/nspawn.c and nspawn-register.c; the scope with its payload in
    // systemd #18104.
    (
        "/machine.slice/systemd-nspawn@db.service",
        Machine { name: "db" },
    ),
    ("/machine.slice/systemd-nspawn@db.service/payload", Other),
    ("/machine.slice/systemd-nspawn@db.service/supervisor", Other),
    ("/machine.slice/machine-db.scope", Machine { name: "db" }),
    ("/machine.slice/machine-db.scope/payload", Other),
    (
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        Machine {
            name: "qemu\\x2d1\\x2dvm",
        },
    ),
    // SLURM, cgroup/v1: src/plugins/cgroup/v1; with several slurmd on a host the node's name follows
    // (plazonic/cgroup_exporter #5).
    ("/slurm/uid_1000", User { uid: "1000" }),
    (
        "/slurm/uid_1000/job_42",
        Job {
            job: "42",
            step: None,
        },
    ),
    (
        "/slurm_n1/uid_1000/job_42/step_0",
        Job {
            job: "42",
            step: Some("0"),
        },
    ),
    ("/slurm/uid_1000/job_42/step_0/task_0", Other),
    // SLURM from 26.05, cgroup/v2: by the job's own id rather than its number, as told in
    // guilbaults/slurm-job-exporter #66.
    (
        "/system.slice/slurmstepd.scope/s5K1KKYAYG5D00",
        Job {
            job: "s5K1KKYAYG5D00",
            step: None,
        },
    ),
    (
        "/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_batch",
        Job {
            job: "s5K1KKYAYG5D00",
            step: Some("batch"),
        },
    ),
    ("/system.slice/slurmstepd.scope/system", Other),
    // SLURM before, cgroup/v2: src/plugins/cgroup/v2/cgroup_v2.c; seen in clemsonciti/jobperf #3, with the
    // node's name in treydock/cgroup_exporter #30 and plazonic/cgroup_exporter #8.
    (
        "/system.slice/slurmstepd.scope/job_981",
        Job {
            job: "981",
            step: None,
        },
    ),
    (
        "/system.slice/slurmstepd.scope/job_981/step_batch",
        Job {
            job: "981",
            step: Some("batch"),
        },
    ),
    (
        "/system.slice/slurmstepd.scope/job_981/step_batch/user/task_0",
        Other,
    ),
    (
        "/system.slice/n1_slurmstepd.scope/job_21868/step_extern",
        Job {
            job: "21868",
            step: Some("extern"),
        },
    ),
    ("/system.slice/job_7", Other),
    // BuildKit: executor/oci/spec_linux.go (WithCgroup): its own (buildkit #6368), that in dockerd (moby
    // #37644, buildkit #580), and by systemd (moby #45796).
    ("/buildkit/BUILD", Build { id: BUILD }),
    ("/docker/buildkit/BUILD", Build { id: BUILD }),
    ("/system.slice/buildkit-BUILD.scope", Build { id: BUILD }),
    ("/docker/buildkit", Other),
    // systemd: systemd.unit(5), systemd.slice(5), systemd-logind.service(8).
    ("/init.scope", Scope { unit: "init.scope" }),
    (
        "/system.slice",
        Slice {
            unit: "system.slice",
        },
    ),
    (
        "/system.slice/docker.service",
        Service {
            unit: "docker.service",
        },
    ),
    (
        "/system.slice/getty@tty1.service",
        Service {
            unit: "getty@tty1.service",
        },
    ),
    (
        "/system.slice/system-serial\\x2dgetty.slice",
        Slice {
            unit: "system-serial\\x2dgetty.slice",
        },
    ),
    (
        "/dev-hugepages.mount",
        Mount {
            unit: "dev-hugepages.mount",
        },
    ),
    (
        "/system.slice/dev-disk-by\\x2duuid-7.swap",
        Mount {
            unit: "dev-disk-by\\x2duuid-7.swap",
        },
    ),
    (
        "/system.slice/dbus.socket",
        Mount {
            unit: "dbus.socket",
        },
    ),
    ("/user.slice/user-1000.slice", User { uid: "1000" }),
    (
        "/user.slice/user-1000.slice/session-3.scope",
        Session { id: "3" },
    ),
    (
        "/user.slice/user-1000.slice/session-c1.scope",
        Session { id: "c1" },
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service",
        Service {
            unit: "user@1000.service",
        },
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-x.scope",
        Scope {
            unit: "app-gnome-x.scope",
        },
    ),
    // ECS: docs.aws.amazon.com, "task networking"; a task, and a container in it.
    ("/ecs/1f0a/ID", container(Maker::Unknown)),
    (
        "/ecstasks.slice/ecstasks-1f0a.slice/docker-ID.scope",
        container(Maker::Docker),
    ),
    // What is none of these.
    ("/greedy", Other),
    ("/podUID", Other),
    ("/kubepods/pod", Other),
    ("/kubepods/podium", Other),
    ("/my-kubepods/podUID", Other),
    (
        "/kubepods/podUID/ID/init.scope",
        Scope { unit: "init.scope" },
    ),
    ("/a/.service", Other),
    ("/docker/IDab", Other),
];

fn fill(text: &str) -> String {
    // INNER has ID's letters nowhere, UNIT is longer than UID's start.
    text.replace("INNER", INNER)
        .replace("UNIT", &UID.replace('-', "_"))
        .replace("UID", UID)
        .replace("STATIC", STATIC)
        .replace("BUILD", BUILD)
        .replace("ID", ID)
}

fn of(path: &str) -> (CgroupKind<'_>, CgroupPath<'_>) {
    let found = CgroupPath::of_bytes(path.as_bytes());
    (found.kind, found)
}

#[test]
fn every_rule_of_naming_is_known() {
    for (path, want) in RULES {
        let path = fill(path);
        let found = of(&path).0;
        // Names of units have the ids in them.
        let want = match *want {
            Service { unit } => format!("{:?}", Service { unit: &fill(unit) }),
            Mount { unit } => format!("{:?}", Mount { unit: &fill(unit) }),
            other => {
                assert_eq!(found, other, "{path}");
                continue;
            }
        };
        assert_eq!(format!("{found:?}"), want, "{path}");
    }
}

#[test]
fn what_a_container_is_in_and_what_is_in_it() {
    let own = |path: &str| {
        let path = fill(path);
        of(&path).1.own_container().map(str::to_owned)
    };
    let id = || Some(ID.to_owned());
    assert_eq!(own("/docker/ID"), id());
    assert_eq!(own("/system.slice/web.service/libpod-payload-ID"), id());
    for not in [
        "/docker",
        "/docker/ID/init.scope",
        "/machine.slice/libpod-ID.scope/container",
        "/machine.slice/libpod-conmon-ID.scope",
        "/docker/INNER/docker/ID",
        "/lxc/100/ns/docker/ID",
        "/lxc.payload.x/docker/ID",
        "/machine.slice/systemd-nspawn@db.service/payload/machine.slice/libpod-ID.scope",
    ] {
        assert_eq!(own(not), None, "{not}");
    }
    let inside = fill("/machine.slice/libpod-ID.scope/container/x.service");
    assert_eq!(of(&inside).1.container, Some(ID));
    let nested = fill("/docker/INNER/docker/ID");
    let nested = of(&nested).1;
    assert_eq!((nested.container, nested.is_nested), (Some(ID), true));
}

#[test]
fn pods_have_a_class_and_a_uid() {
    let pod = |path: &str| {
        let path = fill(path);
        let found = of(&path).1;
        (found.pod.map(|uid| uid.to_string()), found.qos)
    };
    let want = |qos| (Some(UID.to_owned()), Some(qos));
    use QosClass::{BestEffort, Burstable, Guaranteed};
    for (path, qos) in [
        ("/kubepods/podUID", Guaranteed),
        ("/kubepods/burstable/podUID/ID", Burstable),
        ("/kubepods/besteffort/podUID/ID/a/b", BestEffort),
        (
            "/kubepods.slice/kubepods-podUNIT.slice/crio-ID.scope",
            Guaranteed,
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUNIT.slice",
            BestEffort,
        ),
        (
            "/system.slice/containerd.service/kubepods-burstable-podUNIT.slice:cri-containerd:ID",
            Burstable,
        ),
        (
            "/system.slice/containerd.service/kubepods-podUNIT.slice:cri-containerd:ID",
            Guaranteed,
        ),
    ] {
        assert_eq!(pod(path), want(qos), "{path}");
    }
    for none in [
        "/",
        "/kubepods",
        "/docker/ID",
        "/podUID",
        "/kubepods/podium",
    ] {
        assert_eq!(pod(none), (None, None), "{none}");
    }
    let (dashes, unit) = (PodUid::new("a-b-c-d-e"), PodUid::new("a_b_c_d_e"));
    assert_eq!(dashes, unit);
    assert_eq!(unit, *"a-b-c-d-e");
    assert_ne!(unit, PodUid::new("a_b_c_d_f"));
    // Ids as short as those that people make up for tests.
    let short = CgroupPath::of_bytes(b"/kubepods/pod0123456789/6bb9be37");
    assert_eq!(short.own_container(), Some("6bb9be37"));
}

#[test]
fn names_that_are_no_text_are_names_all_the_same() {
    let found = CgroupPath::of_bytes(b"/a\xff/\xfe.service");
    assert_eq!(found.kind, Other);
    let mut path = b"/\xff/".to_vec();
    path.extend_from_slice(ID.as_bytes());
    assert_eq!(CgroupPath::of_bytes(&path).own_container(), Some(ID));
}

fn any_element() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("kubepods".to_owned()),
        Just("pod".to_owned()),
        Just(UID.to_owned()),
        Just(UID.replace('-', "_")),
        Just(ID.to_owned()),
        Just("libpod".to_owned()),
        Just("crio-conmon".to_owned()),
        Just("docker".to_owned()),
        Just("lxc.payload".to_owned()),
        Just("machine".to_owned()),
        Just("slurm".to_owned()),
        Just("job_1".to_owned()),
        Just("step_0".to_owned()),
        Just("burstable".to_owned()),
        Just("-".to_owned()),
        Just(":".to_owned()),
        Just(".slice".to_owned()),
        Just(".scope".to_owned()),
        Just(".service".to_owned()),
        Just(".mount".to_owned()),
        "[a-f0-9]{0,70}",
        any::<String>(),
    ];
    proptest::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_path_is_read_and_what_is_told_stands_in_it(elements in proptest::collection::vec(any_element(), 0..8)) {
        let path = format!("/{}", elements.join("/"));
        let found = CgroupPath::of_bytes(path.as_bytes());
        if let Some(id) = found.container {
            prop_assert!(path.contains(id));
            prop_assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        if let Some(uid) = found.pod {
            prop_assert!(path.replace('_', "-").contains(&uid.to_string()));
        }
        prop_assert!(found.pod.is_none() || found.qos.is_some());
        if let Container { id, .. } = found.kind {
            prop_assert_eq!(found.container, Some(id));
        }
        if path.ends_with(".mount") || path.ends_with(".service") {
            prop_assert!(found.own_container().is_none());
        }
    }

    #[test]
    fn what_is_inside_a_container_is_not_it(inside in proptest::collection::vec("[a-z.]{1,12}", 1..4)) {
        let path = fill(&format!("/docker/ID/{}", inside.join("/")));
        let found = CgroupPath::of_bytes(path.as_bytes());
        prop_assert_eq!(found.container, Some(ID));
        prop_assert_eq!(found.own_container(), None);
    }

    #[test]
    fn empty_elements_mean_nothing(path in "(/|kubepods|pod0123456789|docker|[0-9a-f]{64}|burstable|\\.slice){0,9}") {
        let doubled = path.replace('/', "//");
        prop_assert_eq!(CgroupPath::of_bytes(path.as_bytes()), CgroupPath::of_bytes(doubled.as_bytes()));
    }
}
