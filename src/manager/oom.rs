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

/// As long for a container that is not known yet, or no more: one on its way here is polled at once,
/// and the next of the same name must not be taken for it.
const WAIT_FOR_UNKNOWN: Duration = Duration::from_secs(5);

/// The most kills of one container that are held either way; a counter that jumps by more is not
/// published kill by kill.
const MAX_HELD: usize = 1_000;

/// A kill to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The container of the process.
    pub victim: ContainerName,
    /// Which of the containers of that name, if it was known when the first witness told.
    pub incarnation: Option<u64>,
    /// The container whose limit was hit; known from the log only.
    pub exhausted: Option<ContainerName>,
    /// The log's account; `None` if only a counter told.
    pub record: Option<Box<OomKill>>,
}

/// A kill of which one witness has told.
#[derive(Debug, Clone, Copy)]
struct Told {
    until: Instant,
    /// Which of the containers of that name; `None` if it was not known.
    incarnation: Option<u64>,
}

#[derive(Debug, Default)]
struct Account {
    /// Kills that the log told and the counter has not shown yet, until each is given up.
    logged: Vec<Told>,
    /// The same for further victims of a group kill: the log names the memcg that has
    /// `memory.oom.group`, while the counters are those of the containers in and below it.
    logged_within: Vec<Instant>,
    /// Kills that the counter showed and the log has not told yet, until each is published as it is.
    counted: Vec<Told>,
}

/// The account of all containers that have one open.
#[derive(Debug, Default)]
pub struct OomMatcher {
    accounts: HashMap<ContainerName, Account>,
}

impl OomMatcher {
    /// The log told of a kill: it is to be published now. `incarnation` is that of the container
    /// that has the victim's name now.
    pub fn logged(
        &mut self,
        record: Box<OomKill>,
        victim: ContainerName,
        incarnation: Option<u64>,
        exhausted: ContainerName,
        now: Instant,
    ) -> Kill {
        let mut kill = Kill {
            victim,
            incarnation,
            exhausted: Some(exhausted),
            record: Some(record),
        };
        let is_group = kill.record.as_ref().is_some_and(|record| record.group);
        let counted = self.accounts.iter_mut().find(|(name, account)| {
            !account.counted.is_empty()
                && (**name == kill.victim || is_group && name.is_within(&kill.victim))
        });
        if let Some((name, account)) = counted {
            kill.incarnation = account.counted.remove(0).incarnation;
            kill.victim = name.clone();
            return kill;
        }
        let account = self.accounts.entry(kill.victim.clone()).or_default();
        let wait = match incarnation {
            Some(_) => WAIT_FOR_COUNTER,
            None => WAIT_FOR_UNKNOWN,
        };
        let until = now + wait;
        if is_group && account.logged_within.len() < MAX_HELD {
            account.logged_within.push(now + WAIT_FOR_COUNTER);
        } else if !is_group && account.logged.len() < MAX_HELD {
            account.logged.push(Told { until, incarnation });
        }
        kill
    }

    /// The counter of a container has grown by `number`. Gives the kills that are to be published
    /// now: if the kernel log is not `followed`, there is nothing to wait for.
    pub fn counted(
        &mut self,
        victim: &ContainerName,
        incarnation: u64,
        number: u64,
        followed: bool,
        now: Instant,
    ) -> Vec<Kill> {
        let mut untold = usize::try_from(number).unwrap_or(MAX_HELD).min(MAX_HELD);
        if let Some(account) = self.accounts.get_mut(victim) {
            account.logged.retain(|told| {
                // What was told of another container of this name has its own counter to wait for.
                let ours = told.incarnation.is_none_or(|other| other == incarnation);
                let matches = ours && told.until > now && untold > 0;
                untold -= usize::from(matches);
                !matches && told.until > now
            });
        }
        for (_, account) in self
            .accounts
            .iter_mut()
            .filter(|(name, account)| !account.logged_within.is_empty() && victim.is_within(name))
        {
            account.logged_within.retain(|until| *until > now);
            let told = account.logged_within.len().min(untold);
            account.logged_within.drain(..told);
            untold -= told;
        }
        let incarnation = Some(incarnation);
        if followed && untold > 0 {
            let counted = &mut self.accounts.entry(victim.clone()).or_default().counted;
            let room = MAX_HELD.saturating_sub(counted.len());
            let until = now + WAIT_FOR_LOG;
            let told = Told { until, incarnation };
            counted.extend(std::iter::repeat_n(told, untold.min(room)));
            return Vec::new();
        }
        vec![unexplained(victim, incarnation); untold]
    }

    /// The kills that have waited long enough for the log, to be published as they are.
    pub fn overdue(&mut self, now: Instant) -> Vec<Kill> {
        let mut kills = Vec::new();
        self.accounts.retain(|victim, account| {
            account.logged.retain(|told| told.until > now);
            account.logged_within.retain(|until| *until > now);
            account.counted.retain(|told| {
                let waits = told.until > now;
                if !waits {
                    kills.push(unexplained(victim, told.incarnation));
                }
                waits
            });
            !(account.logged.is_empty()
                && account.logged_within.is_empty()
                && account.counted.is_empty())
        });
        kills
    }
}

/// A kill that only a counter told.
fn unexplained(victim: &ContainerName, incarnation: Option<u64>) -> Kill {
    Kill {
        victim: victim.clone(),
        incarnation,
        exhausted: None,
        record: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The incarnation that the tests are about, and the next of the same name.
    const ONE: u64 = 1;
    const TWO: u64 = 2;

    fn name() -> ContainerName {
        ContainerName::from_request("/a")
    }

    fn logged(matcher: &mut OomMatcher, now: Instant) -> Kill {
        matcher.logged(
            Box::default(),
            name(),
            Some(ONE),
            ContainerName::root(),
            now,
        )
    }

    #[test]
    fn both_witnesses_make_one_kill_in_either_order() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert!(logged(&mut matcher, now).record.is_some());
        assert_eq!(matcher.counted(&name(), ONE, 1, true, now), []);
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);

        assert_eq!(matcher.counted(&name(), ONE, 1, true, now), []);
        assert!(logged(&mut matcher, now).record.is_some());
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
        assert!(matcher.accounts.is_empty(), "nothing is left open");
    }

    #[test]
    fn a_kill_that_the_log_lost_is_published_after_a_moment() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert_eq!(matcher.counted(&name(), ONE, 3, true, now), []);
        logged(&mut matcher, now);
        assert_eq!(matcher.overdue(now), []);
        let overdue = matcher.overdue(now + WAIT_FOR_LOG);
        assert_eq!(overdue.len(), 2);
        assert_eq!(
            overdue[0],
            Kill {
                victim: name(),
                incarnation: Some(ONE),
                exhausted: None,
                record: None
            }
        );
    }

    #[test]
    fn without_a_log_the_counter_is_believed_at_once() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert_eq!(matcher.counted(&name(), ONE, 2, false, now).len(), 2);
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
    }

    #[test]
    fn an_old_record_does_not_hide_a_new_kill() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        logged(&mut matcher, now);
        let later = now + WAIT_FOR_COUNTER + Duration::from_secs(1);
        assert_eq!(matcher.counted(&name(), ONE, 1, true, later), []);
        assert_eq!(matcher.overdue(later + WAIT_FOR_LOG).len(), 1);
    }

    #[test]
    fn an_absurd_counter_is_bounded() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert_eq!(
            matcher.counted(&name(), ONE, u64::MAX, false, now).len(),
            MAX_HELD
        );
    }

    #[test]
    fn a_record_of_one_container_does_not_hide_a_kill_in_the_next_of_its_name() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        logged(&mut matcher, now);
        assert_eq!(matcher.counted(&name(), TWO, 1, true, now), []);
        let overdue = matcher.overdue(now + WAIT_FOR_LOG);
        assert_eq!(overdue, [unexplained(&name(), Some(TWO))]);
        assert_eq!(matcher.counted(&name(), ONE, 1, true, now), []);
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
    }

    #[test]
    fn a_kill_counted_in_a_container_that_has_gone_since_stays_its_own() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        assert_eq!(matcher.counted(&name(), ONE, 1, true, now), []);
        let told = matcher.logged(
            Box::default(),
            name(),
            Some(TWO),
            ContainerName::root(),
            now,
        );
        assert_eq!(told.incarnation, Some(ONE));
        assert!(matcher.accounts.values().all(|open| open.logged.is_empty()));
    }

    #[test]
    fn a_record_of_a_container_not_yet_known_meets_its_counter() {
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        matcher.logged(Box::default(), name(), None, ContainerName::root(), now);
        assert_eq!(matcher.counted(&name(), ONE, 1, true, now), []);
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
    }

    #[test]
    fn further_victims_of_a_group_kill_are_counted_once_below_the_group() {
        let pod = ContainerName::from_request;
        let group = |matcher: &mut OomMatcher, now| {
            let record = OomKill {
                group: true,
                ..OomKill::default()
            };
            matcher.logged(Box::new(record), pod("/pod"), Some(ONE), pod("/pod"), now)
        };
        let (mut matcher, now) = (OomMatcher::default(), Instant::now());
        // The log first: two more victims of the group, one in each container of the pod.
        group(&mut matcher, now);
        group(&mut matcher, now);
        assert_eq!(matcher.counted(&pod("/pod/a"), ONE, 1, true, now), []);
        assert_eq!(matcher.counted(&pod("/pod/b"), TWO, 1, true, now), []);
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
        // The counter first: the kill is told of the container that counted it.
        assert_eq!(matcher.counted(&pod("/pod/a"), ONE, 1, true, now), []);
        assert_eq!(group(&mut matcher, now).victim, pod("/pod/a"));
        assert_eq!(matcher.overdue(now + WAIT_FOR_LOG), []);
        assert!(matcher.accounts.is_empty(), "nothing is left open");
    }
}
