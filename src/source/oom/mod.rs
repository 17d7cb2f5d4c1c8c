//! Kernel log records to OOM kills.
//!
//! [`OomTracker`] is fed with records and gives one [`OomKill`] for each process that the OOM
//! killer ended. It knows the reports of kernels 3.x to 6.x:
//!
//! ```text
//! java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
//! Task in /pod/app killed as a result of limit of /pod                        until 4.20
//! memory: usage 8192kB, limit 8192kB, failcnt 41                              memcg only
//! oom-kill:constraint=CONSTRAINT_MEMCG,...,oom_memcg=/pod,task_memcg=/pod/app,task=java,pid=7,uid=0
//! Memory cgroup out of memory: Kill process 7 (java) score 978 or sacrifice child   until 5.0
//! Memory cgroup out of memory: Killed process 7 (java) total-vm:14556kB, anon-rss:8120kB, ...
//! Tasks in /pod are going to be killed due to memory.oom.group set            since 4.19
//! ```
//!
//! What is not obvious about them:
//!
//! * The kernel prints at most ten reports in five seconds; past that only the `Killed process`
//!   line comes. Such a kill is counted, and knows no memcg.
//! * With `memory.oom.group`, the victim that started it is printed a second time among the others.
//! * A summary whose paths do not fit one record goes on in another one (flag `c`).
//! * `OOM victim N (name) is already exiting` after a summary means that nobody was killed.
//! * Up to 5.0 a child may be killed in place of the process that the summary names.
//! * Before 4.2 two memcgs could report at the same time, with no pid in most lines. What cannot be
//!   told apart is `None` then, rather than another container's.
//! * `pgtables` is in bytes, though it says kB, in 5.4 before its fix: not told apart here.

mod line;
pub mod place;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod version_tests;

use std::{collections::VecDeque, time::Duration};

pub use crate::event::{Constraint, OomKill};
use line::{Killed, Line, Usage};

use super::kmsg::{self, KERNEL_FACILITY, Record};

/// Reports that are followed at once; the oldest gives way.
const MAX_OPEN_REPORTS: usize = 4;

/// Records after which a summary without its `Killed process` line counts as a kill by itself. They
/// follow one another directly; what comes between is from other processors.
const SUMMARY_PATIENCE_RECORDS: u32 = 256;

/// printk time after which a report that has not come to a kill is forgotten.
const REPORT_PATIENCE: Duration = Duration::from_secs(10);

/// printk time between a kill and the next line of the same group kill.
const GROUP_PATIENCE: Duration = Duration::from_secs(1);

/// Within this time, a further line about the same pid is about the same kill.
const REPEAT_WINDOW: Duration = Duration::from_secs(5);

/// Kills that are remembered for [`REPEAT_WINDOW`].
const MAX_RECENT_KILLS: usize = 64;

/// Records after which a line whose end is missing is forgotten.
const PARTIAL_PATIENCE_RECORDS: u32 = 64;

/// The longest line that is put together from fragments: three paths of 4096 bytes and the rest.
const MAX_PARTIAL_BYTES: usize = 16_384;

/// Whether a raw kernel log record may be of an OOM report: a look at some bytes, nothing is parsed.
/// Records that a process wrote never are.
///
/// Give the others to [`OomTracker::skip`]. While [`OomTracker::wants_continuation`], a record with
/// [`kmsg::is_continuation`] matters too.
pub fn may_matter(raw: &[u8]) -> bool {
    kmsg::is_kernel(raw) && line::may_matter(kmsg::raw_message(raw))
}

/// Puts OOM kills together from kernel log records. Its memory is bounded whatever it is fed.
#[derive(Debug, Default)]
pub struct OomTracker {
    /// Reports that have not come to a kill, oldest first.
    open: VecDeque<Report>,
    partial: Option<Partial>,
    group: Option<Group>,
    /// The report that ended last, in case a group line follows.
    last: Option<Group>,
    /// Pids that were counted, with the time of it.
    recent: VecDeque<(u32, Duration)>,
}

/// What a report has said so far.
#[derive(Debug, Clone, Default)]
struct Report {
    invoked_by: Option<String>,
    usage: Option<Usage>,
    oom_memcg: Option<String>,
    task_memcg: Option<String>,
    constraint: Option<Constraint>,
    /// The summary line, and the pid in it.
    summary: Option<(u32, String)>,
    /// Of the `Kill process` line: a child may die in its place.
    chosen: Option<u32>,
    stamp: Duration,
    sequence: u64,
    age_records: u32,
}

#[derive(Debug)]
struct Partial {
    text: String,
    stamp: Duration,
    sequence: u64,
    age_records: u32,
}

/// A kill that others may follow because of `memory.oom.group`.
#[derive(Debug, Clone)]
struct Group {
    pid: u32,
    report: Report,
    memcg: Option<String>,
    /// Time of the last line.
    stamp: Duration,
}

impl OomTracker {
    /// Takes the next record; calls `emit` for each kill that it completes.
    ///
    /// Only records of the kernel's own facility count: anything else may be a forgery.
    pub fn push(&mut self, record: &Record, emit: &mut impl FnMut(OomKill)) {
        self.skip(emit);
        if record.facility != KERNEL_FACILITY {
            return;
        }
        self.forget_stale(record.stamp, emit);
        // In 3.x the flag `c` marks a first fragment, `+` those after it: what begins a line of its
        // own continues none.
        if record.continuation
            && line::classify(&record.message).is_none()
            && let Some(mut partial) = self.partial.take()
        {
            if partial.text.len().saturating_add(record.message.len()) <= MAX_PARTIAL_BYTES {
                partial.text.push_str(&record.message);
                self.line(partial, emit);
            }
            return;
        }
        let Record {
            stamp, sequence, ..
        } = *record;
        self.line(
            Partial {
                text: record.message.clone(),
                stamp,
                sequence,
                age_records: 0,
            },
            emit,
        );
    }

    /// Notes that a record went by that does not matter (see [`may_matter`]).
    pub fn skip(&mut self, emit: &mut impl FnMut(OomKill)) {
        if let Some(partial) = &mut self.partial {
            partial.age_records += 1;
            if partial.age_records > PARTIAL_PATIENCE_RECORDS {
                self.partial = None;
            }
        }
        for report in &mut self.open {
            report.age_records = report.age_records.saturating_add(1);
        }
        self.give_up(emit, |report| {
            report.summary.is_some() && report.age_records > SUMMARY_PATIENCE_RECORDS
        });
    }

    /// Notes that the log has been quiet for a while, or that records were lost: gives out what is
    /// known of kills whose last line did not come, and forgets all else that was half said.
    pub fn flush(&mut self, emit: &mut impl FnMut(OomKill)) {
        self.give_up(emit, |_| true);
        self.partial = None;
        self.group = None;
        self.last = None;
    }

    /// Whether the end of a line is awaited: records that continue another one matter now.
    pub fn wants_continuation(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether a kill is known of whose last line has not come: it may never come, so that after a
    /// while it is time for a [`Self::flush`].
    pub fn is_pending(&self) -> bool {
        self.partial.is_some() || self.open.iter().any(|report| report.summary.is_some())
    }

    fn line(&mut self, line: Partial, emit: &mut impl FnMut(OomKill)) {
        let Partial {
            text,
            stamp,
            sequence,
            ..
        } = &line;
        let (stamp, sequence) = (*stamp, *sequence);
        let begun = Report {
            stamp,
            sequence,
            ..Report::default()
        };
        match line::classify(text) {
            None => {}
            Some(Line::Partial) => self.partial = Some(line),
            Some(Line::Invoked { by }) => {
                self.group = None;
                self.last = None;
                let by = by.to_owned();
                self.open(
                    Report {
                        invoked_by: Some(by),
                        ..begun
                    },
                    emit,
                );
            }
            Some(Line::Usage(usage)) => {
                if let Some(report) =
                    self.the_report(|it| it.summary.is_none() && it.usage.is_none())
                {
                    report.usage = Some(usage);
                }
            }
            Some(Line::Limit {
                task_memcg,
                oom_memcg,
            }) => {
                let (task, oom) = (Some(task_memcg.to_owned()), Some(oom_memcg.to_owned()));
                self.limited(begun, oom, task, emit);
            }
            Some(Line::LimitReached { oom_memcg }) => {
                self.limited(begun, Some(oom_memcg.to_owned()), None, emit);
            }
            Some(Line::Summary { pid }) => {
                self.group = None;
                self.last = None;
                if self.is_recent(pid, stamp) {
                    return;
                }
                let mut report = self.take_agreed(Report::is_bare).unwrap_or_default();
                report.summary = Some((pid, text.clone()));
                self.open(
                    Report {
                        stamp,
                        sequence,
                        age_records: 0,
                        ..report
                    },
                    emit,
                );
            }
            Some(Line::Chosen { pid }) => {
                let of_pid =
                    |it: &Report| it.summary.as_ref().is_some_and(|(named, _)| *named == pid);
                let at = self.open.iter().position(of_pid);
                let at = at.or_else(|| self.the_index(Report::is_bare));
                if let Some(report) = at.and_then(|at| self.open.get_mut(at)) {
                    report.chosen = Some(pid);
                }
            }
            Some(Line::Spared { pid }) => {
                self.open
                    .retain(|it| it.summary.as_ref().is_none_or(|(named, _)| *named != pid));
            }
            Some(Line::NoVictim) => {
                // Printed right after its report: the newest.
                if let Some(at) = self.open.iter().rposition(Report::is_bare) {
                    self.open.remove(at);
                }
            }
            Some(Line::Group { memcg }) => {
                let follows = |it: &Group| stamp.abs_diff(it.stamp) <= GROUP_PATIENCE;
                if let Some(group) = self.last.take().filter(follows) {
                    self.group = Some(Group {
                        memcg: Some(memcg.to_owned()),
                        stamp,
                        ..group
                    });
                }
            }
            Some(Line::Killed(killed)) => self.killed(&killed, stamp, sequence, emit),
        }
    }

    /// `Task in` of 3.x and 4.x belongs to the one report that can have begun it.
    fn limited(
        &mut self,
        begun: Report,
        oom_memcg: Option<String>,
        task_memcg: Option<String>,
        emit: &mut impl FnMut(OomKill),
    ) {
        let bare =
            |it: &Report| it.summary.is_none() && it.oom_memcg.is_none() && it.chosen.is_none();
        let constraint = Some(Constraint::Memcg);
        // With two of them it is not known which: both get their lines, in the same order, and
        // `take_agreed` settles what may be believed.
        if let Some(report) = self.open.iter_mut().find(|it| bare(it)) {
            report.oom_memcg = oom_memcg;
            report.task_memcg = task_memcg;
            report.constraint = constraint;
        } else {
            self.open(
                Report {
                    oom_memcg,
                    task_memcg,
                    constraint,
                    ..begun
                },
                emit,
            );
        }
    }

    fn killed(
        &mut self,
        killed: &Killed<'_>,
        stamp: Duration,
        sequence: u64,
        emit: &mut impl FnMut(OomKill),
    ) {
        let pid = killed.pid;
        let report = self.take_report(pid);
        let in_group = report.is_none() && self.group.is_some();
        if let Some(group) = self.group.as_mut().filter(|_| in_group) {
            group.stamp = stamp;
            if group.pid == pid {
                emit(OomKill {
                    pid: Some(pid),
                    task_memcg: group.report.task_memcg.clone(),
                    oom_memcg: group.report.oom_memcg.clone(),
                    again: true,
                    stamp,
                    sequence,
                    ..OomKill::default()
                });
                return;
            }
        }
        if self.is_recent(pid, stamp) {
            return;
        }
        let (mut report, group_memcg) = match (&self.group, in_group) {
            (Some(group), true) => (group.report.clone(), group.memcg.clone()),
            _ => (report.unwrap_or_default(), None),
        };
        if !in_group {
            self.group = None;
            report.read_summary(Some(killed.name));
            self.last = Some(Group {
                pid,
                report: report.clone(),
                memcg: None,
                stamp,
            });
        }
        self.remember(pid, stamp);
        emit(OomKill {
            pid: Some(pid),
            process_name: Some(killed.name.to_owned()),
            constraint: report.constraint.or(killed.constraint),
            task_memcg: if in_group {
                group_memcg
            } else {
                report.task_memcg.clone()
            },
            group: in_group,
            total_vm_bytes: killed.total_vm_bytes,
            anon_rss_bytes: killed.anon_rss_bytes,
            file_rss_bytes: killed.file_rss_bytes,
            shmem_rss_bytes: killed.shmem_rss_bytes,
            pgtables_bytes: killed.pgtables_bytes,
            oom_score_adj: killed.oom_score_adj,
            // The summary's is that of the process chosen, which may have been spared for a child.
            uid: killed.uid.or_else(|| {
                report
                    .summary_uid()
                    .filter(|(of, _)| *of == pid)
                    .map(|(_, uid)| uid)
            }),
            stamp,
            sequence,
            ..report.into_kill()
        });
    }

    /// The report that a kill of `pid` ends, if there is no doubt about it.
    fn take_report(&mut self, pid: u32) -> Option<Report> {
        let names = |it: &Report| it.summary.as_ref().is_some_and(|(named, _)| *named == pid);
        let sacrificed = |it: &Report| {
            it.summary
                .as_ref()
                .is_some_and(|(named, _)| it.chosen == Some(*named))
        };
        let chosen = |it: &Report| it.summary.is_none() && it.chosen == Some(pid);
        let old = |it: &Report| it.summary.is_none();
        let at = self
            .open
            .iter()
            .position(names)
            .or_else(|| self.the_index(sacrificed))
            .or_else(|| {
                self.open
                    .iter()
                    .position(chosen)
                    .filter(|_| self.the_index(old).is_some())
            })
            .or_else(|| self.the_index(old));
        match at {
            Some(at) => self.open.remove(at),
            None => self.take_agreed(old),
        }
    }

    /// The oldest of several reports that fit, when it cannot be told which: with no more in it than
    /// all of them say. Those that stay are reduced to that too.
    fn take_agreed(&mut self, fits: impl Fn(&Report) -> bool) -> Option<Report> {
        let at = self.open.iter().position(&fits)?;
        let oldest = self.open.remove(at)?;
        let common = self
            .open
            .iter()
            .filter(|it| fits(it))
            .fold(oldest, Report::agreed);
        for report in self.open.iter_mut().filter(|it| fits(it)) {
            let own = std::mem::take(report);
            *report = own.agreed(&common);
        }
        Some(common)
    }

    fn open(&mut self, report: Report, emit: &mut impl FnMut(OomKill)) {
        while self.open.len() >= MAX_OPEN_REPORTS {
            if let Some(oldest) = self.open.pop_front() {
                self.give_out(oldest, emit);
            }
        }
        self.open.push_back(report);
    }

    /// The index of the one open report that fits; `None` where there are several.
    fn the_index(&self, fits: impl Fn(&Report) -> bool) -> Option<usize> {
        let mut fitting = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, report)| fits(report));
        let (at, _) = fitting.next()?;
        fitting.next().is_none().then_some(at)
    }

    fn the_report(&mut self, fits: impl Fn(&Report) -> bool) -> Option<&mut Report> {
        let at = self.the_index(fits)?;
        self.open.get_mut(at)
    }

    fn forget_stale(&mut self, now: Duration, emit: &mut impl FnMut(OomKill)) {
        self.give_up(emit, |report| now.abs_diff(report.stamp) > REPORT_PATIENCE);
        self.group
            .take_if(|group| now.abs_diff(group.stamp) > GROUP_PATIENCE);
        self.recent
            .retain(|(_, at)| now.abs_diff(*at) <= REPEAT_WINDOW);
    }

    /// Closes the reports that are `over`; those with a summary are kills nevertheless.
    fn give_up(&mut self, emit: &mut impl FnMut(OomKill), over: impl Fn(&Report) -> bool) {
        while let Some(report) = self
            .open
            .iter()
            .position(&over)
            .and_then(|at| self.open.remove(at))
        {
            self.give_out(report, emit);
        }
    }

    fn give_out(&mut self, mut report: Report, emit: &mut impl FnMut(OomKill)) {
        report.read_summary(None);
        if let Some((pid, _)) = report.summary {
            self.remember(pid, report.stamp);
            emit(report.into_kill());
        }
    }

    fn is_recent(&self, pid: u32, now: Duration) -> bool {
        self.recent
            .iter()
            .any(|(of, at)| *of == pid && now.abs_diff(*at) <= REPEAT_WINDOW)
    }

    fn remember(&mut self, pid: u32, stamp: Duration) {
        if self.recent.len() >= MAX_RECENT_KILLS {
            self.recent.pop_front();
        }
        self.recent.push_back((pid, stamp));
    }
}

impl Report {
    /// Nothing yet says who is to be killed.
    fn is_bare(&self) -> bool {
        self.summary.is_none() && self.chosen.is_none()
    }

    /// Fills in what the summary line says; it knows better than any line before it.
    fn read_summary(&mut self, name: Option<&str>) {
        let Some((_, text)) = &self.summary else {
            return;
        };
        if let Some(summary) = line::summary(text, name) {
            self.constraint = summary.constraint;
            self.oom_memcg = summary.oom_memcg.map(str::to_owned);
            self.task_memcg = summary.task_memcg.map(str::to_owned);
        }
    }

    fn summary_uid(&self) -> Option<(u32, u32)> {
        let (pid, text) = self.summary.as_ref()?;
        Some((*pid, line::summary(text, None)?.uid?))
    }

    /// What two reports have in common.
    fn agreed(self, other: &Self) -> Self {
        Self {
            invoked_by: self
                .invoked_by
                .filter(|it| Some(it) == other.invoked_by.as_ref()),
            usage: self.usage.filter(|it| Some(it) == other.usage.as_ref()),
            oom_memcg: self
                .oom_memcg
                .filter(|it| Some(it) == other.oom_memcg.as_ref()),
            task_memcg: self
                .task_memcg
                .filter(|it| Some(it) == other.task_memcg.as_ref()),
            constraint: self
                .constraint
                .filter(|it| Some(it) == other.constraint.as_ref()),
            ..self
        }
    }

    /// The kill as far as the report tells it without a `Killed process` line.
    fn into_kill(self) -> OomKill {
        let summary = self
            .summary
            .as_ref()
            .and_then(|(_, text)| line::summary(text, None));
        OomKill {
            pid: summary.as_ref().map(|it| it.pid),
            process_name: summary.as_ref().map(|it| it.name.to_owned()),
            uid: summary.as_ref().and_then(|it| it.uid),
            constraint: self.constraint,
            oom_memcg: self.oom_memcg,
            task_memcg: self.task_memcg,
            invoked_by: self.invoked_by,
            memcg_usage_bytes: self.usage.and_then(|it| it.usage_bytes),
            memcg_limit_bytes: self.usage.and_then(|it| it.limit_bytes),
            memcg_failcnt: self.usage.and_then(|it| it.failcnt),
            stamp: self.stamp,
            sequence: self.sequence,
            ..OomKill::default()
        }
    }
}
