//! The thread that follows the exits of all processes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use thiserror::Error;

use super::pace::Pace;
use super::table::{ExitBook, Look, Notice, Place, Table};
use super::wire::{self, Answer};
use crate::cgroup::hierarchy::Controller;
use crate::cgroup::{ContainerName, Hierarchies, HierarchyId, members};
use crate::self_metrics::SelfMetrics;
use crate::source::{FileChange, SourceEvent};
use crate::units::NS_PER_US;

/// Room for messages in the kernel: a burst of some ten thousand exits.
const RECEIVE_BYTES: usize = 16 << 20;

/// The longest datagram: a taskstats message has below a kilobyte, several never come in one.
const BUFFER_BYTES: usize = 64 * 1024;

/// Datagrams of one socket that are read before the other is looked at.
const READS_AT_ONCE: usize = 256;

/// Containers whose `cgroup.procs` were written to, and that wait to be looked at.
const MAX_MOVES: usize = 1_024;

/// Over this time the thread's own CPU time is measured.
const PACE_WINDOW: Duration = Duration::from_secs(1);

/// The priority of the thread: a process can be looked at for as long as it is there.
const NICENESS: i32 = -20;

/// Called with what is to be done at once.
pub type OnNotice = Box<dyn FnMut(&Place, Notice) + Send>;

/// Why the exits of processes cannot be followed.
#[derive(Debug, Error)]
pub enum ExitError {
    /// Not root enough.
    #[error(
        "no permission ({operation}): give CAP_NET_ADMIN, in the host's own network, pid and user namespaces (in a pod: hostNetwork, hostPID)"
    )]
    Denied {
        /// What was tried.
        operation: &'static str,
    },
    /// The kernel has no such thing.
    #[error("this kernel does not tell ({operation}: {source}): it is built without {option}")]
    Unsupported {
        /// What was tried.
        operation: &'static str,
        /// The option of its configuration.
        option: &'static str,
        /// What it answered.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl ExitError {
    fn new(operation: &'static str, option: &'static str, source: io::Error) -> Self {
        match source.raw_os_error().map(Errno::from_raw) {
            // EINVAL: taskstats says so to anyone outside of the initial namespaces.
            Some(Errno::EPERM | Errno::EACCES | Errno::EINVAL) => Self::Denied { operation },
            Some(Errno::ENOENT | Errno::EPROTONOSUPPORT | Errno::ECONNREFUSED) => {
                Self::Unsupported {
                    operation,
                    option,
                    source,
                }
            }
            _ => Self::Io { operation, source },
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub struct ExitReader {
    stop: Arc<EventFd>,
    thread: JoinHandle<()>,
}

/// By which the thread is told of containers whose members were written.
#[derive(Debug, Clone)]
pub struct Moves {
    sender: SyncSender<ContainerName>,
    wake: Arc<EventFd>,
}

impl Moves {
    /// Takes note if somebody moved a process into a container. Never waits; what is too much is left
    /// out.
    pub fn notice(&self, event: &SourceEvent) {
        let SourceEvent::File(name, FileChange::Members) = event else {
            return;
        };
        match self.sender.try_send(name.clone()) {
            Ok(()) => {
                let _ = self.wake.write(1);
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

impl ExitReader {
    /// Asks the kernel for the exits of all processes, and follows them into `book`.
    ///
    /// # Errors
    /// If the kernel does not tell, or not us.
    pub fn spawn(
        procfs: PathBuf,
        hierarchies: Arc<Hierarchies>,
        book: Arc<ExitBook>,
        metrics: Arc<SelfMetrics>,
        on_notice: OnNotice,
    ) -> Result<(Self, Moves), ExitError> {
        let connector = connect_processes()?;
        let (stats, family) = connect_taskstats()?;
        let fail = |source| ExitError::Io {
            operation: "start the thread",
            source,
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = || EventFd::from_value_and_flags(0, flags).map(Arc::new);
        let stop = eventfd().map_err(|errno| fail(errno.into()))?;
        let wake = eventfd().map_err(|errno| fail(errno.into()))?;
        let (sender, moves) = sync_channel(MAX_MOVES);
        let task = Task {
            connector,
            stats,
            family,
            moves,
            wake: Arc::clone(&wake),
            table: Table::default(),
            host: Host::new(procfs, hierarchies),
            book,
            metrics,
            on_notice,
            buffer: vec![0; BUFFER_BYTES],
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("cgauge-exits".into())
            .spawn(move || task.run(&stopped))
            .map_err(fail)?;
        Ok((Self { stop, thread }, Moves { sender, wake }))
    }

    /// Stops the thread and waits for it.
    pub fn stop(self) {
        let _ = self.stop.write(1);
        if self.thread.join().is_err() {
            tracing::error!("the reader of exits had panicked");
        }
    }
}

fn socket(protocol: Protocol, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::DGRAM;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(protocol))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    // Who may follow exits may also have room for them.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES);
    Ok(socket)
}

fn connect_processes() -> Result<OwnedFd, ExitError> {
    let operation = "listen to the process connector";
    let fail = |error: io::Error| ExitError::new(operation, "CONFIG_PROC_EVENTS", error);
    let socket = socket(netlink::CONNECTOR, wire::CONNECTOR_GROUP).map_err(fail)?;
    send(&socket, &wire::listen()).map_err(fail)?;
    Ok(socket)
}

fn connect_taskstats() -> Result<(OwnedFd, u16), ExitError> {
    let operation = "register for taskstats";
    let fail = |error: io::Error| ExitError::new(operation, "CONFIG_TASKSTATS", error);
    let socket = socket(netlink::GENERIC, 0).map_err(fail)?;
    let mut family = None;
    for answer in ask(&socket, &wire::ask_family()).map_err(fail)? {
        match answer {
            Answer::Family(number) => family = Some(number),
            Answer::Ack(0) => {}
            Answer::Ack(errno) => return Err(fail(io::Error::from_raw_os_error(errno))),
        }
    }
    let family = family.ok_or_else(|| fail(Errno::ENOENT.into()))?;
    let cpus = fs::read_to_string("/sys/devices/system/cpu/possible");
    let cpus = cpus.unwrap_or_else(|_| "0".to_owned());
    for answer in ask(&socket, &wire::register(family, cpus.trim())).map_err(fail)? {
        if let Answer::Ack(errno) = answer
            && errno != 0
        {
            return Err(fail(io::Error::from_raw_os_error(errno)));
        }
    }
    Ok((socket, family))
}

fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, message, SendFlags::empty())?;
    Ok(())
}

/// Sends a request and reads up to its acknowledgement. The kernel answers before `send` returns.
fn ask(socket: &OwnedFd, message: &[u8]) -> io::Result<Vec<Answer>> {
    send(socket, message)?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    while !found.iter().any(|answer| matches!(answer, Answer::Ack(_))) {
        let (read, _) = rustix::net::recv(socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        found.extend(wire::answers(buffer.get(..read).unwrap_or_default()));
    }
    Ok(found)
}

/// CPU time of this thread so far.
fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

struct Task {
    connector: OwnedFd,
    stats: OwnedFd,
    family: u16,
    moves: Receiver<ContainerName>,
    wake: Arc<EventFd>,
    table: Table,
    host: Host,
    book: Arc<ExitBook>,
    metrics: Arc<SelfMetrics>,
    on_notice: OnNotice,
    buffer: Vec<u8>,
}

impl Task {
    fn run(mut self, stop: &EventFd) {
        let _ = rustix::process::nice(NICENESS);
        let mut pace = Pace::default();
        let (mut since, mut used) = (Instant::now(), thread_cpu());
        loop {
            // What is held comes with the next thing that is not, or when its time is over.
            let hold = pace.hold();
            if !hold.is_zero() {
                let ends = match pace.holds_ends() {
                    true => PollFlags::empty(),
                    false => PollFlags::POLLIN,
                };
                let mut fds = [
                    PollFd::new(stop.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.stats.as_fd(), ends),
                    PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
                ];
                let timeout = PollTimeout::try_from(hold).unwrap_or(PollTimeout::ZERO);
                let _ = poll(&mut fds, timeout);
            }
            let mut fds = [
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.connector.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stats.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) if fds[0].any() == Some(true) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    tracing::error!(%errno, "exits of processes are no longer followed");
                    self.book.incomplete();
                    return;
                }
            }
            if let Err(error) = self.read_all() {
                tracing::error!(%error, "exits of processes are no longer followed");
                self.book.incomplete();
                return;
            }
            let window = since.elapsed();
            if window >= PACE_WINDOW {
                let total = thread_cpu();
                pace.observe(total.saturating_sub(used), window);
                (since, used) = (Instant::now(), total);
                let held = u64::try_from(pace.hold().as_nanos()).unwrap_or(u64::MAX);
                self.metrics.exit_hold_ns.set(held);
            }
        }
    }

    fn read_all(&mut self) -> io::Result<()> {
        // The ends first, then what happened before them: a process is made and begins its program
        // before it ends, so that all of that is in the other queue by now.
        let mut ends = Vec::new();
        for _ in 0..READS_AT_ONCE {
            let Some(read) = self.receive(true)? else {
                break;
            };
            let bytes = self.buffer.get(..read).unwrap_or_default();
            ends.extend(wire::thread_ends(bytes, self.family));
        }
        while let Some(read) = self.receive(false)? {
            let bytes = self.buffer.get(..read).unwrap_or_default();
            for event in wire::process_events(bytes) {
                self.table.event(event, &self.book, &mut self.host);
            }
        }
        let _ = self.wake.read();
        while let Ok(name) = self.moves.try_recv() {
            for pid in self.host.members(&name) {
                self.table.moved(pid, &self.book, &mut self.host);
            }
        }
        let unified = self.host.is_unified();
        for end in ends {
            self.metrics.exit_records.inc();
            let notice = self
                .table
                .thread_ended(&end, &self.book, &mut self.host, unified);
            if let Some((place, notice)) = notice {
                (self.on_notice)(&place, notice);
            }
        }
        self.metrics.exits_unplaced.set(self.table.unplaced.0);
        self.metrics.exits_unplaced_ns.set(self.table.unplaced.1);
        Ok(())
    }

    fn receive(&mut self, stats: bool) -> io::Result<Option<usize>> {
        let socket = if stats { &self.stats } else { &self.connector };
        loop {
            let buffer = self.buffer.as_mut_slice();
            match rustix::net::recv(socket, buffer, RecvFlags::empty()) {
                Ok((read, _)) => return Ok(Some(read)),
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                // The kernel had more to tell than there was room for.
                Err(rustix::io::Errno::NOBUFS) => {
                    self.metrics.exit_gaps.inc();
                    self.book.incomplete();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The kernel, where it can be asked about processes.
struct Host {
    procfs: PathBuf,
    hierarchies: Arc<Hierarchies>,
    /// The hierarchy that counts CPU time.
    counting: Option<HierarchyId>,
    /// Its controller, on v1.
    controller: Option<&'static str>,
}

impl Host {
    fn new(procfs: PathBuf, hierarchies: Arc<Hierarchies>) -> Self {
        let v1 = hierarchies.of(Controller::Cpuacct);
        Self {
            counting: v1.or(hierarchies.unified()),
            controller: v1.map(|_| Controller::Cpuacct.v1_name()),
            procfs,
            hierarchies,
        }
    }

    fn is_unified(&self) -> bool {
        self.controller.is_none()
    }

    fn directory(&self, name: &ContainerName) -> Option<PathBuf> {
        Some(name.below(&self.hierarchies.get(self.counting?).root))
    }

    fn members(&self, name: &ContainerName) -> Vec<u32> {
        let procs = self.directory(name).map(|path| path.join("cgroup.procs"));
        let text = procs.and_then(|path| fs::read(path).ok());
        members::pids(&text.unwrap_or_default()).collect()
    }
}

impl Look for Host {
    fn place(&mut self, pid: u32) -> Option<Place> {
        let text = fs::read(self.procfs.join(format!("{pid}/cgroup"))).ok()?;
        let path = members::cgroup_path(&text, self.controller)?;
        // Outside of what our cgroup namespace shows.
        if path.starts_with(b"/..") {
            return None;
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let name = self.hierarchies.container_of(Controller::Cpuacct, path);
        // Most processes of most hosts are there, and nothing is kept of it.
        if name.is_root() {
            return Some(Place { name, inode: None });
        }
        let inode = fs::metadata(self.directory(&name)?).map(|found| found.ino());
        Some(Place {
            inode: inode.ok(),
            name,
        })
    }

    fn is_ending(&mut self, pid: u32) -> bool {
        let Ok(text) = fs::read(self.procfs.join(format!("{pid}/stat"))) else {
            return true;
        };
        // Behind the name, which is in parentheses and may have any: the state, then five numbers, then
        // flags.
        let behind = text.iter().rposition(|&byte| byte == b')').unwrap_or(0);
        let rest = String::from_utf8_lossy(text.get(behind + 1..).unwrap_or_default());
        let flags = rest.split_ascii_whitespace().nth(6);
        let flags = flags.and_then(|flags| flags.parse::<u32>().ok());
        flags.is_none_or(|flags| flags & PF_EXITING != 0)
    }

    fn cgroup_ns(&mut self, place: &Place) -> Option<u64> {
        let inode = fs::metadata(self.directory(&place.name)?).ok()?.ino();
        (Some(inode) == place.inode).then(|| self.counter_ns(&place.name))?
    }

    fn cpu_ns(&mut self, place: &Place, pid: u32) -> Option<(u64, u64)> {
        // Asked for, the process's clock is brought up to date, and with it its cgroups. What both have
        // used until the next look at the clock is next to nothing, or it is tried again.
        let mut process = self.process_ns(pid)?;
        let mut cgroup = self.counter_ns(&place.name)?;
        for _ in 0..MAX_READS {
            let again = self.process_ns(pid)?;
            if again.saturating_sub(process) < SAME_INSTANT_NS {
                return Some((cgroup, process));
            }
            process = again;
            cgroup = self.counter_ns(&place.name)?;
        }
        // The clock after the counter: what was used in between is taken to be from elsewhere, which is
        // better than what was used elsewhere being taken to be from here.
        Some((cgroup, self.process_ns(pid)?))
    }

    fn process_ns(&mut self, pid: u32) -> Option<u64> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?);
        let clock = clock_getcpuclockid(pid).ok()?;
        u64::try_from(Duration::from(clock_gettime(clock).ok()?).as_nanos()).ok()
    }
}

/// The flag of a process that is on its way out (kernel: `include/linux/sched.h`).
const PF_EXITING: u32 = 4;

/// How often the figures of a process and of its cgroup are read again before it is given up to read
/// both at one instant.
const MAX_READS: usize = 5;

/// What a process may use between the two.
const SAME_INSTANT_NS: u64 = 50_000;

impl Host {
    fn counter_ns(&self, name: &ContainerName) -> Option<u64> {
        let directory = self.directory(name)?;
        if !self.is_unified() {
            let text = fs::read_to_string(directory.join("cpuacct.usage")).ok()?;
            return text.trim().parse().ok();
        }
        let text = fs::read_to_string(directory.join("cpu.stat")).ok()?;
        let mut lines = text.lines();
        let usage = lines.find_map(|line| line.strip_prefix("usage_usec "))?;
        usage.trim().parse::<u64>().ok()?.checked_mul(NS_PER_US)
    }
}
