//! What an earlier run left in the journal, read back.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_getres};

use crate::cgroup::{Hierarchies, HierarchyId};
use crate::event::{EventBus, EventLimits, Past};
use crate::journal::{self, Journal, OpenError};
use crate::ledger::{Ledger, Unmet};
use crate::self_metrics::SelfMetrics;
use crate::source::Directory;
use crate::units::Timestamp;

/// Memory of events, and of the ledger: with a journal, what it has and what will be in it.
///
/// # Errors
/// If the journal cannot be opened at all.
pub fn remember(
    options: Option<journal::Options>,
    limits: EventLimits,
    ledger: &Ledger,
    boot: Option<String>,
    metrics: &Arc<SelfMetrics>,
) -> Result<(Option<Arc<Journal>>, EventBus), OpenError> {
    let Some(options) = options else {
        return Ok((None, EventBus::new(limits, Arc::clone(metrics))));
    };
    let mut past = Past::new(limits);
    let (journal, read) = Journal::open(options, Arc::clone(metrics), &mut |record| {
        past.take(&record);
        ledger.restore(&record, boot.as_deref());
    })?;
    let journal = Arc::new(journal);
    ledger.keep_in(Arc::clone(&journal), boot);
    let bus = EventBus::with_journal(past, Arc::clone(&journal), read.epochs, Arc::clone(metrics));
    Ok((Some(journal), bus))
}

/// When a container that was there before it was noticed had been made, at the latest: the kernel stamps a
/// directory with the last tick of its timer, and what the one before it told of in the meantime is not its
/// own.
pub(super) fn made_at(directory: &Directory, hierarchies: &Hierarchies) -> Timestamp {
    let root = &hierarchies.get(directory.hierarchy).root;
    let now = Timestamp::now();
    let tick = clock_getres(ClockId::CLOCK_REALTIME_COARSE).map_or(Duration::ZERO, Duration::from);
    std::fs::metadata(directory.name.below(root))
        .and_then(|metadata| metadata.modified())
        .map_or(now, |made| {
            Timestamp::from(made).saturating_add(tick).min(now)
        })
}

/// Whether a container of an earlier run is still there: whether one of its directories is, and is that very
/// one. Others may have been lost, or made later.
pub(super) fn is_there(unmet: &Unmet, hierarchies: &Hierarchies) -> bool {
    unmet.directories.iter().any(|(hierarchy, inode)| {
        let hierarchy = HierarchyId(*hierarchy);
        let mut known = hierarchies.iter();
        let Some((_, found)) = known.find(|(id, _)| *id == hierarchy) else {
            return false;
        };
        match std::fs::metadata(unmet.name.below(&found.root)) {
            Ok(metadata) => metadata.ino() == *inode,
            // What may not be looked at has not gone.
            Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        }
    })
}
