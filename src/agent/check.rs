//! `cgauge check`: what works here, what does not, and what would change that.
//!
//! Each line is the result of trying, not of looking at a version or a user id.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::agent::settings;
use crate::cgroup::file::FdBudget;
use crate::cgroup::hierarchy::{Controller, Hierarchy};
use crate::cgroup::network::NetworkNamespaces;
use crate::cgroup::plan::Plan;
use crate::cgroup::{Cgroup, ContainerName, Hierarchies, ReadContext, Sample};
use crate::config::Config;
use crate::journal;
use crate::runtime::{LinkState, LinkStatus, Supervisor};
use crate::source::kmsg_reader::KmsgReader;

/// How long runtimes have to answer.
const WAIT_FOR_RUNTIMES: Duration = Duration::from_secs(3);

/// How long it may take to find out which are to be asked.
const WAIT_FOR_LINKS: Duration = Duration::from_millis(300);

/// One finding.
struct Finding {
    works: bool,
    what: String,
    detail: String,
}

/// Tries everything that `run` would use, and says on `out` what came of it.
///
/// # Errors
/// When `out` cannot be written, or there are no cgroups at all.
pub async fn check(config: Config, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let findings = tokio::task::spawn_blocking(move || try_all(&config)).await??;
    for finding in &findings {
        let mark = if finding.works { "ok     " } else { "missing" };
        writeln!(out, "{mark}  {}: {}", finding.what, finding.detail)?;
    }
    let missing = findings.iter().filter(|finding| !finding.works).count();
    match missing {
        0 => writeln!(out, "everything works here")?,
        1 => writeln!(out, "1 thing is missing; the rest works without it")?,
        _ => writeln!(
            out,
            "{missing} things are missing; the rest works without them"
        )?,
    }
    Ok(())
}

fn try_all(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let roots = &config.roots;
    let hierarchies =
        Hierarchies::detect(&roots.procfs, &roots.rootfs, roots.cgroup_root.as_deref())?;
    let hierarchies = Arc::new(hierarchies);
    let mut findings = Vec::new();
    for (_, hierarchy) in hierarchies.iter() {
        let controllers = if hierarchy.unified {
            "v2".to_owned()
        } else {
            let names: Vec<_> = hierarchy
                .controllers
                .iter()
                .map(|one| one.v1_name())
                .collect();
            format!("v1 {}", names.join(","))
        };
        findings.push(Finding {
            works: std::fs::read_dir(&hierarchy.root).is_ok(),
            what: format!("cgroups ({controllers})"),
            detail: hierarchy.root.display().to_string(),
        });
    }
    findings.extend(files(config, &hierarchies));
    findings.push(kernel_log(config));
    findings.push(namespaces(&roots.procfs));
    findings.push(watches(&roots.procfs));
    findings.push(descriptors(config));
    findings.extend(state_directory(config));
    findings.extend(runtimes(config)?);
    Ok(findings)
}

/// Which files of the root, and of one container, can be read.
fn files(config: &Config, hierarchies: &Arc<Hierarchies>) -> Vec<Finding> {
    let plan = Arc::new(Plan::new(
        Arc::clone(hierarchies),
        &settings::read_options(config),
    ));
    let namespaces = Arc::new(NetworkNamespaces::new(&config.roots.procfs));
    let mut context = ReadContext::new(namespaces);
    let mut read = Vec::new();
    let tried: BTreeSet<ContainerName> = hierarchies
        .iter()
        .filter_map(|(_, hierarchy)| first_child(hierarchy))
        .chain([ContainerName::root()])
        .collect();
    for name in tried {
        let mut cgroup = Cgroup::new(name, Arc::clone(&plan), Arc::new(FdBudget::of(64)));
        for (id, _) in hierarchies.iter() {
            // A container need not be in every hierarchy.
            let _ = cgroup.attach(id, None);
        }
        let mut sample = Sample::default();
        cgroup.read(&mut context, &mut sample);
        read.push(sample);
    }
    let has = |figure: fn(&Sample) -> bool| read.iter().any(figure);
    let finding = |what: &str, works: bool, lack: &str| Finding {
        works,
        what: what.to_owned(),
        detail: if works {
            "can be read".to_owned()
        } else {
            lack.to_owned()
        },
    };
    let errors: u64 = plan
        .files
        .iter()
        .map(|file| file.cost.errors.load(Relaxed))
        .sum();
    let mut findings = vec![
        finding(
            "CPU time",
            has(|sample| sample.cpu.usage_ns.is_some()),
            "no cpuacct or v2 hierarchy that may be read",
        ),
        finding(
            "memory",
            has(|sample| sample.memory.usage_bytes.is_some()),
            "the memory controller is off, or its files may not be read",
        ),
        tasks(hierarchies, has(|sample| sample.pids.current.is_some())),
        finding(
            "pressure",
            has(|sample| sample.cpu_pressure.some.total_ns.is_some()),
            "the kernel has none, or it is switched off: boot with psi=1",
        ),
        finding(
            "OOM kill counters",
            has(|sample| sample.memory_events_local.oom_kill.is_some()),
            "the kernel is older than 4.13 (v1) or 5.2 (v2), or there is no container yet",
        ),
    ];
    if errors > 0 {
        findings.push(finding(
            "all files",
            false,
            &format!("{errors} reads failed: run with --log-level debug"),
        ));
    }
    findings
}

/// Any container of a hierarchy, to see what files those have: the root has fewer.
fn first_child(hierarchy: &Hierarchy) -> Option<ContainerName> {
    let entries = std::fs::read_dir(&hierarchy.root).ok()?;
    let child = entries
        .flatten()
        .find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))?;
    Some(ContainerName::root().child(&child.file_name()))
}

/// The number of tasks, which the root does not tell: on a host without containers there is nothing
/// to try.
fn tasks(hierarchies: &Hierarchies, can_be_read: bool) -> Finding {
    let pids = hierarchies.of(Controller::Pids).or(hierarchies.unified());
    let none_yet = pids.is_some_and(|id| first_child(hierarchies.get(id)).is_none());
    Finding {
        works: can_be_read || none_yet,
        what: "tasks".to_owned(),
        detail: match (can_be_read, none_yet) {
            (true, _) => "can be read",
            (false, true) => "no container has figures yet, and the root never has",
            (false, false) => "the pids controller is off, or its files may not be read",
        }
        .to_owned(),
    }
}

fn kernel_log(config: &Config) -> Finding {
    let what = "kernel log (who was killed by the OOM killer)".to_owned();
    let Some(path) = &config.roots.kmsg else {
        return Finding {
            works: false,
            what,
            detail: "switched off with an empty --kmsg".to_owned(),
        };
    };
    match KmsgReader::spawn(path, Arc::default(), |_| {}) {
        Ok(reader) => {
            reader.stop();
            Finding {
                works: true,
                what,
                detail: path.display().to_string(),
            }
        }
        Err(error) => Finding {
            works: false,
            what,
            detail: error.to_string(),
        },
    }
}

fn namespaces(procfs: &Path) -> Finding {
    let what = "network of containers".to_owned();
    match std::fs::metadata(procfs.join("1/ns/net")) {
        Ok(_) => Finding {
            works: true,
            what,
            detail: "namespaces can be told apart".to_owned(),
        },
        Err(error) => Finding {
            works: false,
            what,
            detail: format!(
                "{}/1/ns/net: {error}; {}",
                procfs.display(),
                if error.kind() == ErrorKind::NotFound {
                    "mount procfs there, or point --procfs at it"
                } else {
                    "grant CAP_SYS_PTRACE (and in a pod, hostPID) to see the processes of other users"
                }
            ),
        },
    }
}

fn watches(procfs: &Path) -> Finding {
    let limit = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(procfs.join("sys/fs/inotify").join(name)).ok()?;
        text.trim().parse().ok()
    };
    let what = "inotify watches".to_owned();
    match limit("max_user_watches") {
        Some(number) => Finding {
            works: number >= 8_192,
            what,
            detail: format!(
                "fs.inotify.max_user_watches is {number}; one is needed for each cgroup and hierarchy, \
                 beyond that cgroups are found by listing"
            ),
        },
        None => Finding {
            works: false,
            what,
            detail: format!(
                "the limit cannot be read from {}/sys/fs/inotify; mount procfs there, or point \
                 --procfs at it",
                procfs.display()
            ),
        },
    }
}

/// Whether events would outlive a restart; without a state directory they are not meant to.
fn state_directory(config: &Config) -> Option<Finding> {
    let directory = config.state.directory.as_ref()?;
    let what = "state directory (events outlive a restart)".to_owned();
    let options = journal::Options {
        max_bytes: config.state.journal_max_bytes,
        ..journal::Options::new(directory)
    };
    Some(match journal::probe(&options) {
        Ok(detail) => Finding {
            works: true,
            what,
            detail,
        },
        Err(detail) => Finding {
            works: false,
            what,
            detail,
        },
    })
}

fn descriptors(config: &Config) -> Finding {
    let wanted = config.housekeeping.max_open_files;
    let budget = FdBudget::within_limits(wanted);
    Finding {
        works: budget.files() == wanted,
        what: "open files".to_owned(),
        detail: format!(
            "{} of {wanted} wanted may be kept open (ulimit -n)",
            budget.files()
        ),
    }
}

/// Which runtimes answer, tried by the very links that would follow them.
fn runtimes(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let (links, runtimes) = Supervisor::spawn(config.runtimes.clone())?;
    let begun = Instant::now();
    let undecided = || {
        let all = runtimes.links();
        let connecting = |link: &Arc<LinkStatus>| link.state().0 == LinkState::Connecting;
        all.iter().any(connecting) || (all.is_empty() && begun.elapsed() < WAIT_FOR_LINKS)
    };
    while undecided() && begun.elapsed() < WAIT_FOR_RUNTIMES {
        std::thread::sleep(Duration::from_millis(10));
    }
    let findings = runtimes.links().iter().map(|link| of_link(link)).collect();
    links.stop();
    Ok(findings)
}

fn of_link(link: &LinkStatus) -> Finding {
    let (works, detail) = match link.state().0 {
        LinkState::Connected { version } => {
            (true, format!("version {version} at {}", link.endpoint))
        }
        LinkState::Absent => (
            true,
            format!(
                "not there ({}); looked for again while running",
                link.endpoint
            ),
        ),
        LinkState::Connecting => (
            false,
            format!(
                "{} has not answered within {} s; it goes on being asked while running",
                link.endpoint,
                WAIT_FOR_RUNTIMES.as_secs()
            ),
        ),
        LinkState::Failed { why } => (false, why),
    };
    Finding {
        works,
        what: format!("names, images, labels and exit codes from {}", link.runtime),
        detail,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::{LinkError, Runtime};

    fn hierarchies(root: &Path) -> Hierarchies {
        Hierarchies::detect(Path::new("/proc"), Path::new("/"), Some(root)).unwrap()
    }

    #[test]
    fn a_runtime_that_refuses_is_missing_and_one_that_is_not_there_is_not() {
        let link = LinkStatus::new(Runtime::Docker, "/run/d.sock");
        assert!(!of_link(&link).works);
        link.absent();
        assert!(of_link(&link).works);
        link.connected("20.10");
        let found = of_link(&link);
        assert!(found.works && found.detail == "version 20.10 at /run/d.sock");
        link.failed(&LinkError::Connect {
            endpoint: "/run/d.sock".into(),
            cause: ErrorKind::PermissionDenied.into(),
        });
        let found = of_link(&link);
        assert!(!found.works && found.detail.contains("may this user open its socket"));
    }

    #[test]
    fn a_host_without_containers_lacks_nothing() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["cpu/a", "pids"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let found = tasks(&hierarchies(root.path()), false);
        assert!(found.works, "{}", found.detail);
        std::fs::create_dir(root.path().join("pids/b")).unwrap();
        assert!(!tasks(&hierarchies(root.path()), false).works);
        assert!(tasks(&hierarchies(root.path()), true).works);
    }

    #[test]
    fn a_container_of_each_hierarchy_is_tried() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["cpu/a", "pids/b", "memory"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join("pids/b/pids.current"), "3\n").unwrap();
        std::fs::write(root.path().join("memory/memory.usage_in_bytes"), "4096\n").unwrap();
        let found = files(&Config::default(), &Arc::new(hierarchies(root.path())));
        let works = |what: &str| found.iter().any(|one| one.what == what && one.works);
        assert!(works("tasks") && works("memory"));
        assert!(!works("CPU time"));
    }

    #[test]
    fn a_state_directory_is_tried_without_a_trace() {
        let mut config = Config::default();
        assert!(state_directory(&config).is_none());
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        config.state.directory = Some(directory.clone());
        let found = state_directory(&config).unwrap();
        assert!(found.works, "{}", found.detail);
        assert!(!directory.exists(), "what was not there is not there");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("mine"), "").unwrap();
        assert!(state_directory(&config).unwrap().works);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        config.state.directory = Some("/proc/self/cgauge".into());
        let found = state_directory(&config).unwrap();
        assert!(
            !found.works && found.detail.contains("--state-dir"),
            "{}",
            found.detail
        );
    }

    #[test]
    fn a_procfs_that_is_not_there_is_told_as_such() {
        let nowhere = Path::new("/nonexistent");
        for finding in [namespaces(nowhere), watches(nowhere)] {
            assert!(!finding.works);
            assert!(finding.detail.contains("--procfs"), "{}", finding.detail);
            assert!(!finding.detail.contains("CAP_"), "{}", finding.detail);
        }
    }
}
