//! File systems, under `/`: how full they are. Writable layers, under their containers.

use super::encode::Emit;
use super::family::{Family, From, Value, gauge};
use super::page::{Container, Page};
use crate::cgroup::kind::MetricKind;
use crate::node::FsInfo;
use crate::node::disk_usage::LayerUsage;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "container_fs_usage_bytes",
        "Space in use: of a file system, or of a container's writable layer.",
        From::Several(|p, c, emit| {
            each(p, c, emit, |fs| Some(fs.usage_bytes));
            of_layer(p, c, emit, |layer, _| Some(layer.usage_bytes));
        }),
    ),
    gauge(
        "container_fs_limit_bytes",
        "Size of the file system; of a container's writable layer its limit, if it has one.",
        From::Several(|p, c, emit| {
            each(p, c, emit, |fs| Some(fs.capacity_bytes));
            of_layer(p, c, emit, |layer, fs| {
                layer.limit_bytes.or(fs.map(|fs| fs.capacity_bytes))
            });
        }),
    ),
    gauge(
        "container_fs_inodes_total",
        "Inodes of the file system; of a container's writable layer those in use.",
        From::Several(|p, c, emit| {
            each(p, c, emit, |fs| fs.inodes);
            of_layer(p, c, emit, |layer, _| layer.inodes);
        }),
    ),
    gauge(
        "container_fs_inodes_free",
        "Inodes that are free.",
        From::Several(|p, c, emit| each(p, c, emit, |fs| fs.inodes_free)),
    ),
    gauge(
        "container_fs_usage_time_seconds",
        "Unix time at which the usage of the container's writable layer was measured.",
        From::Several(|p, c, emit| {
            let time = |layer: &LayerUsage| u64::try_from(layer.measured.0).ok();
            value_of_layer(p, c, emit, |layer, _| time(layer).map(Value::Nanos));
        }),
    ),
];

/// The file systems that are shown under a container: those of the node, under `/`.
pub(super) fn of<'p>(page: &'p Page<'_>, container: &Container) -> &'p [FsInfo] {
    match &page.filesystems {
        Some(table)
            if container.name.is_root() && page.options.kinds.contains(MetricKind::Disk) =>
        {
            &table.filesystems
        }
        _ => &[],
    }
}

fn each(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    figure: fn(&FsInfo) -> Option<u64>,
) {
    for fs in of(page, container) {
        emit.sample(&[("device", &fs.device)], figure(fs).map(Value::Count));
    }
}

/// A figure of the writable layer of a container, and of the file system that it is on.
fn value_of_layer(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    figure: impl Fn(&LayerUsage, Option<&FsInfo>) -> Option<Value>,
) {
    if let Some(layer) = &container.layer {
        let device = layer.device.as_deref().unwrap_or_default();
        let table = page.filesystems.as_ref();
        let fs = table.and_then(|table| table.by_device(device));
        emit.sample(&[("device", &device)], figure(layer, fs));
    }
}

fn of_layer(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    figure: fn(&LayerUsage, Option<&FsInfo>) -> Option<u64>,
) {
    value_of_layer(page, container, emit, |layer, fs| {
        figure(layer, fs).map(Value::Count)
    });
}
