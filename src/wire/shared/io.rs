//! `diskio` of a sample: tables of devices, each with its operations.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::Context;
use super::psi::Psi;
use crate::cgroup::Sample;
use crate::cgroup::stats::{DeviceNumber, IoOps, IoStats};
use crate::units::NS_PER_US;
use crate::wire::object::objects;

objects! {
    /// Block I/O of a sample.
    pub struct DiskIo<'a>((&'a Sample, Context<'a>)) |io| {
        "io_service_bytes" => table(io, |device| Figures::Ops(&device.bytes)),
        "io_serviced" => table(io, |device| Figures::Ops(&device.ops)),
        "io_cost_usage" => table(io, |device| Figures::Count(device.cost.usage_ns)),
        "io_cost_wait" => table(io, |device| Figures::Count(device.cost.wait_ns)),
        "io_cost_indebt" => table(io, |device| Figures::Count(device.cost.indebt_ns)),
        "io_cost_indelay" => table(io, |device| Figures::Count(device.cost.indelay_ns)),
        "psi" => Some(Psi(&io.0.io_pressure)),
    }

    struct Row<'a>((DeviceNumber, Option<&'a str>, Figures<'a>)) |row| {
        "device" => Some(DevicePath(row.1)),
        "major" => Some(row.0.major),
        "minor" => Some(row.0.minor),
        "stats" => Some(Operations(row.2)),
    }

    struct Operations<'a>(Figures<'a>) |figures| {
        "Read" => figures.op(|ops| ops.read),
        "Write" => figures.op(|ops| ops.write),
        "Sync" => figures.op(|ops| ops.sync),
        "Async" => figures.op(|ops| ops.async_),
        "Discard" => figures.op(|ops| ops.discard),
        "Total" => figures.op(|ops| ops.total),
        // The cost model counts microseconds on the wire, as the kernel does.
        "Count" => match figures { Figures::Count(ns) => ns.map(|ns| ns / NS_PER_US), Figures::Ops(_) => None },
    }
}

/// What a table holds of a device.
#[derive(Debug, Clone, Copy)]
enum Figures<'a> {
    /// A figure for each operation.
    Ops(&'a IoOps),
    /// One figure.
    Count(Option<u64>),
}

impl Figures<'_> {
    fn op(self, of: fn(&IoOps) -> Option<u64>) -> Option<u64> {
        match self {
            Self::Ops(ops) => of(ops),
            Self::Count(_) => None,
        }
    }

    fn is_empty(self) -> bool {
        match self {
            Self::Ops(ops) => *ops == IoOps::default(),
            Self::Count(count) => count.is_none(),
        }
    }
}

/// `/dev/sda`; empty for a device that is no disk of this machine.
#[derive(Debug, Clone, Copy)]
struct DevicePath<'a>(Option<&'a str>);

impl Serialize for DevicePath<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(name) => serializer.collect_str(&format_args!("/dev/{name}")),
            None => serializer.serialize_str(""),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Table<'a> {
    sample: &'a Sample,
    context: Context<'a>,
    figures: fn(&IoStats) -> Figures<'_>,
}

/// A table, unless no device has anything in it.
fn table<'a>(
    (sample, context): (&'a Sample, Context<'a>),
    figures: fn(&IoStats) -> Figures<'_>,
) -> Option<Table<'a>> {
    let some = sample.io.iter().any(|device| !figures(device).is_empty());
    some.then_some(Table {
        sample,
        context,
        figures,
    })
}

impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for device in &self.sample.io {
            let figures = (self.figures)(device);
            if !figures.is_empty() {
                list.serialize_element(&Row((
                    device.device,
                    self.context.disk(device.device),
                    figures,
                )))?;
            }
        }
        list.end()
    }
}
