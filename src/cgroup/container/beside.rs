//! What is read of a container beside cgroup files: network, sockets, processes, through procfs.

use std::sync::Arc;
use std::time::Instant;

use super::{Cgroup, ReadContext};
use crate::cgroup::file::ReadBuffer;
use crate::cgroup::hierarchy::HierarchyId;
use crate::cgroup::load;
use crate::cgroup::members;
use crate::cgroup::path::CgroupPath;
use crate::cgroup::sockets::SOCKET_KINDS;
use crate::cgroup::stats::Sample;

/// Where a runtime's container has its processes when its own cgroup has none, as v2 wants it where
/// controllers are handed on: crun's cgroup, systemd's own, and that of Docker in Docker.
const INSIDE: [&str; 3] = [
    "container/cgroup.procs",
    "init.scope/cgroup.procs",
    "init/cgroup.procs",
];

impl Cgroup {
    pub(super) fn read_network(&mut self, context: &mut ReadContext, out: &mut Sample) {
        let started = Instant::now();
        let (directories, plan, name) = (&mut self.directories, &self.plan, &self.name);
        let namespaces = Arc::clone(&context.namespaces);
        let find = |buffer: &mut ReadBuffer| {
            if name.is_root() {
                return namespaces.host_member();
            }
            let (hierarchy, directory) = directories
                .iter_mut()
                .zip(0_u8..)
                .find_map(|(found, id)| Some((HierarchyId(id), found.as_mut()?)))?;
            let mut first = |file: &str| {
                let fd = directory.open(name, plan, hierarchy, file).ok()?;
                first_pid(buffer.read(fd).ok()?)
            };
            let within = || CgroupPath::of(name).own_container().map(|_| INSIDE);
            first("cgroup.procs").or_else(|| within()?.into_iter().find_map(first))
        };
        out.network = self.member.read(
            &namespaces,
            name.is_root(),
            &mut context.buffer,
            &mut context.spare,
            find,
        );
        self.plan.network_cost.record(started.elapsed());
        let kinds = self.plan.kinds;
        if SOCKET_KINDS.iter().any(|kind| kinds.contains(kind)) {
            let started = Instant::now();
            let found = self.member.found().and_then(|(process, namespace)| {
                namespaces.sockets(namespace, process, self.name.is_root(), kinds)
            });
            out.sockets = found.map(|sockets| Box::new((*sockets).clone()));
            self.plan.sockets_cost.record(started.elapsed());
        }
    }

    /// The hierarchy in which the container's processes are looked for.
    pub(super) fn first_hierarchy(&self) -> Option<HierarchyId> {
        let at = self.directories.iter().position(Option::is_some)?;
        u8::try_from(at).ok().map(HierarchyId)
    }

    pub(super) fn read_processes(&mut self, context: &mut ReadContext, out: &mut Sample) {
        let started = Instant::now();
        let Some(hierarchy) = self.first_hierarchy() else {
            return;
        };
        let Some(directory) = &mut self.directories[hierarchy.index()] else {
            return;
        };
        let Ok(fd) = directory.open(&self.name, &self.plan, hierarchy, "cgroup.procs") else {
            return;
        };
        let Ok(text) = context.buffer.read_records(fd) else {
            return;
        };
        let pids: Vec<u32> = members::pids(text).collect();
        out.processes = members::processes(context.namespaces.procfs(), &pids);
        self.plan.processes_cost.record(started.elapsed());
    }

    pub(super) fn read_sched(&mut self, context: &mut ReadContext, out: &mut Sample) {
        let started = Instant::now();
        let Some(hierarchy) = self.first_hierarchy() else {
            return;
        };
        let path = self.name.below(&self.plan.hierarchies.get(hierarchy).root);
        let pids = members::pids_below(&path);
        out.sched = self.sched.read(context.namespaces.procfs(), &pids);
        self.plan.sched_cost.record(started.elapsed());
    }

    pub(super) fn read_load(&mut self, context: &mut ReadContext, out: &mut Sample) {
        let started = Instant::now();
        let Some(hierarchy) = self.first_hierarchy() else {
            return;
        };
        let Some(directory) = &mut self.directories[hierarchy.index()] else {
            return;
        };
        let mut open = |file| directory.open(&self.name, &self.plan, hierarchy, file);
        let Ok(fd) = open("tasks").or_else(|_| open("cgroup.threads")) else {
            return;
        };
        let Some(tasks) = (context.buffer.read_records(fd).ok()).and_then(load::tasks) else {
            return;
        };
        out.load = load::states(context.namespaces.procfs(), &tasks);
        self.load.update(&mut out.load, started);
        self.plan.load_cost.record(started.elapsed());
    }
}

/// The first process of a `cgroup.procs`. Zero stands for a process outside of our pid namespace.
fn first_pid(text: &[u8]) -> Option<u32> {
    let line = text.split(|&byte| byte == b'\n').next()?;
    std::str::from_utf8(line)
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|&pid| pid != 0)
}
