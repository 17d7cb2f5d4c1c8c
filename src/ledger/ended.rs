//! Pure: lives that have ended, by end, in chunks of which all but the newest are packed.
//!
//! What is told of a life late (better figures, a name, a kill) mostly comes within seconds; a chunk that
//! has to be changed later is unpacked, and packed again once nothing has come for a while.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::life::{LedgerRequest, Life};
use super::sealed::Sealed;
use crate::cgroup::ContainerName;
use crate::pack::Opener;
use crate::units::Timestamp;

/// Lives of a chunk: of more, one that is asked for costs more to unpack; fewer pack worse.
pub(super) const CHUNK: usize = 128;

/// How long after its end a life may be expected to change.
const CHANGES_FOR: Duration = Duration::from_secs(60);

/// Chunks that are not packed, at most, beside the oldest and the newest.
const MAX_OPEN: usize = 16;

/// The lives.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Oldest first; none is empty.
    chunks: VecDeque<Chunk>,
    lives: usize,
    bytes: usize,
    strays: usize,
    hasher: RandomState,
}

#[derive(Debug)]
enum Chunk {
    Open(Open),
    Sealed(Arc<Sealed>),
}

#[derive(Debug, Default)]
struct Open {
    lives: VecDeque<Life>,
    /// The hashes of their names, side by side: to look through them costs next to nothing.
    names: VecDeque<u32>,
    /// Something came since it was last looked at.
    changed: bool,
    /// Its lives are about to go, one by one.
    leaving: bool,
}

/// By what a life is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum By<'a> {
    /// The name of its container.
    Name(&'a ContainerName),
    /// Its number.
    Number(u64),
    /// The number of a kill.
    Kill(u64),
}

/// Lives that a request wants, and those among which there may be more: to be read without the ledger.
#[derive(Debug)]
pub(super) struct Asked {
    request: LedgerRequest,
    /// Newest first.
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Wanted(Vec<Life>),
    Sealed(Arc<Sealed>),
}

impl Ended {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.lives
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many are of containers that nobody knew.
    pub fn strays(&self) -> usize {
        self.strays
    }

    /// When the oldest ended.
    pub fn oldest(&self) -> Option<Timestamp> {
        match self.chunks.front()? {
            Chunk::Open(open) => open.lives.front().map(end),
            Chunk::Sealed(sealed) => Some(sealed.oldest),
        }
    }

    /// Adds one that has just ended.
    pub fn push(&mut self, life: Life) {
        self.lives += 1;
        self.bytes += life.bytes();
        self.strays += is_stray(&life);
        let name = hash(&self.hasher, &life.which.name);
        match self.chunks.back_mut() {
            Some(Chunk::Open(open)) if open.lives.len() < CHUNK => open.push(life, name),
            _ => {
                let mut open = Open::default();
                open.push(life, name);
                self.chunks.push_back(Chunk::Open(open));
                self.seal_some();
            }
        }
    }

    /// Drops the oldest.
    pub fn pop_front(&mut self) {
        if self.chunks.is_empty() {
            return;
        }
        self.open(0);
        let mut is_empty = true;
        if let Some(Chunk::Open(open)) = self.chunks.front_mut() {
            open.leaving = true;
            open.names.pop_front();
            if let Some(life) = open.lives.pop_front() {
                self.bytes = self.bytes.saturating_sub(life.bytes());
                self.strays = self.strays.saturating_sub(is_stray(&life));
                self.lives = self.lives.saturating_sub(1);
            }
            is_empty = open.lives.is_empty();
        }
        if is_empty {
            self.chunks.pop_front();
        }
    }

    /// Packs what is not expected to change any more. To be called about once a second.
    pub fn seal(&mut self, now: Timestamp) {
        let last = self.chunks.len().saturating_sub(1);
        for at in 0..last {
            if let Some(Chunk::Open(open)) = self.chunks.get_mut(at) {
                let changed = std::mem::take(&mut open.changed);
                let newest = open.lives.back().map(end);
                let is_old = newest.is_none_or(|newest| now.since(newest) > CHANGES_FOR);
                if is_old && !changed && !open.leaving {
                    self.seal_at(at);
                }
            }
        }
    }

    /// Packs the oldest, if too many are not.
    fn seal_some(&mut self) {
        let last = self.chunks.len().saturating_sub(1);
        let open = |(at, chunk): (usize, &Chunk)| match chunk {
            Chunk::Open(open) if !open.leaving => Some(at),
            _ => None,
        };
        let chunks = self.chunks.iter().enumerate().take(last);
        let open: Vec<usize> = chunks.filter_map(open).collect();
        for at in open.iter().take(open.len().saturating_sub(MAX_OPEN)) {
            self.seal_at(*at);
        }
    }

    fn seal_at(&mut self, at: usize) {
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        if let Chunk::Open(open) = chunk {
            let before: usize = open.lives.iter().map(Life::bytes).sum();
            let sealed = Sealed::of(open.lives.iter().zip(open.names.iter().copied()));
            self.bytes = (self.bytes + sealed.bytes()).saturating_sub(before);
            *chunk = Chunk::Sealed(Arc::new(sealed));
        }
    }

    /// Unpacks a chunk, if it is packed.
    fn open(&mut self, at: usize) {
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        if let Chunk::Sealed(sealed) = chunk {
            let lives: VecDeque<Life> = sealed.open(&mut Opener::default()).into();
            let now: usize = lives.iter().map(Life::bytes).sum();
            let strays: usize = lives.iter().map(is_stray).sum();
            self.bytes = (self.bytes + now).saturating_sub(sealed.bytes());
            // They are the same unless some could not be read.
            self.lives = (self.lives + lives.len()).saturating_sub(sealed.len());
            self.strays = (self.strays + strays).saturating_sub(sealed.strays);
            let names = lives
                .iter()
                .map(|life| hash(&self.hasher, &life.which.name));
            *chunk = Chunk::Open(Open {
                names: names.collect(),
                lives,
                changed: true,
                leaving: false,
            });
        }
    }

    /// Shows `look` the lives that may be looked for, newest first, until it gives something: that, and in
    /// which chunk and at which place.
    fn find<T>(&self, by: By<'_>, look: impl Fn(&Life) -> Option<T>) -> Option<(usize, usize, T)> {
        let name = match by {
            By::Name(name) => hash(&self.hasher, name),
            By::Number(_) | By::Kill(_) => 0,
        };
        let may_have = |sealed: &Sealed| match by {
            By::Name(_) => sealed.may_have_name(name),
            By::Number(number) => sealed.may_have_number(number),
            By::Kill(number) => sealed.may_have_kill(number),
        };
        let may_be = |of: &u32| !matches!(by, By::Name(_)) || *of == name;
        let newest = |(place, life): (usize, &Life)| Some((place, look(life)?));
        let mut opener = None;
        self.chunks
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, chunk)| {
                let found = match chunk {
                    Chunk::Open(open) => {
                        let names = open.names.iter().enumerate().rev();
                        let mut places = names.filter(|(_, name)| may_be(name));
                        places.find_map(|(place, _)| newest((place, open.lives.get(place)?)))
                    }
                    Chunk::Sealed(sealed) if may_have(sealed) => {
                        let lives = sealed.open(opener.get_or_insert_with(Opener::default));
                        lives.iter().enumerate().rev().find_map(newest)
                    }
                    Chunk::Sealed(_) => None,
                };
                found.map(|(place, found)| (at, place, found))
            })
    }

    /// What `look` finds first, newest first, among those that may be looked for.
    pub fn newest<T>(&self, by: By<'_>, look: impl Fn(&Life) -> Option<T>) -> Option<T> {
        self.find(by, look).map(|(.., found)| found)
    }

    /// Changes the newest life for which `is` holds. Gives what `change` gives.
    pub fn change<T>(
        &mut self,
        by: By<'_>,
        is: impl Fn(&Life) -> bool,
        change: impl FnOnce(&mut Life) -> T,
    ) -> Option<T> {
        let (at, place, ()) = self.find(by, |life| is(life).then_some(()))?;
        self.open(at);
        let Some(Chunk::Open(open)) = self.chunks.get_mut(at) else {
            return None;
        };
        open.changed = true;
        let life = open.lives.get_mut(place)?;
        let before = life.bytes();
        let result = change(life);
        self.bytes = (self.bytes + life.bytes()).saturating_sub(before);
        Some(result)
    }

    /// Takes out the life of this number.
    pub fn remove(&mut self, number: u64) -> Option<Life> {
        let is = |life: &Life| (life.number == number).then_some(());
        let (at, place, ()) = self.find(By::Number(number), is)?;
        self.open(at);
        let Some(Chunk::Open(open)) = self.chunks.get_mut(at) else {
            return None;
        };
        open.changed = true;
        open.names.remove(place);
        let life = open.lives.remove(place)?;
        let is_empty = open.lives.is_empty();
        self.lives = self.lives.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(life.bytes());
        self.strays = self.strays.saturating_sub(is_stray(&life));
        if is_empty {
            self.chunks.remove(at);
        }
        Some(life)
    }

    /// Those that `request` wants, behind `living`, which it wants too.
    pub fn ask(&self, request: &LedgerRequest, living: Vec<Life>) -> Asked {
        let max = request.max.unwrap_or(usize::MAX);
        let mut left = max.saturating_sub(living.len());
        let mut parts = vec![Part::Wanted(living)];
        for chunk in self.chunks.iter().rev() {
            if left == 0 {
                break;
            }
            match chunk {
                Chunk::Open(open) => {
                    let wanted = open.lives.iter().rev().filter(|life| request.wants(life));
                    let wanted: Vec<Life> = wanted.take(left).cloned().collect();
                    left -= wanted.len();
                    parts.push(Part::Wanted(wanted));
                }
                Chunk::Sealed(sealed) if sealed.may_be_wanted(request) => {
                    parts.push(Part::Sealed(Arc::clone(sealed)));
                }
                Chunk::Sealed(_) => {}
            }
        }
        Asked {
            request: request.clone(),
            parts,
        }
    }
}

impl Open {
    fn push(&mut self, life: Life, name: u32) {
        self.lives.push_back(life);
        self.names.push_back(name);
    }
}

impl Asked {
    /// The lives, newest first.
    pub fn lives(self) -> Vec<Life> {
        let (request, mut lives) = (self.request, Vec::new());
        let max = request.max.unwrap_or(usize::MAX);
        let mut opener = Opener::default();
        for part in self.parts {
            match part {
                Part::Wanted(wanted) => lives.extend(wanted),
                Part::Sealed(_) if lives.len() >= max => break,
                Part::Sealed(sealed) => {
                    let found = sealed.open(&mut opener).into_iter().rev();
                    lives.extend(found.filter(|life| request.wants(life)));
                }
            }
        }
        lives.truncate(max);
        lives
    }
}

fn end(life: &Life) -> Timestamp {
    life.ended.unwrap_or(life.started)
}

fn is_stray(life: &Life) -> usize {
    usize::from(life.which.incarnation == 0)
}

fn hash(hasher: &RandomState, name: &ContainerName) -> u32 {
    let [a, b, c, d, ..] = hasher.hash_one(name.as_bytes()).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
#[path = "ended_tests.rs"]
mod tests;
