//! What an earlier run left in the journal, read back.

use std::sync::Arc;

use crate::event::{EventBus, EventLimits, Past};
use crate::journal::{self, Journal, OpenError};
use crate::ledger::Ledger;
use crate::self_metrics::SelfMetrics;

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
