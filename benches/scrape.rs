//! What a page costs: 1,000 containers, each with every figure of the default kinds.
//!
//! Beside the time, prints the bytes, series and allocations of one page of each kind. Polling is not
//! in it: that is the kernel's cost, and the same whoever reads.

#![allow(clippy::unwrap_used, clippy::print_stdout, unsafe_code, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cgauge::cgroup::columns::Columns;
use cgauge::cgroup::plan::{Plan, ReadOptions};
use cgauge::cgroup::spec::{CpuSpec, MemorySpec};
use cgauge::cgroup::stats::{DeviceNumber, InterfaceStats, NetworkStats};
use cgauge::cgroup::{CgroupPath, ContainerName, Hierarchies, Sample, Spec};
use cgauge::node::{MachineInfo, VersionInfo};
use cgauge::runtime::{Identity, Image, Runtime};
use cgauge::self_metrics::SelfMetrics;
use cgauge::serve::metrics::{
    Container, Format, LabelCache, LabelChoice, LabelSet, Options, Page, Profile, Sources,
};
use cgauge::units::{Limit, Timestamp};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const CONTAINERS: usize = 1_000;
const CPUS: usize = 2;

/// Counts allocations; else the system's.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A container with every figure: pods of two containers each, one network in a pod.
fn container(at: usize) -> Container {
    let pod = at / 3;
    let name = match at % 3 {
        0 => format!("/kubepods.slice/kubepods-pod{pod:032x}.slice"),
        of => {
            format!("/kubepods.slice/kubepods-pod{pod:032x}.slice/cri-containerd-{of:064x}.scope")
        }
    };
    let mut sample = Sample {
        timestamp: Timestamp(1_795_322_901_152_095_492),
        per_cpu_ns: vec![0; CPUS],
        ..Sample::default()
    };
    sample.io_mut(DeviceNumber {
        major: 254,
        minor: 0,
    });
    sample.network = Some(NetworkStats {
        namespace: pod as u64,
        host: false,
        interfaces: vec![("eth0".into(), InterfaceStats::default())],
    });
    let mut figure = at as u64;
    sample.each_mut(&mut |column| {
        figure = figure
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *column = Some(figure >> 24);
    });
    let spec = Spec {
        created_at: Some(Timestamp(1_795_322_901_152_095_492)),
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
        ..Spec::default()
    };
    let name = ContainerName::from_request(&name);
    let labels = LabelSet::of(&name, None, None, &LabelChoice::default());
    Container::new(Arc::new(labels), name, Arc::new(spec), sample, 0, None)
}

struct Site {
    machine: MachineInfo,
    version: VersionInfo,
    own: SelfMetrics,
    plan: Plan,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        let hierarchies =
            Hierarchies::detect("/proc".as_ref(), "/".as_ref(), Some(root.path())).unwrap();
        Self {
            machine: MachineInfo::default(),
            version: VersionInfo {
                kernel: None,
                os: None,
                cgauge: "bench",
            },
            own: SelfMetrics::default(),
            plan: Plan::new(Arc::new(hierarchies), &ReadOptions::default()),
        }
    }

    fn page<'a>(&'a self, containers: Vec<Container>, options: &'a Options) -> Page<'a> {
        let of = Sources {
            machine: &self.machine,
            version: &self.version,
            own: &self.own,
            plan: &self.plan,
        };
        Page::new(containers, of, options)
    }
}

fn containers() -> Vec<Container> {
    (0..CONTAINERS).map(container).collect()
}

fn pages(criterion: &mut Criterion) {
    let site = Site::new();
    let mut group = criterion.benchmark_group("scrape of 1,000 containers");
    group.sample_size(20);
    for profile in Profile::ALL {
        for format in Format::ALL {
            let options = Options {
                profile,
                ..Options::default()
            };
            let mut page = site.page(containers(), &options);
            let before = ALLOCATIONS.load(Relaxed);
            let bytes = page.encode(format).len();
            println!(
                "{} {format:?}: {bytes} bytes, {} series, {} allocations",
                profile.name(),
                site.own.scrape.series.get(),
                ALLOCATIONS.load(Relaxed) - before,
            );
            group.bench_function(format!("{} {format:?}", profile.name()), |bencher| {
                bencher.iter(|| black_box(page.encode(format)).len());
            });
        }
    }
    let options = Options::default();
    group.bench_function("page and labels", |bencher| {
        bencher.iter_batched(
            containers,
            |containers| black_box(site.page(containers, &options)),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A container as Docker knows it, with ten labels.
fn identity(at: usize) -> Identity {
    let label = |label: usize| {
        (
            format!("com.example.label-{label}"),
            format!("value {label}"),
        )
    };
    Identity {
        name: Some(format!("project-service-{at}")),
        image: Some(Image {
            reference: "team/service:1.2.3".into(),
            digest: None,
        }),
        labels: (0..10).map(label).collect(),
        ..Identity::new(Runtime::Docker, format!("{at:064x}"))
    }
}

fn names(criterion: &mut Criterion) {
    let site = Site::new();
    let mut group = criterion.benchmark_group("names of 1,000 containers");
    group.sample_size(20);
    let paths: Vec<_> = containers().iter().map(|one| one.name().clone()).collect();
    let identities: Vec<_> = (0..CONTAINERS).map(|at| Arc::new(identity(at))).collect();
    group.bench_function("classify", |bencher| {
        bencher.iter(|| {
            let own = |path| black_box(CgroupPath::of(path)).own_container();
            paths.iter().filter_map(own).count()
        });
    });
    let all = LabelChoice::default();
    let labels = |cache: &LabelCache| -> Vec<Arc<LabelSet>> {
        cache.round(&all, |look| {
            let known = paths.iter().zip(&identities);
            known
                .map(|(path, identity)| look(path, Some(identity), None))
                .collect()
        })
    };
    group.bench_function("labels, made", |bencher| {
        bencher.iter(|| labels(&LabelCache::default()).len());
    });
    let cache = LabelCache::default();
    group.bench_function("labels, kept", |bencher| {
        bencher.iter(|| labels(&cache).len())
    });
    let named: Vec<_> = containers()
        .into_iter()
        .zip(labels(&cache))
        .zip(&identities)
        .map(|((container, labels), identity)| {
            container.labelled(labels).known(Some(Arc::clone(identity)))
        })
        .collect();
    let options = Options::default();
    let mut page = site.page(named, &options);
    println!(
        "with names and ten labels: {} bytes",
        page.encode(Format::Text).len()
    );
    group.bench_function("full text with ten labels", |bencher| {
        bencher.iter(|| black_box(page.encode(Format::Text)).len());
    });
    group.finish();
}

criterion_group!(benches, pages, names);
criterion_main!(benches);
