//! What Podman's own files say: `<storage>/<driver>-containers/containers.json`, which its storage library
//! keeps, and each container's OCI configuration beside it. No labels, no state: those are in its
//! database.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::runtime::docker::describe::{time, usable_id};
use crate::runtime::settings::keeps_env;
use crate::runtime::{Identity, Image, Runtime};
use crate::units::Timestamp;

/// Drivers of the storage library that containers run on.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];

/// Lists of containers; the second has those that need not survive a restart of the node.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// The largest files that are read.
const MAX_LIST: u64 = 32 * 1024 * 1024;
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// The lists as they were when they were read: another value after each change, which replaces the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Version(Vec<(PathBuf, u64, i64, i64, u64)>);

impl Version {
    /// Looks at the lists. Empty if there are none.
    pub(super) fn of(storage: &Path) -> Self {
        let lists = DRIVERS.iter().flat_map(|driver| {
            LISTS.map(|list| storage.join(format!("{driver}-containers")).join(list))
        });
        let found = lists.filter_map(|path| {
            let found = std::fs::metadata(&path).ok()?;
            let (inode, size) = (found.ino(), found.size());
            Some((path, inode, found.mtime(), found.mtime_nsec(), size))
        });
        Self(found.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the lists.
    ///
    /// # Errors
    /// If one cannot be read, or is none.
    pub(super) fn read(&self, storage: &Path) -> io::Result<Vec<Identity>> {
        let mut all = Vec::new();
        for (path, ..) in &self.0 {
            let text = read(path, MAX_LIST)?;
            // An empty list is an empty file, too.
            if text.trim_ascii().is_empty() {
                continue;
            }
            let items: Vec<Value> = serde_json::from_slice(&text)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let directory = path.parent().and_then(Path::file_name);
            let driver = directory.and_then(|name| name.to_str()?.strip_suffix("-containers"));
            let found = items.iter();
            all.extend(found.filter_map(|item| listed(item, storage, driver.unwrap_or_default())));
        }
        Ok(all)
    }
}

/// Adds what the OCI configuration of a container says. Whether there is one: it comes with the first start.
pub(super) fn configure(identity: &mut Identity, storage: &Path, env_prefixes: &[String]) -> bool {
    let Some(driver) = &identity.storage_driver else {
        return false;
    };
    let path = storage
        .join(format!("{driver}-containers"))
        .join(&identity.id)
        .join("userdata/config.json");
    let Ok(text) = read(&path, MAX_CONFIG) else {
        return false;
    };
    let Ok(config) = serde_json::from_slice::<Value>(&text) else {
        return false;
    };
    configured(identity, &config, env_prefixes);
    true
}

fn configured(identity: &mut Identity, config: &Value, env_prefixes: &[String]) {
    let annotations = config["annotations"].as_object().into_iter().flatten();
    identity.annotations = annotations
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let env = config["process"]["env"].as_array().into_iter().flatten();
    identity.env = env
        .filter_map(|variable| variable.as_str()?.split_once('='))
        .filter(|(name, _)| keeps_env(env_prefixes, name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // With the systemd driver this is `slice:prefix:name`, which is no path.
    let cgroup = config["linux"]["cgroupsPath"].as_str();
    identity.cgroup = cgroup
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned);
    if let Some(namespaces) = config["linux"]["namespaces"].as_array() {
        let has_own = namespaces.iter().any(|one| one["type"] == "network");
        identity.network_mode = (!has_own).then(|| "host".to_owned());
    }
}

fn listed(item: &Value, storage: &Path, driver: &str) -> Option<Identity> {
    let id = item["id"].as_str().filter(|id| usable_id(id))?;
    let metadata: Value = serde_json::from_str(item["metadata"].as_str()?).ok()?;
    let known = |name: &str| metadata[name].as_str().filter(|text| !text.is_empty());
    // CRI-O keeps its containers in the same files, and Buildah its half-made images.
    if known("pod-id").is_some() || known("pod-name").is_some() {
        return None;
    }
    let name = known("name")?;
    let mut identity = Identity::new(Runtime::Podman, id);
    let mut names = item["names"].as_array().into_iter().flatten();
    let mut names = names.by_ref().filter_map(Value::as_str).map(str::to_owned);
    // The name that it was made with is not that which it was given later.
    identity.name = Some(names.next().unwrap_or_else(|| name.to_owned()));
    identity.aliases = names.collect();
    identity.image = known("image-name").map(|reference| Image {
        reference: reference.to_owned(),
        digest: known("image-id").map(|id| format!("sha256:{id}")),
    });
    identity.created = time(&item["created"]).or_else(|| {
        let seconds = metadata["created-at"].as_i64()?;
        Some(Timestamp(seconds.checked_mul(1_000_000_000)?))
    });
    identity.is_sandbox =
        name.ends_with("-infra") && known("image-name").is_none_or(|image| image.contains("pause"));
    identity.storage_driver = Some(driver.to_owned());
    let layer = item["layer"].as_str().filter(|layer| usable_id(layer));
    identity.writable_layer = layer
        .filter(|_| driver == "overlay")
        .map(|layer| storage.join(driver).join(layer).join("diff"));
    Some(identity)
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut text)?;
    if text.len() as u64 > most {
        let what = format!("more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "07bd2aa4d38f22fd61cd855d3d85acccf733f2ad4749868295b37e9ea5935acf";

    #[test]
    fn a_list_and_a_configuration_of_podman_4_3() {
        let storage = tempfile::tempdir().unwrap();
        let containers = storage.path().join("overlay-containers");
        std::fs::create_dir_all(containers.join(ID).join("userdata")).unwrap();
        assert!(Version::of(storage.path()).is_empty());
        let list = json!([
            {
                "id": ID, "names": ["web2"], "image": "3986", "layer": "c52fea82",
                "metadata": r#"{"image-name":"localhost/bb:1.0","image-id":"3986","name":"web","created-at":1795366807}"#,
                "created": "2026-11-22T17:00:07.805126066Z",
            },
            {"id": "aa", "names": ["k8s_x"], "metadata": r#"{"pod-name":"p","pod-id":"aa","name":"k8s_x"}"#},
            {"id": "bb", "names": ["busybox-working-container"], "metadata": ""},
            {"id": "../..", "names": ["x"], "metadata": "{\"name\":\"x\"}"},
        ]);
        std::fs::write(containers.join("containers.json"), list.to_string()).unwrap();
        std::fs::write(containers.join("volatile-containers.json"), "").unwrap();
        let version = Version::of(storage.path());
        let found = version.read(storage.path()).unwrap();
        assert_eq!(found.len(), 1);
        let mut found = found.into_iter().next().unwrap();
        assert_eq!(found.name.as_deref(), Some("web2"));
        let image = found.image.clone().unwrap();
        assert_eq!(image.reference, "localhost/bb:1.0");
        assert_eq!(image.digest.as_deref(), Some("sha256:3986"));
        assert_eq!(found.created, Some(Timestamp(1_795_366_807_805_126_066)));
        let layer = storage.path().join("overlay/c52fea82/diff");
        assert_eq!(found.writable_layer, Some(layer));
        assert!(!configure(&mut found, storage.path(), &[]));
        let config = json!({
            "annotations": {"io.container.manager": "libpod"},
            "process": {"env": ["A_B=1", "PATH=/bin"]},
            "linux": {"cgroupsPath": "/machine/libpod-07bd", "namespaces": [{"type": "pid"}, {"type": "mount"}]},
        });
        let path = containers.join(ID).join("userdata/config.json");
        std::fs::write(path, config.to_string()).unwrap();
        assert!(configure(&mut found, storage.path(), &["A_".to_owned()]));
        assert_eq!(found.cgroup.as_deref(), Some("/machine/libpod-07bd"));
        assert_eq!(found.network_mode.as_deref(), Some("host"));
        assert_eq!(found.env.len(), 1);
        assert_eq!(found.annotations["io.container.manager"], "libpod");

        assert_eq!(Version::of(storage.path()), version);
        std::fs::write(containers.join("containers.json"), "[]").unwrap();
        assert_ne!(Version::of(storage.path()), version);
        std::fs::write(containers.join("containers.json"), "[{").unwrap();
        let error = Version::of(storage.path())
            .read(storage.path())
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn whatever_is_there_there_is_no_panic(text in "\\PC{0,80}", metadata in "\\PC{0,80}") {
            let item = json!({"id": ID, "names": [text.clone(), 3], "metadata": metadata, "layer": text});
            let _ = listed(&item, Path::new("/"), "overlay");
            if let Ok(item) = serde_json::from_str(&text) {
                let _ = listed(&item, Path::new("/"), "overlay");
                configured(&mut Identity::new(Runtime::Podman, ID), &item, &[]);
            }
        }
    }
}
