//! One poll of a container, beside the floor: a bare loop of `pread` over the very files that the
//! poll reads, kept open likewise. The ratio of the two is what cgauge adds to the kernel's price.
//!
//! Once over a made-up v2 tree, which any user can read; and, as root on a machine with cgroups,
//! over fifty real ones, made for it and removed.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cgauge::cgroup::container::Outcome;
use cgauge::cgroup::file::{FdBudget, ReadBuffer, open_directory, open_in};
use cgauge::cgroup::network::NetworkNamespaces;
use cgauge::cgroup::plan::{Parsed, Parser, Plan, ReadOptions};
use cgauge::cgroup::stats::HugetlbStats;
use cgauge::cgroup::{Cgroup, ContainerName, Hierarchies, ReadContext, Sample};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod support;

/// Containers polled in one pass.
const CONTAINERS: usize = 50;

/// Pairs of passes that the ratio is the median of.
const PAIRS: usize = 200;

/// Enough for all files of all containers.
const DESCRIPTORS: usize = 8_192;

/// Containers with everything open, and the same files open a second time.
struct Bench {
    containers: Vec<Cgroup>,
    context: ReadContext,
    sample: Sample,
    floor: Vec<OwnedFd>,
    buffer: ReadBuffer,
}

impl Bench {
    fn new(hierarchies: Hierarchies, names: &[ContainerName]) -> Self {
        let plan = Arc::new(Plan::new(
            Arc::new(hierarchies),
            &ReadOptions {
                per_cpu: true,
                ..ReadOptions::default()
            },
        ));
        let budget = Arc::new(FdBudget::within_limits(DESCRIPTORS));
        let mut bench = Self {
            containers: Vec::new(),
            context: ReadContext::new(Arc::new(NetworkNamespaces::new(Path::new("/proc")))),
            sample: Sample::default(),
            floor: Vec::new(),
            buffer: ReadBuffer::default(),
        };
        for name in names {
            let mut cgroup = Cgroup::new(name.clone(), Arc::clone(&plan), Arc::clone(&budget));
            for (id, _) in plan.hierarchies.iter() {
                let _ = cgroup.attach(id, None);
            }
            bench.containers.push(cgroup);
            bench.floor.extend(files_of(&plan, name));
        }
        // The first poll opens, the second finds everything as later ones do.
        bench.poll();
        bench.poll();
        bench
    }

    fn poll(&mut self) {
        for cgroup in &mut self.containers {
            let outcome = cgroup.read(&mut self.context, &mut self.sample);
            assert_eq!(outcome, Outcome::Read);
        }
    }

    fn read_only(&mut self) -> usize {
        self.floor
            .iter()
            .map(|file| self.buffer.read(file).map_or(0, <[u8]>::len))
            .sum()
    }

    /// Passes of both kinds by turns: noise of the machine meets both.
    fn ratio(&mut self) -> (f64, Duration, Duration) {
        let time = |work: &mut dyn FnMut()| {
            let started = Instant::now();
            work();
            started.elapsed()
        };
        let (mut ratios, mut polls, mut floors) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let poll = time(&mut || self.poll());
            let floor = time(&mut || {
                self.read_only();
            });
            ratios.push(poll.as_secs_f64() / floor.as_secs_f64());
            polls.push(poll);
            floors.push(floor);
        }
        ratios.sort_by(f64::total_cmp);
        polls.sort();
        floors.sort();
        (ratios[PAIRS / 2], polls[PAIRS / 2], floors[PAIRS / 2])
    }

    fn run(mut self, label: &str, criterion: &mut Criterion) {
        let (ratio, poll, floor) = self.ratio();
        let each = |pass: Duration| pass.as_secs_f64() * 1e6 / CONTAINERS as f64;
        println!(
            "poll/{label}: {:.1} µs a container, {:.1} µs for the bare reads of its {} files: ratio {ratio:.2}",
            each(poll),
            each(floor),
            self.floor.len() / CONTAINERS,
        );
        let mut group = criterion.benchmark_group(format!("poll/{label}"));
        group.throughput(Throughput::Elements(CONTAINERS as u64));
        group.bench_function("cgauge", |bencher| bencher.iter(|| self.poll()));
        group.bench_function("floor", |bencher| bencher.iter(|| self.read_only()));
        group.finish();
    }
}

/// What a poll of `name` reads once it knows which files there are: of each row of the plan the
/// first name that has figures, or the only one.
fn files_of(plan: &Plan, name: &ContainerName) -> Vec<OwnedFd> {
    let mut buffer = ReadBuffer::default();
    let mut wanted = |file: &cgauge::cgroup::plan::File| {
        let root = &plan.hierarchies.get(file.hierarchy).root;
        let directory = open_directory(&name.below(root)).ok()?;
        file.names.iter().find_map(|candidate| {
            let fd = open_in(&directory, candidate).ok()?;
            let text = buffer.read(&fd).ok()?;
            let parsed = match file.parser {
                Parser::Sample(parse) => parse(text, &mut Sample::default()),
                Parser::Hugetlb(_, parse) => parse(text, &mut HugetlbStats::default()),
            };
            (file.names.len() == 1 || parsed == Parsed::Data).then_some(fd)
        })
    };
    plan.files.iter().filter_map(&mut wanted).collect()
}

fn made_up(criterion: &mut Criterion) {
    let root = tempfile::tempdir().unwrap();
    fs::write(
        root.path().join("cgroup.controllers"),
        "cpu io memory pids\n",
    )
    .unwrap();
    let names: Vec<ContainerName> = (0..CONTAINERS)
        .map(|at| ContainerName::from_request(&format!("/made-up-{at}")))
        .collect();
    for name in &names {
        let directory = name.below(root.path());
        fs::create_dir(&directory).unwrap();
        for (file, text) in support::files_v2() {
            fs::write(directory.join(file), text).unwrap();
        }
    }
    let found = Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(root.path()));
    Bench::new(found.unwrap(), &names).run("made-up", criterion);
}

/// Real cgroups of this process alone, removed when dropped.
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for directory in self.0.iter().rev() {
            if let Err(error) = fs::remove_dir(directory) {
                println!("poll/real: {} stays behind: {error}", directory.display());
            }
        }
    }
}

fn real(criterion: &mut Criterion) {
    let found = Hierarchies::detect(Path::new("/proc"), Path::new("/"), None);
    let hierarchies = match found {
        Ok(hierarchies) => hierarchies,
        Err(error) => return println!("poll/real: skipped: {error}"),
    };
    let parent = ContainerName::from_request(&format!("/cgauge-bench-{}", std::process::id()));
    let names: Vec<ContainerName> = (0..CONTAINERS)
        .map(|at| parent.child(format!("leaf-{at}").as_ref()))
        .collect();
    let mut made = Made(Vec::new());
    for (_, hierarchy) in hierarchies.iter() {
        for name in std::iter::once(&parent).chain(&names) {
            let directory = name.below(&hierarchy.root);
            if let Err(error) = fs::create_dir(&directory) {
                return println!("poll/real: skipped: mkdir {}: {error}", directory.display());
            }
            made.0.push(directory.clone());
            if *name == parent && hierarchy.unified {
                // Those that are there; beside v1 controllers there may be none.
                for controller in ["cpu", "memory", "io", "pids"] {
                    let file = directory.join("cgroup.subtree_control");
                    let _ = fs::write(file, format!("+{controller}"));
                }
            }
        }
    }
    Bench::new(hierarchies, &names).run("real", criterion);
}

criterion_group!(benches, made_up, real);
criterion_main!(benches);
