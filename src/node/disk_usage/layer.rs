//! Pure: where the writable layer of a process is, by its mount table, and whose layer it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::cgroup::ContainerName;
use crate::cgroup::mountinfo::MountEntry;

/// The writable layer that the root directory of a process is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// `upperdir` of the overlay, as it was given when it was mounted: relative, if the runtime had
    /// changed its directory because the list of layers was too long.
    pub upper: PathBuf,
    /// Device number of the overlay: the same layer mounted twice is two overlays.
    pub device: (u32, u32),
}

/// The layer in the mount table of a process (`/proc/PID/mountinfo`): of the mount at its `/`, the last
/// of them if there are several. `None` if that is no overlay, or one that cannot be written.
pub fn of_process(mounts: &[MountEntry]) -> Option<Layer> {
    let root = mounts
        .iter()
        .rev()
        .find(|mount| mount.mount_point == Path::new("/"))?;
    if root.fs_type != "overlay" {
        return None;
    }
    Some(Layer {
        upper: without_backslashes(root.super_option("upperdir")?),
        device: (root.major, root.minor),
    })
}

/// A comma, colon or backslash in a directory's name has a backslash before it when an overlay is
/// mounted, and kernels since 6.8 show it so.
fn without_backslashes(name: OsString) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(name.len()), name.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.first().filter(|next| b"\\,:".contains(next));
        let (byte, after) = match (first, escaped) {
            (b'\\', Some(&next)) => (next, tail.get(1..).unwrap_or_default()),
            _ => (first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    OsString::from_vec(bytes).into()
}

/// The layer's directory as the node names it. A relative one is completed by where the node itself
/// has mounted the overlay: `<id>/diff` of one at `/var/lib/docker/overlay2/<id>/merged` is
/// `/var/lib/docker/overlay2/<id>/diff`.
pub fn directory(layer: &Layer, node: &[MountEntry]) -> Option<PathBuf> {
    let plain = |component| !matches!(component, Component::ParentDir | Component::CurDir);
    if !layer.upper.components().all(plain) {
        return None;
    }
    if layer.upper.is_absolute() {
        return (layer.upper != Path::new("/")).then(|| layer.upper.clone());
    }
    let first = layer.upper.components().next()?;
    let mounted = node
        .iter()
        .rev()
        .filter(|mount| mount.fs_type == "overlay" && (mount.major, mount.minor) == layer.device);
    mounted
        .filter_map(|mount| {
            let point = &mount.mount_point;
            let base = point.ancestors().skip(1).find(|base| {
                let below = point.strip_prefix(base).ok();
                below.and_then(|below| below.components().next()) == Some(first)
            })?;
            Some(base.join(&layer.upper))
        })
        .next()
}

/// Whose each layer is. Processes of one container may be in several cgroups (a cgroup of the runtime's
/// own within, or those that a systemd in the container makes): then it is that of the nearest cgroup
/// that holds them all, unless that holds others too, or else that of the first and highest of them.
///
/// `members` are the cgroups with processes, and the layer of these; `is_container` says whether there
/// is a container of a name.
pub fn owners(
    members: &[(ContainerName, Option<Layer>)],
    is_container: impl Fn(&ContainerName) -> bool,
) -> BTreeMap<Layer, ContainerName> {
    let mut of_layer: BTreeMap<&Layer, Vec<&ContainerName>> = BTreeMap::new();
    for (name, layer) in members {
        if let Some(layer) = layer {
            of_layer.entry(layer).or_default().push(name);
        }
    }
    let alone = |ancestor: &ContainerName, layer: &Layer| {
        members
            .iter()
            .filter(|(name, _)| name.is_within(ancestor))
            .all(|(_, of)| of.as_ref() == Some(layer))
    };
    of_layer
        .into_iter()
        .filter_map(|(layer, names)| {
            let common = common_ancestor(&names)?;
            let nearest = !common.is_root() && is_container(&common) && alone(&common, layer);
            let owner = if names.len() == 1 || nearest {
                common
            } else {
                let depth = |name: &ContainerName| name.as_bytes().split(|&b| b == b'/').count();
                names
                    .into_iter()
                    .min_by(|a, b| (depth(a), *a).cmp(&(depth(b), *b)))?
                    .clone()
            };
            Some((layer.clone(), owner))
        })
        .collect()
}

fn common_ancestor(names: &[&ContainerName]) -> Option<ContainerName> {
    let (first, rest) = names.split_first()?;
    let mut common: Vec<&[u8]> = first.as_bytes().split(|&byte| byte == b'/').collect();
    for name in rest {
        let same = name
            .as_bytes()
            .split(|&byte| byte == b'/')
            .zip(&common)
            .take_while(|(a, b)| a == *b)
            .count();
        common.truncate(same);
    }
    let joined = common.join(&b'/');
    Some(match joined.is_empty() {
        true => ContainerName::root(),
        false => ContainerName::from_bytes(&joined),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cgroup::mountinfo;

    fn layer(text: &str) -> Option<Layer> {
        of_process(&mountinfo::parse(text.as_bytes()))
    }

    #[test]
    fn the_layer_is_the_upper_directory_of_the_overlay_at_the_root() {
        let docker = "2 1 0:60 / / rw,relatime master:9 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/var/lib/docker/overlay2/ab/diff,workdir=/w\n\
                      3 2 0:61 / /proc rw - proc proc rw\n";
        assert_eq!(
            layer(docker).unwrap(),
            Layer {
                upper: "/var/lib/docker/overlay2/ab/diff".into(),
                device: (0, 60)
            }
        );
        assert_eq!(layer("2 1 8:1 / / rw - ext4 /dev/sda1 rw"), None);
        assert_eq!(
            layer("2 1 0:60 / / ro - overlay overlay ro,lowerdir=/a:/b"),
            None,
            "nothing can be written"
        );
        assert_eq!(layer("3 2 0:61 / /proc rw - proc proc rw\n"), None);
        let over = "2 1 8:1 / / rw - ext4 /dev/sda1 rw\n5 2 0:7 /sub / rw - overlay o rw,upperdir=/u,lowerdir=/l\n";
        assert_eq!(
            layer(over).unwrap().upper,
            Path::new("/u"),
            "the last mount at a place is the one that is seen, whatever part of it"
        );
    }

    #[test]
    fn names_are_decoded_after_the_options_are_split() {
        let text = br"2 1 0:60 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/a\040b\134\054c\134d\134\134\054,workdir=/w";
        let found = of_process(&mountinfo::parse(text)).unwrap();
        assert_eq!(found.upper, Path::new("/a b,c\\d\\,"));
        let before_6_8 = br"2 1 0:60 / / rw - overlay overlay rw,upperdir=/a\040b\054c,workdir=/w";
        let found = of_process(&mountinfo::parse(before_6_8)).unwrap();
        assert_eq!(found.upper, Path::new("/a b,c"));
    }

    #[test]
    fn a_relative_directory_is_completed_by_the_mount_of_the_node() {
        let relative =
            layer("2 1 0:60 / / rw - overlay o rw,upperdir=ab/diff,workdir=ab/work").unwrap();
        let node = mountinfo::parse(
            b"9 1 0:59 / /elsewhere/ab/merged rw - overlay o rw,upperdir=ab/diff\n\
              8 1 0:60 / /var/lib/docker/overlay2/ab/merged rw - overlay o rw,upperdir=ab/diff\n",
        );
        assert_eq!(
            directory(&relative, &node).unwrap(),
            Path::new("/var/lib/docker/overlay2/ab/diff")
        );
        assert_eq!(directory(&relative, &node[..1]), None);
        for upper in ["/", "/a/../etc", "../x"] {
            let layer = Layer {
                upper: upper.into(),
                device: (0, 60),
            };
            assert_eq!(directory(&layer, &node), None, "{upper}");
        }
    }

    #[test]
    fn a_layer_belongs_to_the_nearest_cgroup_that_holds_its_processes_alone() {
        let at = |path: &str, upper: &str| {
            let layer = (!upper.is_empty()).then(|| Layer {
                upper: upper.into(),
                device: (0, 1),
            });
            (ContainerName::from_request(path), layer)
        };
        let members = [
            at("/", ""),
            at("/docker/a", "/a"),
            at("/docker/b/init.scope", "/b"),
            at("/docker/b/system.slice/x", "/b"),
            at("/pods/c", "/c"),
            at("/pods/c/libpod", "/c"),
            at("/x/d", "/d"),
            at("/x/e/deep", "/d"),
            at("/x/f", ""),
            at("/y/g", "/g"),
            at("/z/g", "/g"),
            at("/w/h", "/h"),
            at("/w/i", "/h"),
        ];
        let owners = owners(&members, |name| name.to_string() != "/w");
        let owner = |upper: &str| {
            let mut found = owners
                .iter()
                .filter(|(layer, _)| layer.upper == Path::new(upper));
            found.next().unwrap().1.to_string()
        };
        assert_eq!(owner("/a"), "/docker/a");
        assert_eq!(owner("/b"), "/docker/b");
        assert_eq!(owner("/c"), "/pods/c");
        assert_eq!(owner("/d"), "/x/d", "the cgroup above holds others too");
        assert_eq!(owner("/g"), "/y/g", "never the root");
        assert_eq!(owner("/h"), "/w/h", "the cgroup above is no container");
    }
}
