//! Sockets of a network namespace, shown once for each namespace as its interfaces are.

use super::encode::Emit;
use super::family::{Family, From, Value, gauge};
use super::page::{Container, Page};
use crate::cgroup::sockets::{ADVANCED_TCP, SocketStats, TcpStates, UdpStats};

/// TCP sockets by state.
pub(super) const TCP: &[Family] = &[
    gauge(
        "container_network_tcp_usage_total",
        "TCP sockets, by state.",
        From::Several(|p, c, emit| tcp(p, c, emit, |s| &s.tcp)),
    ),
    gauge(
        "container_network_tcp6_usage_total",
        "TCP sockets of IPv6, by state.",
        From::Several(|p, c, emit| tcp(p, c, emit, |s| &s.tcp6)),
    ),
];

/// UDP sockets.
pub(super) const UDP: &[Family] = &[
    gauge(
        "container_network_udp_usage_total",
        "UDP sockets, packets that they dropped, and bytes that wait in their queues.",
        From::Several(|p, c, emit| udp(p, c, emit, |s| &s.udp)),
    ),
    gauge(
        "container_network_udp6_usage_total",
        "The same for UDP sockets of IPv6.",
        From::Several(|p, c, emit| udp(p, c, emit, |s| &s.udp6)),
    ),
];

/// Counters of the kernel's TCP.
pub(super) const ADVANCED: &[Family] = &[gauge(
    "container_network_advance_tcp_stats_total",
    "Counters and settings of TCP, by name.",
    From::Several(advanced),
)];

fn tcp(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    of: fn(&SocketStats) -> &TcpStates,
) {
    let Some(sockets) = page.sockets(container) else {
        return;
    };
    let states = of(sockets);
    for (state, count) in [
        ("close", states.close),
        ("closewait", states.close_wait),
        ("closing", states.closing),
        ("established", states.established),
        ("finwait1", states.fin_wait1),
        ("finwait2", states.fin_wait2),
        ("lastack", states.last_ack),
        ("listen", states.listen),
        ("synrecv", states.syn_recv),
        ("synsent", states.syn_sent),
        ("timewait", states.time_wait),
    ] {
        emit.sample(&[("tcp_state", &state)], count.map(Value::Count));
    }
}

fn udp(
    page: &Page<'_>,
    container: &Container,
    emit: &mut Emit<'_>,
    of: fn(&SocketStats) -> &UdpStats,
) {
    let Some(sockets) = page.sockets(container) else {
        return;
    };
    let stats = of(sockets);
    for (state, count) in [
        ("dropped", stats.dropped),
        ("listen", stats.sockets),
        ("rxqueued", stats.rx_queued_bytes),
        ("txqueued", stats.tx_queued_bytes),
    ] {
        emit.sample(&[("udp_state", &state)], count.map(Value::Count));
    }
}

fn advanced(page: &Page<'_>, container: &Container, emit: &mut Emit<'_>) {
    let Some(sockets) = page.sockets(container) else {
        return;
    };
    for (name, count) in ADVANCED_TCP.iter().zip(&sockets.advanced) {
        emit.sample(&[("tcp_state", name)], count.map(Value::Count));
    }
}
