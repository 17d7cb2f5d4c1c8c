//! Pure: all lives, the totals by workload, and what keeps both bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ended::{Asked, By, Ended};
use super::figures::{Figures, Finality};
use super::kill::{KillSource, OomRecord};
use super::life::{Exit, Identity, LedgerRequest, Life, Which};
use super::stored;
#[cfg(test)]
use super::totals::Workload;
use super::totals::{self, AllTotals, Totals};
use crate::cgroup::{ContainerName, OomCounters};
use crate::units::Timestamp;

/// What the ledger may hold of lives that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLimits {
    /// How long after its end a life is kept.
    pub age: Duration,
    /// How many.
    pub number: usize,
    /// How much memory they may take.
    pub bytes: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(24 * 60 * 60),
            number: 20_000,
            bytes: 32 << 20,
        }
    }
}

/// Kills of containers that nobody knew, kept for those who ask about them.
const MAX_STRAY_KILLS: usize = 1_000;

/// Everything.
#[derive(Debug)]
pub(super) struct Book {
    limits: LedgerLimits,
    pub(super) living: BTreeMap<ContainerName, Life>,
    pub(super) ended: Ended,
    evicted: u64,
    totals: AllTotals,
    pub(super) last_life: u64,
    last_kill: u64,
    /// Lives of an earlier run that had not ended then, by number.
    pub(super) unmet: BTreeMap<u64, Life>,
    /// Where lives that change are put down, if anywhere.
    pub(super) outbox: Option<Outbox>,
}

/// Lives as records of the journal, on their way there.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    boot: Option<String>,
    records: Vec<Vec<u8>>,
}

impl Outbox {
    fn put(&mut self, life: &Life) {
        match stored::encode(life, self.boot.as_deref()) {
            Ok(record) => self.records.push(record),
            Err(error) => tracing::error!(%error, "a life cannot be written"),
        }
    }
}

pub(super) fn put(outbox: &mut Option<Outbox>, life: &Life) {
    if let Some(outbox) = outbox {
        outbox.put(life);
    }
}

pub(super) fn count_on(life: &mut Life, kills: u64, groups: u64) {
    if let Some(counted) = &mut life.oom_counter {
        counted.kills += kills;
        counted.groups = counted.groups.map(|before| before + groups);
    }
}

impl Book {
    pub(super) fn new(limits: LedgerLimits) -> Self {
        Self {
            limits,
            living: BTreeMap::new(),
            ended: Ended::default(),
            evicted: 0,
            totals: AllTotals::default(),
            last_life: 0,
            last_kill: 0,
            unmet: BTreeMap::new(),
            outbox: None,
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn last_kill(&self) -> u64 {
        self.last_kill
    }

    pub(super) fn ended_lives(&self) -> usize {
        self.ended.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.ended.bytes()
    }

    pub(super) fn begin(
        &mut self,
        which: Which,
        started: Timestamp,
        preexisting: bool,
        directory: Option<(u8, u64)>,
    ) {
        self.last_life += 1;
        let mut life = Life::new(self.last_life, which, started, preexisting);
        life.directories.extend(directory);
        life.oom_counter = (!preexisting).then_some(OomCounters {
            kills: 0,
            groups: Some(0),
        });
        let totals = self.totals_of(life.workload());
        totals.lives += 1;
        totals.living += 1;
        put(&mut self.outbox, &life);
        if let Some(before) = self.living.insert(life.which.name.clone(), life) {
            // Its end was not told. There can be no two of a name.
            self.close(before, started, Figures::default(), Finality::default());
        }
        self.totals.shrink();
    }

    /// A container has another directory.
    pub(super) fn attached(&mut self, which: &Which, directory: (u8, u64)) {
        self.change(which, |life| {
            let is_new = !life.directories.contains(&directory);
            life.directories.extend(is_new.then_some(directory));
            is_new
        });
    }

    /// The kernel's counter of OOM kills was read for the first time in a container that was there
    /// before: what it has is none of ours.
    pub(super) fn counter_begins(&mut self, which: &Which, counted: OomCounters) {
        self.change(which, |life| {
            let before = life.oom_counter;
            let known = life.oom_counter.get_or_insert(counted);
            // One that the kernel, or the cgauge before, did not count.
            known.groups = known.groups.or(counted.groups);
            life.oom_counter != before
        });
    }

    /// From now on, lives that change are put down.
    pub(super) fn keep_outbox(&mut self, boot: Option<String>) {
        self.outbox = Some(Outbox {
            boot,
            records: Vec::new(),
        });
    }

    pub(super) fn take_outbox(&mut self) -> Vec<Vec<u8>> {
        let records = self
            .outbox
            .as_mut()
            .map(|of| std::mem::take(&mut of.records));
        records.unwrap_or_default()
    }

    pub(super) fn end(
        &mut self,
        which: &Which,
        ended: Timestamp,
        figures: Figures,
        finality: Finality,
    ) {
        let found = self.living.get(&which.name);
        if found.is_some_and(|life| life.which == *which)
            && let Some(life) = self.living.remove(&which.name)
        {
            self.close(life, ended, figures, finality);
        }
    }

    pub(super) fn close(
        &mut self,
        mut life: Life,
        ended: Timestamp,
        figures: Figures,
        finality: Finality,
    ) {
        life.ended = Some(ended);
        life.figures = figures;
        life.finality = finality;
        // By them it was known again while it was there.
        life.directories = Vec::new();
        let totals = self.totals_of(life.workload());
        totals.living = totals.living.saturating_sub(1);
        totals.newest = totals.newest.max(ended);
        totals.cpu_ns = totals.cpu_ns.saturating_add(figures.cpu_ns.unwrap_or(0));
        put(&mut self.outbox, &life);
        self.ended.push(life);
        self.trim(ended);
    }

    pub(super) fn amend(&mut self, which: &Which, figures: &Figures, finality: Finality) {
        let mut gained = None;
        self.change(which, |life| {
            let before = (life.figures, life.finality);
            life.figures.raise(figures);
            life.finality = finality;
            let now = life.figures.cpu_ns.unwrap_or(0);
            let more = now - before.0.cpu_ns.unwrap_or(0);
            gained = Some((life.workload(), more));
            before != (life.figures, life.finality)
        });
        if let Some((workload, gained)) = gained {
            let totals = self.totals_of(workload);
            totals.cpu_ns = totals.cpu_ns.saturating_add(gained);
        }
    }

    pub(super) fn exited(&mut self, which: &Which, exit: Exit) {
        self.change(which, |life| {
            let exit = match &life.exit {
                Some(known) => exit.joined(known),
                None => exit,
            };
            let is_new = life.exit.as_ref() != Some(&exit);
            life.exit = Some(exit);
            is_new
        });
    }

    pub(super) fn identify(&mut self, which: &Which, identity: Arc<Identity>) {
        let mut moved = None;
        self.change(which, |life| {
            if life.identity.as_ref() == Some(&identity) {
                return false;
            }
            let before = life.workload();
            life.identity = Some(identity);
            moved = Some((before, life.clone()));
            true
        });
        let Some((before, life)) = moved else { return };
        let after = life.workload();
        if before == after {
            return;
        }
        let (cpu_ns, living) = match life.ended {
            Some(_) => (life.figures.cpu_ns.unwrap_or(0), 0),
            None => (0, 1),
        };
        if let Some(totals) = self.totals.get_mut(&before) {
            totals.lives = totals.lives.saturating_sub(1);
            totals.living = totals.living.saturating_sub(living);
            totals.oom_kills = totals.oom_kills.saturating_sub(life.oom_kills);
            totals.cpu_ns = totals.cpu_ns.saturating_sub(cpu_ns);
            if totals.lives == 0 {
                self.totals.remove(&before);
            }
        }
        let totals = self.totals_of(after);
        totals.lives += 1;
        totals.living += living;
        totals.oom_kills += life.oom_kills;
        totals.cpu_ns = totals.cpu_ns.saturating_add(cpu_ns);
        totals.newest = totals.newest.max(life.ended.unwrap_or(life.started));
    }

    pub(super) fn kill(&mut self, number: u64, record: OomRecord) {
        self.last_kill = self.last_kill.max(number);
        let (when, which) = (record.when, record.which());
        let victim = record.victim.clone();
        let mut workload = None;
        if let Some(which) = &which {
            let record = record.clone();
            self.change(which, |life| {
                let counted = record.source != KillSource::Log;
                count_on(life, u64::from(counted), 0);
                life.add_kill(number, record);
                workload = Some(life.workload());
                true
            });
        }
        let workload = workload.unwrap_or_else(|| self.stray_kill(number, record, &victim));
        let totals = self.totals_of(workload);
        totals.oom_kills += 1;
        totals.newest = totals.newest.max(when);
    }

    /// A kill in a container whose life is not on record: it gets one of its own, as little as there
    /// is to tell of it.
    fn stray_kill(&mut self, number: u64, record: OomRecord, victim: &ContainerName) -> Arc<str> {
        let when = record.when;
        let is_stray = |life: &Life| life.which.incarnation == 0 && life.which.name == *victim;
        let (ended, outbox) = (&mut self.ended, &mut self.outbox);
        let added = ended.change(By::Name(victim), is_stray, |life| {
            life.add_kill(number, record.clone());
            put(outbox, life);
            life.workload()
        });
        if let Some(workload) = added {
            return workload;
        }
        let which = Which {
            name: victim.clone(),
            incarnation: 0,
        };
        let workload = if self.ended.strays() < MAX_STRAY_KILLS {
            self.last_life += 1;
            let mut life = Life::new(self.last_life, which, when, false);
            life.ended = Some(when);
            life.add_kill(number, record);
            put(&mut self.outbox, &life);
            let workload = life.workload();
            self.ended.push(life);
            workload
        } else {
            victim.to_string().into()
        };
        self.totals.shrink();
        workload
    }

    pub(super) fn confirm(&mut self, number: u64, better: Option<&OomRecord>) {
        let of_number = |life: &Life| life.kills.iter().position(|(of, _)| *of == number);
        let outbox = &mut self.outbox;
        let mut confirm = |life: &mut Life| {
            let at = of_number(life);
            if let Some((_, kill)) = at.and_then(|at| life.kills.get_mut(at)) {
                let only_logged = kill.source == KillSource::Log;
                kill.source = KillSource::Both;
                if let Some(better) = better {
                    kill.when = better.when;
                    kill.limit_of.clone_from(&better.limit_of);
                    kill.told.clone_from(&better.told);
                }
                count_on(life, u64::from(only_logged), 0);
            }
            put(outbox, life);
        };
        let has = |life: &Life| of_number(life).is_some();
        match self.living.values_mut().find(|life| has(life)) {
            Some(life) => confirm(life),
            None => {
                self.ended.change(By::Kill(number), has, confirm);
            }
        }
    }

    /// The kernel's counters of a life have what is no further kill: one that was counted twice, a group
    /// that went down.
    pub(super) fn counted_beside(&mut self, which: &Which, counted: OomCounters) {
        self.change(which, |life| {
            count_on(life, counted.kills, counted.groups.unwrap_or(0));
            life.oom_counter.is_some()
        });
    }

    /// Changes a life, wherever it is; `change` says whether that is to be put down.
    fn change(&mut self, which: &Which, change: impl FnOnce(&mut Life) -> bool) {
        let living = self.living.get_mut(&which.name);
        if let Some(life) = living.filter(|life| life.which == *which) {
            if change(life) {
                put(&mut self.outbox, life);
            }
            return;
        }
        let (ended, outbox) = (&mut self.ended, &mut self.outbox);
        let is = |life: &Life| life.which == *which;
        ended.change(By::Name(&which.name), is, |life| {
            if change(life) {
                put(outbox, life);
            }
        });
    }

    /// Lets go of what is too old or too much.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.trim(now);
        self.ended.seal(now);
        self.totals.expire(now, self.limits.age);
    }

    /// What is evicted for lack of room is counted.
    fn trim(&mut self, now: Timestamp) {
        while let Some(ended) = self.ended.oldest() {
            let is_old = now.since(ended) > self.limits.age;
            let is_too_much =
                self.ended.len() > self.limits.number || self.ended.bytes() > self.limits.bytes;
            if !is_old && !is_too_much {
                break;
            }
            self.evicted += u64::from(!is_old);
            self.ended.pop_front();
        }
    }

    /// A kill or an end brings a workload's totals into being, too: it may have been let go.
    pub(super) fn totals_of(&mut self, workload: Arc<str>) -> &mut Totals {
        self.totals.of(workload)
    }

    /// What is wanted, to be unpacked without the book.
    pub(super) fn ask(&self, request: &LedgerRequest) -> Asked {
        let max = request.max.unwrap_or(usize::MAX);
        let living = self.living.values().filter(|life| request.wants(life));
        let mut found: Vec<&Life> = living.collect();
        found.sort_unstable_by_key(|life| std::cmp::Reverse(life.number));
        self.ended
            .ask(request, found.into_iter().take(max).cloned().collect())
    }

    #[cfg(test)]
    pub(super) fn lives(&self, request: &LedgerRequest) -> Vec<Life> {
        self.ask(request).lives()
    }

    pub(super) fn living(&self, name: &ContainerName) -> Option<&Life> {
        self.living.get(name)
    }

    pub(super) fn which_at(&self, name: &ContainerName, when: Timestamp) -> Option<u64> {
        let living = self.living.get(name);
        if let Some(life) = living.filter(|life| life.started <= when) {
            return Some(life.which.incarnation);
        }
        let ended = self.ended.newest(By::Name(name), |life| {
            let incarnation = life.incarnation().filter(|_| life.started <= when)?;
            (life.which.name == *name).then_some(incarnation)
        });
        ended.or(living.map(|life| life.which.incarnation))
    }

    /// The totals, all or of those workloads alone that are of note, to be unpacked without the book.
    pub(super) fn ask_totals(&self, all: bool) -> totals::Asked {
        let living = self.living.values();
        self.totals
            .ask(all, living.map(|life| (life.workload(), &life.which)))
    }

    #[cfg(test)]
    pub(super) fn totals(&self) -> Vec<Workload> {
        self.ask_totals(true).workloads()
    }

    pub(super) fn workload(&self, which: &Which) -> Option<Arc<str>> {
        let living = self.living.get(&which.name)?;
        (living.which == *which).then(|| living.workload())
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
