//! What the kernel charges for the reads of a poll: the files that cgauge reads, kept open, one
//! `pread` each, once a second, and nothing else.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cgauge::cgroup::file::{FdBudget, ReadBuffer, open_directory, open_in};
use cgauge::cgroup::plan::{Parsed, Parser, Plan, ReadOptions};
use cgauge::cgroup::stats::HugetlbStats;
use cgauge::cgroup::{ContainerName, Hierarchies, Sample};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// Between two passes, as between two polls.
const PACE: Duration = Duration::from_secs(1);

pub struct Floor {
    files: Vec<OwnedFd>,
    containers: usize,
}

impl Floor {
    pub fn open(hierarchies: &Hierarchies, names: &[ContainerName]) -> Self {
        let options = ReadOptions {
            per_cpu: true,
            ..ReadOptions::default()
        };
        let plan = Plan::new(std::sync::Arc::new(hierarchies.clone()), &options);
        // Of as many as may be open at once: on a large tree, a part of the containers.
        let each = plan.files.len() + 1;
        let containers = FdBudget::within_limits(names.len() * each).files() / each;
        let names = names.get(..containers).unwrap_or(names);
        let mut buffer = ReadBuffer::default();
        let mut files = Vec::new();
        for name in names {
            for file in &plan.files {
                let root = &plan.hierarchies.get(file.hierarchy).root;
                let Ok(directory) = open_directory(&name.below(root)) else {
                    continue;
                };
                // As a poll does: of several names the first that has figures.
                let found = file.names.iter().find_map(|name| {
                    let fd = open_in(&directory, name).ok()?;
                    let text = buffer.read(&fd).ok()?;
                    let parsed = match file.parser {
                        Parser::Sample(parse) => parse(text, &mut Sample::default()),
                        Parser::Hugetlb(_, parse) => parse(text, &mut HugetlbStats::default()),
                    };
                    (file.names.len() == 1 || parsed == Parsed::Data).then_some(fd)
                });
                files.extend(found);
            }
        }
        Self {
            files,
            containers: names.len(),
        }
    }

    /// Files of one container, on average.
    pub fn files(&self) -> f64 {
        self.files.len() as f64 / self.containers as f64
    }

    /// Passes one second apart: caches are as cold as they are to a poll. CPU time, microseconds per
    /// pass and container.
    pub fn run(&self, passes: u32) -> f64 {
        let mut buffer = ReadBuffer::default();
        let mut used = 0.0;
        for _ in 0..passes {
            let started = Instant::now();
            let before = cpu();
            for file in &self.files {
                // A container that has gone since costs as little as it should.
                let _ = buffer.read(file);
            }
            used += cpu() - before;
            std::thread::sleep(PACE.saturating_sub(started.elapsed()));
        }
        used / f64::from(passes) / self.containers as f64
    }
}

/// CPU time of this thread, microseconds. By this clock and not by `getrusage`, which lags behind by
/// up to a tick: more than a pass over a small tree takes.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.num_nanoseconds() as f64 / 1e3
}
