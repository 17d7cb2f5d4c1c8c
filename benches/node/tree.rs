//! Containers laid out as a kubelet does: `kubepods/burstable/pod<uid>/<64 hex>`, two to a pod, one
//! process in each, in every hierarchy that cgauge reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgauge::cgroup::{ContainerName, Hierarchies};

/// How long the kernel may take to let go of a killed process.
const REMOVAL: Duration = Duration::from_secs(30);

/// Controllers that v2 leaves need for all of their files.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "io", "pids"];

/// What the processes in the containers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Nothing.
    Idle,
    /// A little, twice a second: enough that no two polls find the same.
    Busy,
    /// Nothing, while twenty containers a second are made and removed beside them.
    Churning,
}

impl Load {
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Churning => "churning",
        }
    }
}

/// Tells this program that it is a process of a busy container.
pub const BUSY: &str = "BENCH_NODE_BUSY";

/// What it then does, until it is killed.
pub fn be_busy() -> ! {
    let mut memory = vec![0_u8; 1 << 20];
    let mut at = 0;
    loop {
        // Other pages every time: page faults and memory move as well.
        at = (at + 64 * 1024) % memory.len();
        for page in memory[at..].chunks_mut(4096).take(16) {
            page[0] = page[0].wrapping_add(1);
        }
        if at == 0 {
            memory = vec![0_u8; 1 << 20];
        }
        std::thread::sleep(Duration::from_millis(450));
    }
}

/// The containers of one run.
pub struct Tree {
    pub leaves: Vec<ContainerName>,
    /// Leaves, pods and the cgroups above them.
    pub all: Vec<ContainerName>,
    pub load: Load,
    processes: Vec<Child>,
}

impl Tree {
    /// Makes `leaves` containers below `top`, which is there.
    pub fn make(hierarchies: &Hierarchies, top: &ContainerName, leaves: usize, load: Load) -> Self {
        let mut tree = Self {
            leaves: Vec::new(),
            all: vec![top.clone()],
            load,
            processes: Vec::new(),
        };
        enable(hierarchies, top);
        let mut burstable = top.clone();
        for element in ["kubepods", "burstable"] {
            burstable = burstable.child(element.as_ref());
            make(hierarchies, &burstable).unwrap();
            enable(hierarchies, &burstable);
            tree.all.push(burstable.clone());
        }
        let mut pod = burstable.clone();
        for at in 0..leaves {
            if at.is_multiple_of(2) {
                pod = burstable.child(pod_name(at).as_ref());
                make(hierarchies, &pod).unwrap();
                enable(hierarchies, &pod);
                tree.all.push(pod.clone());
            }
            let leaf = pod.child(leaf_name(at).as_ref());
            make(hierarchies, &leaf).unwrap();
            let process = process(load);
            enter(hierarchies, &leaf, process.id());
            tree.processes.push(process);
            tree.all.push(leaf.clone());
            tree.leaves.push(leaf);
        }
        tree
    }

    /// The cgroup above all.
    pub fn top(&self) -> &ContainerName {
        &self.all[0]
    }

    /// The pod of the first leaves: where further ones are made and removed.
    pub fn pod(&self) -> &ContainerName {
        &self.all[3]
    }

    /// Ends the processes and removes everything but the top.
    pub fn remove(mut self, hierarchies: &Hierarchies) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        for name in self.all.iter().skip(1).rev() {
            remove(hierarchies, name);
        }
    }
}

fn process(load: Load) -> Child {
    let mut command = match load {
        Load::Idle | Load::Churning => Command::new("sleep"),
        Load::Busy => Command::new(std::env::current_exe().unwrap()),
    };
    command
        .arg("86400")
        .env(BUSY, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// As long as the names that a container runtime gives.
pub fn leaf_name(at: usize) -> String {
    format!(
        "{:064x}",
        (at as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    )
}

fn pod_name(at: usize) -> String {
    format!(
        "pod{at:08x}-7f3a-4c1e-9b5d-{:012x}",
        at.wrapping_mul(2_654_435_761)
    )
}

fn directories(hierarchies: &Hierarchies, name: &ContainerName) -> Vec<PathBuf> {
    hierarchies
        .iter()
        .map(|(_, hierarchy)| name.below(&hierarchy.root))
        .collect()
}

/// One cgroup, in all hierarchies, ready for processes and children.
pub fn make(hierarchies: &Hierarchies, name: &ContainerName) -> io::Result<()> {
    for directory in directories(hierarchies, name) {
        fs::create_dir(&directory)
            .map_err(|error| io::Error::other(format!("mkdir {}: {error}", directory.display())))?;
        // v1: a cpuset takes nobody until it has CPUs and memory nodes.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Some(Ok(text)) = directory
                .parent()
                .map(|up| fs::read_to_string(up.join(file)))
                && !directory.join("cgroup.controllers").exists()
            {
                let _ = fs::write(directory.join(file), text.trim_end());
            }
        }
    }
    Ok(())
}

/// v2: gives the children of `name` the controllers. Not for cgroups with processes.
fn enable(hierarchies: &Hierarchies, name: &ContainerName) {
    for (_, hierarchy) in hierarchies
        .iter()
        .filter(|(_, hierarchy)| hierarchy.unified)
    {
        let file = name.below(&hierarchy.root).join("cgroup.subtree_control");
        for controller in CONTROLLERS {
            // One by one: one that is not there must not keep the others away.
            let _ = fs::write(&file, format!("+{controller}"));
        }
    }
}

/// Puts a process into a cgroup of ours, in all hierarchies.
pub fn enter(hierarchies: &Hierarchies, name: &ContainerName, pid: u32) {
    for directory in directories(hierarchies, name) {
        let file = directory.join("cgroup.procs");
        fs::write(&file, pid.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// Removes one cgroup of ours in all hierarchies.
pub fn remove(hierarchies: &Hierarchies, name: &ContainerName) {
    let deadline = Instant::now() + REMOVAL;
    for directory in directories(hierarchies, name) {
        remove_directory(&directory, deadline);
    }
}

/// A killed process leaves its cgroup a moment after its death: `EBUSY` until then.
fn remove_directory(directory: &Path, deadline: Instant) {
    while let Err(error) = fs::remove_dir(directory) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        if Instant::now() > deadline {
            println!("node: {} stays behind: {error}", directory.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes the top cgroup, or says why it cannot be made.
pub fn can_make(hierarchies: &Hierarchies, top: &ContainerName) -> io::Result<()> {
    make(hierarchies, top).inspect_err(|_| remove_all(hierarchies, top))
}

/// Removes the top and whatever is below it; the processes in there are dead or dying.
pub fn remove_all(hierarchies: &Hierarchies, top: &ContainerName) {
    let deadline = Instant::now() + REMOVAL;
    for directory in directories(hierarchies, top) {
        remove_tree(&directory, deadline);
    }
}

fn remove_tree(directory: &Path, deadline: Instant) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), deadline);
        }
    }
    remove_directory(directory, deadline);
}
