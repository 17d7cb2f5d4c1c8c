//! File systems, under `/`: how full they are.

use super::encode::Emit;
use super::family::{Family, From, Value, gauge};
use super::page::{Container, Page};
use crate::cgroup::kind::MetricKind;
use crate::node::FsInfo;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "container_fs_usage_bytes",
        "Space in use.",
        From::Several(|p, c, emit| each(p, c, emit, |fs| Some(fs.usage_bytes))),
    ),
    gauge(
        "container_fs_limit_bytes",
        "Size of the file system.",
        From::Several(|p, c, emit| each(p, c, emit, |fs| Some(fs.capacity_bytes))),
    ),
    gauge(
        "container_fs_inodes_total",
        "Inodes of the file system.",
        From::Several(|p, c, emit| each(p, c, emit, |fs| fs.inodes)),
    ),
    gauge(
        "container_fs_inodes_free",
        "Inodes that are free.",
        From::Several(|p, c, emit| each(p, c, emit, |fs| fs.inodes_free)),
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
