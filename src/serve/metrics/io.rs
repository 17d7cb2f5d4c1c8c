//! Block I/O, by device.

use super::encode::Emit;
use super::family::{Family, From, Value, counter};
use super::page::{Container, Page};
use crate::cgroup::stats::{DeviceNumber, IoStats};
use crate::wire::shared::Context;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "container_fs_reads_bytes_total",
        "Bytes read.",
        From::Several(|p, c, emit| counts(p, c, emit, |d| d.bytes.read)),
    ),
    counter(
        "container_fs_writes_bytes_total",
        "Bytes written.",
        From::Several(|p, c, emit| counts(p, c, emit, |d| d.bytes.write)),
    ),
    counter(
        "container_fs_reads_total",
        "Reads done.",
        From::Several(|p, c, emit| counts(p, c, emit, |d| d.ops.read)),
    ),
    counter(
        "container_fs_writes_total",
        "Writes done.",
        From::Several(|p, c, emit| counts(p, c, emit, |d| d.ops.write)),
    ),
    counter(
        "container_fs_io_cost_usage_seconds_total",
        "Device time used, by the cost model.",
        From::Several(|p, c, emit| times(p, c, emit, |d| d.cost.usage_ns)),
    ),
    counter(
        "container_fs_io_cost_wait_seconds_total",
        "Time waited for the cost model.",
        From::Several(|p, c, emit| times(p, c, emit, |d| d.cost.wait_ns)),
    ),
    counter(
        "container_fs_io_cost_indebt_seconds_total",
        "Time in debt to the cost model.",
        From::Several(|p, c, emit| times(p, c, emit, |d| d.cost.indebt_ns)),
    ),
    counter(
        "container_fs_io_cost_indelay_seconds_total",
        "Time delayed to pay off debt to the cost model.",
        From::Several(|p, c, emit| times(p, c, emit, |d| d.cost.indelay_ns)),
    ),
    counter(
        "container_blkio_device_usage_total",
        "Bytes transferred, by operation.",
        From::Several(operations),
    ),
];

/// `/dev/sda`, or the device's number if it is no disk of this machine: two such devices must not
/// become one series.
fn with_device(page: &Page<'_>, device: DeviceNumber, write: impl FnOnce(&dyn std::fmt::Display)) {
    match (Context {
        machine: page.machine,
        filesystems: &[],
    })
    .disk(device)
    {
        Some(name) => write(&format_args!("/dev/{name}")),
        None => write(&format_args!("{}:{}", device.major, device.minor)),
    }
}

fn counts(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    figure: fn(&IoStats) -> Option<u64>,
) {
    for io in &container.sample.io {
        with_device(page, io.device, |device| {
            emit.sample(&[("device", device)], figure(io).map(Value::Count))
        });
    }
}

fn times(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    figure: fn(&IoStats) -> Option<u64>,
) {
    for io in &container.sample.io {
        with_device(page, io.device, |device| {
            emit.sample(&[("device", device)], figure(io).map(Value::Nanos))
        });
    }
}

fn operations(page: &Page<'_>, container: &Container, emit: &mut Emit<'_>) {
    for io in &container.sample.io {
        let bytes = &io.bytes;
        for (operation, count) in [
            ("Async", bytes.async_),
            ("Discard", bytes.discard),
            ("Read", bytes.read),
            ("Sync", bytes.sync),
            ("Total", bytes.total),
            ("Write", bytes.write),
        ] {
            with_device(page, io.device, |device| {
                let labels: [(&str, &dyn std::fmt::Display); 4] = [
                    ("device", device),
                    ("major", &io.device.major),
                    ("minor", &io.device.minor),
                    ("operation", &operation),
                ];
                emit.sample(&labels, count.map(Value::Count));
            });
        }
    }
}
