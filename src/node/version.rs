//! Which software the node runs: kernel, operating system, and ourselves.

use super::Roots;
use super::reader::Reader;

/// Versions of the node's software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// `PRETTY_NAME` of the node's `os-release`.
    pub os: Option<String>,
    /// Version of cgauge.
    pub cgauge: &'static str,
}

/// Version of cgauge, as in its package.
pub const CGAUGE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where distributions put it, in the order of `os-release(5)`.
const OS_RELEASE_FILES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// Reads the versions.
pub fn read(roots: &Roots, reader: &mut Reader) -> VersionInfo {
    // The file and not the system call, so that a made-up tree can say it.
    let kernel = reader
        .text(&roots.procfs.join("sys/kernel/osrelease"))
        .or_else(|| {
            nix::sys::utsname::uname()
                .ok()?
                .release()
                .to_str()
                .map(str::to_owned)
        });
    let os = OS_RELEASE_FILES
        .iter()
        .find_map(|file| reader.text(&roots.rootfs.join(file)))
        // A system whose file lacks the name is `Linux`: os-release(5) says so.
        .map(|text| pretty_name(&text).unwrap_or_else(|| "Linux".to_owned()));
    VersionInfo {
        kernel,
        os,
        cgauge: CGAUGE_VERSION,
    }
}

/// `PRETTY_NAME`, unquoted as a shell would.
fn pretty_name(text: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?
        .trim();
    let name = match value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => {
            let mut name = String::with_capacity(quoted.len());
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                name.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
            name
        }
        None => value.trim_matches('\'').to_owned(),
    };
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    #[test]
    fn the_name_is_unquoted() {
        assert_eq!(
            pretty_name("NAME=x\nPRETTY_NAME=\"Debian \\\"12\\\"\"\n").as_deref(),
            Some("Debian \"12\"")
        );
        assert_eq!(pretty_name("PRETTY_NAME='Void'").as_deref(), Some("Void"));
        assert_eq!(pretty_name("PRETTY_NAME=Arch").as_deref(), Some("Arch"));
        assert_eq!(pretty_name("PRETTY_NAME=\"\""), None);
    }

    #[test]
    fn the_nodes_files_are_read_and_not_our_own() {
        let tree = TestTree::new();
        tree.file("proc/sys/kernel/osrelease", "6.1.0-made-up\n")
            .file("root/usr/lib/os-release", "PRETTY_NAME=\"Some OS 3\"\n");
        let version = read(&tree.roots, &mut Reader::default());
        assert_eq!(version.kernel.as_deref(), Some("6.1.0-made-up"));
        assert_eq!(version.os.as_deref(), Some("Some OS 3"));
        assert_eq!(version.cgauge, CGAUGE_VERSION);
    }

    #[test]
    fn no_os_release_is_absent_and_a_nameless_one_is_linux() {
        let tree = TestTree::new();
        assert_eq!(read(&tree.roots, &mut Reader::default()).os, None);
        tree.file("root/etc/os-release", "ID=x\n");
        assert_eq!(
            read(&tree.roots, &mut Reader::default()).os.as_deref(),
            Some("Linux")
        );
    }
}
