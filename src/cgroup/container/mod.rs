//! Reading one container: its directories, its files, one sample at a time.

mod beside;
mod directory;
mod settings;
mod slot;
mod stillness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::fstat;

use self::directory::{Directory, Handle};
use self::slot::{Slot, State};
use self::stillness::Clock;
use super::error::ReadError;
use super::file::{FdBudget, Keep, Kept, ReadBuffer, open_directory};
use super::hierarchy::{HierarchyId, Mode};
use super::kind::MetricKind;
use super::load::LoadAverage;
use super::members::SchedTotals;
use super::name::ContainerName;
use super::network::{Interfaces, Member, NetworkNamespaces};
use super::oom::OomCounters;
use super::plan::Plan;
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

    /// Forgets what is in `out`, but not the memory that it has taken.
    pub fn clear(&mut self, out: &mut Sample) {
        self.keep_interfaces(out);
        out.clear();
    }

    /// Takes the memory of the interfaces of a sample whose network is to be read next.
    fn keep_interfaces(&mut self, out: &mut Sample) {
        if let Some(network) = out.network.take() {
            self.spare = network.interfaces;
        }
    }
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that there is.
    Read,
    /// Everything but files that have stood still and were left out this time.
    Part,
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

impl Pulse {
    /// One that was taken elsewhere: CPU time in nanoseconds, memory in bytes.
    pub fn new(cpu_usage_ns: u64, memory_usage_bytes: Option<u64>, tasks: Option<u64>) -> Self {
        Self {
            cpu_usage_ns,
            memory_usage_bytes,
            tasks,
        }
    }

    /// CPU seconds used since `before`; `None` if the counter went back.
    pub fn cpu_seconds_since(&self, before: &Self) -> Option<f64> {
        let used = self.cpu_usage_ns.checked_sub(before.cpu_usage_ns)?;
        Some(used as f64 / 1e9)
    }
}

/// Which files stay open between polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepOpen {
    /// All that are read: of a busy container.
    All,
    /// Of these, those that change: of a busy container of which only these are read each time.
    Moving,
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
    /// Whether a file gave nothing in this poll that gave something before.
    lost: bool,
    /// Whether memory usage is another than in the newest sample.
    memory_moved: bool,
    epoch: Clock,
    /// When the last file was done with: the next one's cost is counted from here.
    clock: Instant,
    member: Member,
    sched: SchedTotals,
    load: LoadAverage,
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
            lost: false,
            memory_moved: false,
            epoch: Clock::new(),
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
            KeepOpen::Moving => self.plan.is_always_read(at) || !self.slots[at].still.is_cold(),
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
        context.clear(out);
        self.read_pulse(context, out);
        self.read_rest(context, out, None)
    }

    /// Reads the few files of the [`Pulse`] into `out`, which holds nothing else
    /// ([`clear`](ReadContext::clear)) or the container's newest sample. `None` if the kernel does not tell
    /// CPU time. To be followed by [`read_rest`](Self::read_rest) or [`leave_rest`](Self::leave_rest).
    pub fn read_pulse(&mut self, context: &mut ReadContext, out: &mut Sample) -> Option<Pulse> {
        out.timestamp = Timestamp::now();
        out.cpu.usage_ns = None;
        let memory_before = out.memory.usage_bytes.take();
        out.pids.current = None;
        self.polls = self.polls.wrapping_add(1);
        self.pulse_found = false;
        self.lost = false;
        self.clock = Instant::now();
        let plan = Arc::clone(&self.plan);
        for &at in &plan.pulse {
            self.pulse_found |= self.read_or_lose(at, context, out);
        }
        self.memory_moved = out.memory.usage_bytes != memory_before;
        let (memory, tasks) = (out.memory.usage_bytes, out.pids.current);
        Some(Pulse::new(out.cpu.usage_ns?, memory, tasks))
    }

    /// Ends a poll that reads no more than the pulse.
    pub fn leave_rest(&mut self) {
        self.end_poll();
    }

    /// Reads what [`read_pulse`](Self::read_pulse) has left. With `still_for`, `out` held the newest
    /// sample before the pulse was read, and a file whose text has stood still is left out for as long
    /// as it has, but not for longer than `still_for`; what it said last stays. What is of memory is
    /// read whenever usage has moved: the working set is a difference of the two.
    pub fn read_rest(
        &mut self,
        context: &mut ReadContext,
        out: &mut Sample,
        still_for: Option<Duration>,
    ) -> Outcome {
        let plan = Arc::clone(&self.plan);
        let now_ms = self.epoch.ms(self.clock);
        let rest = (0..plan.files.len()).filter(|at| !plan.pulse.contains(at));
        let is_due = |cgroup: &Self, at: usize| {
            still_for.is_none_or(|bound| {
                plan.is_always_read(at)
                    || (cgroup.memory_moved && plan.files[at].kind == MetricKind::Memory)
                    || cgroup.slots[at].still.is_due(now_ms, bound)
            })
        };
        let in_part = still_for.is_some();
        // If all are, then without anything kept: a line may have gone from one of them.
        let mut anew = in_part && rest.clone().all(|at| is_due(self, at));
        let mut found = self.pulse_found;
        for at in rest.filter(|_| !anew) {
            found |= is_due(self, at) && self.read_or_lose(at, context, out);
        }
        // What a lost file said is still in `out`; the cgroup may even have gone.
        anew |= in_part && self.lost;
        if anew {
            return self.read(context, out);
        }
        if self.name.is_root() && plan.hierarchies.mode == Mode::V2 {
            let memory = &mut out.memory;
            let sum = |(anon, file): (u64, u64)| anon.checked_add(file);
            let both = memory.anon_bytes.zip(memory.file_bytes);
            memory.usage_bytes = memory.usage_bytes.or(both.and_then(sum));
        }
        if plan.network {
            context.keep_interfaces(out);
            self.read_network(context, out);
        }
        // What cannot be read this time is absent, whatever the newest sample had.
        (out.processes, out.sched, out.load) = Default::default();
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
        match (in_part, found) {
            (true, _) => Outcome::Part,
            (false, true) => Outcome::Read,
            (false, false) => Outcome::Gone,
        }
    }

    /// As [`read_file`](Self::read_file), and notes if the file is not what it was.
    fn read_or_lose(&mut self, at: usize, context: &mut ReadContext, out: &mut Sample) -> bool {
        let known = self.slots[at].still.is_known();
        let found = self.read_file(at, &mut context.buffer, out);
        self.lost |= known && !self.slots[at].still.is_known();
        found
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
}

#[cfg(test)]
mod tests;
