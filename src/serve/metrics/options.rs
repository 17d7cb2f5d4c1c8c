//! What a page shows: the switches of `/metrics`.

use std::time::Duration;

use super::identity::LabelChoice;
use crate::cgroup::kind::KindSet;

/// How old a figure may be before a scrape has it read anew, unless told otherwise.
///
/// One second is the housekeeping interval of busy containers: for them a scrape costs nothing more.
/// Without time stamps the age of a sample is an error of every rate; one second of a scrape interval
/// of 15 s is 7 %, five would be a third.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// How long a container is shown after it has ended, unless told otherwise: long enough for an alert
/// that waits for some minutes.
pub const ENDED_FOR: Duration = Duration::from_secs(15 * 60);

/// Which families are shown of those whose kinds are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// All.
    #[default]
    Full,
    /// Those that the usual dashboards and alerts ask for.
    Dashboards,
    /// At most [`LEAN_SERIES`](super::profile::LEAN_SERIES) series of a container, and only
    /// containers that have none below them.
    Lean,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Dashboards, Self::Lean];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Dashboards => "dashboards",
            Self::Lean => "lean",
        }
    }
}

/// The switches of `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The kinds that are shown.
    pub kinds: KindSet,
    /// Which families of these.
    pub profile: Profile,
    /// The most series on a page; `None` for any number. Containers are left out for it, deepest
    /// first: see [`Page::new`](super::Page::new).
    pub max_series: Option<u64>,
    /// Whether each figure carries the time at which it was read. Prometheus then does not mark a
    /// series as gone when its container goes.
    pub timestamps: bool,
    /// Whether counters carry the time since which they count, in OpenMetrics. That doubles their
    /// series in a Prometheus that does not know what these lines mean. In protobuf they always do.
    pub created: bool,
    /// Which of the containers' own labels are shown.
    pub labels: LabelChoice,
    /// How long a container is shown after it has ended.
    pub ended_for: Duration,
    /// Whether a network namespace is shown under each container in it, the host's included.
    pub network_per_container: bool,
    /// What is older is read anew for a scrape.
    pub max_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kinds: KindSet::DEFAULT,
            profile: Profile::default(),
            max_series: None,
            timestamps: false,
            created: false,
            labels: LabelChoice::default(),
            ended_for: ENDED_FOR,
            network_per_container: false,
            max_age: MAX_AGE,
        }
    }
}
