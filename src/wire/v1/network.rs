//! `network` of a sample: the first interface once more at the top, as clients know it.

use crate::cgroup::stats::{InterfaceStats, NetworkStats};
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::Empty;
use crate::wire::shared::network::Interfaces;

objects! {
    /// The network of a container.
    pub struct Network<'a>(&'a NetworkStats) |network| {
        "name" => Some(network.interfaces.first().map_or("", |(name, _)| name)),
        "rx_bytes" => first(network, |stats| stats.rx_bytes),
        "rx_packets" => first(network, |stats| stats.rx_packets),
        "rx_errors" => first(network, |stats| stats.rx_errors),
        "rx_dropped" => first(network, |stats| stats.rx_dropped),
        "tx_bytes" => first(network, |stats| stats.tx_bytes),
        "tx_packets" => first(network, |stats| stats.tx_packets),
        "tx_errors" => first(network, |stats| stats.tx_errors),
        "tx_dropped" => first(network, |stats| stats.tx_dropped),
        "interfaces" => unless_empty(&network.interfaces).map(Interfaces),
        "tcp" => Some(Empty {}),
        "tcp6" => Some(Empty {}),
        "udp" => Some(Empty {}),
        "udp6" => Some(Empty {}),
        "tcp_advanced" => Some(Empty {}),
    }
}

fn first(network: &NetworkStats, figure: fn(&InterfaceStats) -> Option<u64>) -> Option<u64> {
    network
        .interfaces
        .first()
        .and_then(|(_, stats)| figure(stats))
}
