//! One file of a container: open or not, there or not, and how long its text has stood still.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nix::errno::Errno;

use super::directory::Directory;
use super::stillness::{Stillness, hash};
use super::{Cgroup, LOOK_AGAIN_AFTER};
use crate::cgroup::error::Failure;
use crate::cgroup::file::{Keep, Kept, ReadBuffer};
use crate::cgroup::name::ContainerName;
use crate::cgroup::plan::{File, Parsed, Parser, Plan};
use crate::cgroup::stats::Sample;

#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    Closed,
    Open(Kept),
    AbsentUntil(u32),
}

/// One file of the plan, for this container.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) state: State,
    /// Which of the file's names is read.
    choice: u8,
    /// The poll from which on other names are tried if this one has no data, and for how many polls they
    /// are left alone after that.
    search_at: u32,
    search_pause: u32,
    /// What is known of its text, if it had any.
    pub(super) still: Stillness,
}

impl Cgroup {
    /// Reads one file of the plan into `out`. False if it gave nothing at all.
    pub(super) fn read_file(
        &mut self,
        at: usize,
        buffer: &mut ReadBuffer,
        out: &mut Sample,
    ) -> bool {
        let keep = self.keeps(at);
        let file = &self.plan.files[at];
        let slot = &mut self.slots[at];
        let Some(directory) = &mut self.directories[file.hierarchy.index()] else {
            return false;
        };
        if let State::AbsentUntil(poll) = slot.state {
            if poll > self.polls {
                return false;
            }
            slot.state = State::Closed;
        }
        // A handle that has outlived its file (ENODEV) says nothing about a file made since: a
        // controller may have been switched off and on again. So the second try opens anew.
        let mut tries = if matches!(slot.state, State::Open(_)) {
            2
        } else {
            1
        };
        let mut result = Err(Errno::ENOENT);
        while tries > 0 {
            tries -= 1;
            result = match &slot.state {
                State::Open(kept) => parse(file, buffer, kept, out),
                _ => match open_file(directory, &self.name, &self.plan, file, slot.choice) {
                    Ok(fd) => {
                        let parsed = parse(file, buffer, &fd, out);
                        if keep && parsed.is_ok() {
                            slot.state = Kept::new(fd, Keep::File, &self.budget)
                                .map_or(State::Closed, State::Open);
                        }
                        parsed
                    }
                    Err(errno) => Err(errno),
                },
            };
            if result.is_err() {
                slot.state = State::Closed;
            } else {
                break;
            }
        }
        // One look at the clock for each file: a read ends when the next begins.
        let now = Instant::now();
        file.cost.record(now.saturating_duration_since(self.clock));
        self.clock = now;
        match result {
            Ok((parsed, text)) => {
                match parsed {
                    Parsed::Data => slot.search_pause = 0,
                    Parsed::Malformed => {
                        file.cost.malformed.fetch_add(1, Relaxed);
                    }
                    // Nothing of what it has told before holds any more.
                    Parsed::Empty if slot.still.is_another(text) => {
                        slot.still.forget();
                        return true;
                    }
                    Parsed::Empty => {
                        if self.try_stand_in(at, buffer, out) {
                            return true;
                        }
                    }
                }
                let slot = &mut self.slots[at];
                slot.still.note(text, self.epoch.ms(now));
                if !self.keeps(at) {
                    self.slots[at].state = State::Closed;
                }
                true
            }
            Err(errno) => {
                slot.still.forget();
                match Failure::from(errno) {
                    Failure::Absent | Failure::Unsupported | Failure::Denied => {
                        let again_at = self.polls.saturating_add(LOOK_AGAIN_AFTER);
                        slot.state = State::AbsentUntil(again_at);
                        self.try_stand_in(at, buffer, out)
                    }
                    Failure::Exhausted | Failure::Broken => {
                        file.cost.errors.fetch_add(1, Relaxed);
                        tracing::debug!(container = %self.name, file = file.name(), %errno, "read failed");
                        false
                    }
                }
            }
        }
    }

    /// The file is absent or has no data: takes the next of its names that has, if there is one. Not each
    /// time: most containers do no I/O for most of their lives, and then none of the names has data.
    fn try_stand_in(&mut self, at: usize, buffer: &mut ReadBuffer, out: &mut Sample) -> bool {
        let file = &self.plan.files[at];
        let slot = &mut self.slots[at];
        if file.names.len() == 1 || self.polls < slot.search_at {
            return false;
        }
        let longest = match file.has_stand_in.load(Relaxed) {
            true => LOOK_AGAIN_AFTER,
            false => SEARCH_AGAIN_AFTER,
        };
        slot.search_pause = (slot.search_pause.saturating_mul(2)).clamp(LOOK_AGAIN_AFTER, longest);
        slot.search_at = self.polls.saturating_add(slot.search_pause);
        let Some(directory) = &mut self.directories[file.hierarchy.index()] else {
            return false;
        };
        let (tried, is_absent) = (slot.choice, matches!(slot.state, State::AbsentUntil(_)));
        let others = (0_u8..)
            .take(file.names.len())
            .filter(|&choice| choice != tried);
        for choice in others {
            let Ok(fd) = open_file(directory, &self.name, &self.plan, file, choice) else {
                continue;
            };
            match parse(file, buffer, &fd, out) {
                Ok((Parsed::Data, text)) => {
                    file.has_stand_in.store(true, Relaxed);
                    slot.choice = choice;
                    slot.state = State::Closed;
                    slot.still.note(text, self.epoch.ms(self.clock));
                    return true;
                }
                // Better than one that is not there, until another has data.
                Ok((Parsed::Empty, _)) if is_absent && slot.choice == tried => {
                    slot.choice = choice;
                    slot.state = State::Closed;
                }
                _ => {}
            }
        }
        is_absent && slot.choice != tried
    }
}

/// For how many polls other names of a file without data are left alone at most, while no container of
/// the node has had data under any but the first.
const SEARCH_AGAIN_AFTER: u32 = 32 * LOOK_AGAIN_AFTER;

fn open_file(
    directory: &mut Directory,
    name: &ContainerName,
    plan: &Plan,
    file: &File,
    choice: u8,
) -> Result<OwnedFd, Errno> {
    let chosen = file.names.get(usize::from(choice)).ok_or(Errno::ENOENT)?;
    directory.open(name, plan, file.hierarchy, chosen)
}

/// What the file's text says, and the text's hash.
fn parse(
    file: &File,
    buffer: &mut ReadBuffer,
    fd: impl AsFd,
    out: &mut Sample,
) -> Result<(Parsed, u64), Errno> {
    let text = buffer.read(fd)?;
    let parsed = match file.parser {
        Parser::Sample(parse) => parse(text, out),
        Parser::Hugetlb(size, parse) => parse(text, out.hugetlb_mut(size)),
    };
    Ok((parsed, hash(text)))
}
