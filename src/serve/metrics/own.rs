//! cgauge about itself: what polling costs, what was missed, what was lost.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::encode::Emit;
use super::family::{Family, From, Value, counter, gauge};
use super::page::{Page, kind_index};
use crate::cgroup::plan::FileCost;
use crate::event::EventType;
use crate::runtime::LinkStatus;
use crate::self_metrics::{DiskUsageFailure, JournalState, KmsgState};

macro_rules! own {
    (count $field:ident $(. $rest:ident)*) => { From::Own(|p| Some(Value::Count(p.own.$field$(.$rest)*.get()))) };
    (nanos $field:ident $(. $rest:ident)*) => { From::Own(|p| Some(Value::Nanos(p.own.$field$(.$rest)*.get()))) };
}

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "cgauge_containers",
        "Containers known.",
        own!(count containers),
    ),
    counter(
        "cgauge_polls_total",
        "Polls of containers.",
        own!(count polls),
    ),
    counter(
        "cgauge_polls_quiet_total",
        "Polls that read CPU time, memory usage and number of tasks alone, for these stood still.",
        own!(count polls_quiet),
    ),
    counter(
        "cgauge_poll_seconds_total",
        "Time spent in polls.",
        own!(nanos poll_ns),
    ),
    counter(
        "cgauge_polls_late_total",
        "Polls begun later than one interval after they were due.",
        own!(count polls_late),
    ),
    gauge(
        "cgauge_cpu_budget_cores",
        "CPU seconds per second that cgauge keeps to (--cpu-budget).",
        From::Own(|p| Some(Value::Nanos(p.own.cpu_budget.get())).filter(|_| has_budget(p))),
    ),
    gauge(
        "cgauge_poll_stretch_ratio",
        "How many times longer intervals are than set, to stay within the CPU budget: of containers that stand still, and of all others.",
        From::Page(|p, emit| {
            if has_budget(p) {
                emit.sample(
                    &[("of", &"busy")],
                    Some(Value::Nanos(p.own.stretch_busy.get())),
                );
                emit.sample(
                    &[("of", &"idle")],
                    Some(Value::Nanos(p.own.stretch_idle.get())),
                );
            }
        }),
    ),
    gauge(
        "cgauge_samplers",
        "Sampler threads; more are started while some are stuck.",
        own!(count samplers),
    ),
    gauge(
        "cgauge_watches",
        "inotify watches held.",
        own!(count watches),
    ),
    counter(
        "cgauge_watch_overflows_total",
        "Times that the kernel dropped inotify events.",
        own!(count watch_overflows),
    ),
    gauge(
        "cgauge_unwatched_directories",
        "Directories that cannot be watched and are found by listing.",
        own!(count unwatched),
    ),
    counter(
        "cgauge_listings_total",
        "Full listings of the hierarchies.",
        own!(count listings),
    ),
    gauge(
        "cgauge_disk_usage_layers",
        "Containers that have a writable layer.",
        own!(count disk_usage.layers),
    ),
    gauge(
        "cgauge_disk_usage_measured",
        "Of these, those whose layer has been measured.",
        own!(count disk_usage.measured),
    ),
    gauge(
        "cgauge_disk_usage_oldest_seconds",
        "Age of the oldest measurement that is shown.",
        own!(nanos disk_usage.oldest_ns),
    ),
    counter(
        "cgauge_disk_usage_walks_total",
        "Walks over a writable layer that were completed.",
        own!(count disk_usage.walks),
    ),
    counter(
        "cgauge_disk_usage_walk_seconds_total",
        "Time spent walking, rests not counted.",
        own!(nanos disk_usage.walk_ns),
    ),
    counter(
        "cgauge_disk_usage_entries_total",
        "Directory entries that walks have looked at.",
        own!(count disk_usage.entries),
    ),
    counter(
        "cgauge_disk_usage_quota_reads_total",
        "Usages that the file system had counted by itself.",
        own!(count disk_usage.quota_reads),
    ),
    counter(
        "cgauge_disk_usage_failures_total",
        "Measurements given up, by reason.",
        From::Page(disk_usage_failures),
    ),
    counter(
        "cgauge_kmsg_records_total",
        "Kernel log records read.",
        own!(count kmsg_records),
    ),
    counter(
        "cgauge_kmsg_gaps_total",
        "Times that the kernel overwrote log records before they were read.",
        own!(count kmsg_gaps),
    ),
    counter(
        "cgauge_kmsg_lost_records_total",
        "Kernel log records that were overwritten before they were read.",
        own!(count kmsg_lost),
    ),
    counter(
        "cgauge_kmsg_malformed_total",
        "Kernel log records that could not be understood.",
        own!(count kmsg_malformed),
    ),
    gauge(
        "cgauge_kmsg_state",
        "1 for the state that the kernel log reader is in.",
        From::Page(kmsg_state),
    ),
    counter(
        "cgauge_events_total",
        "Events published, by type.",
        From::Page(events),
    ),
    counter(
        "cgauge_events_missed_total",
        "Events that were not remembered any more when a reader came to them.",
        own!(count events_missed_by_readers),
    ),
    counter(
        "cgauge_oom_kills_total",
        "OOM kills, by how they became known.",
        From::Page(oom_kills),
    ),
    gauge(
        "cgauge_journal_bytes",
        "Size of the journal on disk.",
        own!(count journal.disk_bytes),
    ),
    counter(
        "cgauge_journal_dropped_segments_total",
        "Segments of the journal dropped for the bound on its size.",
        own!(count journal.dropped_segments),
    ),
    counter(
        "cgauge_journal_failures_total",
        "Times that the disk ceased to take records.",
        own!(count journal.failures),
    ),
    counter(
        "cgauge_journal_given_up_records_total",
        "Records that will never be on disk, for want of room while it did not take any.",
        own!(count journal.given_up),
    ),
    gauge(
        "cgauge_journal_lost_bytes",
        "Damaged bytes found when the journal was read at start.",
        own!(count journal.lost_bytes),
    ),
    gauge(
        "cgauge_journal_lost_records",
        "Records found missing when the journal was read at start.",
        own!(count journal.lost_records),
    ),
    gauge(
        "cgauge_journal_read_records",
        "Records read at start.",
        own!(count journal.read_records),
    ),
    counter(
        "cgauge_journal_records_total",
        "Records written.",
        own!(count journal.records),
    ),
    gauge(
        "cgauge_journal_segments",
        "Segments of the journal on disk.",
        own!(count journal.segments),
    ),
    gauge(
        "cgauge_journal_state",
        "1 for the state that the journal is in.",
        From::Page(journal_state),
    ),
    counter(
        "cgauge_journal_sync_errors_total",
        "Syncs of the journal that failed.",
        own!(count journal.sync_errors),
    ),
    counter(
        "cgauge_journal_sync_seconds_total",
        "Time spent syncing the journal.",
        own!(nanos journal.sync_ns),
    ),
    counter(
        "cgauge_journal_syncs_total",
        "Syncs of the journal.",
        own!(count journal.syncs),
    ),
    counter(
        "cgauge_journal_write_seconds_total",
        "Time spent writing the journal.",
        own!(nanos journal.write_ns),
    ),
    counter(
        "cgauge_journal_written_bytes_total",
        "Bytes written to the journal.",
        own!(count journal.bytes),
    ),
    counter(
        "cgauge_exit_records_total",
        "Records of threads that ended, with --exit-accounting.",
        own!(count exit_records),
    ),
    counter(
        "cgauge_exit_gaps_total",
        "Times that the kernel had more such records than room.",
        own!(count exit_gaps),
    ),
    counter(
        "cgauge_exit_records_unplaced_total",
        "Of those records, the ones whose container was not known.",
        own!(count exits_unplaced),
    ),
    counter(
        "cgauge_exit_unplaced_cpu_seconds_total",
        "The CPU time in them.",
        own!(nanos exits_unplaced_ns),
    ),
    gauge(
        "cgauge_exit_hold_seconds",
        "For how long news of processes is gathered, so that following them takes no more than a part of a CPU.",
        own!(nanos exit_hold_ns),
    ),
    gauge(
        "cgauge_ledger_lives",
        "Lives of containers that have ended, in the ledger.",
        own!(count ledger_lives),
    ),
    gauge(
        "cgauge_ledger_bytes",
        "Memory that they take, about.",
        own!(count ledger_bytes),
    ),
    counter(
        "cgauge_ledger_evicted_total",
        "Lives let go for lack of room, before they were too old.",
        own!(count ledger_evicted),
    ),
    counter(
        "cgauge_http_connections_accepted_total",
        "Connections accepted.",
        own!(count http.connections_accepted),
    ),
    counter(
        "cgauge_http_connections_refused_total",
        "Connections turned away at the limit.",
        own!(count http.connections_refused),
    ),
    gauge(
        "cgauge_http_connections_open",
        "Connections being served.",
        own!(count http.connections_open),
    ),
    counter(
        "cgauge_http_accept_errors_total",
        "Times that accept failed.",
        own!(count http.accept_errors),
    ),
    counter(
        "cgauge_http_requests_total",
        "Requests.",
        own!(count http.requests),
    ),
    counter(
        "cgauge_http_requests_refused_total",
        "Requests refused before they reached a handler.",
        own!(count http.requests_refused),
    ),
    counter(
        "cgauge_http_panics_total",
        "Requests whose handler failed.",
        own!(count http.panics),
    ),
    counter(
        "cgauge_http_timeouts_total",
        "Connections closed because the client was silent.",
        own!(count http.timeouts),
    ),
    counter(
        "cgauge_http_cut_off_total",
        "Connections cut off at shutdown.",
        own!(count http.cut_off),
    ),
    gauge(
        "cgauge_descriptors",
        "Files of containers held open.",
        From::Own(|p| Some(Value::Count(p.descriptors.used))),
    ),
    gauge(
        "cgauge_descriptors_limit",
        "Files of containers that may be held open.",
        From::Own(|p| Some(Value::Count(p.descriptors.limit))),
    ),
];

/// How the links to container runtimes are doing. A runtime that is not there, and need not be, has
/// no series.
pub(super) const RUNTIMES: &[Family] = &[
    gauge(
        "cgauge_runtime_up",
        "Whether a container runtime answers, so that names and labels are up to date.",
        From::Page(|p, emit| {
            each_link(p, emit, |link| link.is_up().map(u64::from));
        }),
    ),
    counter(
        "cgauge_runtime_connects_total",
        "Times that a runtime was connected to and told all that it knows.",
        From::Page(|p, emit| each_link(p, emit, |link| Some(link.counts().connects))),
    ),
    counter(
        "cgauge_runtime_failures_total",
        "Times that the link to a runtime failed.",
        From::Page(|p, emit| each_link(p, emit, |link| Some(link.counts().failures))),
    ),
    counter(
        "cgauge_runtime_requests_total",
        "Questions that a runtime was asked.",
        From::Page(|p, emit| each_link(p, emit, |link| Some(link.counts().requests))),
    ),
    counter(
        "cgauge_runtime_events_total",
        "Events that a runtime told.",
        From::Page(|p, emit| each_link(p, emit, |link| Some(link.counts().events))),
    ),
    gauge(
        "cgauge_names",
        "Containers that a runtime has named, those included that have gone not long ago.",
        From::Own(|p| Some(Value::Count(p.names?.held))),
    ),
    counter(
        "cgauge_names_dropped_total",
        "Names that were not kept because there were too many.",
        From::Own(|p| Some(Value::Count(p.names?.dropped))),
    ),
];

/// One figure of the link to each runtime that is there.
fn each_link(page: &Page<'_>, emit: &mut Emit<'_>, figure: fn(&LinkStatus) -> Option<u64>) {
    for link in &page.links {
        if link.is_up().is_some() {
            emit.sample(
                &[("endpoint", &link.endpoint), ("runtime", &link.runtime)],
                figure(link).map(Value::Count),
            );
        }
    }
}

/// What scrapes cost, and what they had to leave out.
pub(super) const SCRAPE: &[Family] = &[
    counter(
        "cgauge_scrapes_total",
        "Scrapes answered.",
        own!(count scrape.scrapes),
    ),
    counter(
        "cgauge_scrapes_refused_total",
        "Scrapes whose question was wrong.",
        own!(count scrape.refused),
    ),
    counter(
        "cgauge_scrape_seconds_total",
        "Time that scrapes took: waiting for polls, writing pages, compressing them.",
        From::Page(scrape_seconds),
    ),
    gauge(
        "cgauge_scrape_late_containers",
        "Containers left out of this scrape because their figures could not be read in time.",
        From::Own(|p| Some(Value::Count(p.late))),
    ),
    counter(
        "cgauge_late_containers_total",
        "Containers left out because they could not be read in time, over all scrapes.",
        own!(count scrape.late),
    ),
    gauge(
        "cgauge_scrape_dropped_containers",
        "Containers left out of this scrape because it would have had too many series.",
        From::Own(|p| Some(Value::Count(p.dropped))),
    ),
    gauge(
        "cgauge_scrape_series",
        "Series of the scrape before.",
        own!(count scrape.series),
    ),
    gauge(
        "cgauge_scrape_bytes",
        "Size of the scrape before, uncompressed.",
        own!(count scrape.bytes),
    ),
];

/// What each kind costs.
pub(super) const KINDS: &[Family] = &[
    gauge(
        "cgauge_kind_series",
        "Series of the scrape before, by kind.",
        From::Page(|p, emit| {
            each_kind(p, emit, |p, at| {
                Some(Value::Count(p.own.scrape.kinds.get(at)?.series.get()))
            });
        }),
    ),
    counter(
        "cgauge_kind_encode_seconds_total",
        "Time spent writing figures, by kind.",
        From::Page(|p, emit| {
            each_kind(p, emit, |p, at| {
                Some(Value::Nanos(p.own.scrape.kinds.get(at)?.encode_ns.get()))
            });
        }),
    ),
    counter(
        "cgauge_kind_read_seconds_total",
        "Time spent reading kernel files, by kind.",
        From::Page(|p, emit| each_kind(p, emit, |p, at| p.plan.read_ns(at).map(Value::Nanos))),
    ),
];

fn has_budget(page: &Page<'_>) -> bool {
    page.own.cpu_budget.get() > 0
}

/// One figure of each kind that is on, and of what always is.
fn each_kind(page: &Page<'_>, emit: &mut Emit<'_>, figure: fn(&Page<'_>, usize) -> Option<Value>) {
    for kind in page.options.kinds.iter() {
        emit.sample(
            &[("kind", &kind.name())],
            figure(page, kind_index(Some(kind))),
        );
    }
    emit.sample(&[("kind", &"always")], figure(page, kind_index(None)));
}

fn scrape_seconds(page: &Page<'_>, emit: &mut Emit<'_>) {
    let scrape = &page.own.scrape;
    for (phase, time) in [
        ("compress", &scrape.compress_ns),
        ("encode", &scrape.encode_ns),
        ("poll", &scrape.poll_ns),
    ] {
        emit.sample(&[("phase", &phase)], Some(Value::Nanos(time.get())));
    }
}

/// What reading each file costs, over all containers.
pub(super) const FILE_FAMILIES: &[Family] = &[
    counter(
        "cgauge_file_reads_total",
        "Reads of a cgroup file.",
        From::Page(|p, emit| files(p, emit, |c| &c.reads, Value::Count)),
    ),
    counter(
        "cgauge_file_read_seconds_total",
        "Time spent reading a cgroup file.",
        From::Page(|p, emit| files(p, emit, |c| &c.nanos, Value::Nanos)),
    ),
    counter(
        "cgauge_file_slow_reads_total",
        "Reads that took longer than 10 ms.",
        From::Page(|p, emit| files(p, emit, |c| &c.slow, Value::Count)),
    ),
    counter(
        "cgauge_file_read_errors_total",
        "Reads that failed.",
        From::Page(|p, emit| files(p, emit, |c| &c.errors, Value::Count)),
    ),
    counter(
        "cgauge_file_malformed_total",
        "Reads of text that held nothing known.",
        From::Page(|p, emit| files(p, emit, |c| &c.malformed, Value::Count)),
    ),
];

fn files(
    page: &Page<'_>,
    emit: &mut Emit<'_>,
    figure: fn(&FileCost) -> &AtomicU64,
    value: fn(u64) -> Value,
) {
    let plan = page.plan;
    let several = plan.hierarchies.count() > 1;
    for file in &plan.files {
        let name = file.name();
        // A file of that name may be read in several hierarchies.
        let hierarchy = file.hierarchy.index();
        let twice = several
            && plan
                .files
                .iter()
                .any(|other| other.name() == name && other.hierarchy != file.hierarchy);
        let count = Some(value(figure(&file.cost).load(Relaxed)));
        if twice {
            emit.sample(&[("file", &name), ("hierarchy", &hierarchy)], count);
        } else {
            emit.sample(&[("file", &name)], count);
        }
    }
    for (name, cost) in plan.costs_beside_files() {
        emit.sample(&[("file", &name)], Some(value(figure(cost).load(Relaxed))));
    }
}

/// 1 for the state that is, 0 for the others.
fn each_state<S: PartialEq>(emit: &mut Emit<'_>, now: S, states: &[(S, &str)]) {
    for (state, name) in states {
        let is_now = Value::Count((*state == now).into());
        emit.sample(&[("state", name)], Some(is_now));
    }
}

fn kmsg_state(page: &Page<'_>, emit: &mut Emit<'_>) {
    let states = [
        (KmsgState::Off, "off"),
        (KmsgState::Following, "following"),
        (KmsgState::Unavailable, "unavailable"),
    ];
    each_state(emit, page.own.kmsg_state(), &states);
}

fn journal_state(page: &Page<'_>, emit: &mut Emit<'_>) {
    let states = [
        (JournalState::Off, "off"),
        (JournalState::Writing, "writing"),
        (JournalState::MemoryOnly, "memory_only"),
    ];
    each_state(emit, page.own.journal_state(), &states);
}

fn events(page: &Page<'_>, emit: &mut Emit<'_>) {
    for (kind, count) in EventType::ALL.into_iter().zip(&page.own.events) {
        emit.sample(&[("type", &kind)], Some(Value::Count(count.get())));
    }
}

fn disk_usage_failures(page: &Page<'_>, emit: &mut Emit<'_>) {
    for why in DiskUsageFailure::ALL {
        let count = page.own.disk_usage.failed(why).get();
        emit.sample(&[("reason", &why.as_str())], Some(Value::Count(count)));
    }
}

fn oom_kills(page: &Page<'_>, emit: &mut Emit<'_>) {
    for (source, count) in [
        ("counters", &page.own.oom_kills_from_counters),
        ("kmsg", &page.own.oom_kills_from_kmsg),
    ] {
        emit.sample(&[("source", &source)], Some(Value::Count(count.get())));
    }
}
