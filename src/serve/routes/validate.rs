//! `/validate/`: whether this node is set up so that its containers can be monitored, as text.

use std::fmt::Write;
use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::{answer, in_background};
use crate::cgroup::ContainerName;
use crate::journal::{Journal, Mode};
use crate::node::disks::Disk;
use crate::node::setup::Setup;
use crate::query::View;
use crate::runtime::{LinkState, LinkStatus, Runtime};
use crate::wire::time::rfc3339;

/// How well something is supported, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unknown,
    Unsupported,
    Supported,
    Recommended,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "[Unknown]",
            Self::Unsupported => "[Unsupported]",
            Self::Supported => "[Supported, but not recommended]",
            Self::Recommended => "[Supported and recommended]",
        }
    }
}

/// `/validate` and `/validate/`.
pub(super) fn routes(view: &View) -> BoxedFilter<(Response,)> {
    let view = view.clone();
    warp::path!("validate")
        .then(move || {
            let view = view.clone();
            in_background(move || answer::whole(answer::TEXT, report(&view)))
        })
        .boxed()
}

fn report(view: &View) -> String {
    let (version, setup, machine) = (view.version_info(), view.setup(), view.machine_info());
    let (kernel, links) = (version.kernel.as_deref(), view.links());
    let blocks = [
        (
            "Kernel version",
            kernel_verdict(kernel),
            format!(
                "Kernel version is {}. Versions >= 2.6 are supported. 3.0+ are recommended.",
                kernel.unwrap_or("unknown")
            ),
        ),
        (
            "Cgroup setup",
            controllers_verdict(&setup),
            controllers_text(&setup),
        ),
        (
            "Cgroup mount setup",
            mount_verdict(&setup),
            mount_text(&setup),
        ),
        (
            "Docker version",
            docker_verdict(&links),
            docker_text(&links),
        ),
        (
            "Docker driver setup",
            if docker_version(&links).is_some() {
                Verdict::Recommended
            } else {
                Verdict::Unknown
            },
            "No driver is read: figures are those of cgroups, whatever the driver.".to_owned(),
        ),
        (
            "Journal",
            journal_verdict(view.journal()),
            journal_text(view.journal()),
        ),
        (
            "Block device setup",
            disks_verdict(&machine.disks),
            disks_text(&machine.disks),
        ),
    ];
    let mut text = format!(
        "cAdvisor version: {}\n\nOS version: {}\n\n",
        version.cgauge,
        version.os.as_deref().unwrap_or("unknown")
    );
    for (title, verdict, description) in blocks {
        put(
            &mut text,
            format_args!("{title}: {}\n\t{description}\n\n", verdict.as_str()),
        );
    }
    put(&mut text, format_args!("Container runtimes:\n"));
    for link in &links {
        put(&mut text, format_args!("\t{}\n", link_text(link)));
    }
    put(&mut text, format_args!("\nInotify watches:\n\n\n"));
    put(&mut text, format_args!("Managed containers:\n"));
    let joined = view.joined();
    for handler in view.containers_within(&ContainerName::root()) {
        put(&mut text, format_args!("\t{}\n", handler.name()));
        if let Some(identity) = joined.identity(handler.name()) {
            let namespace = identity.runtime.namespace();
            put(
                &mut text,
                format_args!("\t\tNamespace: {namespace}\n\t\tAliases:\n"),
            );
            for alias in identity.all_names() {
                put(&mut text, format_args!("\t\t\t{}\n", alias.escape_debug()));
            }
        }
    }
    text
}

/// How the link to a runtime is doing, and since when.
fn link_text(link: &LinkStatus) -> String {
    let (state, since) = link.state();
    let how = match state {
        LinkState::Connecting => "has not answered yet".to_owned(),
        LinkState::Absent => "not there".to_owned(),
        LinkState::Connected { version } => format!("answers, version {version}"),
        LinkState::Failed { why } => {
            format!("no names, images, labels or exit codes from it: {why}")
        }
    };
    format!(
        "{} at {}: {how} (since {})",
        link.runtime,
        link.endpoint,
        rfc3339(since)
    )
}

/// The version of the first Docker that answers.
fn docker_version(links: &[Arc<LinkStatus>]) -> Option<String> {
    let mut dockers = links.iter().filter(|link| link.runtime == Runtime::Docker);
    dockers.find_map(|link| match link.state().0 {
        LinkState::Connected { version } => Some(version),
        _ => None,
    })
}

fn docker_verdict(links: &[Arc<LinkStatus>]) -> Verdict {
    let version = docker_version(links);
    match version.as_deref().and_then(major_minor) {
        None => Verdict::Unknown,
        Some((0, _)) => Verdict::Unsupported,
        Some((1, 0 | 1)) => Verdict::Supported,
        Some(_) => Verdict::Recommended,
    }
}

fn docker_text(links: &[Arc<LinkStatus>]) -> String {
    match docker_version(links) {
        Some(version) => format!(
            "Docker version is {version}. Versions >= 1.0 are supported. 1.2+ are recommended."
        ),
        None => "No Docker answers: containers are monitored by their cgroups, without its names."
            .to_owned(),
    }
}

/// Writing to text does not fail.
fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

/// `major.minor`, if something follows.
fn kernel_verdict(version: Option<&str>) -> Verdict {
    let Some((major, minor)) = version.and_then(major_minor) else {
        return Verdict::Unknown;
    };
    match (major, minor) {
        (..=1, _) | (2, ..=5) => Verdict::Unsupported,
        (2, _) => Verdict::Supported,
        _ => Verdict::Recommended,
    }
}

fn major_minor(version: &str) -> Option<(u64, u64)> {
    let (major, rest) = version.split_once('.')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    Some((major.parse().ok()?, rest.get(..digits)?.parse().ok()?))
}

const REQUIRED: [&str; 2] = ["cpu", "cpuacct"];
const WANTED: [&str; 5] = ["memory", "blkio", "cpuset", "devices", "freezer"];

fn controllers_verdict(setup: &Setup) -> Verdict {
    if setup.controllers.is_none() {
        Verdict::Unknown
    } else if !REQUIRED.iter().all(|name| setup.enabled(name)) {
        Verdict::Unsupported
    } else if !WANTED.iter().all(|name| setup.enabled(name)) {
        Verdict::Supported
    } else {
        Verdict::Recommended
    }
}

fn controllers_text(setup: &Setup) -> String {
    let Some(all) = &setup.controllers else {
        return "The kernel does not list its controllers in /proc/cgroups.".to_owned();
    };
    let list = |wanted: bool| {
        let names = all.iter().filter(|(_, enabled)| **enabled == wanted);
        names
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    format!(
        "Enabled controllers: {}.\n\tDisabled: {}.",
        list(true),
        list(false)
    )
}

fn mount_verdict(setup: &Setup) -> Verdict {
    match &setup.cpu_mount {
        Some(point) if point.parent().is_some_and(|p| p.ends_with("sys/fs/cgroup")) => {
            Verdict::Recommended
        }
        Some(_) => Verdict::Supported,
        None if setup.v2_mount.is_some() => Verdict::Recommended,
        None => Verdict::Unsupported,
    }
}

fn mount_text(setup: &Setup) -> String {
    let mut text = String::new();
    if let Some(point) = &setup.cpu_mount {
        put(
            &mut text,
            format_args!(
                "The cpu controller (cgroup v1) is mounted at {}. ",
                point.display()
            ),
        );
    }
    if let Some(point) = &setup.v2_mount {
        put(
            &mut text,
            format_args!("Cgroup v2 is mounted at {}. ", point.display()),
        );
    }
    if text.is_empty() {
        text.push_str("No cgroup hierarchy is mounted. Any mount point is supported, /sys/fs/cgroup is recommended.");
    }
    text.trim_end().to_owned()
}

fn journal_verdict(journal: Option<&Journal>) -> Verdict {
    match journal.map(|journal| journal.status().mode) {
        None => Verdict::Supported,
        Some(Mode::Writing) => Verdict::Recommended,
        Some(Mode::MemoryOnly(_)) => Verdict::Unsupported,
    }
}

fn journal_text(journal: Option<&Journal>) -> String {
    let Some(journal) = journal else {
        return "Events are in memory only: without --state-dir nothing is written.".to_owned();
    };
    let status = journal.status();
    let directory = status.directory.display();
    match status.mode {
        Mode::Writing => format!(
            "Events are written to {directory}: {} bytes in {} files.",
            status.bytes, status.segments
        ),
        Mode::MemoryOnly(why) => format!(
            "Events are in memory only, until {directory} can be written again: {why}. {} records are given up.",
            status.given_up
        ),
    }
}

fn disks_verdict(disks: &[Disk]) -> Verdict {
    match disks
        .iter()
        .any(|disk| disk.scheduler.as_deref() == Some("cfq"))
    {
        true => Verdict::Recommended,
        false => Verdict::Supported,
    }
}

fn disks_text(disks: &[Disk]) -> String {
    let list = disks.iter().map(|disk| {
        format!(
            "{} ({})",
            disk.name,
            disk.scheduler.as_deref().unwrap_or("none")
        )
    });
    format!(
        "Disks and their schedulers: {}.",
        list.collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        for (version, verdict) in [
            ("2.6.3", Verdict::Supported),
            ("3.6.3", Verdict::Recommended),
            ("6.18.44-x", Verdict::Recommended),
            ("1.0beta", Verdict::Unsupported),
            ("0.1beta", Verdict::Unsupported),
            ("0.1", Verdict::Unknown),
            ("3.1", Verdict::Unknown),
            ("", Verdict::Unknown),
        ] {
            assert_eq!(kernel_verdict(Some(version)), verdict, "{version}");
        }
        assert_eq!(kernel_verdict(None), Verdict::Unknown);
    }

    #[test]
    fn docker_versions() {
        let at = |version: &str| {
            let link = LinkStatus::new(Runtime::Docker, "/run/docker.sock");
            link.connected(version);
            vec![link]
        };
        for (version, verdict) in [
            ("1.1.3", Verdict::Supported),
            ("1.6.3", Verdict::Recommended),
            ("20.10.24+dfsg1", Verdict::Recommended),
            ("1.0beta", Verdict::Supported),
            ("0.1beta", Verdict::Unsupported),
            ("1.6", Verdict::Unknown),
        ] {
            assert_eq!(docker_verdict(&at(version)), verdict, "{version}");
        }
        assert_eq!(docker_verdict(&[]), Verdict::Unknown);
        let link = LinkStatus::new(Runtime::Crio, "/c.sock");
        assert!(link_text(&link).starts_with("crio at /c.sock: has not answered yet (since "));
    }

    #[test]
    fn controllers_and_mounts() {
        let with = |names: &[&str]| Setup {
            controllers: Some(
                names
                    .iter()
                    .map(|name| ((*name).to_owned(), true))
                    .collect(),
            ),
            ..Setup::default()
        };
        assert_eq!(controllers_verdict(&Setup::default()), Verdict::Unknown);
        assert_eq!(
            controllers_verdict(&with(&["memory"])),
            Verdict::Unsupported
        );
        assert_eq!(controllers_verdict(&with(&REQUIRED)), Verdict::Supported);
        assert_eq!(
            controllers_verdict(&with(&[&REQUIRED[..], &WANTED[..]].concat())),
            Verdict::Recommended
        );
        let at = |point: &str| Setup {
            cpu_mount: Some(point.into()),
            ..Setup::default()
        };
        assert_eq!(
            mount_verdict(&at("/sys/fs/cgroup/cpu")),
            Verdict::Recommended
        );
        assert_eq!(mount_verdict(&at("/cgroup/cpu")), Verdict::Supported);
        assert_eq!(mount_verdict(&Setup::default()), Verdict::Unsupported);
    }
}
