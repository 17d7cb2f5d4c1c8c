//! A memory cgroup around the program under test: what the kernel holds for it.

use std::fs;
use std::path::PathBuf;

use cgauge::cgroup::hierarchy::Controller;
use cgauge::cgroup::{ContainerName, Hierarchies};

use super::process::Agent;
use super::tree;

pub struct Home {
    name: ContainerName,
    /// Its directory where memory is accounted, if it is.
    memory: Option<PathBuf>,
}

impl Home {
    /// Makes it below `top` and moves the program there.
    pub fn make(hierarchies: &Hierarchies, top: &ContainerName, agent: &Agent) -> Self {
        let name = top.child("agent".as_ref());
        tree::make(hierarchies, &name).unwrap();
        tree::enter(hierarchies, &name, agent.id());
        let accounted = hierarchies.of(Controller::Memory).or(hierarchies.unified());
        let memory = accounted.map(|id| name.below(&hierarchies.get(id).root));
        Self { name, memory }
    }

    /// Kernel memory, MB: all that is held for it, and what of this the kernel cannot give back, which
    /// are buffers of open files, sockets and watches, without the inodes and names of files that were once open.
    pub fn kernel_memory(&self) -> Option<(f64, Option<f64>)> {
        let directory = self.memory.as_ref()?;
        let held = kernel_bytes(directory)?;
        // Asking for more than there is fails when no more can be had: that is what is wanted.
        let _ = fs::write(directory.join("memory.force_empty"), "0");
        let _ = fs::write(directory.join("memory.reclaim"), "1G");
        let tried = ["memory.force_empty", "memory.reclaim"];
        let could = tried.iter().any(|file| directory.join(file).exists());
        let pinned = kernel_bytes(directory).filter(|_| could);
        Some((held / 1e6, pinned.map(|bytes| bytes / 1e6)))
    }

    /// The program has ended.
    pub fn remove(self, hierarchies: &Hierarchies) {
        tree::remove(hierarchies, &self.name);
    }
}

fn kernel_bytes(directory: &std::path::Path) -> Option<f64> {
    let v1 = fs::read_to_string(directory.join("memory.kmem.usage_in_bytes"));
    if let Ok(text) = v1 {
        return text.trim().parse().ok();
    }
    let text = fs::read_to_string(directory.join("memory.stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("kernel "));
    line?.trim().parse().ok()
}
