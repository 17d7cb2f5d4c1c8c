//! What is done about the exits of processes: counters looked at while they are there, sums taken when a
//! container has gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Registry;
use crate::cgroup::hierarchy::Controller;
use crate::cgroup::{Hierarchies, HierarchyId};
use crate::handler::{Handler, Sampler};
use crate::self_metrics::SelfMetrics;
use crate::source::exits::reader::Moves;
use crate::source::exits::table::Place;
use crate::source::exits::{ExitBook, ExitError, ExitReader, Notice, Tally};

/// What processes had used that exited.
#[derive(Debug, Clone)]
pub struct Exits {
    book: Arc<ExitBook>,
    /// The hierarchy that counts CPU time.
    hierarchy: Option<HierarchyId>,
}

impl Exits {
    /// Nothing so far.
    pub fn new(hierarchies: &Hierarchies) -> Self {
        Self {
            book: Arc::default(),
            hierarchy: (hierarchies.of(Controller::Cpuacct)).or(hierarchies.unified()),
        }
    }

    /// Follows exits from now on. Where a process is killed, the counter of OOM kills is looked at
    /// before anyone can remove it, and where the last one ends, everything is.
    ///
    /// # Errors
    /// If the kernel does not tell, or not us.
    pub fn follow(
        &self,
        registry: &Arc<Registry>,
        sampler: &Arc<Sampler>,
        procfs: PathBuf,
        hierarchies: Arc<Hierarchies>,
        metrics: Arc<SelfMetrics>,
    ) -> Result<(ExitReader, Moves), ExitError> {
        let (registry, sampler) = (Arc::clone(registry), Arc::clone(sampler));
        let hierarchy = self.hierarchy;
        let on_notice = move |place: &Place, notice| {
            let handler = registry.get(&place.name);
            let same = handler.filter(|it| it.is_at(hierarchy, place.inode));
            match (same, notice) {
                (Some(handler), Notice::Killed) => sampler.check_oom_kills(&handler),
                (Some(handler), Notice::Last) => drop(sampler.request(&handler, Duration::ZERO)),
                (None, _) => {}
            }
        };
        let book = Arc::clone(&self.book);
        ExitReader::spawn(procfs, hierarchies, book, metrics, Box::new(on_notice))
    }

    /// What the processes of a container that has gone had used.
    pub(super) fn tally(&self, handler: &Handler) -> Option<Tally> {
        let directories = handler.directories();
        let counted = |(of, _): &&(HierarchyId, u64)| Some(*of) == self.hierarchy;
        let inode = directories.iter().find(counted).map(|(_, inode)| *inode);
        // One that is known by another directory alone has none that counts CPU time.
        (inode.is_some() || directories.is_empty())
            .then(|| self.book.take(handler.name(), inode))
            .flatten()
    }
}
