//! One line of an OOM report to its facts. No state.
//!
//! Names and paths in these lines are chosen by whoever runs the process or makes the cgroup, and
//! may hold any of the separators. So each line is taken apart from the end that the kernel
//! controls, and by what cannot be in a name: a process name has at most [`MAX_NAME_CHARS`]
//! characters, a cgroup name has no `/`.

use crate::units::BYTES_PER_KB;

use super::Constraint;

/// Longest process name that is believed. `TASK_COMM_LEN` is 16 with its end; some room is left
/// for kernels that will print longer ones.
const MAX_NAME_CHARS: usize = 63;

/// Start of the line that sums a report up (since 5.0).
pub(super) const SUMMARY: &str = "oom-kill:constraint=";
const INVOKED: &str = " invoked oom-killer: ";
const LIMIT_START: &str = "Task in ";
const LIMIT_MIDDLE: &str = " killed as a result of limit of ";
const LIMIT_REACHED: &str = "Memory limit reached of cgroup ";
const USAGE: &str = "memory: usage ";
const GROUP_START: &str = "Tasks in ";
const GROUP_END: &str = " are going to be killed due to memory.oom.group set";
const KILLED: &str = "Killed process ";
const KILL: &str = "Kill process ";
const SPARED: &str = "OOM victim ";
const MEMCG_PREFIX: &str = "Memory cgroup out of memory";
const GLOBAL_PREFIX: &str = "Out of memory";
const NO_VICTIM: &str = "Out of memory and no killable processes";

/// How the interesting lines begin; only [`INVOKED`] has a name before it.
const STARTS: [&str; 9] = [
    SUMMARY,
    LIMIT_START,
    LIMIT_REACHED,
    USAGE,
    GROUP_START,
    KILLED,
    KILL,
    MEMCG_PREFIX,
    GLOBAL_PREFIX,
];

/// What a line of an OOM report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A report begins: the process that asked for memory.
    Invoked { by: &'a str },
    /// 3.x and 4.x: whose limit, and where the victim is.
    Limit {
        task_memcg: &'a str,
        oom_memcg: &'a str,
    },
    /// 3.x and 4.x, when the victim is not known yet: whose limit.
    LimitReached { oom_memcg: &'a str },
    /// Figures of the memcg that hit its limit.
    Usage(Usage),
    /// Since 5.0: everything but the figures. The text is kept, to be read again with the name.
    Summary { pid: u32 },
    /// Until 5.0: the process that was chosen; a child of it may be the one that is killed.
    Chosen { pid: u32 },
    /// The process that is killed.
    Killed(Killed<'a>),
    /// The process that would have been killed has ended by itself: no kill.
    Spared { pid: u32 },
    /// The report ends without a victim.
    NoVictim,
    /// All processes of a memcg go down with the victim.
    Group { memcg: &'a str },
    /// The beginning of a [`Line::Summary`] or [`Line::Limit`] whose end is in another record.
    Partial,
}

/// `memory: usage 8192kB, limit 8192kB, failcnt 41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub usage_bytes: Option<u64>,
    pub limit_bytes: Option<u64>,
    pub failcnt: Option<u64>,
}

/// `Killed process 12 (name) total-vm:1kB, anon-rss:2kB, ...`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Killed<'a> {
    pub pid: u32,
    pub name: &'a str,
    pub constraint: Option<Constraint>,
    pub total_vm_bytes: Option<u64>,
    pub anon_rss_bytes: Option<u64>,
    pub file_rss_bytes: Option<u64>,
    pub shmem_rss_bytes: Option<u64>,
    pub pgtables_bytes: Option<u64>,
    pub oom_score_adj: Option<i32>,
    pub uid: Option<u32>,
}

/// The summary line, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary<'a> {
    pub constraint: Option<Constraint>,
    pub oom_memcg: Option<&'a str>,
    pub task_memcg: Option<&'a str>,
    pub name: &'a str,
    pub pid: u32,
    pub uid: Option<u32>,
}

/// Whether the text (escapes not decoded) may be a line of an OOM report. Cheap; errs towards yes.
pub(super) fn may_matter(text: &[u8]) -> bool {
    STARTS
        .iter()
        .any(|start| text.starts_with(start.as_bytes()))
        || (text.contains(&b'-')
            && text
                .windows(INVOKED.len())
                .any(|part| part == INVOKED.as_bytes()))
}

/// Says what a line is, if it belongs to an OOM report.
pub(super) fn classify(text: &str) -> Option<Line<'_>> {
    if text.starts_with(SUMMARY) {
        return Some(summary(text, None).map_or(Line::Partial, |it| Line::Summary { pid: it.pid }));
    }
    if text.starts_with(NO_VICTIM) {
        return Some(Line::NoVictim);
    }
    if let Some(line) = kill_line(text) {
        return Some(line);
    }
    if let Some(rest) = text.strip_prefix(LIMIT_START)
        && let Some((task_memcg, oom_memcg)) = limit(rest)
    {
        return Some(Line::Limit {
            task_memcg,
            oom_memcg,
        });
    }
    if let Some(memcg) = text
        .strip_prefix(GROUP_START)
        .and_then(|rest| rest.strip_suffix(GROUP_END))
    {
        return Some(Line::Group { memcg });
    }
    if let Some((by, _)) = text.split_once(INVOKED)
        && is_name(by)
    {
        return Some(Line::Invoked { by });
    }
    if let Some(oom_memcg) = text
        .strip_prefix(LIMIT_REACHED)
        .filter(|path| path.starts_with('/'))
    {
        return Some(Line::LimitReached { oom_memcg });
    }
    if let Some(rest) = text.strip_prefix(USAGE) {
        return Some(Line::Usage(usage(rest)));
    }
    text.starts_with(LIMIT_START).then_some(Line::Partial)
}

/// Takes the summary line apart. The process name from the `Killed process` line, where known,
/// settles where the path ends and the name begins.
///
/// Where the paths hold `,task_memcg=` themselves, the first reading counts in which the victim
/// is at or below the memcg that hit its limit, as it must be; else the last.
pub(super) fn summary<'a>(text: &'a str, name: Option<&str>) -> Option<Summary<'a>> {
    let (constraint, rest) = text.strip_prefix(SUMMARY)?.split_once(",nodemask=")?;
    let (rest, uid) = rest.rsplit_once(",uid=")?;
    let uid: u32 = uid.parse().ok()?;
    let (rest, pid) = rest.rsplit_once(",pid=")?;
    let pid = pid.parse().ok()?;
    let known = name.and_then(|name| {
        let before = rest.strip_suffix(name)?.strip_suffix(",task=")?;
        Some((before, rest.get(rest.len() - name.len()..)?))
    });
    let (rest, name) = known.or_else(|| rest.rsplit_once(",task="))?;
    let (oom_memcg, task_memcg) = memcgs(rest);
    Some(Summary {
        constraint: Constraint::parse(constraint),
        oom_memcg,
        task_memcg,
        name,
        pid,
        uid: Some(uid),
    })
}

/// The memcgs in `(null),cpuset=X,mems_allowed=0-1,3,oom_memcg=/a,task_memcg=/a/b`.
///
/// `cpuset=` is followed by a bare cgroup name, which may hold anything but `/`: so the first
/// place where a list of nodes is followed by a key and a `/` is the right one.
fn memcgs(text: &str) -> (Option<&str>, Option<&str>) {
    for (at, key) in text.match_indices(",mems_allowed=") {
        let rest = text.get(at + key.len()..).unwrap_or_default();
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',' || c == '-');
        if let Some(path) = rest
            .strip_prefix("global_oom,task_memcg=")
            .filter(|path| path.starts_with('/'))
        {
            return (None, Some(path));
        }
        if let Some(paths) = rest
            .strip_prefix("oom_memcg=")
            .filter(|path| path.starts_with('/'))
        {
            return match split_related(paths, ",task_memcg=", is_at_or_below) {
                Some((oom, task)) => (Some(oom), Some(task)),
                None => (Some(paths), None),
            };
        }
    }
    (None, None)
}

/// `/a/b killed as a result of limit of /a`, without the words before it.
fn limit(text: &str) -> Option<(&str, &str)> {
    let (task, oom) = split_related(text, LIMIT_MIDDLE, |task, oom| is_at_or_below(oom, task))?;
    (task.starts_with('/') && oom.starts_with('/')).then_some((task, oom))
}

/// Splits at the first separator whose two sides fit each other, else at the last separator.
fn split_related<'a>(
    text: &'a str,
    separator: &str,
    fit: impl Fn(&str, &str) -> bool,
) -> Option<(&'a str, &'a str)> {
    let mut last = None;
    for (at, _) in text.match_indices(separator) {
        let sides = (text.get(..at)?, text.get(at + separator.len()..)?);
        if fit(sides.0, sides.1) {
            return Some(sides);
        }
        last = Some(sides);
    }
    last
}

fn is_at_or_below(above: &str, below: &str) -> bool {
    let rest = below.strip_prefix(above.trim_end_matches('/'));
    below.starts_with('/') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `Killed process`, `Kill process` and `OOM victim` lines, with or without what goes before them
/// (`Memory cgroup out of memory: `, `Out of memory (oom_kill_allocating_task): `, nothing).
fn kill_line(text: &str) -> Option<Line<'_>> {
    let (constraint, text) = match text.strip_prefix(MEMCG_PREFIX) {
        Some(rest) => (Some(Constraint::Memcg), rest.split_once(": ")?.1),
        None => match text.strip_prefix(GLOBAL_PREFIX) {
            // Not Constraint::None: a cpuset or a memory policy says the same.
            Some(rest) => (None, rest.split_once(": ")?.1),
            None => (None, text),
        },
    };
    if let Some(rest) = text.strip_prefix(KILLED) {
        return killed(rest, constraint).map(Line::Killed);
    }
    if let Some(rest) = text.strip_prefix(KILL) {
        let (pid, rest) = rest.split_once(' ')?;
        let pid = pid
            .parse()
            .ok()
            .filter(|_| rest.starts_with('(') && rest.contains(") score "))?;
        return Some(Line::Chosen { pid });
    }
    let (pid, rest) = text.strip_prefix(SPARED)?.split_once(' ')?;
    let pid = pid
        .parse()
        .ok()
        .filter(|_| rest.contains(") is already exiting"))?;
    Some(Line::Spared { pid })
}

/// `12 (name) total-vm:1kB, ...`; some vendors' 3.10 has `12 (name), UID 0, total-vm:...`.
fn killed(text: &str, constraint: Option<Constraint>) -> Option<Killed<'_>> {
    let (pid, rest) = text.split_once(' ')?;
    let mut killed = Killed {
        pid: pid.parse().ok()?,
        constraint,
        ..Killed::default()
    };
    let rest = rest.strip_prefix('(')?;
    // Nothing of the kernel's own text after the name has a ')'.
    let (name, figures) = rest.rsplit_once(')')?;
    killed.name = name;
    let mut words = figures
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .peekable();
    while let Some(word) = words.next() {
        if word == "UID" {
            killed.uid = words.peek().and_then(|uid| uid.parse().ok());
            continue;
        }
        let Some((key, value)) = word.split_once(':') else {
            continue;
        };
        match key {
            "total-vm" => killed.total_vm_bytes = kilobytes(value),
            "anon-rss" => killed.anon_rss_bytes = kilobytes(value),
            "file-rss" => killed.file_rss_bytes = kilobytes(value),
            "shmem-rss" => killed.shmem_rss_bytes = kilobytes(value),
            "pgtables" => killed.pgtables_bytes = kilobytes(value),
            "UID" => killed.uid = value.parse().ok(),
            "oom_score_adj" => killed.oom_score_adj = value.parse().ok(),
            _ => {}
        }
    }
    // A kill without a single figure is not what the kernel writes.
    killed.total_vm_bytes.is_some().then_some(killed)
}

fn usage(text: &str) -> Usage {
    let mut parts = text.split(", ");
    let usage_bytes = parts.next().and_then(kilobytes);
    let limit_bytes = parts
        .next()
        .and_then(|part| kilobytes(part.strip_prefix("limit ")?));
    let failcnt = parts
        .next()
        .and_then(|part| part.strip_prefix("failcnt ")?.parse().ok());
    Usage {
        usage_bytes,
        limit_bytes,
        failcnt,
    }
}

fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?
        .parse::<u64>()
        .ok()?
        .checked_mul(BYTES_PER_KB)
}

fn is_name(text: &str) -> bool {
    text.chars().nth(MAX_NAME_CHARS).is_none()
}
