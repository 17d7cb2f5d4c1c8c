//! Network interfaces, and whose network a container's figures are.

use std::sync::Arc;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::cgroup::stats::{InterfaceStats, NetworkStats};
use crate::cgroup::{ContainerName, Sample};
use crate::wire::object::objects;

/// The network that is shown under `name`. Figures of the host's own namespace are the node's: they
/// are shown for `/` alone, and for every other container in that namespace there are none.
pub fn shown<'a>(name: &ContainerName, sample: &'a Sample) -> Option<&'a NetworkStats> {
    sample
        .network
        .as_ref()
        .filter(|network| name.is_root() || !network.host)
}

objects! {
    /// One interface.
    pub struct Interface<'a>((&'a str, &'a InterfaceStats)) |interface| {
        "name" => Some(interface.0),
        "rx_bytes" => interface.1.rx_bytes,
        "rx_packets" => interface.1.rx_packets,
        "rx_errors" => interface.1.rx_errors,
        "rx_dropped" => interface.1.rx_dropped,
        "tx_bytes" => interface.1.tx_bytes,
        "tx_packets" => interface.1.tx_packets,
        "tx_errors" => interface.1.tx_errors,
        "tx_dropped" => interface.1.tx_dropped,
    }
}

/// A list of interfaces.
#[derive(Debug, Clone, Copy)]
pub struct Interfaces<'a>(pub &'a [(Arc<str>, InterfaceStats)]);

impl Serialize for Interfaces<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (name, stats) in self.0 {
            list.serialize_element(&Interface((name, stats)))?;
        }
        list.end()
    }
}
