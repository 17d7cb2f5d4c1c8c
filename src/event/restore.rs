//! Pure: the past as the journal has it, record by record.

use super::{EventLimits, History, stored};
use crate::journal::{Kind, Record};

/// How far numbers go on behind a life that did not end in order. Events may have been shown whose
/// records are not there: after a power loss, or because the disk was full. Their numbers are not
/// given again.
pub const LEAP: u64 = 1_000_000;

/// What is known of earlier lives.
#[derive(Debug)]
pub struct Past {
    pub(super) history: History,
    /// The highest number there is.
    last_id: u64,
    /// Whether a life has begun behind one that did not end in order.
    leapt: bool,
    /// What the last record was.
    last_kind: Option<Kind>,
    malformed: u64,
}

impl Past {
    /// None so far.
    pub fn new(limits: EventLimits) -> Self {
        Self {
            history: History::new(limits),
            last_id: 0,
            leapt: false,
            last_kind: None,
            malformed: 0,
        }
    }

    /// Takes the next record of the journal, of whatever kind.
    pub fn take(&mut self, record: &Record<'_>) {
        let before = self.last_kind.replace(record.kind);
        match record.kind {
            Kind::STARTED => self.leapt |= before.is_some_and(|kind| kind != Kind::ENDED),
            Kind::EVENT => match stored::decode(record.payload) {
                Ok(event) => self.take_event(event),
                Err(error) => {
                    tracing::debug!(sequence = record.sequence, %error, "a record of the journal is passed over");
                    self.malformed += 1;
                }
            },
            _ => {}
        }
    }

    fn take_event(&mut self, event: super::Event) {
        // Numbers only grow; a record that says otherwise is none of this series.
        if event.id <= self.last_id {
            self.malformed += 1;
            return;
        }
        let (mut first, last) = (self.last_id + 1, event.id - 1);
        if self.last_id == 0 {
            // The journal begins here: what was before has been dropped for its age.
            self.history.forget_until(last);
        } else {
            if self.leapt && last + 1 >= first + LEAP {
                self.history.skip(first, first + LEAP - 1);
                first += LEAP;
            }
            if first <= last {
                self.history.lose(first, last);
            }
        }
        self.leapt = false;
        self.last_id = event.id;
        self.history.push(event);
    }

    /// How many records could not be understood.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The highest number there is; 0 if there is none.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The number of the next event.
    pub(super) fn next_id(&mut self) -> u64 {
        let unfinished = self.last_kind.is_some_and(|kind| kind != Kind::ENDED);
        if unfinished || self.leapt {
            self.history.skip(self.last_id + 1, self.last_id + LEAP);
            return self.last_id + LEAP + 1;
        }
        self.last_id + 1
    }
}
