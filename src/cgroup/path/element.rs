//! Single elements of cgroup paths.

use super::kind::{CgroupKind, Maker, PodUid, QosClass};

/// A runtime's container id is this many hexadecimal digits.
const ID_LENGTH: usize = 64;

/// Shortest id of a pod, and of a container where its place says that it is one.
const MIN_ID: usize = 8;

/// An id of BuildKit is this many digits and small letters.
const BUILD_ID_LENGTH: usize = 25;

/// What a runtime puts before an id: whose it is, and whether it is the container's monitor. A prefix
/// of another comes after it.
const PREFIXES: [(&str, Maker, bool); 9] = [
    ("cri-containerd-", Maker::Containerd, false),
    ("nerdctl-", Maker::Containerd, false),
    ("crio-conmon-", Maker::Crio, true),
    ("crio-", Maker::Crio, false),
    ("docker-", Maker::Docker, false),
    ("libpod-conmon-", Maker::Podman, true),
    ("libpod-payload-", Maker::Podman, false),
    ("libpod-", Maker::Podman, false),
    ("kata_", Maker::Kata, false),
];

/// What a runtime made.
pub(super) struct Made<'a> {
    pub(super) maker: Maker,
    pub(super) id: &'a str,
    pub(super) is_monitor: bool,
}

/// The container whose cgroup (or whose monitor's) is called `element`, below one called `parent`.
/// Units other than scopes never are: systemd mounts a container's layers under its id, Podman
/// runs its health checks as services under it.
pub(super) fn made<'a>(element: &'a str, parent: &str) -> Option<Made<'a>> {
    const OTHER_UNITS: [&str; 6] = [".mount", ".service", ".slice", ".swap", ".socket", ".timer"];
    if OTHER_UNITS.iter().any(|suffix| element.ends_with(suffix)) {
        return None;
    }
    let name = without_suffix(element, ".scope");
    let (maker, id, is_monitor) = runtime_prefix(name);
    if maker != Maker::Unknown && is_id(id) {
        return Some(Made {
            maker,
            id,
            is_monitor,
        });
    }
    let id = name
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|run| is_id(run))?;
    let (maker, is_monitor) = match parent {
        "docker" => (Maker::Docker, false),
        "kata_overhead" | "kata-overhead.slice" => (Maker::Kata, true),
        _ => (Maker::Unknown, false),
    };
    Some(Made {
        maker,
        id,
        is_monitor,
    })
}

/// Whose prefix a name has, what follows it, and whether that is a container's monitor.
pub(super) fn runtime_prefix(name: &str) -> (Maker, &str, bool) {
    PREFIXES
        .iter()
        .find_map(|&(prefix, maker, is_monitor)| {
            Some((maker, name.strip_prefix(prefix)?, is_monitor))
        })
        .unwrap_or((Maker::Unknown, name, false))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it may be the id of a container, where its place says that it is one.
pub(super) fn is_short_id(text: &str) -> bool {
    text.len() >= MIN_ID && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn without_suffix<'a>(text: &'a str, suffix: &str) -> &'a str {
    text.strip_suffix(suffix).unwrap_or(text)
}

/// The class whose pods are in the cgroup of this name.
pub(super) fn qos_class(element: &str) -> Option<QosClass> {
    let name = match element.strip_suffix(".slice") {
        Some(unit) => unit.rsplit_once('-')?.1,
        None => element,
    };
    match name {
        "burstable" => Some(QosClass::Burstable),
        "besteffort" => Some(QosClass::BestEffort),
        _ => None,
    }
}

/// The pod whose cgroup is called so: `pod<uid>`, `kubepods-burstable-pod<uid>.slice`.
pub(super) fn pod_uid(element: &str) -> Option<PodUid<'_>> {
    let uid = match element.strip_suffix(".slice") {
        Some(unit) => unit.rsplit_once("-pod")?.1,
        None => element.strip_prefix("pod")?,
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (uid.len() >= MIN_ID && uid.bytes().all(valid)).then_some(PodUid::new(uid))
}

/// A class and a pod; neither where all of them are meant.
pub(super) type PodsSlice<'a> = (Option<QosClass>, Option<PodUid<'a>>);

/// What a name that begins with `kubepods` says, which may lie below a root of the kubelet's own
/// whose name systemd repeats (`kubelet-kubepods.slice`).
pub(super) fn pods_slice(element: &str) -> Option<PodsSlice<'_>> {
    if element == "kubepods" {
        return Some((None, None));
    }
    let unit = element.strip_suffix(".slice")?;
    let at = unit.find("kubepods")?;
    let (before, rest) = (unit.get(..at)?, unit.get(at + "kubepods".len()..)?);
    if !(before.is_empty() || before.ends_with('-')) {
        return None;
    }
    if rest.is_empty() {
        return Some((None, None));
    }
    let qos = match rest.split('-').nth(1)? {
        "burstable" => Some(QosClass::Burstable),
        "besteffort" => Some(QosClass::BestEffort),
        _ => None,
    };
    Some((qos, pod_uid(element)))
}

/// A pod of Podman: `machine-libpod_pod_<id>.slice`, `user-libpod_pod_<id>.slice`, or with the
/// `cgroupfs` driver a bare id below `libpod_parent`, where a container has its prefix.
pub(super) fn podman_pod<'a>(parent: &str, element: &'a str) -> Option<&'a str> {
    let id = match element.strip_suffix(".slice") {
        Some(unit) => unit.split_once("libpod_pod_")?.1,
        None if parent == "libpod_parent" => element,
        None => return None,
    };
    is_id(id).then_some(id)
}

/// LXC, LXD, Incus: `lxc.payload.<name>`, before version 4 `lxc/<name>` (Proxmox still) and
/// `lxc.payload/<name>`.
pub(super) fn lxc<'a>(parent: &str, element: &'a str) -> Option<CgroupKind<'a>> {
    let after = |prefix: &str| {
        let name = element.strip_prefix(prefix)?;
        let name = name.strip_prefix(['.', '-'])?;
        (!name.is_empty()).then_some(name)
    };
    if let Some(name) = after("lxc.payload") {
        return Some(CgroupKind::Lxc { name });
    }
    if let Some(name) = after("lxc.monitor") {
        return Some(CgroupKind::LxcMonitor { name });
    }
    match parent {
        "lxc" | "lxc.payload" => Some(CgroupKind::Lxc { name: element }),
        "lxc.monitor" => Some(CgroupKind::LxcMonitor { name: element }),
        _ => None,
    }
}

/// `systemd-nspawn@<name>.service`, and below `machine.slice` `machine-<name>.scope`.
pub(super) fn machine<'a>(parent: &str, element: &'a str) -> Option<CgroupKind<'a>> {
    let of_nspawn = || {
        element
            .strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")
    };
    let registered = || {
        let name = element.strip_prefix("machine-")?.strip_suffix(".scope")?;
        (parent == "machine.slice").then_some(name)
    };
    let name = of_nspawn().or_else(registered)?;
    (!name.is_empty()).then_some(CgroupKind::Machine { name })
}

/// A step of a build: below `buildkit`, or in a scope of its name.
pub(super) fn build_id<'a>(parent: &str, element: &'a str) -> Option<&'a str> {
    let id = match element.strip_suffix(".scope") {
        Some(unit) => unit.strip_prefix("buildkit-")?,
        None if parent == "buildkit" => element,
        None => return None,
    };
    let valid = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    (id.len() == BUILD_ID_LENGTH && id.bytes().all(valid)).then_some(id)
}

/// A user and a login session: `user-<uid>.slice`, `session-<id>.scope`.
pub(super) fn user(element: &str) -> Option<CgroupKind<'_>> {
    if let Some(uid) = element
        .strip_prefix("user-")
        .and_then(|rest| rest.strip_suffix(".slice"))
    {
        return is_number(uid).then_some(CgroupKind::User { uid });
    }
    let id = element.strip_prefix("session-")?.strip_suffix(".scope")?;
    (!id.is_empty()).then_some(CgroupKind::Session { id })
}

/// Units of systemd, by their suffixes.
pub(super) fn unit(element: &str) -> Option<CgroupKind<'_>> {
    let (name, suffix) = element.rsplit_once('.')?;
    let unit = element;
    match suffix {
        _ if name.is_empty() => None,
        "service" => Some(CgroupKind::Service { unit }),
        "scope" => Some(CgroupKind::Scope { unit }),
        "slice" => Some(CgroupKind::Slice { unit }),
        "mount" | "swap" | "socket" => Some(CgroupKind::Mount { unit }),
        _ => None,
    }
}
