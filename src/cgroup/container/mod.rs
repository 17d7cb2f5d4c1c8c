//! Reading one container: its directories, its files, one sample at a time.

mod beside;
mod directory;
mod settings;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use self::directory::{Directory, Handle};
use super::error::{Failure, ReadError};
use super::file::{FdBudget, Keep, Kept, ReadBuffer, open_directory};
use super::hierarchy::{HierarchyId, Mode};
use super::kind::MetricKind;
use super::load::LoadAverage;
use super::members::SchedTotals;
use super::name::ContainerName;
use super::network::{Interfaces, Member, NetworkNamespaces};
use super::oom::OomCounters;
use super::plan::{File, Parsed, Parser, Plan};
use super::stats::Sample;
use crate::units::Timestamp;

/// After how many polls a file that was not there is looked for again: controllers can be switched on
/// (`cgroup.subtree_control`) while the container lives.
const LOOK_AGAIN_AFTER: u32 = 30;

/// What reading needs beside the container: one per sampler thread.
#[derive(Debug)]
pub struct ReadContext {
    /// The buffer that files are read into.
    pub buffer: ReadBuffer,
    /// The network namespaces, shared by all threads.
    pub namespaces: Arc<NetworkNamespaces>,
    /// The memory of the last sample's interfaces, for the next one's.
    spare: Interfaces,
}

impl ReadContext {
    /// With a buffer of its own.
    pub fn new(namespaces: Arc<NetworkNamespaces>) -> Self {
        Self {
            buffer: ReadBuffer::default(),
            namespaces,
            spare: Interfaces::new(),
        }
    }
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At least one figure.
    Read,
    /// No file gave anything: the cgroup has been removed.
    Gone,
}

/// What says whether a container does anything: while none of it changes, nothing else of weight does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    cpu_usage_ns: u64,
    memory_usage_bytes: Option<u64>,
    tasks: Option<u64>,
}

/// Which files stay open between polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepOpen {
    /// All that are read: of a busy container.
    All,
    /// Those of the [`Pulse`]: of one that does nothing.
    Pulse,
    /// None: of one that is rarely polled.
    Nothing,
}

/// One container's directories and files. Its identity is the directories that it was made with: a
/// cgroup made again under the same name has other inodes, and is not read.
#[derive(Debug)]
pub struct Cgroup {
    name: ContainerName,
    plan: Arc<Plan>,
    budget: Arc<FdBudget>,
    directories: Vec<Option<Directory>>,
    slots: Vec<Slot>,
    polls: u32,
    keep_open: KeepOpen,
    /// Whether any file of the pulse gave something in this poll.
    pulse_found: bool,
    /// When the last file was done with: the next one's cost is counted from here.
    clock: Instant,
    member: Member,
    sched: SchedTotals,
    load: LoadAverage,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open(Kept),
    AbsentUntil(u32),
}

/// One file of the plan, for this container.
#[derive(Debug, Default)]
struct Slot {
    state: State,
    /// Which of the file's names is read.
    choice: u8,
}

impl Cgroup {
    /// A container without any directory yet.
    pub fn new(name: ContainerName, plan: Arc<Plan>, budget: Arc<FdBudget>) -> Self {
        let directories = (0..plan.hierarchies.count()).map(|_| None).collect();
        let slots = plan.files.iter().map(|_| Slot::default()).collect();
        Self {
            name,
            plan,
            budget,
            directories,
            slots,
            polls: 0,
            keep_open: KeepOpen::All,
            pulse_found: false,
            clock: Instant::now(),
            member: Member::default(),
            sched: SchedTotals::default(),
            load: LoadAverage::default(),
        }
    }

    /// The container's name.
    pub fn name(&self) -> &ContainerName {
        &self.name
    }

    /// Whether it has a directory in `hierarchy`.
    pub fn is_in(&self, hierarchy: HierarchyId) -> bool {
        self.directories[hierarchy.index()].is_some()
    }

    /// Takes up the container's directory in `hierarchy`. With `inode`, only the directory that has
    /// it: another one under the same name belongs to another container.
    pub fn attach(&mut self, hierarchy: HierarchyId, inode: Option<u64>) -> Result<(), ReadError> {
        let path = self.name.below(&self.plan.hierarchies.get(hierarchy).root);
        let fail = |errno| ReadError::new("open", &path, errno);
        let handle = open_directory(&path).map_err(fail)?;
        let found = fstat(&handle).map_err(fail)?.st_ino;
        if inode.is_some_and(|inode| inode != found) {
            return Err(fail(Errno::ENOENT));
        }
        self.directories[hierarchy.index()] = Some(Directory {
            inode: found,
            handle: Some(Handle::ForNow(handle)),
            needed: true,
            needed_at: self.polls,
        });
        Ok(())
    }

    /// Lets go of the container's directory in `hierarchy`, which has been removed.
    pub fn detach(&mut self, hierarchy: HierarchyId) {
        self.directories[hierarchy.index()] = None;
        for (slot, file) in self.slots.iter_mut().zip(&self.plan.files) {
            if file.hierarchy == hierarchy {
                slot.state = State::Closed;
            }
        }
    }

    /// Closes everything: the container has gone.
    pub fn close(&mut self) {
        self.directories
            .iter_mut()
            .for_each(|directory| *directory = None);
        self.slots
            .iter_mut()
            .for_each(|slot| slot.state = State::Closed);
    }

    /// Which files to keep open between polls, as far as the budget allows.
    pub fn keep_open(&mut self, keep: KeepOpen) {
        if std::mem::replace(&mut self.keep_open, keep) == keep {
            return;
        }
        for at in 0..self.slots.len() {
            if !self.keeps(at)
                && let State::Open(_) = self.slots[at].state
            {
                self.slots[at].state = State::Closed;
            }
        }
    }

    fn keeps(&self, at: usize) -> bool {
        match self.keep_open {
            KeepOpen::All => true,
            KeepOpen::Pulse => self.plan.pulse.contains(&at),
            KeepOpen::Nothing => false,
        }
    }

    /// Processes have come or gone: whose network the container has must be looked up again.
    pub fn members_changed(&mut self) {
        self.member.forget();
    }

    /// Reads everything into `out`, which is cleared first.
    pub fn read(&mut self, context: &mut ReadContext, out: &mut Sample) -> Outcome {
        self.read_pulse(context, out);
        self.read_rest(context, out)
    }

    /// Reads the few files of the [`Pulse`] into `out`, which is cleared first. `None` if the kernel does
    /// not tell CPU time. To be followed by [`read_rest`](Self::read_rest) or
    /// [`leave_rest`](Self::leave_rest).
    pub fn read_pulse(&mut self, context: &mut ReadContext, out: &mut Sample) -> Option<Pulse> {
        if let Some(network) = out.network.take() {
            context.spare = network.interfaces;
        }
        out.clear();
        out.timestamp = Timestamp::now();
        self.polls = self.polls.wrapping_add(1);
        self.pulse_found = false;
        self.clock = Instant::now();
        let plan = Arc::clone(&self.plan);
        for &at in &plan.pulse {
            self.pulse_found |= self.read_file(at, &mut context.buffer, out);
        }
        Some(Pulse {
            cpu_usage_ns: out.cpu.usage_ns?,
            memory_usage_bytes: out.memory.usage_bytes,
            tasks: out.pids.current,
        })
    }

    /// Ends a poll that reads no more than the pulse.
    pub fn leave_rest(&mut self) {
        self.end_poll();
    }

    /// Reads what [`read_pulse`](Self::read_pulse) has left.
    pub fn read_rest(&mut self, context: &mut ReadContext, out: &mut Sample) -> Outcome {
        let plan = Arc::clone(&self.plan);
        let mut found = self.pulse_found;
        for at in (0..plan.files.len()).filter(|at| !plan.pulse.contains(at)) {
            found |= self.read_file(at, &mut context.buffer, out);
        }
        if self.name.is_root()
            && plan.hierarchies.mode == Mode::V2
            && out.memory.usage_bytes.is_none()
        {
            out.memory.usage_bytes = out
                .memory
                .anon_bytes
                .zip(out.memory.file_bytes)
                .and_then(|(anon, file)| anon.checked_add(file));
        }
        if plan.network {
            self.read_network(context, out);
        }
        if plan.kinds.contains(MetricKind::Process) {
            self.read_processes(context, out);
        }
        if plan.kinds.contains(MetricKind::Sched) {
            self.read_sched(context, out);
        }
        if plan.load {
            self.read_load(context, out);
        }
        self.end_poll();
        if found { Outcome::Read } else { Outcome::Gone }
    }

    /// Reads only what tells OOM kills of this very cgroup: how many there have been.
    pub fn read_oom_kills(&mut self, context: &mut ReadContext) -> Option<OomCounters> {
        let plan = Arc::clone(&self.plan);
        let mut sample = Sample::default();
        self.clock = Instant::now();
        for &at in &plan.oom_events {
            self.read_file(at, &mut context.buffer, &mut sample);
        }
        self.end_poll();
        OomCounters::of(&sample.memory_events_local)
    }

    /// Keeps the directories that are needed, if the budget allows, and lets go of the others.
    fn end_poll(&mut self) {
        for directory in self.directories.iter_mut().flatten() {
            if std::mem::take(&mut directory.needed) {
                directory.needed_at = self.polls;
            }
            let unused_for = self.polls.wrapping_sub(directory.needed_at);
            directory.handle = match directory.handle.take() {
                Some(_) if unused_for > LOOK_AGAIN_AFTER => None,
                Some(Handle::ForNow(fd)) => {
                    let kept = Kept::new(fd, Keep::Directory, &self.budget);
                    kept.ok().map(Handle::Kept)
                }
                kept => kept,
            };
        }
    }

    /// Reads one file of the plan into `out`. False if it gave nothing at all.
    fn read_file(&mut self, at: usize, buffer: &mut ReadBuffer, out: &mut Sample) -> bool {
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
            Ok(Parsed::Data) => return true,
            Ok(Parsed::Empty) if file.names.len() == 1 => return true,
            Ok(Parsed::Malformed) => {
                file.cost.malformed.fetch_add(1, Relaxed);
                return true;
            }
            Ok(Parsed::Empty) => {}
            Err(errno) => match Failure::from(errno) {
                Failure::Absent | Failure::Unsupported | Failure::Denied => {}
                Failure::Exhausted | Failure::Broken => {
                    file.cost.errors.fetch_add(1, Relaxed);
                    tracing::debug!(container = %self.name, file = file.name(), %errno, "read failed");
                    return false;
                }
            },
        }
        self.try_stand_in(at, buffer, out)
    }

    /// The file is absent or has no data: takes the next of its names that has, and waits before
    /// looking again if none has.
    fn try_stand_in(&mut self, at: usize, buffer: &mut ReadBuffer, out: &mut Sample) -> bool {
        let file = &self.plan.files[at];
        let slot = &mut self.slots[at];
        slot.state = State::AbsentUntil(self.polls.saturating_add(LOOK_AGAIN_AFTER));
        let Some(directory) = &mut self.directories[file.hierarchy.index()] else {
            return false;
        };
        let mut exists = false;
        for choice in (0_u8..)
            .take(file.names.len())
            .filter(|_| file.names.len() > 1)
        {
            let Ok(fd) = open_file(directory, &self.name, &self.plan, file, choice) else {
                continue;
            };
            exists = true;
            if let Ok(Parsed::Data) = parse(file, buffer, &fd, out) {
                slot.choice = choice;
                slot.state = State::Closed;
                return true;
            }
        }
        exists
    }
}

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

fn parse(
    file: &File,
    buffer: &mut ReadBuffer,
    fd: impl AsFd,
    out: &mut Sample,
) -> Result<Parsed, Errno> {
    let text = buffer.read(fd)?;
    Ok(match file.parser {
        Parser::Sample(parse) => parse(text, out),
        Parser::Hugetlb(size, parse) => parse(text, out.hugetlb_mut(size)),
    })
}

#[cfg(test)]
mod tests;
