//! Network, by interface; once for each namespace.

use super::encode::Emit;
use super::family::{Family, From, Value, counter};
use super::page::Container;
use crate::cgroup::stats::InterfaceStats;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "container_network_receive_bytes_total",
        "Bytes received.",
        From::Several(|_, c, emit| each(c, emit, |i| i.rx_bytes)),
    ),
    counter(
        "container_network_receive_packets_total",
        "Packets received.",
        From::Several(|_, c, emit| each(c, emit, |i| i.rx_packets)),
    ),
    counter(
        "container_network_receive_errors_total",
        "Receive errors.",
        From::Several(|_, c, emit| each(c, emit, |i| i.rx_errors)),
    ),
    counter(
        "container_network_receive_packets_dropped_total",
        "Packets dropped on receipt.",
        From::Several(|_, c, emit| each(c, emit, |i| i.rx_dropped)),
    ),
    counter(
        "container_network_transmit_bytes_total",
        "Bytes sent.",
        From::Several(|_, c, emit| each(c, emit, |i| i.tx_bytes)),
    ),
    counter(
        "container_network_transmit_packets_total",
        "Packets sent.",
        From::Several(|_, c, emit| each(c, emit, |i| i.tx_packets)),
    ),
    counter(
        "container_network_transmit_errors_total",
        "Send errors.",
        From::Several(|_, c, emit| each(c, emit, |i| i.tx_errors)),
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Packets dropped on sending.",
        From::Several(|_, c, emit| each(c, emit, |i| i.tx_dropped)),
    ),
];

fn each(container: &Container, emit: &mut Emit<'_>, figure: fn(&InterfaceStats) -> Option<u64>) {
    if !container.shows_network {
        return;
    }
    for (name, stats) in container
        .sample
        .network
        .iter()
        .flat_map(|network| &network.interfaces)
    {
        emit.sample(&[("interface", name)], figure(stats).map(Value::Count));
    }
}
