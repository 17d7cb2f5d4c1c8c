//! Pure: what the lives of each workload add up to. Of workloads that are long over the totals are
//! packed, those that have something to tell apart from the many that had one life and no kill.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::life::Which;
use crate::pack::{Opener, Packed, Packer};
use crate::units::Timestamp;

/// Workloads whose totals are kept; past that, those go that have ended longest ago.
const MAX_WORKLOADS: usize = 20_000;

/// Totals that are packed together.
const CHUNK: usize = 128;

/// How long a workload may be expected to go on after the end of its last life.
const CHANGES_FOR: Duration = Duration::from_secs(60);

/// What all lives of a workload add up to. These never go backwards while they are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Lives begun.
    pub lives: u64,
    /// OOM kills, of live containers too.
    pub oom_kills: u64,
    /// CPU time of lives that have ended, nanoseconds.
    pub cpu_ns: u64,
    /// Lives that have not ended.
    pub living: u64,
    /// When the newest ended or was killed in.
    pub newest: Timestamp,
}

impl Totals {
    /// Whether there is more to tell than of a single life: another one, or an OOM kill.
    pub fn is_of_note(&self) -> bool {
        self.lives > 1 || self.oom_kills > 0
    }
}

/// A workload: all containers that have or had its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The name that a runtime gives, or the path of the cgroup.
    pub name: Arc<str>,
    /// What its lives add up to.
    pub totals: Totals,
    /// Those that have not ended, whose use is not in the totals.
    pub living: Vec<Which>,
}

/// The totals of all workloads.
#[derive(Debug, Default)]
pub(super) struct AllTotals {
    open: HashMap<Arc<str>, Totals>,
    /// None of them has a life that has not ended.
    sealed: Vec<Arc<Sealed>>,
    sealed_totals: usize,
    hasher: RandomState,
}

/// Totals that are packed.
#[derive(Debug)]
pub(super) struct Sealed {
    packed: Packed,
    /// Hashes of the names.
    names: Box<[u32]>,
    oldest: Timestamp,
    newest: Timestamp,
    is_of_note: bool,
}

impl AllTotals {
    /// How many workloads there are.
    pub fn len(&self) -> usize {
        self.open.len() + self.sealed_totals
    }

    /// Those of a workload; new ones, if there are none.
    pub fn of(&mut self, workload: Arc<str>) -> &mut Totals {
        self.open_for(&workload);
        self.open.entry(workload).or_default()
    }

    /// Those of a workload, if there are any.
    pub fn get_mut(&mut self, workload: &str) -> Option<&mut Totals> {
        self.open_for(workload);
        self.open.get_mut(workload)
    }

    /// Lets go of those of a workload.
    pub fn remove(&mut self, workload: &str) {
        self.open_for(workload);
        self.open.remove(workload);
    }

    /// Unpacks those among which this workload's may be.
    fn open_for(&mut self, workload: &str) {
        if self.open.contains_key(workload) {
            return;
        }
        let hash = self.hash(workload);
        let may_have = |sealed: &Arc<Sealed>| sealed.names.contains(&hash);
        while let Some(at) = self.sealed.iter().position(may_have) {
            self.open_at(at);
        }
    }

    fn open_at(&mut self, at: usize) {
        let sealed = self.sealed.remove(at);
        self.sealed_totals -= sealed.names.len();
        self.open.extend(sealed.open(&mut Opener::default()));
    }

    fn hash(&self, workload: &str) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one(workload).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Lets go of those that have been over for longer than `age`, and packs those that are not expected
    /// to change any more. To be called about once a second.
    pub fn expire(&mut self, now: Timestamp, age: Duration) {
        let is_old = |sealed: &Arc<Sealed>| now.since(sealed.oldest) > age;
        while let Some(at) = self.sealed.iter().position(is_old) {
            self.open_at(at);
        }
        self.open
            .retain(|_, totals| totals.living > 0 || now.since(totals.newest) <= age);
        self.seal(now, age);
    }

    fn seal(&mut self, now: Timestamp, age: Duration) {
        // Not those that are about to go: they would be unpacked for it.
        let is_over = |totals: &Totals| {
            let over = now.since(totals.newest);
            totals.living == 0 && over > CHANGES_FOR && over < age / 2
        };
        for is_of_note in [false, true] {
            let of = self
                .open
                .iter()
                .filter(|(_, totals)| totals.is_of_note() == is_of_note && is_over(totals));
            let mut over: Vec<_> = of
                .map(|(name, totals)| (totals.newest, name.clone()))
                .collect();
            over.sort_unstable();
            for chunk in over.chunks_exact(CHUNK) {
                let totals = chunk
                    .iter()
                    .filter_map(|(_, name)| self.open.remove_entry(name));
                let totals: Vec<(Arc<str>, Totals)> = totals.collect();
                let names = totals.iter().map(|(name, _)| self.hash(name)).collect();
                self.sealed_totals += totals.len();
                self.sealed.push(Arc::new(Sealed::of(&totals, names)));
            }
        }
        if self.open.capacity() > 8 * self.open.len().max(CHUNK) {
            self.open.shrink_to(2 * self.open.len());
        }
    }

    /// Lets go of some if there are too many: of those that ended longest ago.
    pub fn shrink(&mut self) {
        if self.len() <= MAX_WORKLOADS {
            return;
        }
        // Some more than must be, so that this is not done each time.
        let mut too_many = MAX_WORKLOADS / 10;
        let open = self.open.iter().filter(|(_, totals)| totals.living == 0);
        let open = open.map(|(name, totals)| (totals.newest, Some(Arc::clone(name))));
        let sealed = self.sealed.iter().map(|sealed| (sealed.newest, None));
        let mut over: Vec<(Timestamp, Option<Arc<str>>)> = open.chain(sealed).collect();
        over.sort_unstable();
        for (newest, name) in over {
            if too_many == 0 {
                break;
            }
            let Some(name) = name else {
                let at = self.sealed.iter().position(|of| of.newest == newest);
                let gone = at.map_or(0, |at| self.sealed.remove(at).names.len());
                self.sealed_totals -= gone;
                too_many = too_many.saturating_sub(gone);
                continue;
            };
            self.open.remove(&name);
            too_many -= 1;
        }
    }

    /// All of them, or those alone that are of note, to be unpacked without the ledger. `living` are lives that
    /// have not ended, and their workloads.
    pub fn ask<'a>(&self, all: bool, living: impl Iterator<Item = (Arc<str>, &'a Which)>) -> Asked {
        let wanted = |is_of_note: bool| all || is_of_note;
        let open = self.open.iter().filter(|(_, of)| wanted(of.is_of_note()));
        let mut open: HashMap<&str, Workload> = open
            .map(|(name, totals)| {
                let workload = Workload {
                    name: Arc::clone(name),
                    totals: *totals,
                    living: Vec::new(),
                };
                (&**name, workload)
            })
            .collect();
        if !open.is_empty() {
            for (name, which) in living {
                if let Some(workload) = open.get_mut(&*name) {
                    workload.living.push(which.clone());
                }
            }
        }
        let sealed = self.sealed.iter().filter(|of| wanted(of.is_of_note));
        Asked {
            open: open.into_values().collect(),
            sealed: sealed.cloned().collect(),
        }
    }
}

/// Totals that are asked for.
#[derive(Debug)]
pub(super) struct Asked {
    open: Vec<Workload>,
    sealed: Vec<Arc<Sealed>>,
}

impl Asked {
    /// The workloads, by name.
    pub fn workloads(self) -> Vec<Workload> {
        let mut workloads = self.open;
        let mut opener = Opener::default();
        for sealed in self.sealed {
            let found = sealed.open(&mut opener).into_iter();
            workloads.extend(found.map(|(name, totals)| Workload {
                name,
                totals,
                living: Vec::new(),
            }));
        }
        workloads.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        workloads
    }
}

impl Sealed {
    fn of(totals: &[(Arc<str>, Totals)], names: Box<[u32]>) -> Self {
        let mut packer = Packer::default();
        let mut before = 0;
        for (name, of) in totals {
            packer.text(name.as_bytes());
            packer.number(of.lives);
            packer.number(of.oom_kills);
            packer.number(of.cpu_ns);
            packer.signed(of.newest.0.wrapping_sub(before));
            before = of.newest.0;
        }
        let newest = || totals.iter().map(|(_, of)| of.newest);
        Self {
            packed: packer.seal(),
            names,
            oldest: newest().min().unwrap_or_default(),
            newest: newest().max().unwrap_or_default(),
            is_of_note: totals.iter().any(|(_, of)| of.is_of_note()),
        }
    }

    /// The totals, as many as can be read.
    fn open(&self, opener: &mut Opener) -> Vec<(Arc<str>, Totals)> {
        let mut from = opener.open(&self.packed);
        let (mut before, mut text) = (0_i64, Vec::new());
        let mut next = || {
            let from = from.as_mut()?;
            from.text(&mut text)?;
            let name = std::str::from_utf8(&text).ok()?;
            let (lives, oom_kills, cpu_ns) = (from.number()?, from.number()?, from.number()?);
            before = before.wrapping_add(from.signed()?);
            let totals = Totals {
                lives,
                oom_kills,
                cpu_ns,
                living: 0,
                newest: Timestamp(before),
            };
            Some((name.into(), totals))
        };
        let totals: Vec<_> = self.names.iter().map_while(|_| next()).collect();
        if totals.len() < self.names.len() {
            let lost = self.names.len() - totals.len();
            tracing::error!(lost, "totals of workloads cannot be unpacked");
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const AGE: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(number: u64) -> Timestamp {
        Timestamp(1_800_000_000_000_000_000 + number.cast_signed() * 50_000_000)
    }

    fn name(number: u64) -> Arc<str> {
        format!("shop/web-{number:x}/app").into()
    }

    fn totals(number: u64) -> Totals {
        Totals {
            lives: 1 + u64::from(number.is_multiple_of(10)),
            oom_kills: 0,
            cpu_ns: number * 1_000_003,
            living: 0,
            newest: at(number),
        }
    }

    fn full(number: u64) -> AllTotals {
        let mut all = AllTotals::default();
        for number in 0..number {
            *all.of(name(number)) = totals(number);
        }
        all
    }

    fn workloads(all: &AllTotals, every: bool) -> Vec<Workload> {
        all.ask(every, std::iter::empty()).workloads()
    }

    #[test]
    fn what_is_over_is_packed_and_told_as_it_was() {
        let mut all = full(10_000);
        let before = workloads(&all, true);
        let of_note = workloads(&all, false);
        assert_eq!((before.len(), of_note.len()), (10_000, 1_000));
        let now = at(10_000).saturating_add(2 * CHANGES_FOR);
        all.expire(now, AGE);
        assert!(all.open.len() < 2 * CHUNK, "{}", all.open.len());
        assert_eq!(all.len(), 10_000);
        assert_eq!(workloads(&all, true), before);
        assert_eq!(workloads(&all, false), of_note);
        let sealed = all.sealed.iter();
        let bytes: usize = sealed
            .map(|of| of.packed.bytes() + 4 * of.names.len() + size_of::<Sealed>())
            .sum();
        assert!(bytes < 20 * all.sealed_totals, "{bytes}");
        // One that goes on, one that is new, one that is let go.
        all.of(name(77)).lives += 1;
        assert_eq!(
            *all.of(name(77)),
            Totals {
                lives: 2,
                ..totals(77)
            }
        );
        assert_eq!(*all.of("new".into()), Totals::default());
        all.remove(&name(5_001));
        assert_eq!(all.get_mut(&name(5_001)), None);
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn they_go_at_their_age_and_not_before() {
        let mut all = full(1_000);
        all.expire(at(1_000).saturating_add(2 * CHANGES_FOR), AGE);
        assert!(all.sealed_totals > 700);
        all.expire(at(500).saturating_add(AGE), AGE);
        let left = workloads(&all, true);
        assert_eq!(left.len(), 500);
        assert!(left.iter().all(|of| of.totals.newest >= at(500)));
        all.expire(at(1_000).saturating_add(AGE), AGE);
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn too_many_are_fewer_by_the_oldest() {
        let mut all = full(MAX_WORKLOADS as u64 + 1);
        let living = name(3);
        all.of(Arc::clone(&living)).living = 1;
        all.expire(at(15_000).saturating_add(CHANGES_FOR), AGE);
        assert!(all.sealed_totals > 14_000);
        all.shrink();
        let left = workloads(&all, true);
        let gone = MAX_WORKLOADS + 1 - left.len();
        let tenth = MAX_WORKLOADS / 10;
        assert!((tenth..tenth + 2 * CHUNK).contains(&gone), "{gone}");
        assert!(left.iter().any(|of| of.name == living));
        let oldest = left.iter().filter(|of| of.name != living);
        let oldest = oldest.map(|of| of.totals.newest).min().unwrap();
        assert!(oldest > at(gone as u64 - 11 * CHUNK as u64), "{oldest:?}");
    }

    #[test]
    fn what_cannot_be_unpacked_is_gone_and_the_rest_is_there() {
        let mut all = full(300);
        all.expire(at(300).saturating_add(2 * CHANGES_FOR), AGE);
        let there = all.len() - CHUNK;
        let first = Arc::get_mut(all.sealed.first_mut().unwrap()).unwrap();
        first.packed = Packer::default().seal();
        assert_eq!(workloads(&all, true).len(), there);
        all.expire(at(0).saturating_add(AGE + CHANGES_FOR), AGE);
        assert_eq!(all.sealed_totals % CHUNK, 0);
    }
}
