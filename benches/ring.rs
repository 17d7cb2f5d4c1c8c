//! The history of one container: what adding, reading and keeping a sample costs.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Duration;

use cgauge::cache::{Limits, Range, Ring};
use cgauge::cgroup::columns::Columns;
use cgauge::cgroup::{Sample, v2};
use cgauge::units::Timestamp;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod support;

const SECOND: i64 = 1_000_000_000;

/// What a ring holds of a container that is polled each second, by default.
const SAMPLES: usize = 120;

/// What a second does to a sample.
type Step = fn(&mut Sample);

/// As a poll of a v2 container fills it.
fn sample() -> Sample {
    let mut sample = Sample::default();
    for (name, text) in support::files_v2() {
        let mut rows = v2::files::ROWS.iter().chain(v2::files::PRESSURE_ROWS);
        if let Some(row) = rows.find(|row| row.names.contains(&name)) {
            (row.parse)(text.as_bytes(), &mut sample);
        }
    }
    sample
}

/// A second later, idle.
fn idle(sample: &mut Sample) {
    sample.timestamp = Timestamp(sample.timestamp.0 + SECOND);
}

/// A second later: every third figure has moved, by little or by much, up or down.
fn busy(sample: &mut Sample) {
    idle(sample);
    let second = (sample.timestamp.0 / SECOND).unsigned_abs();
    let mut at = 0_u64;
    sample.each_mut(&mut |column| {
        at += 1;
        if let Some(value) = column
            && at.is_multiple_of(3)
        {
            let step = (second * 2_654_435_761 + at * 40_503) % (1 << (at % 24));
            *column = Some(if (second + at).is_multiple_of(4) {
                value.saturating_sub(step)
            } else {
                value.saturating_add(step).min(u64::MAX - 1)
            });
        }
    });
}

fn limits() -> Limits {
    Limits {
        max_age: Duration::from_secs(SAMPLES as u64),
        ..Limits::default()
    }
}

fn filled(step: Step) -> Ring {
    let (mut ring, mut sample) = (Ring::new(limits()), sample());
    for _ in 0..SAMPLES {
        step(&mut sample);
        ring.push(&sample);
    }
    ring
}

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let kinds: [(&str, Step); 2] = [("idle", idle), ("busy", busy)];
    for (label, step) in kinds {
        let full = filled(step);
        let samples = full.series(Range::default()).len();
        println!(
            "ring/{label}: {:.1} bytes per sample, {} bytes for {samples} samples (unpacked: {} bytes each)",
            full.bytes() as f64 / samples as f64,
            full.bytes(),
            size_of::<Sample>(),
        );
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("push {label}"), |bencher| {
            let (mut ring, mut sample) = (Ring::new(limits()), sample());
            bencher.iter(|| {
                step(&mut sample);
                ring.push(black_box(&sample))
            });
        });
        group.throughput(Throughput::Elements(samples as u64));
        group.bench_function(format!("series {label}"), |bencher| {
            bencher.iter(|| {
                let mut sum = 0_u64;
                full.series(Range::default()).for_each(|sample| {
                    sum = sum.wrapping_add(sample.cpu.usage_ns.unwrap_or_default());
                });
                sum
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("latest {label}"), |bencher| {
            let mut sample = Sample::default();
            bencher.iter(|| full.latest(&mut sample));
        });
    }
    group.finish();
}

criterion_group!(benches, ring);
criterion_main!(benches);
