//! `summary`: CPU in thousandths of a core, memory in bytes.

use crate::cache;
use crate::cache::summary::Percentiles as Values;
use crate::cache::summary::Usage as Span;
use crate::wire::object::objects;
use crate::wire::time::rfc3339;

objects! {
    /// What is derived of a container. A span that is not known yet is all zero, with `present`
    /// false: so clients know it.
    pub struct DerivedStats<'a>(&'a cache::Derived) |derived| {
        "timestamp" => Some(rfc3339(derived.timestamp)),
        "latest_usage" => Some(Latest(derived)),
        "minute_usage" => Some(Usage(derived.minute)),
        "hour_usage" => Some(Usage(derived.hour)),
        "day_usage" => Some(Usage(derived.day)),
    }

    struct Latest<'a>(&'a cache::Derived) |derived| {
        "cpu" => Some(derived.latest_cpu.unwrap_or(0)),
        "memory" => Some(derived.latest_memory.unwrap_or(0)),
    }

    struct Usage(Option<Span>) |usage| {
        "percent_complete" => Some(usage.map_or(0, |usage| usage.percent_complete)),
        "cpu" => Some(Percentiles(usage.map(|usage| usage.cpu))),
        "memory" => Some(Percentiles(usage.map(|usage| usage.memory))),
    }

    struct Percentiles(Option<Values>) |values| {
        "present" => Some(values.is_some()),
        "mean" => Some(values.unwrap_or_default().mean),
        "std" => Some(values.unwrap_or_default().std),
        "max" => Some(values.unwrap_or_default().max),
        "fifty" => Some(values.unwrap_or_default().fifty),
        "ninety" => Some(values.unwrap_or_default().ninety),
        "ninetyfive" => Some(values.unwrap_or_default().ninety_five),
        "count" => Some(values.unwrap_or_default().count),
    }
}
