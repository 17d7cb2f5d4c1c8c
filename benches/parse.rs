//! Parsers: kernel text to figures, by file. No file is read here.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use cgauge::cgroup::Sample;
use cgauge::cgroup::plan::{Parsed, Row};
use cgauge::cgroup::{v1, v2};
use cgauge::source::{kmsg, kmsg::Record, oom};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod support;

/// The row of `file`, and a text for it.
type Case<'a> = (&'a str, &'a [Row], &'a str, String);

fn cgroup_files(criterion: &mut Criterion) {
    let cases: [Case<'_>; 7] = [
        (
            "memory.stat v1",
            v1::files::ROWS,
            "memory.stat",
            support::memory_stat_v1(),
        ),
        (
            "memory.stat v2",
            v2::files::ROWS,
            "memory.stat",
            support::memory_stat_v2(),
        ),
        (
            "cpu.stat v1",
            v1::files::ROWS,
            "cpu.stat",
            support::CPU_STAT_V1.into(),
        ),
        (
            "cpu.stat v2",
            v2::files::ROWS,
            "cpu.stat",
            support::CPU_STAT_V2.into(),
        ),
        (
            "blkio v1",
            v1::files::ROWS,
            "blkio.throttle.io_service_bytes_recursive",
            support::BLKIO.into(),
        ),
        (
            "io.stat v2",
            v2::files::ROWS,
            "io.stat",
            support::IO_STAT.into(),
        ),
        (
            "cpu.pressure",
            v2::files::PRESSURE_ROWS,
            "cpu.pressure",
            support::PRESSURE.into(),
        ),
    ];
    let mut group = criterion.benchmark_group("parse");
    for (label, rows, file, text) in cases {
        let row = rows.iter().find(|row| row.names.contains(&file)).unwrap();
        let mut sample = Sample::default();
        assert_eq!((row.parse)(text.as_bytes(), &mut sample), Parsed::Data);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(label, |bencher| {
            bencher.iter(|| (row.parse)(black_box(text.as_bytes()), &mut sample));
        });
    }
    group.finish();
}

fn kernel_log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kmsg");
    for (label, raw) in [("kill", support::KMSG_KILL), ("other", support::KMSG_OTHER)] {
        assert!(Record::parse(raw).is_ok());
        group.throughput(Throughput::Bytes(raw.len() as u64));
        group.bench_function(format!("filter {label}"), |bencher| {
            bencher.iter(|| kmsg::is_kernel(black_box(raw)) && oom::may_matter(black_box(raw)));
        });
        group.bench_function(format!("parse {label}"), |bencher| {
            bencher.iter(|| Record::parse(black_box(raw)));
        });
    }
    group.finish();
}

criterion_group!(benches, cgroup_files, kernel_log);
criterion_main!(benches);
