//! The program's configuration as the library's settings.

use crate::cache::Limits;
use crate::cgroup::plan::ReadOptions;
use crate::config::{Config, MetricKind};
use crate::event::{EventLimits, EventType, TypeLimit};
use crate::handler::Housekeeping;
use crate::journal;
use crate::ledger::LedgerLimits;
use crate::manager::Accept;
use crate::monitor::{Monitor, MonitorBuilder};
use crate::node::Roots;
use crate::serve::routes;

/// A monitor with these settings.
pub(super) fn builder(config: &Config) -> MonitorBuilder {
    let Config {
        roots,
        housekeeping,
        storage,
        machine,
        containers,
        state,
        ..
    } = config;
    let mut builder = Monitor::builder()
        .roots(Roots {
            procfs: roots.procfs.clone(),
            sysfs: roots.sysfs.clone(),
            rootfs: roots.rootfs.clone(),
            machine_id_files: machine.machine_id_files.clone(),
            boot_id_files: machine.boot_id_files.clone(),
        })
        .kmsg(roots.kmsg.clone())
        .housekeeping(Housekeeping {
            interval: housekeeping.interval,
            max_interval: housekeeping.max_interval,
            dynamic: housekeeping.dynamic,
            full_interval: housekeeping.full_interval,
            ..Housekeeping::default()
        })
        .listing_interval(housekeeping.global_interval)
        .history(Limits {
            max_age: storage.duration,
            ..Limits::default()
        })
        .events(event_limits(config))
        .ledger(LedgerLimits {
            age: storage.ledger_age,
            ..LedgerLimits::default()
        })
        .accept(Accept {
            runtime_only: containers.docker_only,
            prefixes: containers.raw_cgroup_prefixes.clone(),
        })
        .exit_accounting(housekeeping.exit_accounting)
        .skip_root(housekeeping.disable_root_cgroup_stats)
        .read(read_options(config))
        .disk_usage(config.metrics.disk_usage())
        .samplers(housekeeping.sampler_threads)
        .max_open_files(housekeeping.max_open_files)
        .cpu_budget(housekeeping.cpu_budget)
        .node_interval(machine.update_interval)
        .runtimes(config.runtimes.clone());
    if let Some(directory) = &state.directory {
        builder = builder.journal(Some(journal::Options {
            max_bytes: state.journal_max_bytes,
            ..journal::Options::new(directory)
        }));
    }
    if let Some(path) = &roots.cgroup_root {
        builder = builder.cgroup_root(path);
    }
    builder
}

/// What is answered.
pub(super) fn routes(config: &Config) -> routes::Options {
    routes::Options {
        prometheus_endpoint: config.server.prometheus_endpoint.clone(),
        metrics: config.metrics.page(),
    }
}

/// What is read of each container.
pub(super) fn read_options(config: &Config) -> ReadOptions {
    let kinds = config.metrics.kinds();
    ReadOptions {
        per_cpu: kinds.contains(MetricKind::PerCpu),
        // Sockets are read through the same processes.
        network: [
            MetricKind::Network,
            MetricKind::Tcp,
            MetricKind::Udp,
            MetricKind::AdvTcp,
        ]
        .into_iter()
        .any(|kind| kinds.contains(kind)),
        load: config.metrics.load_reader && kinds.contains(MetricKind::CpuLoad),
        kinds,
        huge_page_sizes: match kinds.contains(MetricKind::Hugetlb) {
            true => huge_page_sizes(&config.roots.sysfs),
            false => Vec::new(),
        },
    }
}

fn event_limits(config: &Config) -> EventLimits {
    let mut limits = EventLimits::default();
    for kind in EventType::ALL {
        let number = config.storage.event_count.of(kind.as_str()).value();
        *limits.of_mut(kind) = TypeLimit {
            age: config.storage.event_age.of(kind.as_str()),
            number: number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)),
        };
    }
    limits
}

/// The huge page sizes of the host, in bytes: `/sys/kernel/mm/hugepages/hugepages-<N>kB`.
fn huge_page_sizes(sysfs: &std::path::Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(sysfs.join("kernel/mm/hugepages")) else {
        return Vec::new();
    };
    let mut sizes: Vec<u64> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let kilobytes = name
                .to_str()?
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?;
            kilobytes.parse::<u64>().ok()?.checked_mul(1024)
        })
        .collect();
    sizes.sort_unstable();
    sizes
}
