//! Pressure: totals in microseconds, shares in percent.

use crate::cgroup::stats::{Pressure, Stall};
use crate::units::NS_PER_US;
use crate::wire::object::objects;

objects! {
    /// A pressure file.
    pub struct Psi<'a>(&'a Pressure) |pressure| {
        "full" => Some(Line(&pressure.full)),
        "some" => Some(Line(&pressure.some)),
    }

    /// One line of it.
    struct Line<'a>(&'a Stall) |stall| {
        "total" => stall.total_ns.map(|ns| ns / NS_PER_US),
        "avg10" => stall.avg10_centi.map(percent),
        "avg60" => stall.avg60_centi.map(percent),
        "avg300" => stall.avg300_centi.map(percent),
    }
}

fn percent(centi: u64) -> f64 {
    centi as f64 / 100.0
}
