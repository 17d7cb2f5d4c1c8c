//! Keeps cgauge within the CPU time that the settings allow it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use crate::handler::{Governor, Sampler, Stretch};
use crate::self_metrics::SelfMetrics;

/// Over this time CPU time is measured: long enough to hold a few polls of every container and a
/// scrape or none.
const WINDOW: Duration = Duration::from_secs(5);

/// Watches the process's own CPU time.
#[derive(Debug)]
pub struct Thrift {
    governor: Governor,
    sampler: Arc<Sampler>,
    metrics: Arc<SelfMetrics>,
    since: Instant,
    used: Duration,
    told: Told,
}

/// What the log was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Idle,
    All,
}

impl Thrift {
    /// Keeps to `budget` CPU seconds per second, if there is one.
    pub fn new(
        budget: Option<f64>,
        sampler: &Arc<Sampler>,
        metrics: &Arc<SelfMetrics>,
    ) -> Option<Self> {
        let budget = budget?;
        metrics.cpu_budget.set(billionths(budget));
        show(metrics, Stretch::NONE);
        Some(Self {
            governor: Governor::new(budget),
            sampler: Arc::clone(sampler),
            metrics: Arc::clone(metrics),
            since: Instant::now(),
            used: process_cpu(),
            told: Told::Nothing,
        })
    }

    /// To be called about once a second.
    pub fn tick(&mut self, now: Instant) {
        let window = now.saturating_duration_since(self.since);
        if window < WINDOW {
            return;
        }
        let total = process_cpu();
        let used = total.saturating_sub(self.used);
        (self.since, self.used) = (now, total);
        let stretch = self.governor.observe(used, window);
        self.sampler.set_stretch(stretch);
        show(&self.metrics, stretch);
        self.tell(stretch, used.as_secs_f64() / window.as_secs_f64());
    }

    /// Once for each thing that is given up, and once when all is back.
    fn tell(&mut self, stretch: Stretch, cores: f64) {
        let now = match stretch {
            Stretch { busy, .. } if busy > 1.0 => Told::All,
            Stretch { idle, .. } if idle > 1.0 => Told::Idle,
            _ => Told::Nothing,
        };
        if now == self.told {
            return;
        }
        let (budget, used) = (thousandths(self.governor.budget()), thousandths(cores));
        match (self.told, now) {
            (Told::Nothing, Told::Idle) => tracing::warn!(
                "the last seconds took {used}m of CPU and the budget is {budget}m: containers that stand still are polled less often (cgauge_poll_stretch_ratio; --cpu-budget)"
            ),
            (_, Told::All) => tracing::warn!(
                "the last seconds took {used}m of CPU and the budget is {budget}m: all containers are polled less often (cgauge_poll_stretch_ratio; --cpu-budget)"
            ),
            (_, Told::Nothing) => {
                tracing::info!("within the CPU budget of {budget}m again: polling as set");
            }
            (_, Told::Idle) => {}
        }
        self.told = now;
    }
}

fn show(metrics: &SelfMetrics, stretch: Stretch) {
    metrics.stretch_idle.set(billionths(stretch.idle));
    metrics.stretch_busy.set(billionths(stretch.busy));
}

fn billionths(value: f64) -> u64 {
    (value * 1e9).round() as u64
}

fn thousandths(value: f64) -> u64 {
    (value * 1e3).round() as u64
}

/// CPU time of this process so far, user and system.
fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, |time| {
        Duration::from_nanos(u64::try_from(time.num_nanoseconds()).unwrap_or(0))
    })
}
