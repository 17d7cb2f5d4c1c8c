//! Pure: two witnesses of OOM kills become one account.
//!
//! The kernel log says who was killed; the counter of the victim's cgroup says that somebody was.
//! Either may come first, and either may be silent: the log when records were overwritten or may not
//! be read, the counter when the cgroup was removed before it was looked at. So a kill from the log
//! is published at once and held to the counter's credit; a kill from the counter waits a moment for
//! the log to tell more, and is published without more if it does not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cgroup::ContainerName;
use crate::event::OomKill;

/// How long a kill that a counter told waits for the kernel log's account of it.
const WAIT_FOR_LOG: Duration = Duration::from_secs(1);

/// How long a kill that the log told may be seen in the counter afterwards: longer than the longest
/// housekeeping interval by default.
const WAIT_FOR_COUNTER: Duration = Duration::from_secs(150);

/// The most kills of one container that are held either way; a counter that jumps by more is not
/// published kill by kill.
const MAX_HELD: usize = 1_000;

/// A kill to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The container of the process.
    pub victim: ContainerName,
    /// The container whose limit was hit; known from the log only.
    pub exhausted: Option<ContainerName>,
    /// The log's account; `None` if only a counter told.
    pub record: Option<Box<OomKill>>,
}

#[derive(Debug, Default)]
struct Account {
    /// Kills that the log told and the counter has not shown yet: when each is given up.
    logged: Vec<Instant>,
    /// Kills that the counter showed and the log has not told yet: when each is published as it is.
    counted: Vec<Instant>,
}

/// The account of all containers that have one open.
#[derive(Debug, Default)]
pub struct OomMatcher {
    accounts: HashMap<ContainerName, Account>,
}

impl OomMatcher {
    /// The log told of a kill: it is to be published now.
    pub fn logged(
        &mut self,
        record: Box<OomKill>,
        victim: ContainerName,
        exhausted: ContainerName,
        now: Instant,
    ) -> Kill {
        let account = self.accounts.entry(victim.clone()).or_default();
        if account.counted.is_empty() {
            if account.logged.len() < MAX_HELD {
                account.logged.push(now + WAIT_FOR_COUNTER);
            }
        } else {
            account.counted.remove(0);
        }
        Kill {
            victim,
            exhausted: Some(exhausted),
            record: Some(record),
        }
    }

    /// A container's counter has grown by `number`. Gives the kills that are to be published now: if
    /// the kernel log is not `followed`, there is nothing to wait for.
    pub fn counted(
        &mut self,
        victim: &ContainerName,
        number: u64,
        followed: bool,
        now: Instant,
    ) -> Vec<Kill> {
        let number = usize::try_from(number).unwrap_or(MAX_HELD).min(MAX_HELD);
        let account = self.accounts.entry(victim.clone()).or_default();
        account.logged.retain(|until| *until > now);
        let told = account.logged.len().min(number);
        account.logged.drain(..told);
        let untold = number - told;
        if followed {
            let room = MAX_HELD.saturating_sub(account.counted.len());
            account
                .counted
                .extend(std::iter::repeat_n(now + WAIT_FOR_LOG, untold.min(room)));
            return Vec::new();
        }
        vec![
            Kill {
                victim: victim.clone(),
                exhausted: None,
                record: None
            };
            untold
        ]
    }

    /// The kills that have waited long enough for the log, to be published as they are.
    pub fn overdue(&mut self, now: Instant) -> Vec<Kill> {
        let mut kills = Vec::new();
        self.accounts.retain(|victim, account| {
            account.logged.retain(|until| *until > now);
            let before = account.counted.len();
            account.counted.retain(|until| *until > now);
            let due = before - account.counted.len();
            kills.extend(std::iter::repeat_n(
                Kill {
                    victim: victim.clone(),
                    exhausted: None,
                    record: None,
                },
                due,
            ));
            !(account.logged.is_empty() && account.counted.is_empty())
        });
        kills
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ContainerName {
        ContainerName::from_request("/a")
    }

    fn logged(matcher: &mut OomMatcher, now: Instant) -> Kill {
        matcher.logged(Box::default(), name(), ContainerName::root(), now)
    }

    #[test]
    fn both_witnesses_make_one_kill_in_either_order() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert!(logged(&mut matcher, now).record.is_some());
        assert_eq!(matcher.counted(&name(), 1, true, now), []);
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);

        assert_eq!(matcher.counted(&name(), 1, true, now), []);
        assert!(logged(&mut matcher, now).record.is_some());
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
        assert!(matcher.accounts.is_empty(), "nothing is left open");
    }

    #[test]
    fn a_kill_that_the_log_lost_is_published_after_a_moment() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert_eq!(matcher.counted(&name(), 3, true, now), []);
        logged(&mut matcher, now);
        assert_eq!(matcher.overdue(now), []);
        let overdue = matcher.overdue(now + WAIT_FOR_LOG);
        assert_eq!(overdue.len(), 2);
        assert_eq!(
            overdue[0],
            Kill {
                victim: name(),
                exhausted: None,
                record: None
            }
        );
    }

    #[test]
    fn without_a_log_the_counter_is_believed_at_once() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert_eq!(matcher.counted(&name(), 2, false, now).len(), 2);
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
    }

    #[test]
    fn an_old_record_does_not_hide_a_new_kill() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        logged(&mut matcher, now);
        let later = now + WAIT_FOR_COUNTER + Duration::from_secs(1);
        assert_eq!(matcher.counted(&name(), 1, true, later), []);
        assert_eq!(matcher.overdue(later + WAIT_FOR_LOG).len(), 1);
    }

    #[test]
    fn an_absurd_counter_is_bounded() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert_eq!(
            matcher.counted(&name(), u64::MAX, false, now).len(),
            MAX_HELD
        );
    }
}
