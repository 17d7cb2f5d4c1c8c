//! Network, by interface; once for each namespace.

use super::encode::Emit;
use super::family::{Family, From, Value, counter};
use super::page::{Container, Page};
use crate::cgroup::stats::InterfaceStats;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "container_network_receive_bytes_total",
        "Bytes received.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.rx_bytes)),
    ),
    counter(
        "container_network_receive_packets_total",
        "Packets received.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.rx_packets)),
    ),
    counter(
        "container_network_receive_errors_total",
        "Receive errors.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.rx_errors)),
    ),
    counter(
        "container_network_receive_packets_dropped_total",
        "Packets dropped on receipt.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.rx_dropped)),
    ),
    counter(
        "container_network_transmit_bytes_total",
        "Bytes sent.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.tx_bytes)),
    ),
    counter(
        "container_network_transmit_packets_total",
        "Packets sent.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.tx_packets)),
    ),
    counter(
        "container_network_transmit_errors_total",
        "Send errors.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.tx_errors)),
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Packets dropped on sending.",
        From::Several(|p, c, emit| each(p, c, emit, |i| i.tx_dropped)),
    ),
];

fn each(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    figure: fn(&InterfaceStats) -> Option<u64>,
) {
    let interfaces = page.interfaces(container);
    if page.sums_up() {
        emit.sample(
            &[("interface", &ALL)],
            sum(interfaces.iter().map(|(_, stats)| figure(stats))).map(Value::Count),
        );
        return;
    }
    for (name, stats) in interfaces {
        emit.sample(&[("interface", name)], figure(stats).map(Value::Count));
    }
}

/// The device or interface of a sum over all of them.
pub(super) const ALL: &str = "all";

/// The sum of what there is.
pub(super) fn sum(figures: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    figures.flatten().reduce(u64::saturating_add)
}
