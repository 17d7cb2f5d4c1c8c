//! Real cgroups, on whatever this machine has: v1 hierarchies, a pure v2 mount, or both.
//!
//! A [`TestCgroup`] is one container: a directory of the same name in each hierarchy. It kills the
//! helpers that were put into it and removes itself, children first, when it is dropped. On a pure v2
//! machine the controllers it needs are enabled at the root and stay so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Helper, SOON, wait_for};

/// The v2 controllers that the tests set limits of.
const V2_CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// One mounted hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// v1 controllers, or `["unified"]` for the v2 one.
    pub controllers: Vec<String>,
}

/// What is mounted here.
#[derive(Debug)]
pub struct Layout {
    /// The hierarchies, in mount order. v1 hierarchies without a controller are left out.
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// This machine's, read once from `/proc/self/mountinfo`.
    pub fn get() -> &'static Self {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        LAYOUT.get_or_init(|| {
            Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
        })
    }

    fn parse(mountinfo: &str) -> Self {
        const NOT_CONTROLLERS: [&str; 6] =
            ["rw", "ro", "xattr", "clone_children", "noprefix", "all"];
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(mount) = left.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or(""));
            let controllers: Vec<String> = match kind {
                Some("cgroup2") => vec!["unified".into()],
                Some("cgroup") => options
                    .split(',')
                    .filter(|o| !NOT_CONTROLLERS.contains(o) && !o.contains('='))
                    .map(Into::into)
                    .collect(),
                _ => continue,
            };
            let seen = hierarchies
                .iter()
                .any(|h| h.controllers.iter().any(|c| controllers.contains(c)));
            if !controllers.is_empty() && !seen {
                hierarchies.push(Hierarchy { mount, controllers });
            }
        }
        Self { hierarchies }
    }

    /// The v2 hierarchy is the only one.
    pub fn is_pure_v2(&self) -> bool {
        matches!(self.hierarchies.as_slice(), [only] if only.controllers == ["unified"])
    }

    /// The hierarchy that has `controller`.
    pub fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller))
            .or_else(|| {
                self.is_pure_v2()
                    .then(|| self.hierarchies.first())
                    .flatten()
            })
    }
}

/// Whether tests can make cgroups here, else what is missing.
pub fn writable() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("making cgroups needs root".into());
    }
    let layout = Layout::get();
    if layout.hierarchies.is_empty() {
        return Err("no cgroup hierarchy is mounted".into());
    }
    let probe = layout.hierarchies.iter().find_map(|h| {
        let path = h.mount.join(format!(
            "cgauge-test-{}-probe-{}",
            std::process::id(),
            next_number()
        ));
        fs::create_dir(&path)
            .and_then(|()| fs::remove_dir(&path))
            .err()
            .map(|e| format!("{}: {e}", path.display()))
    });
    probe.map_or(Ok(()), Err)
}

fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A cgroup of ours in every hierarchy that it was asked for.
pub struct TestCgroup {
    name: String,
    hierarchies: Vec<Hierarchy>,
    helpers: Vec<Helper>,
    children: Vec<TestCgroup>,
    removed: bool,
}

impl TestCgroup {
    /// A new one below the root in every hierarchy. `label` makes logs readable.
    pub fn new(label: &str) -> Self {
        Self::with_hierarchies(label, Layout::get().hierarchies.clone())
    }

    /// A new one below the root, in the hierarchies of these controllers only.
    pub fn in_controllers(label: &str, controllers: &[&str]) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for hierarchy in controllers.iter().filter_map(|c| Layout::get().with(c)) {
            if hierarchies.iter().all(|h| h.mount != hierarchy.mount) {
                hierarchies.push(hierarchy.clone());
            }
        }
        Self::with_hierarchies(label, hierarchies)
    }

    fn with_hierarchies(label: &str, hierarchies: Vec<Hierarchy>) -> Self {
        let name = format!(
            "/cgauge-test-{}-{}-{label}",
            std::process::id(),
            next_number()
        );
        let cgroup = Self {
            name,
            hierarchies,
            helpers: Vec::new(),
            children: Vec::new(),
            removed: false,
        };
        cgroup.make();
        cgroup
    }

    /// A child of this one, removed with it or before it.
    pub fn child(&mut self, name: &str) -> &mut Self {
        if Layout::get().is_pure_v2() {
            enable_controllers(&self.path());
        }
        let child = Self {
            name: format!("{}/{name}", self.name),
            hierarchies: self.hierarchies.clone(),
            helpers: Vec::new(),
            children: Vec::new(),
            removed: false,
        };
        child.make();
        self.children.push(child);
        self.children.last_mut().expect("just pushed")
    }

    /// Makes `name` below the child called `child`; its container name.
    pub fn children_of(&mut self, child: &str, name: &str) -> String {
        let wanted = format!("{}/{child}", self.name);
        let child = self
            .children
            .iter_mut()
            .find(|c| c.name == wanted)
            .expect("a child of that name");
        child.child(name).name().to_owned()
    }

    /// The children, in the order in which they were made.
    pub fn children_mut(&mut self) -> &mut [Self] {
        &mut self.children
    }

    /// The helpers that were put here.
    pub fn helpers_mut(&mut self) -> &mut [Helper] {
        &mut self.helpers
    }

    fn make(&self) {
        if Layout::get().is_pure_v2() {
            enable_controllers(&self.hierarchies[0].mount);
        }
        for directory in self.paths() {
            fs::create_dir(&directory)
                .unwrap_or_else(|e| panic!("mkdir {}: {e}", directory.display()));
        }
        if let Some(cpuset) = self.v1_path("cpuset") {
            let parent = cpuset.parent().expect("below the mount");
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = fs::read_to_string(parent.join(file)).expect("the parent's cpuset");
                fs::write(cpuset.join(file), value.trim_end())
                    .expect("a cpuset takes its parent's value");
            }
        }
    }

    /// The container name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory in every hierarchy.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.hierarchies
            .iter()
            .map(|h| below(&h.mount, &self.name))
            .collect()
    }

    /// The directory in the first hierarchy: the only one on a pure v2 machine.
    pub fn path(&self) -> PathBuf {
        below(&self.hierarchies[0].mount, &self.name)
    }

    fn v1_path(&self, controller: &str) -> Option<PathBuf> {
        self.hierarchies
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller))
            .map(|h| below(&h.mount, &self.name))
    }

    /// The path of `v1` in the v1 hierarchy of `controller`, or of `v2` on a pure v2 machine.
    pub fn file(&self, controller: &str, v1: &str, v2: &str) -> PathBuf {
        match self.v1_path(controller) {
            Some(directory) => directory.join(v1),
            None => self.path().join(v2),
        }
    }

    /// Reads such a [`file`](Self::file), without the last newline.
    #[track_caller]
    pub fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let path = self.file(controller, v1, v2);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        text.trim_end().to_owned()
    }

    /// Writes such a [`file`](Self::file).
    #[track_caller]
    pub fn write(&self, controller: &str, v1: (&str, &str), v2: (&str, &str)) {
        let (path, value) = match self.v1_path(controller) {
            Some(directory) => (directory.join(v1.0), v1.1),
            None => (self.path().join(v2.0), v2.1),
        };
        fs::write(&path, value)
            .unwrap_or_else(|e| panic!("write {value:?} to {}: {e}", path.display()));
    }

    /// CPU time used, ns, as the kernel says now.
    pub fn cpu_usage_ns(&self) -> u64 {
        let text = self.read("cpuacct", "cpuacct.usage", "cpu.stat");
        if self.v1_path("cpuacct").is_some() {
            return text.parse().expect("a number");
        }
        let usec = text
            .lines()
            .find_map(|l| l.strip_prefix("usage_usec "))
            .expect("cpu.stat has usage_usec");
        usec.parse::<u64>().expect("a number") * 1000
    }

    /// Limits memory, bytes.
    pub fn limit_memory(&self, bytes: u64) {
        let value = bytes.to_string();
        self.write(
            "memory",
            ("memory.limit_in_bytes", &value),
            ("memory.max", &value),
        );
    }

    /// Puts a held helper here; it lives until it is [`kill`](Helper::kill)ed or the cgroup is dropped.
    pub fn add(&mut self, helper: Helper) -> &mut Helper {
        for directory in self.paths() {
            let file = directory.join("cgroup.procs");
            fs::write(&file, helper.pid().to_string())
                .unwrap_or_else(|e| panic!("add to {}: {e}", file.display()));
        }
        self.helpers.push(helper);
        self.helpers.last_mut().expect("just pushed")
    }

    /// Kills the helpers that were put here.
    pub fn kill_helpers(&mut self) {
        self.helpers.clear();
    }

    /// Kills the helpers, removes children and itself.
    ///
    /// # Errors
    /// The first directory that could not be removed within the deadline.
    pub fn remove(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        let mut result = Ok(());
        for child in &mut self.children {
            result = result.and(child.remove());
        }
        self.helpers.clear();
        for directory in self.paths() {
            result = result.and(remove_tree(&directory));
        }
        result
    }

    /// `rmdir` in every hierarchy, without the care of [`remove`](Self::remove): for tests that time it.
    pub fn rmdir_now(&mut self) {
        self.helpers.clear();
        for directory in self.paths() {
            remove_dir(&directory).unwrap_or_else(|e| panic!("rmdir {}: {e}", directory.display()));
        }
        self.removed = true;
    }

    /// `mkdir` again under the same name.
    pub fn make_again(&mut self) {
        assert!(std::mem::replace(&mut self.removed, false), "still there");
        self.make();
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let result = self.remove();
        if !std::thread::panicking() {
            result.unwrap_or_else(|e| panic!("{} stays behind: {e}", self.name));
        }
    }
}

fn below(mount: &Path, name: &str) -> PathBuf {
    mount.join(name.trim_start_matches('/'))
}

/// Removes a cgroup of ours and whatever a test made below it.
fn remove_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    remove_dir(directory)
}

/// A killed process leaves its cgroup a moment after its death: `EBUSY` until then.
fn remove_dir(directory: &Path) -> io::Result<()> {
    let mut last = None;
    let done = wait_for(SOON, || match fs::remove_dir(directory) {
        Ok(()) => Some(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(()),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    match (done, last) {
        (None, Some(error)) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", directory.display()),
        )),
        _ => Ok(()),
    }
}

/// Gives the children of `directory` every controller that it has itself.
fn enable_controllers(directory: &Path) {
    for controller in V2_CONTROLLERS {
        // One by one: a controller that is not there must not take the others with it.
        let _ = fs::write(
            directory.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_gives_the_hierarchies_with_controllers() {
        let layout = Layout::parse(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw shared:7 - cgroup2 cgroup2 rw,nsdelegate\n\
             42 31 0:29 / /again rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        assert_eq!(layout.hierarchies.len(), 2);
        assert_eq!(layout.hierarchies[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(
            layout.with("unified").unwrap().mount,
            Path::new("/sys/fs/cgroup/unified")
        );
        assert!(layout.with("memory").is_none());
        assert!(!layout.is_pure_v2());
        let pure = Layout::parse("25 1 0:22 / /sys/fs/cgroup rw - cgroup2 none rw\n");
        assert!(pure.is_pure_v2());
        assert!(pure.with("memory").is_some());
    }
}
