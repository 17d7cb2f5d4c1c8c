//! File systems of the node, beside the samples of `/` and as `storage`; writable layers, beside the
//! samples of their containers.

use serde::{Serialize, Serializer};

use super::history::Point;
use crate::node::disk_usage::{LayerUsage, store};
use crate::node::diskstats::DiskIo;
use crate::node::{FsInfo, FsTable, fs_recent};
use crate::units::Timestamp;
use crate::wire::machine::VFS;
use crate::wire::object::{objects, unless_empty};
use crate::wire::time::rfc3339;

/// Nanoseconds in a millisecond: API v1 tells disk time in milliseconds.
const NS_PER_MS: u64 = 1_000_000;

objects! {
    /// A file system in a sample of API v1 and v2.0. Disk time is in milliseconds.
    pub struct FsStats<'a>(&'a FsInfo) |fs| {
        "device" => Some(fs.device.as_str()),
        "type" => Some(VFS),
        "capacity" => Some(fs.capacity_bytes),
        "usage" => Some(fs.usage_bytes),
        "base_usage" => Some(0),
        "available" => Some(fs.available_bytes),
        "has_inodes" => Some(fs.inodes.is_some()),
        "inodes" => fs.inodes,
        "inodes_free" => fs.inodes_free,
        "reads_completed" => fs.io.map(|io| io.reads_completed),
        "reads_merged" => fs.io.map(|io| io.reads_merged),
        "sectors_read" => fs.io.map(|io| io.sectors_read),
        "read_time" => fs.io.map(|io| io.read_time_ns / NS_PER_MS),
        "writes_completed" => fs.io.map(|io| io.writes_completed),
        "writes_merged" => fs.io.map(|io| io.writes_merged),
        "sectors_written" => fs.io.map(|io| io.sectors_written),
        "write_time" => fs.io.map(|io| io.write_time_ns / NS_PER_MS),
        "io_in_progress" => fs.io.map(|io| io.in_progress),
        "io_time" => fs.io.map(|io| io.io_time_ns / NS_PER_MS),
        "weighted_io_time" => fs.io.map(|io| io.weighted_io_time_ns / NS_PER_MS),
    }

    /// A file system in `machinestats`.
    pub struct MachineFsStats<'a>(&'a FsInfo) |fs| {
        "device" => Some(fs.device.as_str()),
        "type" => Some(VFS),
        "capacity" => Some(fs.capacity_bytes),
        "usage" => Some(fs.usage_bytes),
        "available" => Some(fs.available_bytes),
        "inodes_free" => fs.inodes_free,
        "inline" => Some(Disk(fs.io.as_ref())),
    }

    /// The counters of a disk; disk time is in nanoseconds.
    struct Disk<'a>(Option<&'a DiskIo>) |io| {
        "reads_completed" => io.map(|io| io.reads_completed),
        "reads_merged" => io.map(|io| io.reads_merged),
        "sectors_read" => io.map(|io| io.sectors_read),
        "read_duration" => io.map(|io| io.read_time_ns),
        "writes_completed" => io.map(|io| io.writes_completed),
        "writes_merged" => io.map(|io| io.writes_merged),
        "sectors_written" => io.map(|io| io.sectors_written),
        "write_duration" => io.map(|io| io.write_time_ns),
        "io_in_progress" => io.map(|io| io.in_progress),
        "io_duration" => io.map(|io| io.io_time_ns),
        "weighted_io_duration" => io.map(|io| io.weighted_io_time_ns),
    }

    /// A file system of `storage`, in a table of this time.
    pub struct Storage<'a>((&'a FsInfo, Timestamp)) |view| {
        "timestamp" => Some(rfc3339(view.1)),
        "device" => Some(view.0.device.as_str()),
        "mountpoint" => Some(view.0.mount_point.to_string_lossy()),
        "capacity" => Some(view.0.capacity_bytes),
        "available" => Some(view.0.available_bytes),
        "usage" => Some(view.0.usage_bytes),
        // `null` without any: so it always was for this key.
        "labels" => Some(unless_empty(&view.0.labels)),
        "inodes" => view.0.inodes,
        "inodes_free" => view.0.inodes_free,
    }
}

/// The file systems that are shown beside a sample of `/`: those of the node.
pub fn of_node(point: Point<'_>) -> Option<&FsTable> {
    if !point.info.name.is_root() {
        return None;
    }
    fs_recent::at(point.context.filesystems, point.sample.timestamp)
        .filter(|table| !table.filesystems.is_empty())
}

/// The writable layer that is shown beside a sample of any other container: as it was when it had last
/// been measured by then.
pub fn layer(point: Point<'_>) -> Option<&LayerUsage> {
    if point.info.name.is_root() {
        return None;
    }
    store::at(&point.info.layer, point.sample.timestamp)
}

/// The file system that a layer is on, as it was then.
fn holding<'a>(layer: &LayerUsage, point: Point<'a>) -> Option<&'a FsInfo> {
    let table = fs_recent::at(point.context.filesystems, point.sample.timestamp)?;
    table.by_device(layer.device.as_deref()?)
}

/// What is shown beside a sample in API v1 and v2.0: a list, of one layer or of the node's file systems.
pub fn shown(point: Point<'_>) -> Option<Shown<'_>> {
    let of_node = of_node(point).map(|table| Shown::Node(List(table, FsStats)));
    of_node.or_else(|| {
        let layer = layer(point)?;
        Some(Shown::Layer([LayerStats((layer, holding(layer, point)))]))
    })
}

/// See [`shown`].
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Shown<'a> {
    /// File systems of the node.
    Node(List<'a, FsStats<'a>>),
    /// The layer of a container.
    Layer([LayerStats<'a>; 1]),
}

objects! {
    /// A writable layer in a sample of API v1 and v2.0: its usage, and what is known of the file system
    /// that it is on. Inodes are those in use, as clients know it: so none is said to be free.
    pub struct LayerStats<'a>((&'a LayerUsage, Option<&'a FsInfo>)) |(layer, fs)| {
        "device" => layer.device.as_deref(),
        "type" => Some(VFS),
        "capacity" => layer.limit_bytes.or(fs.map(|fs| fs.capacity_bytes)),
        "usage" => Some(layer.usage_bytes),
        "base_usage" => Some(layer.base_bytes),
        "available" => available_bytes(layer, fs),
        "has_inodes" => Some(false),
        "inodes" => layer.inodes,
        "reads_completed" => io(fs, |io| io.reads_completed),
        "reads_merged" => io(fs, |io| io.reads_merged),
        "sectors_read" => io(fs, |io| io.sectors_read),
        "read_time" => io(fs, |io| io.read_time_ns / NS_PER_MS),
        "writes_completed" => io(fs, |io| io.writes_completed),
        "writes_merged" => io(fs, |io| io.writes_merged),
        "sectors_written" => io(fs, |io| io.sectors_written),
        "write_time" => io(fs, |io| io.write_time_ns / NS_PER_MS),
        "io_in_progress" => io(fs, |io| io.in_progress),
        "io_time" => io(fs, |io| io.io_time_ns / NS_PER_MS),
        "weighted_io_time" => io(fs, |io| io.weighted_io_time_ns / NS_PER_MS),
        "measured" => Some(rfc3339(layer.measured)),
    }

    /// A writable layer in a sample of API v2.1.
    pub struct LayerTotals<'a>(&'a LayerUsage) |layer| {
        "totalUsageBytes" => Some(layer.usage_bytes),
        "baseUsageBytes" => Some(layer.base_bytes),
        // Misspelt since ever: clients know it so.
        "containter_inode_usage" => layer.inodes,
        "measured" => Some(rfc3339(layer.measured)),
    }
}

/// What may still be written to a layer: of its own limit if it has one, else of the file system.
pub fn available_bytes(layer: &LayerUsage, fs: Option<&FsInfo>) -> Option<u64> {
    let of_limit = layer
        .limit_bytes
        .map(|limit| limit.saturating_sub(layer.usage_bytes));
    let of_fs = fs.map(|fs| fs.available_bytes);
    [of_limit, of_fs].into_iter().flatten().min()
}

fn io(fs: Option<&FsInfo>, figure: fn(&DiskIo) -> u64) -> Option<u64> {
    fs?.io.as_ref().map(figure)
}

/// File systems as a list, each as `V` shows it.
#[derive(Debug, Clone, Copy)]
pub struct List<'a, V>(pub &'a FsTable, pub fn(&'a FsInfo) -> V);

impl<V: Serialize> Serialize for List<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.filesystems.iter().map(self.1))
    }
}
