//! The table of settings: a name, a place in `--help`, and how a text becomes a value.
//!
//! Flag, variable and file key all come from the same row, so that they cannot drift apart.

use std::net::IpAddr;
use std::sync::LazyLock;

use super::runtimes;
pub use super::setting::{Apply, Setting};
use super::setting::{COMPAT, KEEP, MAX_PROCS, PICK, POLL, PROCESS, ROOTS, SERVE, row, set, warn};
use super::values::{
    boolean, check, cores, disk_usage, duration, factor, list, listen, log_filter, non_empty,
    number, optional_path, path, paths, positive, size, url_path,
};
use super::{
    KindSet, MAX_JOURNAL_BYTES, MAX_SAMPLER_THREADS, MIN_HOUSEKEEPING_INTERVAL, MIN_JOURNAL_BYTES,
    Profile, Storage, limits,
};

/// The setting of this name (with underscores).
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Every setting. Within one layer they are applied in this order: of two rows that say the same
/// thing in two ways, the later one wins.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| [OWN, runtimes::ROWS].concat());

/// All but those about container runtimes.
const OWN: &[Setting] = &[
    row("port", COMPAT, "PORT", "8080", "TCP port", |c, v| {
        c.server.port = Some(number(v, "a port: a number from 0 to 65535")?);
        c.server.listen.clear();
        Ok(())
    }),
    row(
        "listen_ip",
        COMPAT,
        "ADDR",
        "127.0.0.1",
        "Address to listen on",
        |c, v| {
            let want = "an IP address, such as 127.0.0.1 or 0.0.0.0";
            c.server.listen_ip = if v.is_empty() {
                None
            } else {
                Some(number::<IpAddr>(v, want)?)
            };
            c.server.listen.clear();
            Ok(())
        },
    ),
    row(
        "listen",
        SERVE,
        "ADDR:PORT",
        "127.0.0.1:8080",
        "Address to listen on, or unix:/path; may be given more than once",
        |c, v| {
            let addresses = list(v)
                .iter()
                .map(|item| listen(item))
                .collect::<Result<Vec<_>, _>>()?;
            if addresses.is_empty() {
                return Err("an address to listen on".to_owned());
            }
            c.server.listen = addresses;
            Ok(())
        },
    ),
    row(
        "prometheus_endpoint",
        SERVE,
        "PATH",
        "/metrics",
        "Path of the metrics for Prometheus",
        |c, v| {
            set(
                &mut c.server.prometheus_endpoint,
                url_path(v).and_then(non_empty),
            )
        },
    ),
    row(
        "url_base_prefix",
        SERVE,
        "PATH",
        "none",
        "Put before every path, behind a proxy",
        |c, v| set(&mut c.server.url_base_prefix, url_path(v)),
    ),
    row(
        "housekeeping_interval",
        POLL,
        "DURATION",
        "1s",
        "Time between two polls of a container",
        |c, v| {
            let want = format!("a duration of at least {MIN_HOUSEKEEPING_INTERVAL:?}");
            set(
                &mut c.housekeeping.interval,
                duration(v).and_then(|d| check(d, d >= MIN_HOUSEKEEPING_INTERVAL, &want)),
            )
        },
    ),
    row(
        "max_housekeeping_interval",
        POLL,
        "DURATION",
        "60s",
        "The same for an idle container, at most",
        |c, v| set(&mut c.housekeeping.max_interval, positive(v)),
    ),
    row(
        "allow_dynamic_housekeeping",
        POLL,
        "",
        "true",
        "Poll idle containers less often",
        |c, v| set(&mut c.housekeeping.dynamic, boolean(v)),
    ),
    row(
        "full_read_interval",
        POLL,
        "DURATION",
        "30s",
        "The longest that what stands still of a container is not read anew, unless somebody asks; 0s: always all",
        |c, v| set(&mut c.housekeeping.full_interval, duration(v)),
    ),
    row(
        "global_housekeeping_interval",
        POLL,
        "DURATION",
        "1m",
        "Time between two full listings of the cgroups",
        |c, v| set(&mut c.housekeeping.global_interval, positive(v)),
    ),
    row(
        "update_machine_info_interval",
        POLL,
        "DURATION",
        "5m",
        "Time between two readings of the machine's facts",
        |c, v| set(&mut c.machine.update_interval, positive(v)),
    ),
    row(
        "initial_splay_factor",
        POLL,
        "FACTOR",
        "1.0",
        "Stretches the first wait by up to this much of the interval",
        |c, v| set(&mut c.housekeeping.initial_splay_factor, factor(v)),
    ),
    row(
        "jitter_factor",
        POLL,
        "FACTOR",
        "1.0",
        "Stretches later waits by up to this much of the interval",
        |c, v| set(&mut c.housekeeping.jitter_factor, factor(v)),
    ),
    row(
        "sampler_threads",
        POLL,
        "N",
        "2",
        "Threads that read cgroup files",
        |c, v| {
            let want = format!("a number of threads from 1 to {MAX_SAMPLER_THREADS}");
            let threads: usize = number(v, &want)?;
            set(
                &mut c.housekeeping.sampler_threads,
                check(threads, (1..=MAX_SAMPLER_THREADS).contains(&threads), &want),
            )
        },
    ),
    row(
        "cpu_budget",
        POLL,
        "CORES",
        "0",
        "CPU time to stay within, as 20m or 0.02: poll less often rather than use more; 0: any",
        |c, v| {
            let most = cores(v)?;
            c.housekeeping.cpu_budget = Some(most).filter(|&most| most > 0.0);
            Ok(())
        },
    ),
    row(
        "max_open_files",
        POLL,
        "N",
        "16384",
        "Cgroup files kept open between polls, at most",
        |c, v| {
            set(
                &mut c.housekeeping.max_open_files,
                number(v, "a number of files"),
            )
        },
    ),
    row(
        "storage_duration",
        KEEP,
        "DURATION",
        "2m",
        "How long samples are kept",
        |c, v| set(&mut c.storage.duration, positive(v)),
    ),
    row(
        "event_storage_age_limit",
        KEEP,
        "LIMITS",
        "default=24h",
        "How long events are kept, by type: default=24h,oom=48h",
        |c, v| {
            let (limits, warnings) = limits::age_limits(Storage::default().event_age, v)?;
            c.storage.event_age = limits;
            warn(c, "event_storage_age_limit", warnings)
        },
    ),
    row(
        "event_storage_event_limit",
        KEEP,
        "LIMITS",
        "default=100000",
        "How many events are kept, by type; 0 none, -1 any number",
        |c, v| {
            let (limits, warnings) = limits::count_limits(Storage::default().event_count, v)?;
            c.storage.event_count = limits;
            warn(c, "event_storage_event_limit", warnings)
        },
    ),
    row(
        "exit_accounting",
        POLL,
        "",
        "false",
        "Follow the exits of processes, for the last moments of containers; takes CAP_NET_ADMIN",
        |c, v| set(&mut c.housekeeping.exit_accounting, boolean(v)),
    ),
    row(
        "ledger_retention",
        KEEP,
        "DURATION",
        "24h",
        "How long the ledger keeps a container after its end",
        |c, v| set(&mut c.storage.ledger_age, positive(v)),
    ),
    row(
        "state_dir",
        KEEP,
        "DIR",
        "none",
        "Directory for what is to outlive a restart: events; empty: nothing is written",
        |c, v| set(&mut c.state.directory, optional_path(v)),
    ),
    row(
        "journal_max_size",
        KEEP,
        "SIZE",
        "64MiB",
        "Size of the journal in the state directory; the oldest goes when it is full",
        |c, v| {
            let want = "a size from 4MiB to 16GiB";
            let fits = |bytes: &u64| (MIN_JOURNAL_BYTES..=MAX_JOURNAL_BYTES).contains(bytes);
            set(
                &mut c.state.journal_max_bytes,
                size(v).and_then(|bytes| check(bytes, fits(&bytes), want)),
            )
        },
    ),
    row(
        "docker_only",
        PICK,
        "",
        "false",
        "Only the root and what a container runtime made",
        |c, v| set(&mut c.containers.docker_only, boolean(v)),
    ),
    row(
        "raw_cgroup_prefix_whitelist",
        PICK,
        "LIST",
        "all",
        "Other cgroups only if their name starts so",
        |c, v| set(&mut c.containers.raw_cgroup_prefixes, Ok(list(v))),
    ),
    row(
        "disable_root_cgroup_stats",
        PICK,
        "",
        "false",
        "Do not poll the root container",
        |c, v| set(&mut c.housekeeping.disable_root_cgroup_stats, boolean(v)),
    ),
    row(
        "disable_metrics",
        PICK,
        "KINDS",
        "advtcp,cpu_topology,…",
        "Metric kinds to switch off instead of the default ones; empty: none",
        |c, v| {
            c.metrics.enable = KindSet::EMPTY;
            set(&mut c.metrics.disable, KindSet::parse(v))
        },
    ),
    row(
        "enable_metrics",
        PICK,
        "KINDS",
        "none",
        "Exactly these metric kinds, whatever is disabled",
        |c, v| set(&mut c.metrics.enable, KindSet::parse(v)),
    ),
    row(
        "enable_load_reader",
        PICK,
        "",
        "false",
        "Count what each task does, for load averages: some microseconds a task at every poll",
        |c, v| set(&mut c.metrics.load_reader, boolean(v)),
    ),
    row(
        "disk_usage",
        PICK,
        "HOW",
        "auto",
        "What containers have written: walk, in the background; quota, where it is counted; off; auto",
        |c, v| set(&mut c.metrics.disk_usage, disk_usage(v)),
    ),
    row(
        "metrics_profile",
        PICK,
        "NAME",
        "full",
        "full; dashboards: what the usual ones ask for; lean: 25 series of a container",
        |c, v| {
            let found = Profile::ALL.into_iter().find(|profile| profile.name() == v);
            let want = "a profile: full, dashboards or lean".to_owned();
            set(&mut c.metrics.page.profile, found.ok_or(want))
        },
    ),
    row(
        "max_series",
        PICK,
        "N",
        "0",
        "The most series of one scrape: the deepest containers are left out; 0: any number",
        |c, v| {
            let most: u64 = number(v, "a number of series")?;
            c.metrics.page.max_series = Some(most).filter(|&most| most > 0);
            Ok(())
        },
    ),
    row(
        "scrape_max_age",
        PICK,
        "DURATION",
        "1s",
        "Figures older than this are read anew for a scrape",
        |c, v| set(&mut c.metrics.page.max_age, duration(v)),
    ),
    row(
        "metrics_timestamps",
        PICK,
        "",
        "false",
        "Give figures the time at which they were read; what has gone then lingers",
        |c, v| set(&mut c.metrics.page.timestamps, boolean(v)),
    ),
    row(
        "openmetrics_created",
        PICK,
        "",
        "false",
        "Give counters the time since which they count, in OpenMetrics: a series for each",
        |c, v| set(&mut c.metrics.page.created, boolean(v)),
    ),
    row(
        "network_per_container",
        PICK,
        "",
        "false",
        "Show a network under each container in it, the host's included",
        |c, v| set(&mut c.metrics.page.network_per_container, boolean(v)),
    ),
    row(
        "ended_containers_for",
        PICK,
        "DURATION",
        "15m",
        "How long containers are shown that have ended: exit code, restarts; 0s: not at all",
        |c, v| set(&mut c.metrics.page.ended_for, duration(v)),
    ),
    row(
        "store_container_labels",
        PICK,
        "",
        "true",
        "Every container label becomes a metric label",
        |c, v| set(&mut c.metrics.page.labels.all, boolean(v)),
    ),
    row(
        "whitelisted_container_labels",
        PICK,
        "LIST",
        "none",
        "The container labels that do when not every one does",
        |c, v| set(&mut c.metrics.page.labels.allowed, Ok(list(v))),
    ),
    row(
        "env_metadata_whitelist",
        PICK,
        "LIST",
        "none",
        "Environment variables that start so become labels",
        |c, v| set(&mut c.metrics.env_prefix_whitelist, Ok(list(v))),
    ),
    row(
        "cgroup_root",
        ROOTS,
        "DIR",
        "from mountinfo",
        "Where the cgroup hierarchies are mounted",
        |c, v| set(&mut c.roots.cgroup_root, optional_path(v)),
    ),
    row("procfs", ROOTS, "DIR", "/proc", "procfs", |c, v| {
        set(&mut c.roots.procfs, path(v))
    }),
    row("sysfs", ROOTS, "DIR", "/sys", "sysfs", |c, v| {
        set(&mut c.roots.sysfs, path(v))
    }),
    row(
        "rootfs",
        ROOTS,
        "DIR",
        "/",
        "The root filesystem of the machine",
        |c, v| set(&mut c.roots.rootfs, path(v)),
    ),
    row(
        "kmsg",
        ROOTS,
        "FILE",
        "/dev/kmsg",
        "The kernel log, for OOM kills; empty: do not read it",
        |c, v| set(&mut c.roots.kmsg, optional_path(v)),
    ),
    row(
        "machine_id_file",
        ROOTS,
        "LIST",
        "/etc/machine-id,…",
        "Files with the machine id: the first that can be read",
        |c, v| set(&mut c.machine.machine_id_files, paths(v)),
    ),
    row(
        "boot_id_file",
        ROOTS,
        "LIST",
        "/proc/sys/kernel/random/boot_id",
        "Files with the boot id",
        |c, v| set(&mut c.machine.boot_id_files, paths(v)),
    ),
    row("v", COMPAT, "N", "2", "klog verbosity", |c, v| {
        c.process.log = match number::<i32>(v, "a klog verbosity: a number")? {
            ..=3 => "info",
            4..=5 => "debug",
            6.. => "trace",
        }
        .to_owned();
        Ok(())
    }),
    row(
        "log_level",
        PROCESS,
        "LEVEL",
        "info",
        "off, error, warn, info, debug, trace, or target=level,…",
        |c, v| set(&mut c.process.log, log_filter(v)),
    ),
    row(
        "max_procs",
        PROCESS,
        "N",
        "0",
        "Threads that answer requests; 0: by the number of CPUs",
        |c, v| {
            let threads: i64 = number(v, "a number of threads")?;
            c.process.max_procs = usize::try_from(threads)
                .ok()
                .filter(|threads| *threads > 0)
                .map(|threads| threads.min(MAX_PROCS));
            Ok(())
        },
    ),
    row(
        "shutdown_timeout",
        PROCESS,
        "DURATION",
        "10s",
        "Time that a stop may take",
        |c, v| set(&mut c.process.shutdown_timeout, positive(v)),
    ),
];
