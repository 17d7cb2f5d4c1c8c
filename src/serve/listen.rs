//! Where to listen, and binding it.
//!
//! An address is written `127.0.0.1:8080`, `[::1]:8080`, `:8080` (every address of the machine)
//! or `unix:/path`. Port 0 takes a free one; [`Listener::local_addr`] says which.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::time::timeout;

use super::socket::Socket;

/// Connections that the kernel queues for us while we accept others.
const BACKLOG: u32 = 1024;

/// How long a socket file's owner has to show that it is alive. Only a full queue makes this
/// wait, and then the owner is alive.
const STALE_PROBE: Duration = Duration::from_secs(1);

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// One IP address and port.
    Tcp(SocketAddr),
    /// This port on every address of the machine: IPv6 and IPv4, or IPv4 where there is no IPv6.
    All(u16),
    /// A Unix socket at this path. Who may connect is a matter of the umask.
    Unix(PathBuf),
}

/// Text that is not a [`ListenAddr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddrError {
    /// Nothing there.
    #[error("empty listen address; {EXPECTED}")]
    Empty,
    /// `unix:` without a path, or with a relative one (it would move with the working directory).
    #[error(
        "listen address {0:?} needs an absolute path after \"unix:\", as in unix:/run/cgauge.sock"
    )]
    UnixPath(String),
    /// No port.
    #[error("listen address {0:?} has no port; {EXPECTED}")]
    NoPort(String),
    /// The port is no number from 0 to 65535.
    #[error("listen address {0:?} has a bad port: it must be a number from 0 to 65535")]
    BadPort(String),
    /// The host part is not an IP address.
    #[error(
        "listen address {0:?} does not start with an IP address (host names are not looked up); {EXPECTED}"
    )]
    BadHost(String),
}

const EXPECTED: &str = "write 127.0.0.1:8080, [::1]:8080, :8080 for every address, or unix:/path";

impl FromStr for ListenAddr {
    type Err = ParseAddrError;

    fn from_str(text: &str) -> Result<Self, ParseAddrError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseAddrError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path); // unix:///run/x is common, too
            return if path.starts_with('/') && !path.ends_with('/') && !path.contains('\0') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(ParseAddrError::UnixPath(text.to_owned()))
            };
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(ParseAddrError::NoPort(text.to_owned()));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(ParseAddrError::NoPort(text.to_owned()));
        };
        // u16's own parser takes "+80".
        let port = Some(port)
            .filter(|p| p.bytes().all(|b| b.is_ascii_digit())) // and parse() refuses ""
            .and_then(|p| p.parse().ok())
            .ok_or_else(|| ParseAddrError::BadPort(text.to_owned()))?;
        if host.is_empty() {
            return Ok(Self::All(port));
        }
        let ip = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => v6.parse().map(IpAddr::V6).ok(),
            None => host.parse().map(IpAddr::V4).ok(),
        };
        ip.map(|ip| Self::Tcp(SocketAddr::new(ip, port)))
            .ok_or_else(|| ParseAddrError::BadHost(text.to_owned()))
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::All(port) => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an address cannot be listened on, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error(
        "cannot listen on {0}: it is in use by another process; stop that, or choose another address with --listen"
    )]
    InUse(ListenAddr),
    /// `EACCES`, `EPERM` or a read-only filesystem.
    #[error("cannot listen on {addr}: {source}; {}", denied_advice(addr))]
    Denied {
        /// The address.
        addr: ListenAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// No interface has this IP address.
    #[error(
        "cannot listen on {0}: no interface of this machine has that address; `ip addr` lists those that exist"
    )]
    NoSuchAddress(ListenAddr),
    /// The directory of the socket file is missing.
    #[error("cannot listen on {0}: its directory does not exist; make it first")]
    NoDirectory(ListenAddr),
    /// Something else has the name of the socket file.
    #[error(
        "cannot listen on {0}: a file that is not a socket is in the way; move it, or choose another path"
    )]
    NotASocket(ListenAddr),
    /// The path does not fit into the kernel's 107 bytes.
    #[error(
        "cannot listen on {0}: a Unix socket's path has at most 107 bytes; choose a shorter one"
    )]
    PathTooLong(ListenAddr),
    /// Whatever else the kernel may say.
    #[error("cannot listen on {addr}: {source}")]
    Other {
        /// The address.
        addr: ListenAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

fn denied_advice(addr: &ListenAddr) -> &'static str {
    match addr {
        ListenAddr::Unix(_) => "the directory must be writable by the user that cgauge runs as",
        _ => "a port below 1024 needs CAP_NET_BIND_SERVICE; choose a higher one or grant it",
    }
}

impl ListenAddr {
    /// Binds the address. The Unix socket of a process that is gone is replaced; anything else
    /// in the way is left alone.
    ///
    /// # Errors
    /// [`BindError`], which names the address and what to do. Must run inside a tokio runtime.
    pub async fn bind(&self) -> Result<Listener, BindError> {
        match self {
            Self::Tcp(addr) => tcp(*addr).map(Listener::Tcp).map_err(|e| self.error(e)),
            Self::All(port) => {
                let v6 = tcp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port));
                v6.or_else(|e| match errno(&e) {
                    // IPv6 is compiled out or switched off.
                    Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL => {
                        tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port))
                    }
                    _ => Err(e),
                })
                .map(Listener::Tcp)
                .map_err(|e| self.error(e))
            }
            Self::Unix(path) => self.bind_unix(path).await,
        }
    }

    async fn bind_unix(&self, path: &Path) -> Result<Listener, BindError> {
        let bound = match UnixListener::bind(path) {
            Err(e) if errno(&e) == Errno::EADDRINUSE => {
                self.remove_stale(path).await?;
                UnixListener::bind(path)
            }
            first => first,
        };
        let listener = bound.map_err(|e| self.error(e))?;
        let file = SocketFile::new(path).map_err(|e| self.error(e))?;
        Ok(Listener::Unix(listener, file))
    }

    /// Removes the socket file if nobody listens on it any more: only a socket, and only when
    /// connecting is refused.
    async fn remove_stale(&self, path: &Path) -> Result<(), BindError> {
        let before = std::fs::symlink_metadata(path).map_err(|e| self.error(e))?;
        if !before.file_type().is_socket() {
            return Err(BindError::NotASocket(self.clone()));
        }
        match timeout(STALE_PROBE, UnixStream::connect(path)).await {
            Ok(Err(e)) if errno(&e) == Errno::ECONNREFUSED => {}
            Ok(Err(e)) => return Err(self.error(e)),
            Ok(Ok(_)) | Err(_) => return Err(BindError::InUse(self.clone())),
        }
        // Another process may have replaced it since.
        let now = std::fs::symlink_metadata(path).map_err(|e| self.error(e))?;
        if (now.dev(), now.ino()) != (before.dev(), before.ino()) {
            return Err(BindError::InUse(self.clone()));
        }
        tracing::info!(path = %path.display(), "removing the socket of a process that is gone");
        std::fs::remove_file(path).map_err(|e| self.error(e))
    }

    fn error(&self, source: io::Error) -> BindError {
        let addr = self.clone();
        match errno(&source) {
            Errno::EADDRINUSE => BindError::InUse(addr),
            Errno::EACCES | Errno::EPERM | Errno::EROFS => BindError::Denied { addr, source },
            Errno::EADDRNOTAVAIL => BindError::NoSuchAddress(addr),
            Errno::ENOENT | Errno::ENOTDIR => BindError::NoDirectory(addr),
            // std checks the length itself, so there is no errno.
            _ if source.kind() == io::ErrorKind::InvalidInput && matches!(self, Self::Unix(_)) => {
                BindError::PathTooLong(addr)
            }
            _ => BindError::Other { addr, source },
        }
    }
}

fn errno(e: &io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(0))
}

fn tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    // A restart must not wait for the connections of the run before.
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it: a reader of a quiet event stream whose machine lost power is
    // noticed in the end.
    socket.set_keepalive(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A bound address. Dropping the Unix kind removes its socket file, unless somebody else has
/// put another one there.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix, and the file that goes with it.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// The address that was bound, with the port that port 0 became.
    ///
    /// # Errors
    /// Whatever `getsockname` says.
    pub fn local_addr(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddr::Tcp),
            Self::Unix(_, file) => Ok(ListenAddr::Unix(file.path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, addr) = listener.accept().await?;
                // Answers are written whole; waiting to fill a segment only delays them. A
                // socket that refuses this still works.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Peer::Tcp(addr)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let cred = stream.peer_cred().ok();
                let peer = Peer::Unix {
                    uid: cred.map(|c| c.uid()),
                    pid: cred.and_then(|c| c.pid()),
                };
                Ok((Socket::Unix(stream), peer))
            }
        }
    }
}

/// Who is at the other end. Every request carries one as an extension
/// (`warp::ext::get::<Peer>()`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The client's address.
    Tcp(SocketAddr),
    /// A local process, as `SO_PEERCRED` knew it when it connected.
    Unix {
        /// Its user, `None` if the kernel did not say.
        uid: Option<u32>,
        /// Its process id, `None` if the kernel did not say.
        pid: Option<i32>,
    },
}

/// A Unix socket's file; removed when dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    dev: u64,
    ino: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            dev: meta.dev(),
            ino: meta.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Ok(meta) = std::fs::symlink_metadata(&self.path)
            && (meta.dev(), meta.ino()) == (self.dev, self.ino)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in [
            "127.0.0.1:8080",
            "[::1]:8080",
            ":8080",
            ":0",
            "unix:/run/x.sock",
        ] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        assert_eq!(
            "unix:///run/x".parse::<ListenAddr>().unwrap(),
            ListenAddr::Unix("/run/x".into())
        );
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        use ParseAddrError as E;
        let parse = |s: &str| s.parse::<ListenAddr>().unwrap_err();
        assert_eq!(parse(" "), E::Empty);
        for s in ["127.0.0.1", "::1", "8080", "[::1]"] {
            assert!(
                matches!(parse(s), E::NoPort(_) | E::BadPort(_)),
                "{s}: {:?}",
                parse(s)
            );
        }
        for s in ["1.2.3.4:", "1.2.3.4:65536", ":http", ":+80", ":-1"] {
            assert_eq!(parse(s), E::BadPort(s.into()), "{s}");
        }
        for s in [
            "localhost:80",
            "::1:80x:80",
            "[1.2.3.4]:80",
            "[::1:80",
            "1.2.3:80",
        ] {
            assert_eq!(parse(s), E::BadHost(s.into()), "{s}");
        }
        for s in ["unix:", "unix:run/x", "unix:/", "unix:/a/"] {
            assert_eq!(parse(s), E::UnixPath(s.into()), "{s}");
        }
    }

    #[tokio::test]
    async fn port_zero_is_told_and_a_taken_port_is_named() {
        let first = "127.0.0.1:0"
            .parse::<ListenAddr>()
            .unwrap()
            .bind()
            .await
            .unwrap();
        let addr = first.local_addr().unwrap();
        assert!(matches!(addr, ListenAddr::Tcp(a) if a.port() != 0));
        let again = addr.bind().await.unwrap_err();
        assert!(matches!(&again, BindError::InUse(a) if *a == addr));
        assert!(again.to_string().contains(&addr.to_string()), "{again}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let addr: ListenAddr = "192.0.2.1:0".parse().unwrap();
        assert!(matches!(addr.bind().await, Err(BindError::NoSuchAddress(a)) if a == addr));
    }

    #[tokio::test]
    async fn unix_sockets_replace_only_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let addr = ListenAddr::Unix(path.clone());

        let live = addr.bind().await.unwrap();
        assert!(matches!(addr.bind().await, Err(BindError::InUse(_))));
        drop(live);
        assert!(!path.exists(), "dropping the listener removes its file");

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file: a crashed process");
        drop(addr.bind().await.unwrap());
        assert!(!path.exists());

        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(addr.bind().await, Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");

        let missing = ListenAddr::Unix(dir.path().join("no/such/s"));
        assert!(matches!(
            missing.bind().await,
            Err(BindError::NoDirectory(_))
        ));
        let long = ListenAddr::Unix(dir.path().join("x".repeat(120)));
        assert!(matches!(long.bind().await, Err(BindError::PathTooLong(_))));
    }

    #[tokio::test]
    async fn a_file_that_is_no_longer_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let ours = ListenAddr::Unix(path.clone()).bind().await.unwrap();
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }
}
