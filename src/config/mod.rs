//! Configuration: one [`Config`], filled from four layers, checked once, then never changed.
//!
//! Command line over `CGAUGE_*` variables over the TOML file over defaults. Every setting has one
//! name in all of them (`--housekeeping-interval`, `CGAUGE_HOUSEKEEPING_INTERVAL`,
//! `housekeeping_interval`) and one row in [`settings`].
//!
//! cAdvisor's command lines are taken as they are written today; a flag that changes nothing here
//! lands in [`Config::ignored`] with the reason.

pub mod compat;
pub mod error;
pub mod file;
pub mod flags;
pub mod go_flags;
pub mod kinds;
pub mod limits;
pub mod load;
mod runtimes;
mod setting;
pub mod settings;
pub mod suggest;
pub mod values;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use error::ConfigError;
pub use flags::{EventsArgs, WhyArgs};
pub use kinds::{KindSet, MetricKind};
pub use limits::PerEventType;
pub use load::{Invocation, parse};

pub use crate::node::disk_usage::Mode as DiskUsage;

pub use crate::serve::metrics::{Options as PageOptions, Profile};

use crate::ledger::LedgerLimits;
use crate::runtime::RuntimeSettings;
use crate::units::Limit;

/// Port that is listened on unless told otherwise.
pub const DEFAULT_PORT: u16 = 8080;
/// The shortest housekeeping interval that is accepted: below it, polling is all a node would do.
pub const MIN_HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(10);
/// The least that the journal may be given.
pub const MIN_JOURNAL_BYTES: u64 = crate::journal::MIN_MAX_BYTES;
/// The most: all of it is read at start.
pub const MAX_JOURNAL_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// The most sampler threads that are accepted.
pub const MAX_SAMPLER_THREADS: usize = 64;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Where the kernel's trees are.
    pub roots: Roots,
    /// Who may ask, and where.
    pub server: Server,
    /// When containers are polled.
    pub housekeeping: Housekeeping,
    /// How long samples and events are kept.
    pub storage: Storage,
    /// What is kept on disk.
    pub state: State,
    /// Facts about the machine.
    pub machine: Machine,
    /// Which cgroups become containers.
    pub containers: Containers,
    /// Which container runtimes are asked for names.
    pub runtimes: RuntimeSettings,
    /// Which metrics are kept, and with which labels.
    pub metrics: Metrics,
    /// The process itself.
    pub process: Process,
    /// Flags that were given and change nothing, for the start-up log.
    pub ignored: Vec<IgnoredFlag>,
    /// What looked odd but was no error, for the start-up log.
    pub warnings: Vec<String>,
}

/// A flag of cAdvisor that is accepted and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredFlag {
    /// The flag as cAdvisor spells it, without dashes.
    pub name: &'static str,
    /// Why it has no effect, as a clause.
    pub reason: &'static str,
}

impl fmt::Display for IgnoredFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{} has no effect: {}", self.name, self.reason)
    }
}

/// Where the kernel's trees are, so that a pod's mounts or a test's made-up tree can stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Mount point of the cgroup hierarchies; `None`: ask `mountinfo`.
    pub cgroup_root: Option<PathBuf>,
    /// procfs.
    pub procfs: PathBuf,
    /// sysfs.
    pub sysfs: PathBuf,
    /// The root filesystem of the machine.
    pub rootfs: PathBuf,
    /// The kernel log device; `None`: do not read it.
    pub kmsg: Option<PathBuf>,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            cgroup_root: None,
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            kmsg: Some("/dev/kmsg".into()),
        }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Who may ask, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Addresses from `--listen`; where there are none, `listen_ip` and `port` make one.
    listen: Vec<Listen>,
    /// `--listen_ip`: only this machine unless told otherwise.
    listen_ip: Option<IpAddr>,
    /// `--port`.
    port: Option<u16>,
    /// Path of the Prometheus metrics.
    pub prometheus_endpoint: String,
    /// Put before every path; empty or `/like/this`.
    pub url_base_prefix: String,
}

impl Server {
    /// The addresses to listen on: at least one.
    pub fn addresses(&self) -> Vec<Listen> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let ip = self.listen_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        vec![Listen::Tcp(SocketAddr::new(
            ip,
            self.port.unwrap_or(DEFAULT_PORT),
        ))]
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_ip: None,
            port: None,
            prometheus_endpoint: "/metrics".to_owned(),
            url_base_prefix: String::new(),
        }
    }
}

/// When containers are polled.
#[derive(Debug, Clone, PartialEq)]
pub struct Housekeeping {
    /// Time between two polls of a busy container.
    pub interval: Duration,
    /// Time between two polls of an idle container, at most.
    pub max_interval: Duration,
    /// Whether idle containers are polled less often.
    pub dynamic: bool,
    /// How long the CPU time, memory and tasks of a container that does nothing stand for everything.
    pub full_interval: Duration,
    /// Time between two full listings of the cgroups.
    pub global_interval: Duration,
    /// The first wait is stretched by up to this fraction of the interval.
    pub initial_splay_factor: f64,
    /// Later waits are stretched by up to this fraction of the interval.
    pub jitter_factor: f64,
    /// Threads that read cgroup files.
    pub sampler_threads: usize,
    /// Cgroup files that may be kept open between two polls.
    pub max_open_files: usize,
    /// CPU seconds per second to stay within.
    pub cpu_budget: Option<f64>,
    /// Whether the root container is left unpolled.
    pub disable_root_cgroup_stats: bool,
    /// Whether the exits of processes are followed.
    pub exit_accounting: bool,
}

impl Default for Housekeeping {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            dynamic: true,
            full_interval: Duration::from_secs(30),
            global_interval: Duration::from_secs(60),
            initial_splay_factor: 1.0,
            jitter_factor: 1.0,
            sampler_threads: 2,
            cpu_budget: None,
            max_open_files: 16_384,
            disable_root_cgroup_stats: false,
            exit_accounting: false,
        }
    }
}

/// How long samples and events are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Age of the oldest sample kept of a container.
    pub duration: Duration,
    /// Age of the oldest event kept, by type; `None`: any age.
    pub event_age: PerEventType<Option<Duration>>,
    /// Events kept, by type.
    pub event_count: PerEventType<Limit>,
    /// How long the ledger keeps a container after its end.
    pub ledger_age: Duration,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(120),
            event_age: PerEventType::all(Some(Duration::from_secs(24 * 3600))),
            event_count: PerEventType::all(Limit::Max(100_000)),
            ledger_age: LedgerLimits::default().age,
        }
    }
}

/// What is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The state directory; `None`: nothing is written.
    pub directory: Option<PathBuf>,
    /// Size of the journal, in bytes, at most.
    pub journal_max_bytes: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            directory: None,
            journal_max_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Facts about the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Time between two readings of the machine's facts.
    pub update_interval: Duration,
    /// Files that may hold the machine id: the first that can be read counts.
    pub machine_id_files: Vec<PathBuf>,
    /// Files that may hold the boot id: the first that can be read counts.
    pub boot_id_files: Vec<PathBuf>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            update_interval: Duration::from_secs(300),
            machine_id_files: vec!["/etc/machine-id".into(), "/var/lib/dbus/machine-id".into()],
            boot_id_files: vec!["/proc/sys/kernel/random/boot_id".into()],
        }
    }
}

/// Which cgroups become containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Containers {
    /// Only the root and what a container runtime made.
    pub docker_only: bool,
    /// Other cgroups count only if their name starts with one of these; empty: no restriction,
    /// unless `docker_only` is set.
    pub raw_cgroup_prefixes: Vec<String>,
}

/// Which metrics are kept, and with which labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    enable: KindSet,
    disable: KindSet,
    /// Whether the state of each task is read, if the kind `cpuLoad` is on.
    pub load_reader: bool,
    /// What is done to know the disk usage of containers, if that is said.
    disk_usage: Option<DiskUsage>,
    /// Prefixes of environment variables that become labels; empty: none.
    pub env_prefix_whitelist: Vec<String>,
    /// What the page shows.
    pub page: PageOptions,
}

impl Metrics {
    /// The kinds that are switched on: exactly the enabled ones if any are named, otherwise all
    /// but the disabled ones.
    pub fn kinds(&self) -> KindSet {
        if self.enable.is_empty() {
            self.disable.complement()
        } else {
            self.enable
        }
    }

    /// What is done to know the disk usage of containers; nothing while the kind `disk` is off. Walks are
    /// for who asks for them: by the setting, or, if that says nothing, by naming `disk` among the
    /// kinds that are to be on. Else only what file systems count by themselves is asked for.
    pub fn disk_usage(&self) -> DiskUsage {
        let named = self.enable.contains(MetricKind::Disk);
        match self.disk_usage {
            _ if !self.kinds().contains(MetricKind::Disk) => DiskUsage::Off,
            Some(said) => said,
            None if named => DiskUsage::Walk,
            None => DiskUsage::Quota,
        }
    }

    /// What the page shows, with the kinds that are switched on.
    pub fn page(&self) -> PageOptions {
        PageOptions {
            kinds: self.kinds(),
            ..self.page.clone()
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enable: KindSet::EMPTY,
            disable: kinds::DISABLED_BY_DEFAULT,
            load_reader: false,
            disk_usage: None,
            env_prefix_whitelist: Vec::new(),
            page: PageOptions::default(),
        }
    }
}

/// The process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Threads that answer requests; `None`: one for each CPU, but few.
    pub max_procs: Option<usize>,
    /// Log directives: a level, or `target=level,…`.
    pub log: String,
    /// Time that a stop may take before the process ends anyway.
    pub shutdown_timeout: Duration,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            max_procs: None,
            log: "info".to_owned(),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Brings settings that depend on each other into agreement; called once, after all layers.
    fn settle(&mut self) {
        let said = self.metrics.disk_usage;
        if said.is_some_and(|said| said != self.metrics.disk_usage()) {
            self.warnings
                .push("--disk-usage has no effect while the metric kind disk is off".to_owned());
        }
        // cAdvisor takes `--housekeeping_interval=2m` beside its 60 s maximum: the base wins.
        self.housekeeping.max_interval = self
            .housekeeping
            .max_interval
            .max(self.housekeeping.interval);
        self.runtimes.env_prefixes = self.metrics.env_prefix_whitelist.clone();
        self.warnings.extend(self.runtimes.warnings());
        let server = &self.server;
        let ignored = if server.port.is_some() {
            "port"
        } else {
            "listen_ip"
        };
        if !server.listen.is_empty() && (server.port.is_some() || server.listen_ip.is_some()) {
            self.warnings
                .push(format!("--{ignored} has no effect beside --listen"));
        } else if server.port.is_some() && server.listen_ip.is_none() {
            self.warnings.push(
                "only this machine can connect; to listen on every address as cAdvisor does, add --listen_ip=0.0.0.0".to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests;
