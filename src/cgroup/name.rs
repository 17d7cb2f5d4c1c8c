//! The name of a container: its cgroup path below the hierarchy's root.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A cgroup path below the root of its hierarchy, `/` for the root, always with a leading slash and
/// without a trailing one: `/system.slice/docker-….scope`.
///
/// The kernel allows any byte but `/`, NUL and newline in a cgroup name, so the bytes are kept as
/// they are. [`Display`](fmt::Display) is what leaves the process: bytes that are not UTF-8 appear
/// as `\xNN`. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerName(Arc<[u8]>);

impl ContainerName {
    /// The root of every hierarchy.
    pub fn root() -> Self {
        Self(Arc::from(&b"/"[..]))
    }

    /// The container that a person or client means by `text`: made absolute, with empty, `.` and
    /// `..` elements resolved (never above the root), and `\xNN` read back to the byte it stands for
    /// wherever that byte could not have been printed as itself.
    pub fn from_request(text: &str) -> Self {
        let mut elements: Vec<&str> = Vec::new();
        for element in text.split('/') {
            match element {
                "" | "." => {}
                ".." => {
                    elements.pop();
                }
                other => elements.push(other),
            }
        }
        let mut bytes = Vec::with_capacity(text.len() + 1);
        for element in &elements {
            bytes.push(b'/');
            unescape_into(element.as_bytes(), &mut bytes);
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        Self(bytes.into())
    }

    /// The name of the directory at `relative` below a hierarchy's root.
    pub fn from_relative(relative: &Path) -> Self {
        let relative = relative.as_os_str().as_bytes();
        let mut bytes = Vec::with_capacity(relative.len() + 1);
        bytes.push(b'/');
        bytes.extend_from_slice(relative);
        Self(bytes.into())
    }

    /// The name that [`as_bytes`](Self::as_bytes) gave.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The child called `element` (one path element, as the kernel gave it).
    pub fn child(&self, element: &OsStr) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + element.len());
        if !self.is_root() {
            bytes.extend_from_slice(&self.0);
        }
        bytes.push(b'/');
        bytes.extend_from_slice(element.as_bytes());
        Self(bytes.into())
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        &*self.0 == b"/"
    }

    /// Whether `self` is `ancestor` or lies below it. `/foobar` does not lie below `/foo`.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.holds(&self.0)
    }

    /// Whether the container whose name has these bytes is this one or lies below it.
    pub fn holds(&self, name: &[u8]) -> bool {
        self.is_root()
            || name
                .strip_prefix(&*self.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// The container in which this one lies; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.parent_bytes().map(Self::from_bytes)
    }

    /// Whether `self` is a direct child of `parent`.
    pub fn is_child_of(&self, parent: &Self) -> bool {
        self.parent_bytes()
            .is_some_and(|own| own == parent.as_bytes())
    }

    /// The bytes of the parent's name; `None` for the root.
    fn parent_bytes(&self) -> Option<&[u8]> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        Some(if slash == 0 { b"/" } else { &self.0[..slash] })
    }

    /// The bytes of the name as the kernel has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path below a hierarchy's root, without the leading slash; empty for the root.
    pub fn relative(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.0.get(1..).unwrap_or_default()))
    }

    /// The path of this container's directory in the hierarchy mounted at `root`.
    pub fn below(&self, root: &Path) -> PathBuf {
        if self.is_root() {
            root.to_owned()
        } else {
            root.join(self.relative())
        }
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Copies `text`, reading `\xNN` with NN >= 80 back to one byte. Lower values are left alone: they
/// are text of their own (systemd writes `-` as `\x2d` in unit names).
fn unescape_into(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some((&first, rest)) = text.split_first() {
        if let [b'\\', b'x', high, low, tail @ ..] = text
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            && high >= 8
        {
            out.push(high << 4 | low);
            text = tail;
        } else {
            out.push(first);
            text = rest;
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_made_absolute_and_cleaned() {
        for (asked, means) in [
            ("", "/"),
            ("/", "/"),
            ("a", "/a"),
            ("/a//b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("../../etc", "/etc"),
            ("/a/..", "/"),
        ] {
            assert_eq!(
                ContainerName::from_request(asked).to_string(),
                means,
                "{asked}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_text_survive_the_way_out_and_back() {
        let name = ContainerName::root().child(OsStr::from_bytes(b"a\xff\xc3b\x01"));
        assert_eq!(name.to_string(), "/a\\xff\\xc3b\u{1}");
        assert_eq!(ContainerName::from_request(&name.to_string()), name);
        let unit = ContainerName::from_request("/system.slice/dev-disk-by\\x2duuid.swap");
        assert_eq!(unit.to_string(), "/system.slice/dev-disk-by\\x2duuid.swap");
    }

    #[test]
    fn descendants_are_told_by_elements_not_by_prefix() {
        let name = ContainerName::from_request;
        assert!(name("/foo/bar").is_within(&name("/foo")));
        assert!(name("/foo").is_within(&name("/foo")));
        assert!(!name("/foobar").is_within(&name("/foo")));
        assert!(name("/foobar").is_within(&name("/")));
        assert!(name("/foo").is_child_of(&name("/")));
        assert!(name("/foo/bar").is_child_of(&name("/foo")));
        assert!(!name("/foo/bar").is_child_of(&name("/")));
        assert!(!name("/").is_child_of(&name("/")));
    }
}
