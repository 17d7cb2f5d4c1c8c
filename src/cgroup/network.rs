//! Network figures, once per network namespace.
//!
//! A cgroup has no network of its own: its processes are in a namespace, and the namespace has
//! interfaces. Any live member leads to it (`/proc/PID/ns/net`), and `/proc/PID/net/dev` shows it. The
//! file is opened for each read and closed again: an open one would keep a dead container's
//! namespace, and the devices in it, alive.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::{Failure, ReadError};
use super::file::ReadBuffer;
use super::format::{lines, number, words};
use super::kind::KindSet;
use super::sockets::{self, SocketStats};
use super::stats::{InterfaceStats, NetworkStats};

/// Figures of a namespace are shared by containers that ask within this time: one pass.
const SHARED_FOR: Duration = Duration::from_millis(300);

/// A namespace that nobody asked about for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// Interface names that mean the loopback or the host's end of a container's cable.
const HIDDEN_PREFIXES: [&[u8]; 4] = [b"lo", b"veth", b"docker", b"nerdctl"];

/// The network namespaces that containers are in, shared by all samplers.
#[derive(Debug)]
pub struct NetworkNamespaces {
    procfs: PathBuf,
    /// The host's own namespace, and a process that is in it.
    host: Option<(u64, u32)>,
    seen: Mutex<HashMap<u64, Seen>>,
    sockets: Mutex<HashMap<u64, (Instant, Arc<SocketStats>)>>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    stats: Arc<NetworkStats>,
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

    /// The sockets of `namespace`, read through its member `pid` unless another container has just
    /// done so. Not those of the host's own namespace, unless `host_too`.
    pub fn sockets(
        &self,
        namespace: u64,
        pid: u32,
        host_too: bool,
        kinds: KindSet,
    ) -> Option<Arc<SocketStats>> {
        if self.host.is_some_and(|(inode, _)| inode == namespace) && !host_too {
            return None;
        }
        let known = self.sockets.lock().get(&namespace).cloned();
        if let Some((at, stats)) = known
            && at.elapsed() < SHARED_FOR
        {
            return Some(stats);
        }
        let stats = Arc::new(sockets::read(&self.procfs, pid, kinds));
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
        let path = self.procfs.join(format!("{pid}/ns/net"));
        std::fs::metadata(&path)
            .map(|meta| meta.ino())
            .map_err(|source| ReadError::new("stat", path, source))
    }

    /// The figures of `namespace`, read through its member `pid` unless another container has just
    /// done so. With `host_too`, also those of the host's own namespace.
    pub fn read(
        &self,
        namespace: u64,
        pid: u32,
        host_too: bool,
        buffer: &mut ReadBuffer,
    ) -> Result<Arc<NetworkStats>, ReadError> {
        let host = self.host.is_some_and(|(inode, _)| inode == namespace);
        if host && !host_too {
            return Ok(Arc::new(NetworkStats {
                namespace,
                host,
                interfaces: Vec::new(),
            }));
        }
        let known = self
            .seen
            .lock()
            .get(&namespace)
            .map(|seen| (seen.at, Arc::clone(&seen.stats)));
        if let Some((at, stats)) = &known
            && at.elapsed() < SHARED_FOR
        {
            return Ok(Arc::clone(stats));
        }
        let path = self.procfs.join(format!("{pid}/net/dev"));
        let file =
            std::fs::File::open(&path).map_err(|source| ReadError::new("open", &path, source))?;
        let text = buffer
            .read_records(&file)
            .map_err(|errno| ReadError::new("read", &path, errno))?;
        let names = known
            .as_ref()
            .map_or(&[][..], |(_, stats)| &stats.interfaces);
        let stats = Arc::new(NetworkStats {
            namespace,
            host,
            interfaces: parse(text, names),
        });
        let mut seen = self.seen.lock();
        let now = Instant::now();
        seen.retain(|_, entry| now.duration_since(entry.at) < FORGET_AFTER);
        seen.insert(
            namespace,
            Seen {
                at: now,
                stats: Arc::clone(&stats),
            },
        );
        Ok(stats)
    }
}

/// The interfaces of `/proc/PID/net/dev`, but for the loopback and the host's ends of cables. Names
/// that are in `known` are shared with it. Lines that do not fit are passed over.
fn parse(text: &[u8], known: &[(Arc<str>, InterfaceStats)]) -> Vec<(Arc<str>, InterfaceStats)> {
    let mut interfaces = Vec::new();
    for line in lines(text) {
        let Some(colon) = line.iter().rposition(|&byte| byte == b':') else {
            continue;
        };
        let name = line[..colon].trim_ascii();
        let lower = name.to_ascii_lowercase();
        if HIDDEN_PREFIXES
            .iter()
            .any(|prefix| lower.starts_with(prefix))
        {
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
        let name = String::from_utf8_lossy(name);
        let name = known
            .iter()
            .find(|(known, _)| **known == *name)
            .map_or_else(|| Arc::from(&*name), |(known, _)| Arc::clone(known));
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
        interfaces.push((name, stats));
    }
    interfaces
}

/// The process whose namespace stands for a container, looked up again when it may have changed.
#[derive(Debug, Default)]
pub struct Member {
    found: Option<(u32, u64)>,
    look_again: Option<Instant>,
}

/// How long a member is trusted, and how long the lack of one: `cgroup.procs` is not free to read,
/// and a process may move to another namespace.
const TRUST_MEMBER: Duration = Duration::from_secs(15);

impl Member {
    /// The member and its namespace, as of the last look.
    pub fn found(&self) -> Option<(u32, u64)> {
        self.found
    }

    /// Looks for a member at the next poll: processes may have come or gone.
    pub fn forget(&mut self) {
        self.look_again = None;
    }

    /// The figures of the container whose first member `find` gives. `None` if it has no member, or
    /// its namespace may not be looked at.
    pub fn read(
        &mut self,
        namespaces: &NetworkNamespaces,
        is_root: bool,
        buffer: &mut ReadBuffer,
        mut find: impl FnMut(&mut ReadBuffer) -> Option<u32>,
    ) -> Option<Arc<NetworkStats>> {
        let due = self.look_again.is_none_or(|at| at <= Instant::now());
        if due {
            self.found = find(buffer).and_then(|pid| Some((pid, namespaces.of(pid).ok()?)));
            self.look_again = Some(Instant::now() + TRUST_MEMBER);
        }
        let (pid, namespace) = self.found?;
        match namespaces.read(namespace, pid, is_root, buffer) {
            Ok(stats) => Some(stats),
            Err(error) => {
                if error.kind() == Failure::Absent {
                    self.forget();
                }
                self.found = None;
                None
            }
        }
    }
}

#[cfg(test)]
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
        let found = parse(DEV, &[]);
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
        let again = parse(DEV, &found);
        assert!(
            Arc::ptr_eq(&found[0].0, &again[0].0),
            "names are shared between reads"
        );
    }

    #[test]
    fn garbage_gives_nothing() {
        for text in [&b""[..], b":", b"\xff\xff:\xff", b"a: b c d", b"eth0: 1"] {
            assert!(parse(text, &[]).is_empty(), "{text:?}");
        }
    }
}
