//! What is done about OOM kills: two witnesses are heard, events published, the ledger written.
//!
//! Shared by the manager, which hears the kernel log, and the samplers, which read the counters.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Registry;
use super::oom::{Counted, Kill, Logged, OomMatcher, Place, Verdict};
use crate::cgroup::{ContainerName, Hierarchies, OomCounters};
use crate::event::{EventBus, EventKind, OomKill};
use crate::handler::Handler;
use crate::ledger::{KillSource, Ledger, OomRecord, Which};
use crate::self_metrics::{KmsgState, SelfMetrics};
use crate::source::kmsg_reader::{Looker, wall_clock};
use crate::units::Timestamp;

/// OOM kills as two witnesses tell of them.
#[derive(Debug)]
pub struct OomDesk {
    matcher: Mutex<OomMatcher>,
    clock: Mutex<LogClock>,
    log: OnceLock<Looker>,
    registry: Arc<Registry>,
    ledger: Arc<Ledger>,
    bus: Arc<EventBus>,
    metrics: Arc<SelfMetrics>,
}

impl OomDesk {
    /// A desk that publishes to `bus` and writes to `ledger`.
    pub fn new(
        registry: Arc<Registry>,
        ledger: Arc<Ledger>,
        bus: Arc<EventBus>,
        metrics: Arc<SelfMetrics>,
    ) -> Self {
        Self {
            matcher: Mutex::new(OomMatcher::after(ledger.last_kill())),
            clock: Mutex::default(),
            log: OnceLock::new(),
            registry,
            ledger,
            bus,
            metrics,
        }
    }

    /// The kernel log is followed, and can be looked at.
    pub fn has_log(&self, log: Looker) {
        // Once for each desk: a second one would be a second reader.
        let _ = self.log.set(log);
    }

    /// A container's counters have grown by `new`.
    pub fn counted(&self, handler: &Handler, new: OomCounters) {
        let which = Which {
            name: handler.name().clone(),
            incarnation: handler.incarnation(),
        };
        let Some(counted) = handler.oom_counter() else {
            return;
        };
        self.ledger.counter_begins(&which, counted);
        if new.is_zero() {
            handler.take_continued();
            return;
        }
        if let Some(log) = self.log.get() {
            // It has the same to tell, should the kernel have failed to say so.
            log.look();
        }
        let (tasks, memory_bytes) = handler.before_kills(counted.kills);
        // The log is read from our own beginning: it does not tell of those before.
        let while_down = handler.take_continued();
        let followed = self.metrics.kmsg_state() == KmsgState::Following && !while_down;
        let counted = Counted {
            name: handler.name(),
            incarnation: handler.incarnation(),
            counters: new,
            tasks,
            memory_bytes,
            while_down,
            read: Timestamp::now(),
            started: handler.created_at(),
        };
        let verdicts = (self.matcher.lock()).counted(&counted, followed, Instant::now());
        self.carry_out(verdicts);
    }

    /// The kernel log told of a kill; `seen_in` is where procfs still showed the victim, if the log
    /// does not say. Gives the container whose counter is to be looked at; `None` for all of them.
    pub(super) fn logged(
        &self,
        kill: Box<OomKill>,
        seen_in: Option<ContainerName>,
        hierarchies: &Hierarchies,
    ) -> Option<ContainerName> {
        let (earliest, when) = self.clock.lock().when(kill.stamp);
        let container = |path: &String| hierarchies.container_of_memcg(path);
        let place = match (&kill.task_memcg, seen_in) {
            (Some(group), Some(seen)) if kill.group && seen.is_within(&container(group)) => {
                self.place_in(seen, when)
            }
            (Some(group), _) if kill.group => Place::Within(container(group)),
            (Some(path), _) => self.place_in(container(path), when),
            (None, Some(seen)) => self.place_in(seen, when),
            (None, None) => Place::Unknown,
        };
        // A kill without a cgroup at its limit in the record is for want of the node's memory.
        let limit_of = kill.oom_memcg.as_ref().map(container);
        let look_at = match &place {
            Place::In(name, _) => Some(name.clone()),
            Place::Within(_) | Place::Unknown => None,
        };
        let again = kill.again;
        let logged = Logged {
            kill: Arc::from(kill),
            when,
            earliest,
            place,
            limit_of: limit_of.unwrap_or_else(ContainerName::root),
        };
        if again {
            let verdicts = self.matcher.lock().again(logged, Instant::now());
            self.carry_out(verdicts);
            return look_at;
        }
        let verdict = self.matcher.lock().logged(logged, Instant::now());
        self.carry_out(verdict);
        look_at
    }

    fn place_in(&self, name: ContainerName, when: Timestamp) -> Place {
        let which = self.ledger.which_at(&name, when);
        Place::In(name, which)
    }

    /// Tells what has waited long enough.
    pub(super) fn tick(&self, now: Instant) {
        let verdicts = self.matcher.lock().overdue(now);
        self.carry_out(verdicts);
    }

    fn carry_out(&self, verdicts: impl IntoIterator<Item = Verdict>) {
        for verdict in verdicts {
            match verdict {
                Verdict::New(kill) => self.publish(kill),
                Verdict::Beside(name, incarnation, counted) => {
                    let which = Which { name, incarnation };
                    self.ledger.counted_beside(&which, counted);
                }
                Verdict::Confirmed(number, None) => self.ledger.confirm(number, None),
                Verdict::Confirmed(number, Some(logged)) => {
                    // Who it was is known late: the event is told already, the record is completed.
                    let record = OomRecord {
                        when: logged.when,
                        victim: ContainerName::root(),
                        incarnation: None,
                        limit_of: Some(logged.limit_of),
                        source: KillSource::Both,
                        while_down: false,
                        told: Some(logged.kill),
                    };
                    self.ledger.confirm(number, Some(&record));
                }
            }
        }
    }

    fn publish(&self, kill: Kill) {
        let Kill {
            number,
            when,
            victim,
            incarnation,
            told,
            counted,
            while_down,
        } = kill;
        let handler = self.registry.get(&victim).filter(|handler| {
            incarnation.is_none_or(|incarnation| incarnation == handler.incarnation())
        });
        if let Some(handler) = &handler {
            handler.count_oom_kill();
        }
        let incarnation = incarnation.or(handler.map(|handler| handler.incarnation()));
        let (limit_of, told) = told.unzip();
        self.ledger.kill(
            number,
            OomRecord {
                when,
                victim: victim.clone(),
                incarnation,
                limit_of: limit_of.clone(),
                source: match (&told, counted) {
                    (Some(_), true) => KillSource::Both,
                    (Some(_), false) => KillSource::Log,
                    (None, _) => KillSource::Counter,
                },
                while_down: while_down && told.is_none(),
                told: told.clone(),
            },
        );
        match &told {
            Some(_) => self.metrics.oom_kills_from_kmsg.inc(),
            None => self.metrics.oom_kills_from_counters.inc(),
        }
        if let Some(limit_of) = limit_of {
            self.bus.publish(when, limit_of, EventKind::Oom);
        }
        let told = told.unwrap_or_default();
        self.bus.publish(when, victim, EventKind::OomKill(told));
    }
}

/// Kills by which the kernel log's clock is set.
const CLOCK_KILLS: usize = 32;

/// The wall clock time of what the kernel logs. Its clock drifts away from the one that we can read, by
/// seconds in a year without a reboot; but nothing is read before it was written, and what is read
/// soonest after says by how much.
#[derive(Debug, Default)]
struct LogClock {
    /// How long after their time the last kills were read, by the drifting clock; may be negative.
    delays_ns: VecDeque<i64>,
}

impl LogClock {
    /// Not before when, and when, a record of this stamp was written.
    fn when(&mut self, stamp: Duration) -> (Timestamp, Timestamp) {
        let told = wall_clock(stamp);
        let when = self.at(told, Timestamp::now());
        (told.min(when), when)
    }

    fn at(&mut self, told: Timestamp, now: Timestamp) -> Timestamp {
        if self.delays_ns.len() >= CLOCK_KILLS {
            self.delays_ns.pop_front();
        }
        self.delays_ns.push_back(now.0.saturating_sub(told.0));
        let soonest = self.delays_ns.iter().copied().min().unwrap_or(0);
        let on_its_way = match self.delays_ns.len() {
            ..SURE_KILLS => LONG_WAY_NS,
            SURE_KILLS.. => WAY_NS,
        };
        let drift = match soonest {
            of if (0..on_its_way).contains(&of) => 0,
            of => of,
        };
        Timestamp(told.0.saturating_add(drift)).min(now)
    }
}

/// Kills after which the soonest is taken to be soon.
const SURE_KILLS: usize = 8;

/// A delay below this is no drift but the time that a record takes to be read: on a busy machine, and
/// while not much is known.
const WAY_NS: i64 = 2_000_000_000;
const LONG_WAY_NS: i64 = 30_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_clock_is_set_by_the_record_that_was_read_soonest() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let mut clock = LogClock::default();
        // It is forty seconds slow; the first record was read five seconds late.
        assert_eq!(clock.at(at(100), at(145)), at(145));
        assert_eq!(clock.at(at(110), at(150)), at(150));
        assert_eq!(clock.at(at(119), at(180)), at(159));
        // Three seconds are a backlog until it is known better.
        let mut clock = LogClock::default();
        for second in 0..7 {
            assert_eq!(clock.at(at(second), at(second + 3)), at(second));
        }
        assert_eq!(clock.at(at(7), at(10)), at(10));
    }

    #[test]
    fn a_clock_that_is_right_is_believed_and_a_fast_one_corrected() {
        let ms = 1_000_000;
        let mut clock = LogClock::default();
        assert_eq!(clock.at(Timestamp(0), Timestamp(20 * ms)), Timestamp(0));
        let mut clock = LogClock::default();
        let at = clock.at(Timestamp(500 * ms), Timestamp(20 * ms));
        assert_eq!(at, Timestamp(20 * ms), "nothing is read before it happened");
    }
}
