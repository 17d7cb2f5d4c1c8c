//! Block I/O, by device: of the cgroup, and for `/` also of the disks that file systems are on.

use std::fmt::Display;

use super::disk;
use super::encode::Emit;
use super::family::{Family, From, Value, counter, gauge};
use super::network::{ALL, sum};
use super::page::{Container, Page};
use crate::cgroup::stats::{DeviceNumber, IoStats};
use crate::node::FsInfo;
use crate::node::diskstats::DiskIo;
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
        From::Several(|p, c, emit| {
            counts(p, c, emit, |d| d.ops.read);
            of_disks(p, c, emit, Some(|d| d.ops.read), |d| {
                Value::Count(d.reads_completed)
            });
        }),
    ),
    counter(
        "container_fs_writes_total",
        "Writes done.",
        From::Several(|p, c, emit| {
            counts(p, c, emit, |d| d.ops.write);
            of_disks(p, c, emit, Some(|d| d.ops.write), |d| {
                Value::Count(d.writes_completed)
            });
        }),
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
    counter(
        "container_fs_sector_reads_total",
        "Sectors of 512 bytes read.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Count(d.sectors_read))),
    ),
    counter(
        "container_fs_sector_writes_total",
        "Sectors of 512 bytes written.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Count(d.sectors_written))),
    ),
    counter(
        "container_fs_reads_merged_total",
        "Reads merged with one next to them.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Count(d.reads_merged))),
    ),
    counter(
        "container_fs_writes_merged_total",
        "Writes merged with one next to them.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Count(d.writes_merged))),
    ),
    counter(
        "container_fs_read_seconds_total",
        "Time that reads took, summed over them.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Nanos(d.read_time_ns))),
    ),
    counter(
        "container_fs_write_seconds_total",
        "Time that writes took, summed over them.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Nanos(d.write_time_ns))),
    ),
    gauge(
        "container_fs_io_current",
        "Requests under way.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Count(d.in_progress))),
    ),
    counter(
        "container_fs_io_time_seconds_total",
        "Time with any request under way.",
        From::Several(|p, c, emit| of_disks(p, c, emit, None, |d| Value::Nanos(d.io_time_ns))),
    ),
    counter(
        "container_fs_io_time_weighted_seconds_total",
        "Time under way, summed over the requests.",
        From::Several(|p, c, emit| {
            of_disks(p, c, emit, None, |d| Value::Nanos(d.weighted_io_time_ns))
        }),
    ),
];

/// The figure of a cgroup that comes before that of the disk.
type First = Option<fn(&IoStats) -> Option<u64>>;

/// For the names of disks.
fn context<'p>(page: &'p Page<'_>) -> Context<'p> {
    Context {
        machine: page.machine,
        filesystems: &[],
    }
}

/// `/dev/sda`, or the device's number if it is no disk of this machine: two such devices must not
/// become one series.
fn with_device(page: &Page<'_>, device: DeviceNumber, write: impl FnOnce(&dyn Display)) {
    match context(page).disk(device) {
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
    if page.sums_up() {
        let sum = sum(container.sample.io.iter().map(figure));
        emit.sample(&[("device", &ALL)], sum.map(Value::Count));
        return;
    }
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

/// Figures of the disks that the file systems of `/` are on.
fn of_disks(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    first: First,
    figure: fn(&DiskIo) -> Value,
) {
    for fs in disk::of(page, container) {
        let Some(io) = &fs.io else { continue };
        if !first.is_some_and(|first| is_shown(page, container, fs, first)) {
            emit.sample(&[("device", &fs.device)], Some(figure(io)));
        }
    }
}

/// Whether the cgroup has the figure under the name of this file system's device.
fn is_shown(
    page: &Page<'_>,
    container: &Container,
    fs: &FsInfo,
    figure: fn(&IoStats) -> Option<u64>,
) -> bool {
    let context = context(page);
    let name = fs.device.strip_prefix("/dev/");
    let mut shown = (container.sample.io.iter()).filter(|io| figure(io).is_some());
    name.is_some() && shown.any(|io| context.disk(io.device) == name)
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
                let labels: [(&str, &dyn Display); 4] = [
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
