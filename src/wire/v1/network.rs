//! `network` of a sample: the first interface once more at the top, as clients know it.

use crate::cgroup::sockets::SocketStats;
use crate::cgroup::stats::{InterfaceStats, NetworkStats};
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::network::{Interfaces, Tcp, TcpAdvanced, Udp};

objects! {
    /// The network of a container, and its sockets if they are read.
    pub struct Network<'a>((&'a NetworkStats, Option<&'a SocketStats>)) |(network, sockets)| {
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
        "tcp" => Some(Tcp(sockets.map(|sockets| &sockets.tcp))),
        "tcp6" => Some(Tcp(sockets.map(|sockets| &sockets.tcp6))),
        "udp" => Some(Udp(sockets.map(|sockets| &sockets.udp))),
        "udp6" => Some(Udp(sockets.map(|sockets| &sockets.udp6))),
        "tcp_advanced" => Some(TcpAdvanced(sockets)),
    }
}

fn first(network: &NetworkStats, figure: fn(&InterfaceStats) -> Option<u64>) -> Option<u64> {
    network
        .interfaces
        .first()
        .and_then(|(_, stats)| figure(stats))
}
