//! The sockets of users' own runtimes: `/run/user/<uid>/docker.sock` and `…/podman/podman.sock`.
//!
//! A user may put anything there. So a socket counts only if it is the user's own, and what it says is
//! believed last (see [`LinkId`](super::LinkId)).

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Runtime;

/// How many users' runtimes are asked, at most.
pub(super) const MAX_SOCKETS: usize = 64;

/// The most entries of the directory that are looked at.
const MAX_USERS: usize = 4_096;

/// Where the sockets are, below the user's directory.
const PLACES: [(Runtime, &str); 2] = [
    (Runtime::Docker, "docker.sock"),
    (Runtime::Podman, "podman/podman.sock"),
];

/// A runtime of a user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UserSocket {
    pub(super) path: PathBuf,
    pub(super) runtime: Runtime,
    pub(super) uid: u32,
    /// The user's directory: when it goes, the user has gone.
    pub(super) home: PathBuf,
}

/// Looks for sockets. Where this may not be looked at, there are none.
pub(super) fn find(users: &Path) -> Vec<UserSocket> {
    let Ok(entries) = std::fs::read_dir(users) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten().take(MAX_USERS) {
        let uid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(uid) = uid else { continue };
        for (runtime, place) in PLACES {
            let path = entry.path().join(place);
            // Not through links: they could lead to a socket that is not the user's.
            let is_own = std::fs::symlink_metadata(&path)
                .is_ok_and(|found| found.file_type().is_socket() && found.uid() == uid);
            if is_own {
                found.push(UserSocket {
                    path,
                    runtime,
                    uid,
                    home: entry.path(),
                });
            }
        }
    }
    found.sort();
    found.truncate(MAX_SOCKETS);
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_what_is_the_users_own() {
        let root = tempfile::tempdir().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        let home = root.path().join(own.to_string());
        let other = root.path().join((own + 1).to_string());
        for directory in [&home, &other, &root.path().join("name")] {
            std::fs::create_dir_all(directory.join("podman")).unwrap();
        }
        let _sockets = [
            UnixListener::bind(home.join("podman/podman.sock")).unwrap(),
            UnixListener::bind(other.join("podman/podman.sock")).unwrap(),
            UnixListener::bind(root.path().join("name/docker.sock")).unwrap(),
        ];
        symlink(home.join("podman/podman.sock"), home.join("docker.sock")).unwrap();
        let expected = UserSocket {
            path: home.join("podman/podman.sock"),
            runtime: Runtime::Podman,
            uid: own,
            home,
        };
        assert_eq!(find(root.path()), [expected]);
        assert_eq!(find(Path::new("/nonexistent")), []);
    }
}
