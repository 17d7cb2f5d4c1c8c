//! Where a runtime listens.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where a runtime listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`, without TLS.
    Tcp(String),
}

/// A connection to a runtime.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Which socket it is that lies at a path: another one after the runtime has made it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Endpoint {
    /// Reads `unix:///path`, `unix:/path`, `/path`, `tcp://HOST:PORT` or `http://HOST:PORT`.
    ///
    /// # Errors
    /// Says what would have been right, to go after `"x" is not`.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WANT: &str = "where a runtime listens: give unix:///path/of/its.sock, or tcp://HOST:PORT without TLS";
        let tcp = ["tcp://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        if let Some(address) = tcp {
            let address = address.trim_end_matches('/');
            let (host, port) = address.rsplit_once(':').ok_or(WANT)?;
            let fits = !host.is_empty() && !address.contains('/') && port.parse::<u16>().is_ok();
            return match fits {
                true => Ok(Self::Tcp(address.to_owned())),
                false => Err(WANT.to_owned()),
            };
        }
        let path = match text.strip_prefix("unix:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None => text,
        };
        if path.starts_with('/') && !path.ends_with('/') && !path.contains('\0') {
            Ok(Self::Unix(PathBuf::from(path)))
        } else {
            Err(WANT.to_owned())
        }
    }

    /// The path, if it is a unix socket's.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }

    /// Whether what is sent there stays on this machine.
    pub fn is_local(&self) -> bool {
        let Self::Tcp(address) = self else {
            return true;
        };
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The socket that is there now; `None` if there is none. Costs one `stat`. Of a TCP endpoint
    /// nothing can be known without connecting: there always is one, and it is always the same.
    pub fn mark(&self) -> Option<Mark> {
        let Self::Unix(path) = self else {
            return Some(Mark {
                device: 0,
                inode: 0,
                changed: (0, 0),
            });
        };
        let found = std::fs::metadata(path).ok()?;
        found.file_type().is_socket().then(|| Mark {
            device: found.dev(),
            inode: found.ino(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Connects, without a time limit.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(TcpStream::connect(address.as_str()).await?),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_clients_spell_them() {
        for (text, shown) in [
            ("unix:///var/run/docker.sock", "/var/run/docker.sock"),
            ("unix:/a", "/a"),
            ("/run/x.sock", "/run/x.sock"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("http://localhost:1/", "tcp://localhost:1"),
            ("tcp://[::1]:2375", "tcp://[::1]:2375"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            "unix://",
            "unix:rel",
            "rel",
            "/run/",
            "tcp://",
            "tcp://a",
            "tcp://:1",
            "tcp://a:b",
            "https://a:1",
            "npipe:////./pipe/x",
            "tcp://a/b:1",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_stays_on_this_machine() {
        for (text, local) in [
            ("/a", true),
            ("tcp://127.0.0.1:1", true),
            ("tcp://[::1]:1", true),
            ("tcp://localhost:1", true),
            ("tcp://10.0.0.1:1", false),
            ("tcp://h:1", false),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().is_local(), local, "{text}");
        }
    }

    #[test]
    fn a_socket_made_anew_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let endpoint = Endpoint::Unix(path.clone());
        assert_eq!(endpoint.mark(), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(endpoint.mark(), None, "a file is no socket");
        std::fs::remove_file(&path).unwrap();
        let first = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mark = endpoint.mark().unwrap();
        assert_eq!(endpoint.mark(), Some(mark));
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        let _second = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_ne!(endpoint.mark(), Some(mark));
        drop(first);
    }
}
