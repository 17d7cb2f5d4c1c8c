//! A made-up node and its containers.

use std::sync::Arc;

use super::super::*;
use crate::cgroup::hierarchy::Hierarchies;
use crate::cgroup::kind::{KindSet, MetricKind};
use crate::cgroup::plan::{Plan, ReadOptions};
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec};
use crate::cgroup::stats::{DeviceNumber, InterfaceStats, NetworkStats};
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::ledger::{Totals, Workload};
use crate::node::disk_usage::store::tests::usage;
use crate::node::disks::Disk;
use crate::node::memory::MemoryOfType;
use crate::node::{Filesystems, FsTable};
use crate::node::{MachineInfo, VersionInfo};
use crate::runtime::{Health, Identity, Image, LinkError, LinkStatus, Pod, Runtime, State};
use crate::self_metrics::{KmsgState, SelfMetrics};
use crate::units::{Limit, Timestamp};

pub(super) const T: i64 = 1_795_322_901_152_095_492;

pub(super) fn plan() -> Plan {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
    let hierarchies =
        Hierarchies::detect("/proc".as_ref(), "/".as_ref(), Some(root.path())).unwrap();
    Plan::new(
        Arc::new(hierarchies),
        &ReadOptions {
            network: true,
            ..ReadOptions::default()
        },
    )
}

pub(super) fn machine() -> MachineInfo {
    let mut machine = MachineInfo::default();
    machine.memory.memory_bytes = Some(25_274_793_984);
    machine.memory.swap_bytes = Some(0);
    machine.memory_by_type.insert(
        "DDR4".into(),
        MemoryOfType {
            capacity_bytes: 1 << 34,
            dimms: 2,
        },
    );
    let cache = |level, kind: &str| crate::node::cpu_cache::Cache {
        id: 0,
        size_bytes: 32768,
        kind: kind.into(),
        level,
    };
    let core = |id, socket| crate::node::topology::Core {
        id,
        threads: vec![socket],
        caches: vec![cache(1, "Data"), cache(1, "Instruction")],
        uncore_caches: vec![cache(2, "Unified")],
        socket,
        book: None,
        drawer: None,
    };
    machine
        .topology
        .nodes
        .push(crate::node::topology::NumaNode {
            id: 0,
            memory_bytes: Some(1 << 34),
            hugepages: vec![crate::node::memory::HugePages {
                page_size_bytes: 2 << 20,
                pages: 3,
            }],
            // Two sockets of one node that number their cores alike.
            cores: vec![core(0, 0), core(0, 1)],
            caches: vec![cache(3, "Unified")],
            distances: vec![10],
        });
    machine.topology.books = Some(1);
    machine.topology.drawers = Some(1);
    machine.topology.cpus = Some(2);
    machine.topology.physical_cores = Some(2);
    machine.topology.sockets = Some(1);
    machine.ids.machine_id = Some("0123".into());
    machine.disks.push(Disk {
        name: "vda".into(),
        major: 254,
        minor: 0,
        size_bytes: 1,
        scheduler: None,
    });
    machine
}

pub(super) fn version() -> VersionInfo {
    VersionInfo {
        kernel: Some("6.1.0".into()),
        os: Some("Some \"OS\" 3".into()),
        cgauge: "1.2.3",
    }
}

pub(super) fn page_of(containers: Vec<Container>) -> String {
    page_with(containers, &everything())
}

/// Every kind.
pub(super) fn everything() -> Options {
    Options {
        kinds: KindSet::of(&MetricKind::ALL),
        ..Options::default()
    }
}

pub(super) fn page_with(containers: Vec<Container>, options: &Options) -> String {
    String::from_utf8(bytes_with(containers, options, Format::Text)).unwrap()
}

pub(super) fn bytes_with(containers: Vec<Container>, options: &Options, format: Format) -> Vec<u8> {
    let (machine, version, own, plan) = (machine(), version(), SelfMetrics::default(), plan());
    own.cpu_budget.set(20_000_000);
    own.set_kmsg_state(KmsgState::Following);
    let of = Sources {
        machine: &machine,
        version: &version,
        own: &own,
        plan: &plan,
    };
    let mut page = Page::new(containers, of, options);
    page.process = Process::read();
    page.set_workloads(vec![workload("/a", 2, 3), workload("/b", 1, 0)]);
    page.filesystems = Some(filesystems());
    page.show_runtimes_containers(vec![Arc::new(identity()), Arc::new(ended())]);
    page.links = links();
    page.names = Some(NameCounts {
        held: 2,
        dropped: 0,
    });
    page.encode(format)
}

/// A runtime that answers, one that does not, and one that is not there.
pub(super) fn links() -> Vec<Arc<LinkStatus>> {
    let docker = LinkStatus::new(Runtime::Docker, "/run/docker.sock");
    docker.asked();
    docker.event();
    docker.connected("1.2.3");
    let crio = LinkStatus::new(Runtime::Crio, "/run/crio.sock");
    crio.failed(&LinkError::Closed {
        endpoint: crio.endpoint.clone(),
    });
    let podman = LinkStatus::new(Runtime::Podman, "/run/podman.sock");
    podman.absent();
    vec![docker, podman, crio]
}

/// The file systems of a made-up node: one on a disk, one in memory.
pub(super) fn filesystems() -> Arc<FsTable> {
    static TABLE: std::sync::LazyLock<Arc<FsTable>> = std::sync::LazyLock::new(|| {
        let tree = crate::node::test_tree::TestTree::new();
        tree.file(
            "proc/1/mountinfo",
            "21 1 254:0 / / rw - ext4 /dev/vda rw\n22 1 0:31 / /dev/shm rw - tmpfs tmpfs rw\n",
        )
        .file(
            "proc/self/mountinfo",
            "21 1 254:0 / / rw - ext4 /dev/vda rw\n22 1 0:31 / /dev/shm rw - tmpfs tmpfs rw\n",
        )
        .file("proc/diskstats", " 254 0 vda 1 2 3 4 5 6 7 8 9 10 11\n")
        .dir("root/dev/shm");
        Filesystems::new(tree.roots.clone()).refresh()
    });
    Arc::clone(&TABLE)
}

pub(super) fn container(name: &str, spec: Spec, sample: Sample) -> Container {
    known(name, spec, sample, None)
}

/// A container, and who it is.
pub(super) fn known(
    name: &str,
    spec: Spec,
    sample: Sample,
    identity: Option<Identity>,
) -> Container {
    let has_layer = name != "/";
    let name = ContainerName::from_request(name);
    let pod = identity.as_ref().and_then(|identity| identity.pod.as_ref());
    let labels = LabelSet::of(&name, identity.as_ref(), pod, &LabelChoice::default());
    let created = Some(Timestamp(T));
    Container::new(Arc::new(labels), name, Arc::new(spec), sample, 0, created)
        .known(identity.map(Arc::new))
        .with_layer(has_layer.then(|| Arc::new(usage(T))))
}

pub(super) const ID: &str = "6bb9be375ebd1e839c247dd4b7cfda520873ee770be37bb7084031847b25fcd4";

/// The cgroup of [`identity`]'s container.
pub(super) fn its_cgroup() -> String {
    format!("/kubepods/burstable/pod1b9f2e0a-5c3d/{ID}")
}

/// A container of which everything is known.
pub(super) fn identity() -> Identity {
    let text = |text: &str| Some(text.to_owned());
    Identity {
        name: text("web"),
        image: Some(Image {
            reference: "sample/busybox:1".into(),
            digest: text("sha256:77"),
        }),
        oci_runtime: text("runc"),
        created: Some(Timestamp(T - 2_000_000_000)),
        started: Some(Timestamp(T - 1_000_000_000)),
        health: Some(Health::Healthy),
        restart_count: Some(3),
        state: Some(State::Running),
        pod: Some(Pod {
            name: "front".into(),
            namespace: "shop".into(),
            uid: "1b9f2e0a-5c3d".into(),
            container: text("web"),
        }),
        ..Identity::new(Runtime::Cri, ID)
    }
}

/// The same, ended.
pub(super) fn ended() -> Identity {
    Identity {
        id: "0".repeat(64),
        state: Some(State::Exited {
            code: Some(137),
            reason: Some("OOMKilled".into()),
            finished: Some(Timestamp(T)),
        }),
        ..identity()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        created_at: Some(Timestamp(T)),
        cpu: Some(CpuSpec {
            shares: Some(1024),
            quota_us: Some(Limit::Max(50_000)),
            period_us: Some(100_000),
            ..CpuSpec::default()
        }),
        memory: Some(MemorySpec {
            limit: Some(Limit::Max(1 << 27)),
            reservation: Some(Limit::Unlimited),
            swap_limit: Some(Limit::Unlimited),
            ..MemorySpec::default()
        }),
        pids: Some(PidsSpec {
            limit: Some(Limit::Unlimited),
        }),
        has_hugetlb: false,
        has_io: true,
    }
}

/// Every figure that there is is `n`.
pub(super) fn full(n: u64) -> Sample {
    use crate::cgroup::columns::Columns;
    let mut sample = Sample {
        timestamp: Timestamp(T),
        ..Sample::default()
    };
    sample.io_mut(DeviceNumber {
        major: 254,
        minor: 0,
    });
    sample.hugetlb_mut(2 << 20);
    sample.numa_mut(0);
    sample.sockets = Some(Box::default());
    let interfaces = vec![("eth0".into(), InterfaceStats::default())];
    sample.network = Some(NetworkStats {
        namespace: 7,
        host: false,
        interfaces,
    });
    sample.each_mut(&mut |column| *column = Some(n));
    sample
}

pub(super) fn workload(name: &str, lives: u64, oom_kills: u64) -> Workload {
    Workload {
        name: name.into(),
        totals: Totals {
            lives,
            oom_kills,
            cpu_ns: 1_500_000_000,
            ..Totals::default()
        },
        living: Vec::new(),
    }
}
