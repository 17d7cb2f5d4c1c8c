//! Pure: lives of an earlier run, as far as its journal tells: those that go on, and those that are over.

use super::book::{Book, count_on, put};
use super::kill::KillSource;
use super::life::{Life, Which};
use crate::cgroup::{ContainerName, OomCounters};
use crate::units::Timestamp;

/// A life that had not ended when the journal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Its number.
    pub number: u64,
    /// The container.
    pub name: ContainerName,
    /// By which it is known again: hierarchy and inode. None if the machine has been started since.
    pub directories: Vec<(u8, u64)>,
}

impl Book {
    /// Lives of an earlier run that have neither been met again nor found to be over; of one name, or of
    /// all.
    pub(super) fn unmet(&self, name: Option<&ContainerName>) -> Vec<Unmet> {
        let lives = self.unmet.values();
        lives
            .filter(|life| name.is_none_or(|name| life.which.name == *name))
            .map(|life| Unmet {
                number: life.number,
                name: life.which.name.clone(),
                directories: life.directories.clone(),
            })
            .collect()
    }

    /// A life goes on, as `which`. Gives what the kernel's counters of OOM kills were, as far as they are
    /// in it.
    pub(super) fn resume(&mut self, number: u64, which: Which) -> Option<OomCounters> {
        let mut life = self.unmet.remove(&number)?;
        life.which = which;
        // Kills that only the log had told are in the counter by now.
        let logged = life
            .kills
            .iter()
            .filter(|(_, kill)| kill.source == KillSource::Log);
        let logged = logged.count() as u64;
        count_on(&mut life, logged, 0);
        let counted = life.oom_counter;
        put(&mut self.outbox, &life);
        self.living.insert(life.which.name.clone(), life);
        counted
    }

    /// A life has ended while nobody looked, which is found now. Gives it, if it is known.
    pub(super) fn gone(&mut self, number: u64, now: Timestamp) -> Option<Life> {
        let mut life = self.unmet.remove(&number)?;
        (life.end_unseen, life.ended) = (true, Some(now));
        let (figures, finality) = (life.figures, life.finality);
        self.close(life.clone(), now, figures, finality);
        Some(life)
    }

    /// Puts down all lives that have not ended once more: their records are about to be dropped for their
    /// age.
    pub(super) fn put_living(&mut self) {
        for life in self.living.values().chain(self.unmet.values()) {
            put(&mut self.outbox, life);
        }
    }

    /// Takes up a record of an earlier run.
    pub(super) fn restore(&mut self, mut life: Life, boot: Option<&str>, present: Option<&str>) {
        let is_new = life.number > self.last_life;
        self.last_life = self.last_life.max(life.number);
        let before = self.unmet.remove(&life.number);
        let again = match before {
            Some(_) => None,
            None if is_new => None,
            None => self.ended.remove(life.number),
        };
        if let Some(old) = before.as_ref().or(again.as_ref()) {
            let is_over = old.ended.is_some();
            let (kills, cpu) = (old.oom_kills, old.figures.cpu_ns.unwrap_or(0));
            let totals = self.totals_of(old.workload());
            totals.lives = totals.lives.saturating_sub(1);
            totals.living = totals.living.saturating_sub(u64::from(!is_over));
            totals.oom_kills = totals.oom_kills.saturating_sub(kills);
            if is_over {
                totals.cpu_ns = totals.cpu_ns.saturating_sub(cpu);
            }
        }
        let totals = self.totals_of(life.workload());
        totals.lives += 1;
        totals.living += 1;
        totals.oom_kills += life.oom_kills;
        totals.newest = totals.newest.max(life.ended.unwrap_or(life.started));
        match life.ended {
            Some(ended) => {
                let (figures, finality) = (life.figures, life.finality);
                self.close(life, ended, figures, finality);
            }
            None => {
                // Inodes of another boot say nothing.
                if boot.is_none() || boot != present {
                    life.directories.clear();
                }
                self.unmet.insert(life.number, life);
            }
        }
    }
}
