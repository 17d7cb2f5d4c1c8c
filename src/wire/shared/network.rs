//! Network interfaces and sockets, and whose network a container's figures are.

use std::sync::{Arc, LazyLock};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::cgroup::sockets::{ADVANCED_TCP, SocketStats, TcpStates, UdpStats};
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

objects! {
    /// TCP sockets by state; empty if they are not read.
    pub struct Tcp<'a>(Option<&'a TcpStates>) |states| {
        "Established" => states.and_then(|tcp| tcp.established),
        "SynSent" => states.and_then(|tcp| tcp.syn_sent),
        "SynRecv" => states.and_then(|tcp| tcp.syn_recv),
        "FinWait1" => states.and_then(|tcp| tcp.fin_wait1),
        "FinWait2" => states.and_then(|tcp| tcp.fin_wait2),
        "TimeWait" => states.and_then(|tcp| tcp.time_wait),
        "Close" => states.and_then(|tcp| tcp.close),
        "CloseWait" => states.and_then(|tcp| tcp.close_wait),
        "LastAck" => states.and_then(|tcp| tcp.last_ack),
        "Listen" => states.and_then(|tcp| tcp.listen),
        "Closing" => states.and_then(|tcp| tcp.closing),
    }

    /// UDP sockets; empty if they are not read.
    pub struct Udp<'a>(Option<&'a UdpStats>) |stats| {
        "Listen" => stats.and_then(|udp| udp.sockets),
        "Dropped" => stats.and_then(|udp| udp.dropped),
        "RxQueued" => stats.and_then(|udp| udp.rx_queued_bytes),
        "TxQueued" => stats.and_then(|udp| udp.tx_queued_bytes),
    }
}

/// Counters and settings of the kernel's TCP; empty if they are not read.
#[derive(Debug, Clone, Copy)]
pub struct TcpAdvanced<'a>(pub Option<&'a SocketStats>);

impl Serialize for TcpAdvanced<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for &(name, column) in self.0.iter().flat_map(|_| &*ADVANCED) {
            let value = self.0.and_then(|stats| *stats.advanced.get(column)?);
            if let Some(value) = value {
                map.serialize_entry(name, &value)?;
            }
        }
        map.end()
    }
}

/// The names of the wire, each with its place in [`ADVANCED_TCP`].
static ADVANCED: LazyLock<Vec<(&str, usize)>> = LazyLock::new(|| {
    let place = |name: &str| {
        let name = name.to_ascii_lowercase();
        ADVANCED_TCP.binary_search(&name.as_str()).ok()
    };
    let known = ADVANCED_NAMES.iter();
    known
        .filter_map(|&name| Some((name, place(name)?)))
        .collect()
});

/// In the order of the wire, as clients spell them.
const ADVANCED_NAMES: [&str; 99] = [
    "RtoAlgorithm",
    "RtoMin",
    "RtoMax",
    "MaxConn",
    "ActiveOpens",
    "PassiveOpens",
    "AttemptFails",
    "EstabResets",
    "CurrEstab",
    "InSegs",
    "OutSegs",
    "RetransSegs",
    "InErrs",
    "OutRsts",
    "InCsumErrors",
    "EmbryonicRsts",
    "SyncookiesSent",
    "SyncookiesRecv",
    "SyncookiesFailed",
    "PruneCalled",
    "RcvPruned",
    "OfoPruned",
    "OutOfWindowIcmps",
    "LockDroppedIcmps",
    "TW",
    "TWRecycled",
    "TWKilled",
    "TCPTimeWaitOverflow",
    "TCPTimeouts",
    "TCPSpuriousRTOs",
    "TCPLossProbes",
    "TCPLossProbeRecovery",
    "TCPRenoRecoveryFail",
    "TCPSackRecoveryFail",
    "TCPRenoFailures",
    "TCPSackFailures",
    "TCPLossFailures",
    "DelayedACKs",
    "DelayedACKLocked",
    "DelayedACKLost",
    "ListenOverflows",
    "ListenDrops",
    "TCPHPHits",
    "TCPPureAcks",
    "TCPHPAcks",
    "TCPRenoRecovery",
    "TCPSackRecovery",
    "TCPSACKReneging",
    "TCPFACKReorder",
    "TCPSACKReorder",
    "TCPRenoReorder",
    "TCPTSReorder",
    "TCPFullUndo",
    "TCPPartialUndo",
    "TCPDSACKUndo",
    "TCPLossUndo",
    "TCPFastRetrans",
    "TCPSlowStartRetrans",
    "TCPLostRetransmit",
    "TCPRetransFail",
    "TCPRcvCollapsed",
    "TCPDSACKOldSent",
    "TCPDSACKOfoSent",
    "TCPDSACKRecv",
    "TCPDSACKOfoRecv",
    "TCPAbortOnData",
    "TCPAbortOnClose",
    "TCPAbortOnMemory",
    "TCPAbortOnTimeout",
    "TCPAbortOnLinger",
    "TCPAbortFailed",
    "TCPMemoryPressures",
    "TCPMemoryPressuresChrono",
    "TCPSACKDiscard",
    "TCPDSACKIgnoredOld",
    "TCPDSACKIgnoredNoUndo",
    "TCPMD5NotFound",
    "TCPMD5Unexpected",
    "TCPMD5Failure",
    "TCPSackShifted",
    "TCPSackMerged",
    "TCPSackShiftFallback",
    "TCPBacklogDrop",
    "PFMemallocDrop",
    "TCPMinTTLDrop",
    "TCPDeferAcceptDrop",
    "IPReversePathFilter",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "TCPFastOpenActive",
    "TCPFastOpenActiveFail",
    "TCPFastOpenPassive",
    "TCPFastOpenPassiveFail",
    "TCPFastOpenListenOverflow",
    "TCPFastOpenCookieReqd",
    "TCPSynRetrans",
    "TCPOrigDataSent",
    "PAWSActive",
    "PAWSEstab",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_name() {
        let places: std::collections::BTreeSet<_> = ADVANCED.iter().map(|&(_, at)| at).collect();
        assert_eq!(places.len(), ADVANCED_TCP.len());
    }
}
