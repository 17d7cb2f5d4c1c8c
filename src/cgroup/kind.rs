//! The kinds of metrics: what may be read and shown, switched on and off as one.

/// A kind of metrics that can be switched on or off as one.
///
/// The names are cAdvisor's, so that its command lines go on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MetricKind {
    /// CPU time and throttling.
    Cpu,
    /// CPU time split by CPU, where the kernel has it (cgroup v1).
    PerCpu,
    /// Run-queue statistics from `/proc/PID/schedstat`.
    Sched,
    /// Load average of the container.
    CpuLoad,
    /// Memory usage, `memory.stat` and limits.
    Memory,
    /// Memory usage split by NUMA node.
    MemoryNuma,
    /// Memory nodes and CPUs that the container may use.
    Cpuset,
    /// Huge pages.
    Hugetlb,
    /// Filesystem usage.
    Disk,
    /// Block device input and output.
    DiskIo,
    /// Network interfaces of the container's network namespace.
    Network,
    /// TCP connections by state.
    Tcp,
    /// Extended TCP statistics (`/proc/PID/net/netstat`).
    AdvTcp,
    /// UDP sockets.
    Udp,
    /// Processes, threads, file descriptors and sockets.
    Process,
    /// Hardware performance events.
    PerfEvent,
    /// Memory touched since the last reset.
    ReferencedMemory,
    /// Memory bandwidth and cache occupancy (`/sys/fs/resctrl`).
    Resctrl,
    /// OOM kills.
    OomEvent,
    /// Pressure stall information.
    Pressure,
    /// Sockets, cores and caches of the machine.
    CpuTopology,
    /// Metrics that the application in the container offers itself.
    App,
}

impl MetricKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::Cpu,
        Self::PerCpu,
        Self::Sched,
        Self::CpuLoad,
        Self::Memory,
        Self::MemoryNuma,
        Self::Cpuset,
        Self::Hugetlb,
        Self::Disk,
        Self::DiskIo,
        Self::Network,
        Self::Tcp,
        Self::AdvTcp,
        Self::Udp,
        Self::Process,
        Self::PerfEvent,
        Self::ReferencedMemory,
        Self::Resctrl,
        Self::OomEvent,
        Self::Pressure,
        Self::CpuTopology,
        Self::App,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::PerCpu => "percpu",
            Self::Sched => "sched",
            Self::CpuLoad => "cpuLoad",
            Self::Memory => "memory",
            Self::MemoryNuma => "memory_numa",
            Self::Cpuset => "cpuset",
            Self::Hugetlb => "hugetlb",
            Self::Disk => "disk",
            Self::DiskIo => "diskIO",
            Self::Network => "network",
            Self::Tcp => "tcp",
            Self::AdvTcp => "advtcp",
            Self::Udp => "udp",
            Self::Process => "process",
            Self::PerfEvent => "perf_event",
            Self::ReferencedMemory => "referenced_memory",
            Self::Resctrl => "resctrl",
            Self::OomEvent => "oom_event",
            Self::Pressure => "pressure",
            Self::CpuTopology => "cpu_topology",
            Self::App => "app",
        }
    }
}

/// A set of [`MetricKind`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u32);

impl KindSet {
    /// No kind.
    pub const EMPTY: Self = Self(0);

    /// The set of `kinds`.
    pub const fn of(kinds: &[MetricKind]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u32;
            i += 1;
        }
        Self(bits)
    }

    /// Every kind but these.
    pub const fn complement(self) -> Self {
        Self(Self::of(&MetricKind::ALL).0 & !self.0)
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: MetricKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in the set, in the order of [`MetricKind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = MetricKind> {
        MetricKind::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }

    /// Adds `kind`.
    pub const fn insert(&mut self, kind: MetricKind) {
        self.0 |= 1 << kind as u32;
    }

    /// Takes `kind` out.
    pub const fn remove(&mut self, kind: MetricKind) {
        self.0 &= !(1 << kind as u32);
    }

    /// What is on unless told otherwise.
    pub const DEFAULT: Self = DISABLED_BY_DEFAULT.complement();
}

/// What is off unless asked for: as in cAdvisor, whatever costs much or is seldom wanted.
pub const DISABLED_BY_DEFAULT: KindSet = KindSet::of(&[
    MetricKind::AdvTcp,
    MetricKind::CpuTopology,
    MetricKind::Cpuset,
    MetricKind::Hugetlb,
    MetricKind::MemoryNuma,
    MetricKind::Process,
    MetricKind::ReferencedMemory,
    MetricKind::Resctrl,
    MetricKind::Sched,
    MetricKind::Tcp,
    MetricKind::Udp,
]);
