//! Every answer against what clients know of it (`tests/fixtures/api`), and byte for byte.
//!
//! Two tables say where ours differ, and why. A difference that is in neither fails, and so does a line
//! of the tables that no answer needs any more.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::shared::Context;
use super::{machine, v1, v2};
use crate::cache::{Limits, Range, Ring, Summary};
use crate::cgroup::columns::Columns;
use crate::cgroup::spec::{CpuSpec, MemorySpec, PidsSpec};
use crate::cgroup::stats::{DeviceNumber, InterfaceStats, NetworkStats};
use crate::cgroup::{ContainerName, Sample, Spec};
use crate::event::{Constraint, Event, EventKind, OomKill};
use crate::node::disk_usage::store;
use crate::node::diskstats::DiskIo;
use crate::node::{FsInfo, FsTable, Process, VersionInfo};
use crate::query;
use crate::runtime::{Health, Identity, Image, Runtime};
use crate::units::{Limit, Timestamp};
use crate::wire::shared::fs::Storage;

/// What clients know and we do not tell: part of an answer's name and a path in it, and why.
const ABSENT: [(&str, &str); 11] = [
    (
        "v1.3-containers-root stats[].health.status",
        "nobody checks the health of /",
    ),
    ("referenced_memory", "measuring it writes to the process"),
    ("processes.threads_max", "the limit is in the spec"),
    ("oom_events", "a counter of the kills is in /metrics"),
    ("diskio.io_queued", "blkio.io_queued is not read"),
    (
        "diskio.io_",
        "blkio's time, wait and merge figures exist with the CFQ scheduler only, gone since 5.0",
    ),
    (
        "diskio.sectors",
        "exists with the CFQ scheduler only, gone since 5.0",
    ),
    (
        "filesystem[].inodes_free",
        "how many inodes are free is a figure of the file system, not of a layer on it",
    ),
    ("[].labels null", "the file system shown has labels"),
    (
        "task_stats.nr_io_wait",
        "the state of a task does not tell what it waits for; it is among the uninterruptible",
    ),
    ("load_stats.nr_io_wait", "as task_stats"),
];

/// What we tell and clients do not know from that answer: part of a path, and why.
const EXTRA: [(&str, &str); 9] = [
    ("load_stats.", "v2.1 had a key for it and never used it"),
    (
        "v2.1-spec-web *.envs.",
        "as in v1; the environment that was captured there was not allowed",
    ),
    (
        "filesystem[].measured",
        "a layer is measured apart from the sample: this is when",
    ),
    ("filesystem.measured", "as filesystem[].measured"),
    ("processes.ulimits", "as threads_current"),
    (
        "*.cpu.quota",
        "v2 specs left limits out that v1 has: here they are in both",
    ),
    ("*.cpu.period", "as quota"),
    ("processes.limit", "as quota"),
    (
        "processes.threads_current",
        "v2.0 always said that it had no figures of processes",
    ),
];

const SECOND: i64 = 1_000_000_000;
const T: i64 = 1_795_322_901_152_095_492;

/// A sample in which every figure is there, counted up from `first`.
fn full_sample(time: i64, first: u64) -> Sample {
    let mut sample = Sample {
        timestamp: Timestamp(time),
        per_cpu_ns: vec![0, 0],
        network: Some(NetworkStats {
            namespace: 1,
            host: false,
            interfaces: vec![("eth0".into(), InterfaceStats::default())],
        }),
        ..Sample::default()
    };
    sample.io_mut(DeviceNumber {
        major: 254,
        minor: 0,
    });
    sample.hugetlb_mut(2 << 20);
    sample.numa_mut(0);
    sample.sockets = Some(Box::default());
    let mut number = first;
    sample.each_mut(&mut |column| {
        number += 1000;
        *column = Some(number);
    });
    sample
}

fn full_spec() -> Spec {
    Spec {
        created_at: Some(Timestamp(T)),
        cpu: Some(CpuSpec {
            shares: Some(2048),
            quota_us: Some(Limit::Max(50_000)),
            period_us: Some(100_000),
            burst_us: Some(0),
            cpus: Some("0-1".into()),
        }),
        memory: Some(MemorySpec {
            limit: Some(Limit::Max(1 << 27)),
            reservation: Some(Limit::Unlimited),
            memory_and_swap_limit: Some(Limit::Max(1 << 28)),
            ..MemorySpec::default()
        }),
        pids: Some(PidsSpec {
            limit: Some(Limit::Unlimited),
        }),
        has_hugetlb: true,
        has_io: true,
    }
}

/// Who the container of this name is: none but `/` is without a runtime.
fn identity(name: &str) -> Option<Arc<Identity>> {
    let own = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    (name != "/").then(|| {
        Arc::new(Identity {
            name: Some("web".into()),
            image: Some(Image {
                reference: "sample/busybox:1".into(),
                digest: None,
            }),
            labels: own("tier", "front"),
            env: own("TEST_VAR", "FOO"),
            created: Some(Timestamp(T - 2 * SECOND)),
            started: Some(Timestamp(T - SECOND)),
            health: Some(Health::Healthy),
            ..Identity::new(Runtime::Docker, "6bb9be375ebd")
        })
    })
}

fn full_info(name: &str) -> query::ContainerInfo {
    let mut ring = Ring::new(Limits::default());
    let latest = full_sample(T + SECOND, 500);
    ring.push(&full_sample(T, 0));
    ring.push(&latest);
    query::ContainerInfo {
        name: ContainerName::from_request(name),
        incarnation: 1,
        subcontainers: vec![ContainerName::from_request(&format!("{name}/child"))],
        spec: Arc::new(full_spec()),
        oom_kills: 0,
        layer: vec![Arc::new(store::tests::usage(T))],
        identity: identity(name),
        is_elsewhere: false,
        stats: ring.series(Range::default()),
        latest: Some(latest),
    }
}

fn filesystem() -> FsInfo {
    FsInfo {
        timestamp: Timestamp(T),
        device: "/dev/vda".into(),
        mount_point: "/".into(),
        fs_type: "ext4".into(),
        major: 254,
        minor: 0,
        capacity_bytes: 4000,
        usage_bytes: 3000,
        available_bytes: 900,
        inodes: Some(100),
        inodes_free: Some(40),
        labels: vec!["root".into()],
        io: Some(DiskIo {
            reads_completed: 1,
            reads_merged: 2,
            sectors_read: 3,
            read_time_ns: 4_000_000,
            writes_completed: 5,
            writes_merged: 6,
            sectors_written: 7,
            write_time_ns: 8_000_000,
            in_progress: 9,
            io_time_ns: 10_000_000,
            weighted_io_time_ns: 11_000_000,
        }),
    }
}

fn table() -> Arc<FsTable> {
    let mut table = FsTable::empty(Timestamp(T));
    table.filesystems.push(filesystem());
    Arc::new(table)
}

fn events() -> Vec<Event> {
    let kill = OomKill {
        pid: Some(7),
        process_name: Some("sh".into()),
        constraint: Some(Constraint::Memcg),
        ..OomKill::default()
    };
    let kinds = [
        EventKind::ContainerCreation,
        EventKind::ContainerDeletion {
            exit_code: Some(1),
            while_down: false,
        },
        EventKind::Oom,
        EventKind::OomKill(Arc::new(kill)),
    ];
    kinds
        .into_iter()
        .map(|kind| Event {
            id: 1,
            timestamp: Timestamp(T),
            noticed: Timestamp(T),
            container: ContainerName::from_request("/a"),
            kind,
        })
        .collect()
}

fn process() -> Process {
    Process {
        pid: 10,
        parent: 1,
        user: Some("root".into()),
        started: Some(Timestamp(T - SECOND)),
        cpu_ns: 65_000_000_000,
        cpu_permille: Some(2),
        memory_permille: Some(15),
        resident_bytes: Some(1_617_920),
        virtual_bytes: 2_322_432,
        status: "Ss".into(),
        container: ContainerName::from_request("/a"),
        command: "sh".into(),
        descriptors: Some(3),
        cpu: 1,
    }
}

fn text<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

/// Each answer under the name of its fixture.
fn answers() -> BTreeMap<&'static str, String> {
    let machine = machine::tests::machine();
    let tables = [table()];
    let context = Context {
        machine: &machine,
        filesystems: &tables,
    };
    let (root, a) = (full_info("/"), full_info("/a"));
    let under = |value: String| format!("{{\"/a\":{value}}}");
    let version = VersionInfo {
        kernel: Some("6.1.0".into()),
        os: Some("Debian".into()),
        cgauge: "0.0.0",
    };
    let mut summary = Summary::default();
    for second in 0..70 {
        let cpu = second as u64 * 500_000_000;
        summary.push(Timestamp(T + second * SECOND), Some(cpu), Some(1000));
    }
    let events = events();
    BTreeMap::from([
        (
            "v1.3-containers-root",
            text(&v1::ContainerInfo((&root, context))),
        ),
        (
            "v1.3-containers-docker",
            text(&v1::ContainerInfo((&a, context))),
        ),
        (
            "v1.3-events",
            text(
                &events
                    .iter()
                    .map(|event| v1::Event((event, None)))
                    .collect::<Vec<_>>(),
            ),
        ),
        ("v1.3-machine", text(&machine::MachineInfo::from(&machine))),
        (
            "v2.0-stats-web",
            under(text(&v2::DeprecatedHistory((&a, context)))),
        ),
        (
            "v2.0-stats-root",
            under(text(&v2::DeprecatedHistory((&root, context)))),
        ),
        (
            "v2.1-attributes",
            text(&machine::Attributes::new(&machine, &version)),
        ),
        (
            "v2.1-machinestats",
            text(&v2::MachineHistory((&root, context))),
        ),
        (
            "v2.1-ps-web",
            text(&[v2::ProcessInfo((&process(), false, Timestamp(T)))]),
        ),
        (
            "v2.1-spec-web",
            under(text(&v2::ContainerSpec((&a, context)))),
        ),
        (
            "v2.1-stats-web",
            under(text(&v2::ContainerInfo((&a, context)))),
        ),
        (
            "v2.1-storage",
            text(&[Storage((&filesystem(), Timestamp(T)))]),
        ),
        (
            "v2.1-summary-web",
            under(text(&v2::DerivedStats(&summary.derived().unwrap()))),
        ),
    ])
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/api")
        .join(name)
}

/// Every path of a value with its type, as the fixtures have them.
fn shape(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    const MAPS: [&str; 9] = [
        "tcp_advanced",
        "disk_map",
        "hugetlb",
        "file",
        "anon",
        "unevictable",
        "memory_by_type",
        "labels",
        "envs",
    ];
    match value {
        Value::Object(map) => {
            let last = path.rsplit('.').next().unwrap_or("");
            let is_map = MAPS.contains(&last) || map.keys().any(|key| key.starts_with('/'));
            for (key, value) in map {
                let key = if is_map { "*" } else { key };
                let dot = if path.is_empty() { "" } else { "." };
                shape(value, &format!("{path}{dot}{key}"), found);
            }
        }
        Value::Array(list) => {
            for value in list {
                shape(value, &format!("{path}[]"), found);
            }
        }
        Value::Null => drop(found.insert(format!("{path} null"))),
        Value::Bool(_) => drop(found.insert(format!("{path} bool"))),
        Value::Number(_) => drop(found.insert(format!("{path} number"))),
        Value::String(text) => {
            let is_time = text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok();
            let kind = if is_time { "time" } else { "string" };
            found.insert(format!("{path} {kind}"));
        }
    }
}

/// The lines of a fixture that say something about a value: not those of empty objects and lists.
fn known(name: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for kind in ["shape", "table"] {
        let text = fs::read_to_string(fixture(&format!("{name}.{kind}"))).unwrap_or_default();
        let told = text
            .lines()
            .filter(|line| !line.ends_with(" object") && !line.ends_with(" empty"));
        lines.extend(told.map(str::to_owned));
    }
    lines
}

/// The first entry that allows this line.
fn allowed<'t>(table: &'t [(&str, &str)], line: &str) -> Option<&'t str> {
    let part = table.iter().find(|(part, _)| {
        line.match_indices(part).any(|(at, _)| {
            // From the start of a key, not from within one.
            at == 0
                || matches!(line.as_bytes().get(at - 1), Some(b'.' | b']' | b' '))
                || part.starts_with('[')
        })
    });
    part.map(|(part, _)| *part)
}

#[test]
fn answers_have_the_fields_that_clients_know() {
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for (name, text) in answers() {
        let theirs = known(match name {
            // No sample of the root in this shape was taken.
            "v2.0-stats-root" => "v2.0-stats-web",
            name => name,
        });
        let mut ours = BTreeSet::new();
        shape(&serde_json::from_str(&text).unwrap(), "", &mut ours);
        for line in theirs.difference(&ours) {
            match allowed(&ABSENT, &format!("{name} {line}")) {
                Some(part) => drop(used.insert(part)),
                None => wrong.push(format!("{name}: not told: {line}")),
            }
        }
        for line in ours.difference(&theirs) {
            match allowed(&EXTRA, &format!("{name} {line}")) {
                Some(part) => drop(used.insert(part)),
                None => wrong.push(format!("{name}: not known: {line}")),
            }
        }
    }
    for (part, _) in ABSENT.iter().chain(&EXTRA) {
        if !used.contains(part) {
            wrong.push(format!("no answer differs in {part:?} any more"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fixture_has_its_answer() {
    let answers = answers();
    for entry in fs::read_dir(fixture("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(name) = name.strip_suffix(".shape") {
            // The same for every container: tested with its route.
            assert!(
                answers.contains_key(name) || name == "v2.1-appmetrics-web",
                "{name}"
            );
        }
    }
}

#[test]
fn answers_are_the_same_byte_for_byte() {
    for (name, text) in answers() {
        let file = fixture(&format!("golden-{name}.json"));
        if std::env::var_os("CGAUGE_BLESS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let golden = fs::read_to_string(&file).unwrap();
        assert!(golden == text, "{name}:\n{text}");
    }
}
