//! What is read of an OCI runtime specification (`config.json`): containerd keeps it with each
//! container, CRI shows it in verbose answers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounded::{self, Labels};

/// A larger specification is not read: Kubernetes' are about 10 kB.
pub const MAX_SPEC: usize = 2 << 20;

/// The part of a specification that says who the container is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Annotations.
    pub annotations: Labels,
    process: Process,
    linux: Linux,
    root: Root,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    #[serde(deserialize_with = "bounded::list")]
    env: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    cgroups_path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Root {
    path: Option<String>,
}

impl Spec {
    /// Reads a specification; `None` if it is none, or too large.
    pub fn parse(json: &[u8]) -> Option<Self> {
        if json.len() > MAX_SPEC {
            return None;
        }
        serde_json::from_slice(json).ok()
    }

    /// The container's cgroup, from the root of the hierarchy.
    pub fn cgroup(&self) -> Option<String> {
        cgroup(self.linux.cgroups_path.as_deref()?)
    }

    /// The directory that becomes the container's `/`.
    pub fn root(&self) -> Option<&str> {
        self.root.path.as_deref()
    }

    /// The environment variables whose names start with one of `prefixes`.
    pub fn env(&self, prefixes: &[String]) -> BTreeMap<String, String> {
        bounded::env(self.process.env.iter().map(String::as_str), prefixes)
    }
}

/// The cgroup that `linux.cgroupsPath` means: an absolute path, or systemd's `slice:prefix:name`.
/// A relative path is below the runtime's own cgroup, which is not known here: `None`.
pub fn cgroup(cgroups_path: &str) -> Option<String> {
    if cgroups_path.starts_with('/') {
        let path = cgroups_path.trim_end_matches('/');
        let odd = path.split('/').any(|part| part == "." || part == "..");
        return (!path.is_empty() && !odd).then(|| path.to_owned());
    }
    let mut parts = cgroups_path.split(':');
    let (slice, prefix, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || name.is_empty() || cgroups_path.contains('/') {
        return None;
    }
    let mut path = slice_path(if slice.is_empty() {
        "system.slice"
    } else {
        slice
    })?;
    path.push('/');
    if name.ends_with(".slice") {
        path.push_str(name);
    } else {
        if !prefix.is_empty() {
            path.push_str(prefix);
            path.push('-');
        }
        path.push_str(name);
        path.push_str(".scope");
    }
    Some(path)
}

/// The path of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(String::new());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        prefix.push_str(part);
        path.push('/');
        path.push_str(&prefix);
        path.push_str(".slice");
        prefix.push('-');
    }
    Some(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cgroups_as_the_drivers_spell_them() {
        for (spelled, meant) in [
            ("/default/web", Some("/default/web")),
            (
                "/kubepods/besteffort/pod1/abc/",
                Some("/kubepods/besteffort/pod1/abc"),
            ),
            (
                "kubepods-besteffort-pod12_3.slice:cri-containerd:abc",
                Some(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod12_3.slice/cri-containerd-abc.scope",
                ),
            ),
            (
                "system.slice:docker:abc",
                Some("/system.slice/docker-abc.scope"),
            ),
            (":docker:abc", Some("/system.slice/docker-abc.scope")),
            ("-.slice:crio:abc", Some("/crio-abc.scope")),
            ("a.slice::b.slice", Some("/a.slice/b.slice")),
            ("default/web", None),
            ("", None),
            ("/", None),
            ("/a/../b", None),
            ("a:b", None),
            ("a.slice:b:", None),
            ("a--b.slice:c:d", None),
            ("x:b:c", None),
        ] {
            assert_eq!(cgroup(spelled).as_deref(), meant, "{spelled}");
        }
    }

    #[test]
    fn a_specification_says_who() {
        let json =
            br#"{"ociVersion":"1.0.2","process":{"env":["PATH=/bin","APP_ID=7","SECRET=x","odd"],
            "args":["sh"]},"root":{"path":"rootfs"},"annotations":{"a":"b"},
            "linux":{"cgroupsPath":"/x/y","namespaces":[]}}"#;
        let spec = Spec::parse(json).unwrap();
        assert_eq!(spec.cgroup().as_deref(), Some("/x/y"));
        assert_eq!(spec.root(), Some("rootfs"));
        assert_eq!(spec.annotations.get("a").map(String::as_str), Some("b"));
        let env = spec.env(&["APP_".to_owned(), String::new()]);
        assert_eq!(
            env.into_iter().collect::<Vec<_>>(),
            [("APP_ID".to_owned(), "7".to_owned())]
        );
        assert!(Spec::parse(b"{}").unwrap().cgroup().is_none());
        assert!(Spec::parse(b"[").is_none());
        assert!(Spec::parse(br#"{"linux":3}"#).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,60}") {
            if let Some(path) = cgroup(&text) {
                prop_assert!(path.starts_with('/'), "{}", path);
            }
            let _ = Spec::parse(text.as_bytes());
        }
    }
}
