//! An answer of the API: a container with the last minute of its history as JSON, written as it is sent, and
//! by `serde_json`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;

use cgauge::cache::{Limits, Range, Ring};
use cgauge::cgroup::columns::Columns;
use cgauge::cgroup::{ContainerName, Sample, Spec, v2};
use cgauge::node::MachineInfo;
use cgauge::query::ContainerInfo;
use cgauge::serve::json;
use cgauge::units::Timestamp;
use cgauge::wire;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod support;

const SAMPLES: i64 = 60;
const SECOND: i64 = 1_000_000_000;

/// A minute of a v2 container of which every fifth figure moves.
fn minute() -> Ring {
    let mut sample = Sample::default();
    for (name, text) in support::files_v2() {
        let mut rows = v2::files::ROWS.iter().chain(v2::files::PRESSURE_ROWS);
        if let Some(row) = rows.find(|row| row.names.contains(&name)) {
            (row.parse)(text.as_bytes(), &mut sample);
        }
    }
    let mut ring = Ring::new(Limits::default());
    for second in 0..SAMPLES {
        sample.timestamp = Timestamp(1_795_322_901_152_095_492 + second * SECOND);
        let mut at = 0;
        sample.each_mut(&mut |column| {
            at += 1;
            let moves = at % 5 == 0;
            *column = column.map(|value| value.saturating_add(if moves { 4_096 } else { 0 }));
        });
        ring.push(&sample);
    }
    ring
}

fn answer(criterion: &mut Criterion) {
    let id = "0123456789abcdef".repeat(4);
    let info = ContainerInfo {
        name: ContainerName::from_request(&format!("/kubepods/burstable/pod0123/{id}")),
        incarnation: 1,
        subcontainers: Vec::new(),
        spec: Arc::new(Spec::default()),
        oom_kills: 0,
        layer: Vec::new(),
        identity: None,
        is_elsewhere: false,
        stats: minute().series(Range::default()),
        latest: None,
    };
    let machine = MachineInfo::default();
    let context = wire::shared::Context {
        machine: &machine,
        filesystems: &[],
    };
    let view = wire::v1::ContainerInfo((&info, context));
    let text = json::to_bytes(&view).unwrap();
    let samples = usize::try_from(SAMPLES).unwrap();
    assert_eq!(info.stats.len(), samples);
    println!("json: {} bytes a sample", text.len() / samples);

    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Bytes(text.len() as u64));
    let mut out = Vec::with_capacity(text.len());
    group.bench_function("a minute of a container", |bencher| {
        bencher.iter(|| {
            out.clear();
            json::write(&mut out, black_box(&view)).unwrap();
        });
    });
    group.bench_function("the same by serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            serde_json::to_writer(&mut out, black_box(&view)).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, answer);
criterion_main!(benches);
