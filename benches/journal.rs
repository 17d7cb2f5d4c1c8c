//! What it costs to publish an event: without a journal, with one, and to read one back.
//!
//! The state directory is in the system's temporary directory: `TMPDIR` chooses the disk.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cgauge::cgroup::ContainerName;
use cgauge::event::{EventBus, EventKind, EventLimits, Past};
use cgauge::journal::{Journal, Options, Record};
use cgauge::self_metrics::SelfMetrics;
use cgauge::units::Timestamp;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const NAME: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f2b7c1e_9a3d_4c1b_8f55_1d2e3f4a5b6c.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";

/// As many events as one burst of containers makes.
const BURST: usize = 1_000;

fn open(options: Options) -> (EventBus, Arc<Journal>) {
    let metrics: Arc<SelfMetrics> = Arc::default();
    let mut past = Past::new(EventLimits::default());
    let take = &mut |record: Record<'_>| past.take(&record);
    let (journal, read) = Journal::open(options, Arc::clone(&metrics), take).unwrap();
    let journal = Arc::new(journal);
    let bus = EventBus::with_journal(past, Arc::clone(&journal), read.epochs, metrics);
    (bus, journal)
}

fn publish(bus: &EventBus, name: &ContainerName) {
    bus.publish(Timestamp::now(), name.clone(), EventKind::ContainerCreation);
}

fn publishing(criterion: &mut Criterion) {
    let name = ContainerName::from_request(NAME);
    let mut group = criterion.benchmark_group("publish");
    let bus = EventBus::new(EventLimits::default(), Arc::default());
    group.bench_function("in memory", |bencher| bencher.iter(|| publish(&bus, &name)));

    let directory = tempfile::tempdir().unwrap();
    let (bus, _journal) = open(Options::new(directory.path()));
    // What the publisher waits, in bursts that the queue has room for.
    group.bench_function("with a journal", |bencher| {
        bencher.iter_custom(|times| {
            let mut took = Duration::ZERO;
            for burst in (0..times).step_by(BURST) {
                let begin = Instant::now();
                for _ in 0..BURST.min((times - burst) as usize) {
                    publish(&bus, &name);
                }
                took += begin.elapsed();
                bus.flush(Instant::now() + Duration::from_secs(10));
            }
            took
        });
    });
    group.bench_function("until it is shown", |bencher| {
        bencher.iter(|| {
            publish(&bus, &name);
            bus.flush(Instant::now() + Duration::from_secs(10));
        });
    });
    group.finish();
}

fn reading_back(criterion: &mut Criterion) {
    let name = ContainerName::from_request(NAME);
    let directory = tempfile::tempdir().unwrap();
    let (bus, journal) = open(Options::new(directory.path()));
    for _ in 0..100 * BURST {
        publish(&bus, &name);
        if journal.settled() % 4_096 == 0 {
            bus.flush(Instant::now() + Duration::from_secs(10));
        }
    }
    drop((bus, journal));
    let mut group = criterion.benchmark_group("read back");
    group.sample_size(10);
    group.bench_function("100,000 events", |bencher| {
        bencher.iter_batched(
            || (),
            |()| open(Options::new(directory.path())),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, publishing, reading_back);
criterion_main!(benches);
