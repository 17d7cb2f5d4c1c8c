//! A row of the table.

use super::encode::Emit;
use super::page::{Container, Page};
use crate::cgroup::Sample;
use crate::cgroup::kind::MetricKind;

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// It only grows, while what it counts is the same.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Type {
    /// Its name in the text format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A value. Time stays in nanoseconds until it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// A count, or bytes.
    Count(u64),
    /// A number that may be negative.
    Signed(i64),
    /// Nanoseconds, printed as seconds.
    Nanos(u64),
}

/// Where the samples of a family come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// A count of each container's sample.
    Count(fn(&Sample) -> Option<u64>),
    /// A time of each container's sample.
    Nanos(fn(&Sample) -> Option<u64>),
    /// One value of each container.
    Container(fn(&Container) -> Option<Value>),
    /// Several of each container's sample, told apart by further labels.
    Several(fn(&Page<'_>, &Container, &mut Emit<'_>)),
    /// One value of cgauge, without labels.
    Own(fn(&Page<'_>) -> Option<Value>),
    /// Anything.
    Page(for<'a> fn(&'a Page<'_>, &mut Emit<'a>)),
}

impl From {
    /// Whether the family is about containers.
    pub(super) fn is_of_containers(&self) -> bool {
        !matches!(self, Self::Own(_) | Self::Page(_))
    }
}

/// A row of the table: one family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) r#type: Type,
    /// What switches it; `None`: it is always on.
    pub(super) kind: Option<MetricKind>,
    /// Whether its figures were read at the time of the container's sample.
    pub(super) sampled: bool,
    pub(super) from: From,
}

/// A counter.
pub(super) const fn counter(name: &'static str, help: &'static str, from: From) -> Family {
    Family {
        name,
        help,
        r#type: Type::Counter,
        kind: None,
        sampled: true,
        from,
    }
}

/// A gauge.
pub(super) const fn gauge(name: &'static str, help: &'static str, from: From) -> Family {
    Family {
        r#type: Type::Gauge,
        ..counter(name, help, from)
    }
}
