//! Network figures, once per network namespace.
//!
//! A cgroup has no network of its own: its processes are in a namespace, and the namespace has
//! interfaces. Any live member leads to it (`/proc/PID/ns/net`), and `/proc/PID/net/dev` shows it. The
//! file is opened for each read and closed again: an open one would keep a dead container's
//! namespace, and the devices in it, alive. Each read makes sure of the namespace first: process ids
//! are used again, and runtimes move a container's first process to its namespace after a moment.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use parking_lot::Mutex;

use super::error::{Failure, ReadError};
use super::file::{ReadBuffer, open_directory, open_in};
use super::format::{lines, number, words};
use super::kind::KindSet;
use super::sockets::{self, SocketStats};
use super::stats::{InterfaceStats, NetworkStats};

/// Figures of a namespace are shared by containers that ask within this time: one pass.
const SHARED_FOR: Duration = Duration::from_millis(300);

/// A namespace that nobody asked about for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// The most interfaces of one namespace; those after them are left out. A container may make as many
/// as it likes in a namespace of its own.
const MAX_INTERFACES: usize = 1_024;

/// Interface names that mean the loopback or the host's end of a container's cable.
const HIDDEN_PREFIXES: [&[u8]; 4] = [b"lo", b"veth", b"docker", b"nerdctl"];

/// The network namespaces that containers are in, shared by all samplers.
#[derive(Debug)]
pub struct NetworkNamespaces {
    procfs: PathBuf,
    /// The host's own namespace, and a process that is in it.
    host: Option<(u64, u32)>,
    seen: Mutex<Cache>,
    sockets: Mutex<HashMap<u64, (Instant, Arc<SocketStats>)>>,
}

/// The interfaces of a namespace, in the kernel's order.
pub type Interfaces = Vec<(Arc<str>, InterfaceStats)>;

#[derive(Debug, Default)]
struct Cache {
    namespaces: HashMap<u64, Seen>,
    tidied: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    /// When the read was begun.
    at: Instant,
    interfaces: Interfaces,
}

impl NetworkNamespaces {
    /// The namespaces of the processes in `procfs`. The host's is that of its process 1; where that
    /// may not be looked at, our own.
    pub fn new(procfs: &Path) -> Self {
        let member = |pid: u32| {
            let path = procfs.join(format!("{pid}/ns/net"));
            Some((std::fs::metadata(path).ok()?.ino(), pid))
        };
        Self {
            procfs: procfs.to_owned(),
            host: member(1).or_else(|| member(std::process::id())),
            seen: Mutex::default(),
            sockets: Mutex::default(),
        }
    }

    /// Where procfs is.
    pub fn procfs(&self) -> &Path {
        &self.procfs
    }

    /// The sockets of `namespace`, read through its member at `process` unless another container has
    /// just done so. Not those of the host's own namespace, unless `host_too`.
    pub fn sockets(
        &self,
        namespace: u64,
        process: &Path,
        host_too: bool,
        kinds: KindSet,
    ) -> Option<Arc<SocketStats>> {
        if self.is_host(namespace) && !host_too {
            return None;
        }
        let known = self.sockets.lock().get(&namespace).cloned();
        if let Some((at, stats)) = known
            && at.elapsed() < SHARED_FOR
        {
            return Some(stats);
        }
        let stats = Arc::new(sockets::read(process, kinds));
        let mut sockets = self.sockets.lock();
        sockets.retain(|_, (at, _)| at.elapsed() < FORGET_AFTER);
        sockets.insert(namespace, (Instant::now(), Arc::clone(&stats)));
        Some(stats)
    }

    /// A process in the host's own namespace.
    pub fn host_member(&self) -> Option<u32> {
        self.host.map(|(_, pid)| pid)
    }

    /// Whether namespaces can be told apart at all.
    pub fn host_is_known(&self) -> bool {
        self.host.is_some()
    }

    /// The namespace that `pid` is in. Needs `CAP_SYS_PTRACE` for the processes of other users.
    pub fn of(&self, pid: u32) -> Result<u64, ReadError> {
        let path = self.process(pid).join("ns/net");
        std::fs::metadata(&path)
            .map(|meta| meta.ino())
            .map_err(|source| ReadError::new("stat", path, source))
    }

    fn process(&self, pid: u32) -> PathBuf {
        self.procfs.join(pid.to_string())
    }

    fn is_host(&self, namespace: u64) -> bool {
        self.host.is_some_and(|(inode, _)| inode == namespace)
    }

    /// The figures of `namespace` into `out`, read through its member at `process` (`/proc/PID`)
    /// unless another container has just done so.
    ///
    /// # Errors
    /// `ESRCH` if the process is in another namespace now.
    fn read(
        &self,
        namespace: u64,
        process: &Path,
        buffer: &mut ReadBuffer,
        out: &mut Interfaces,
    ) -> Result<(), Errno> {
        let begun = Instant::now();
        if let Some(seen) = self.seen.lock().namespaces.get(&namespace)
            && begun.saturating_duration_since(seen.at) < SHARED_FOR
        {
            out.extend_from_slice(&seen.interfaces);
            return Ok(());
        }
        // One process, whatever becomes of its id meanwhile.
        let process = open_directory(process)?;
        if fstatat(&process, "ns/net", AtFlags::empty())?.st_ino != namespace {
            return Err(Errno::ESRCH);
        }
        let text = buffer.read_records(open_in(&process, "net/dev")?)?;
        let mut cache = self.seen.lock();
        cache.tidy(begun);
        let seen = cache.namespaces.entry(namespace).or_insert_with(|| Seen {
            at: begun,
            interfaces: Vec::new(),
        });
        // Another thread may have begun later and been faster: counters must not go back.
        if seen.at <= begun {
            seen.at = begun;
            parse(text, &mut seen.interfaces);
        }
        out.extend_from_slice(&seen.interfaces);
        Ok(())
    }
}

impl Cache {
    /// Forgets, once in a while, what nobody asks about.
    fn tidy(&mut self, now: Instant) {
        let since = |at: Instant| now.saturating_duration_since(at);
        if self.tidied.is_some_and(|at| since(at) < FORGET_AFTER) {
            return;
        }
        self.tidied = Some(now);
        self.namespaces
            .retain(|_, seen| since(seen.at) < FORGET_AFTER);
    }
}

/// Replaces `interfaces` by those of `/proc/PID/net/dev`, but for the loopback and the host's ends of
/// cables. Names that are there already are kept, so that nothing is allocated for them. Lines that
/// do not fit are passed over.
pub fn parse(text: &[u8], interfaces: &mut Interfaces) {
    let mut count = 0;
    for line in lines(text) {
        if count == MAX_INTERFACES {
            break;
        }
        let Some(colon) = line.iter().rposition(|&byte| byte == b':') else {
            continue;
        };
        let name = line[..colon].trim_ascii();
        let is_hidden = HIDDEN_PREFIXES.iter().any(|prefix| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        });
        if is_hidden {
            continue;
        }
        let mut columns = [None; 16];
        for (slot, word) in columns.iter_mut().zip(words(&line[colon + 1..])) {
            *slot = number(word);
        }
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            ..,
        ] = columns;
        if rx_bytes.is_none() || tx_bytes.is_none() {
            continue;
        }
        let stats = InterfaceStats {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        };
        let rest = &interfaces[count..];
        match rest.iter().position(|(known, _)| known.as_bytes() == name) {
            Some(at) => interfaces.swap(count, count + at),
            None => {
                let name = Arc::from(&*String::from_utf8_lossy(name));
                interfaces.push((name, stats));
                let last = interfaces.len() - 1;
                interfaces.swap(count, last);
            }
        }
        interfaces[count].1 = stats;
        count += 1;
    }
    interfaces.truncate(count);
}

/// The process whose namespace stands for a container, looked up again when it may have changed.
#[derive(Debug, Default)]
pub struct Member {
    found: Option<Found>,
    look_again: Option<Instant>,
    /// How long the last look was trusted.
    trust: Duration,
}

#[derive(Debug)]
struct Found {
    /// `/proc/PID` of the member.
    process: PathBuf,
    namespace: u64,
}

/// How long a member is trusted at first, and how long at last: `cgroup.procs` is not free to read,
/// and a process may move to another namespace, as that of a new container does.
const TRUST_MEMBER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

impl Member {
    /// The member (`/proc/PID`) and its namespace, as of the last look.
    pub fn found(&self) -> Option<(&Path, u64)> {
        let found = self.found.as_ref()?;
        Some((&found.process, found.namespace))
    }

    /// Looks for a member at the next poll: processes may have come or gone.
    pub fn forget(&mut self) {
        self.look_again = None;
        self.trust = Duration::ZERO;
    }

    /// The figures of the container whose first member `find` gives. `None` if it has no member, or
    /// its namespace may not be looked at. Those of the host's own namespace have no interfaces but
    /// for the root. `spare` is taken for the interfaces.
    pub fn read(
        &mut self,
        namespaces: &NetworkNamespaces,
        is_root: bool,
        buffer: &mut ReadBuffer,
        spare: &mut Interfaces,
        find: impl FnOnce(&mut ReadBuffer) -> Option<u32>,
    ) -> Option<NetworkStats> {
        let now = Instant::now();
        if self.look_again.is_none_or(|at| at <= now) {
            self.found = find(buffer).and_then(|pid| {
                Some(Found {
                    process: namespaces.process(pid),
                    namespace: namespaces.of(pid).ok()?,
                })
            });
            let (first, last) = TRUST_MEMBER;
            self.trust = self.trust.saturating_mul(2).clamp(first, last);
            self.look_again = Some(now + self.trust);
        }
        let found = self.found.as_ref()?;
        let host = namespaces.is_host(found.namespace);
        spare.clear();
        if is_root || !host {
            let read = namespaces.read(found.namespace, &found.process, buffer, spare);
            if let Err(errno) = read {
                if Failure::from(errno) == Failure::Absent {
                    self.forget();
                }
                self.found = None;
                return None;
            }
        }
        Some(NetworkStats {
            namespace: self.found.as_ref()?.namespace,
            host,
            interfaces: std::mem::take(spare),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DEV: &[u8] = b"\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1252      14    1    2    0     0          0         0        7       6    5    4    0     0       0          0
vethab1: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
eth0:1: 9 9 9 9 0 0 0 0 8 8 8 8 0 0 0 0
broken: 1 2
";

    #[test]
    fn interfaces_without_the_loopback_and_cable_ends() {
        let mut found = Interfaces::new();
        parse(DEV, &mut found);
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["eth0", "eth0:1"]);
        let eth0 = found[0].1;
        assert_eq!(
            (
                eth0.rx_bytes,
                eth0.rx_packets,
                eth0.rx_errors,
                eth0.rx_dropped
            ),
            (Some(1252), Some(14), Some(1), Some(2))
        );
        assert_eq!(
            (
                eth0.tx_bytes,
                eth0.tx_packets,
                eth0.tx_errors,
                eth0.tx_dropped
            ),
            (Some(7), Some(6), Some(5), Some(4))
        );
        let first = Arc::clone(&found[0].0);
        parse(
            b"eth1: 2 2 0 0 0 0 0 0 2 2 0 0\neth0: 3 3 0 0 0 0 0 0 3 3 0 0\n",
            &mut found,
        );
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["eth1", "eth0"]);
        assert_eq!(found[1].1.rx_bytes, Some(3));
        assert!(Arc::ptr_eq(&first, &found[1].0), "names are kept");
    }

    #[test]
    fn garbage_gives_nothing() {
        for text in [&b""[..], b":", b"\xff\xff:\xff", b"a: b c d", b"eth0: 1"] {
            let mut found = Interfaces::new();
            parse(text, &mut found);
            assert!(found.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn interfaces_without_number_are_bounded() {
        let text: String = (0..MAX_INTERFACES * 3)
            .map(|at| format!("dummy{at}: 1 1 0 0 0 0 0 0 1 1 0 0\n"))
            .collect();
        let mut found = Interfaces::new();
        parse(text.as_bytes(), &mut found);
        assert_eq!(found.len(), MAX_INTERFACES);
    }

    /// A procfs with one process in the network namespace `namespace` (a file of that inode).
    fn process(procfs: &Path, pid: u32, received: u64) -> u64 {
        let path = procfs.join(pid.to_string());
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("ns")).unwrap();
        std::fs::create_dir_all(path.join("net")).unwrap();
        let namespace = procfs.join(format!("namespace-of-{received}"));
        std::fs::write(&namespace, "").unwrap();
        std::os::unix::fs::symlink(&namespace, path.join("ns/net")).unwrap();
        let text = format!("eth0: {received} 1 0 0 0 0 0 0 1 1 0 0\n");
        std::fs::write(path.join("net/dev"), text).unwrap();
        std::fs::metadata(namespace).unwrap().ino()
    }

    #[test]
    fn a_process_id_used_again_does_not_lead_to_anothers_figures() {
        let procfs = tempfile::tempdir().unwrap();
        let first = process(procfs.path(), 7, 100);
        let namespaces = NetworkNamespaces::new(procfs.path());
        let (mut member, mut buffer) = (Member::default(), ReadBuffer::default());
        let mut read = |member: &mut Member| {
            // What others have just read would hide what is there now.
            namespaces.seen.lock().namespaces.clear();
            member.read(&namespaces, false, &mut buffer, &mut Vec::new(), |_| {
                Some(7)
            })
        };
        let found = read(&mut member).unwrap();
        assert_eq!(
            (found.namespace, found.interfaces[0].1.rx_bytes),
            (first, Some(100))
        );
        let second = process(procfs.path(), 7, 5);
        assert_ne!(first, second);
        assert_eq!(read(&mut member), None, "who is that?");
        let found = read(&mut member).unwrap();
        assert_eq!(
            (found.namespace, found.interfaces[0].1.rx_bytes),
            (second, Some(5))
        );
    }
}
