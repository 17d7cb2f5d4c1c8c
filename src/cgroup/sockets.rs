//! Sockets of a network namespace: `/proc/PID/net/{tcp,tcp6,udp,udp6,snmp,netstat}`.
//!
//! These files have a line for each socket, and the kernel walks its hash tables to print them: they
//! are read only where their kind of metrics is asked for.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::columns::{Columns, columns};
use super::format::{lines, number, words};
use super::kind::{KindSet, MetricKind};

columns! {
    /// TCP sockets by state. Fourth column of `net/tcp`, in hexadecimal.
    pub struct TcpStates {
        /// 01.
        established,
        /// 02.
        syn_sent,
        /// 03.
        syn_recv,
        /// 04.
        fin_wait1,
        /// 05.
        fin_wait2,
        /// 06.
        time_wait,
        /// 07.
        close,
        /// 08.
        close_wait,
        /// 09.
        last_ack,
        /// 0A.
        listen,
        /// 0B.
        closing,
    }

    /// UDP sockets: sums over the lines of `net/udp`.
    pub struct UdpStats {
        /// Sockets.
        sockets,
        /// Packets dropped. Last column.
        dropped,
        /// Bytes received and not yet read. The part of the fifth column behind the colon.
        rx_queued_bytes,
        /// Bytes not yet sent. The part before the colon.
        tx_queued_bytes,
    }
}

/// What is known of the sockets of a namespace; groups whose kind is off are all absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketStats {
    /// IPv4 TCP.
    pub tcp: TcpStates,
    /// IPv6 TCP.
    pub tcp6: TcpStates,
    /// IPv4 UDP.
    pub udp: UdpStats,
    /// IPv6 UDP.
    pub udp6: UdpStats,
    /// Counters of the kernel's TCP, in the order of [`ADVANCED_TCP`].
    pub advanced: Vec<Option<u64>>,
}

impl Default for SocketStats {
    fn default() -> Self {
        Self {
            tcp: TcpStates::default(),
            tcp6: TcpStates::default(),
            udp: UdpStats::default(),
            udp6: UdpStats::default(),
            advanced: vec![None; ADVANCED_TCP.len()],
        }
    }
}

impl Columns for SocketStats {
    fn each(&self, visit: &mut impl FnMut(Option<u64>)) {
        self.tcp.each(visit);
        self.tcp6.each(visit);
        self.udp.each(visit);
        self.udp6.each(visit);
        self.advanced.iter().for_each(|&column| visit(column));
    }

    fn each_mut(&mut self, visit: &mut impl FnMut(&mut Option<u64>)) {
        self.tcp.each_mut(visit);
        self.tcp6.each_mut(visit);
        self.udp.each_mut(visit);
        self.udp6.each_mut(visit);
        self.advanced.iter_mut().for_each(visit);
    }
}

/// The counters of `Tcp` in `net/snmp` and of `TcpExt` in `net/netstat` that are kept, in lower case
/// and in order. What a kernel does not print stays absent, and so does what is negative (`MaxConn`).
pub const ADVANCED_TCP: [&str; 99] = [
    "activeopens",
    "attemptfails",
    "currestab",
    "delayedacklocked",
    "delayedacklost",
    "delayedacks",
    "embryonicrsts",
    "estabresets",
    "incsumerrors",
    "inerrs",
    "insegs",
    "ipreversepathfilter",
    "listendrops",
    "listenoverflows",
    "lockdroppedicmps",
    "maxconn",
    "ofopruned",
    "outofwindowicmps",
    "outrsts",
    "outsegs",
    "passiveopens",
    "pawsactive",
    "pawsestab",
    "pfmemallocdrop",
    "prunecalled",
    "rcvpruned",
    "retranssegs",
    "rtoalgorithm",
    "rtomax",
    "rtomin",
    "syncookiesfailed",
    "syncookiesrecv",
    "syncookiessent",
    "tcpabortfailed",
    "tcpabortonclose",
    "tcpabortondata",
    "tcpabortonlinger",
    "tcpabortonmemory",
    "tcpabortontimeout",
    "tcpbacklogdrop",
    "tcpdeferacceptdrop",
    "tcpdsackignorednoundo",
    "tcpdsackignoredold",
    "tcpdsackoforecv",
    "tcpdsackofosent",
    "tcpdsackoldsent",
    "tcpdsackrecv",
    "tcpdsackundo",
    "tcpfackreorder",
    "tcpfastopenactive",
    "tcpfastopenactivefail",
    "tcpfastopencookiereqd",
    "tcpfastopenlistenoverflow",
    "tcpfastopenpassive",
    "tcpfastopenpassivefail",
    "tcpfastretrans",
    "tcpfullundo",
    "tcphpacks",
    "tcphphits",
    "tcplossfailures",
    "tcplossproberecovery",
    "tcplossprobes",
    "tcplossundo",
    "tcplostretransmit",
    "tcpmd5failure",
    "tcpmd5notfound",
    "tcpmd5unexpected",
    "tcpmemorypressures",
    "tcpmemorypressureschrono",
    "tcpminttldrop",
    "tcporigdatasent",
    "tcppartialundo",
    "tcppureacks",
    "tcprcvcollapsed",
    "tcprenofailures",
    "tcprenorecovery",
    "tcprenorecoveryfail",
    "tcprenoreorder",
    "tcpreqqfulldocookies",
    "tcpreqqfulldrop",
    "tcpretransfail",
    "tcpsackdiscard",
    "tcpsackfailures",
    "tcpsackmerged",
    "tcpsackrecovery",
    "tcpsackrecoveryfail",
    "tcpsackreneging",
    "tcpsackreorder",
    "tcpsackshifted",
    "tcpsackshiftfallback",
    "tcpslowstartretrans",
    "tcpspuriousrtos",
    "tcpsynretrans",
    "tcptimeouts",
    "tcptimewaitoverflow",
    "tcptsreorder",
    "tw",
    "twkilled",
    "twrecycled",
];

/// The kinds that make these files be read.
pub const SOCKET_KINDS: KindSet =
    KindSet::of(&[MetricKind::Tcp, MetricKind::AdvTcp, MetricKind::Udp]);

/// Reads what `kinds` ask for, of the namespace that the process at `process` (`/proc/PID`) is in.
pub fn read(process: &Path, kinds: KindSet) -> SocketStats {
    let mut stats = SocketStats::default();
    let path = |name: &str| process.join("net").join(name);
    if kinds.contains(MetricKind::Tcp) {
        stats.tcp = tcp(&path("tcp")).unwrap_or_default();
        stats.tcp6 = tcp(&path("tcp6")).unwrap_or_default();
    }
    if kinds.contains(MetricKind::Udp) {
        stats.udp = udp(&path("udp")).unwrap_or_default();
        stats.udp6 = udp(&path("udp6")).unwrap_or_default();
    }
    if kinds.contains(MetricKind::AdvTcp) {
        for (file, protocol) in [("snmp", &b"Tcp"[..]), ("netstat", b"TcpExt")] {
            if let Ok(text) = std::fs::read(path(file)) {
                advanced(&text, protocol, &mut stats.advanced);
            }
        }
    }
    stats
}

/// Calls `line` with the words of every line but the first. A table may be larger than any buffer:
/// it is read piece by piece.
fn each_line(path: &Path, mut line: impl FnMut(&[&[u8]])) -> Option<()> {
    /// A line has 150 bytes; the kernel gives whole ones, as many as fit.
    const PIECE: usize = 64 * 1024;
    /// More columns than any line has.
    const COLUMNS: usize = 24;
    let mut reader = BufReader::with_capacity(PIECE, File::open(path).ok()?);
    let (mut text, mut first) = (Vec::new(), true);
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).ok()? == 0 {
            return Some(());
        }
        if std::mem::take(&mut first) {
            continue;
        }
        let (mut columns, mut found) = ([&b""[..]; COLUMNS], 0);
        for (slot, word) in columns.iter_mut().zip(words(&text)) {
            *slot = word;
            found += 1;
        }
        line(columns.get(..found).unwrap_or_default());
    }
}

fn tcp(path: &Path) -> Option<TcpStates> {
    let mut counts = [0_u64; 12];
    each_line(path, |columns| {
        let state = columns.get(3).and_then(|word| hex(word));
        let slot = state.and_then(|state| counts.get_mut(usize::try_from(state).ok()?));
        if let Some(slot) = slot {
            *slot += 1;
        }
    })?;
    let mut states = TcpStates::default();
    let mut counts = counts.into_iter().skip(1);
    states.each_mut(&mut |column| *column = counts.next());
    Some(states)
}

fn udp(path: &Path) -> Option<UdpStats> {
    let (mut sockets, mut dropped, mut rx, mut tx) = (0, 0_u64, 0_u64, 0_u64);
    each_line(path, |columns| {
        sockets += 1;
        let queues = columns.get(4).and_then(|word| {
            let colon = word.iter().position(|&byte| byte == b':')?;
            Some((hex(word.get(..colon)?)?, hex(word.get(colon + 1..)?)?))
        });
        if let Some((sending, received)) = queues {
            tx = tx.saturating_add(sending);
            rx = rx.saturating_add(received);
        }
        let drops = columns.get(12).and_then(|word| number(word));
        dropped = dropped.saturating_add(drops.unwrap_or(0));
    })?;
    Some(UdpStats {
        sockets: Some(sockets),
        dropped: Some(dropped),
        rx_queued_bytes: Some(rx),
        tx_queued_bytes: Some(tx),
    })
}

/// The pairs of lines of a protocol: names, then values.
fn protocol<'t>(
    text: &'t [u8],
    protocol: &[u8],
) -> Option<impl Iterator<Item = (&'t [u8], Option<u64>)> + use<'t>> {
    let mut of_protocol = lines(text).filter_map(move |line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        (line.get(..colon)? == protocol).then(|| line.get(colon + 1..))?
    });
    let (names, values) = (of_protocol.next()?, of_protocol.next()?);
    Some(words(names).zip(words(values).map(number)))
}

fn advanced(text: &[u8], name: &[u8], out: &mut [Option<u64>]) {
    for (name, value) in protocol(text, name).into_iter().flatten() {
        let name = name.to_ascii_lowercase();
        let at = ADVANCED_TCP.binary_search_by(|known| known.as_bytes().cmp(&name));
        if let Some(slot) = at.ok().and_then(|at| out.get_mut(at)) {
            *slot = value;
        }
    }
}

/// A counter of a protocol in the text of `net/snmp` or `net/netstat`.
pub fn counter_of(text: &[u8], name: &[u8], counter: &[u8]) -> Option<u64> {
    protocol(text, name)?.find(|pair| pair.0 == counter)?.1
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
           0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20 1 f 100 0 0 10 0\n\
           1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 21 1 f 20 4 30 10 -1\n\
           2: 0100007F:1F90 0100007F:9C41 01 00000000:00000000 00:00000000 00000000     0        0 22 1 f 20 4 30 10 -1\n\
           3: 0100007F:1F90 0100007F:9C42 0C 00000000:00000000 00:00000000 00000000     0        0 22 1 f 20 4 30 10 -1\n";
    const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
         1: 00000000:0044 00000000:0000 07 00000010:00000200 00:00000000 00000000 0 0 1 2 f 7\n\
         2: 00000000:0045 00000000:0000 07 00000000:00000001 00:00000000 00000000 0 0 1 2 f 1\n\
         odd\n";
    const SNMP: &[u8] =
        b"Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm MaxConn ActiveOpens New\nTcp: 1 -1 5452 3\n";

    #[test]
    fn the_names_are_sorted() {
        assert!(ADVANCED_TCP.is_sorted());
    }

    #[test]
    fn tables_of_sockets() {
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("7/net");
        std::fs::create_dir_all(&net).unwrap();
        for (name, text) in [("tcp", TCP), ("udp", UDP)] {
            std::fs::write(net.join(name), text).unwrap();
        }
        std::fs::write(net.join("snmp"), SNMP).unwrap();
        let stats = read(&root.path().join("7"), SOCKET_KINDS);
        assert_eq!(
            (stats.tcp.established, stats.tcp.listen),
            (Some(2), Some(1))
        );
        assert_eq!((stats.tcp.closing, stats.tcp.syn_sent), (Some(0), Some(0)));
        assert_eq!(stats.tcp6, TcpStates::default(), "no file, no figures");
        assert_eq!(
            stats.udp,
            UdpStats {
                sockets: Some(3),
                dropped: Some(8),
                rx_queued_bytes: Some(0x201),
                tx_queued_bytes: Some(0x10),
            }
        );
        let of = |name| stats.advanced[ADVANCED_TCP.binary_search(&name).unwrap()];
        assert_eq!(of("activeopens"), Some(5452));
        assert_eq!((of("maxconn"), of("listendrops")), (None, None));
        let nothing = read(root.path(), KindSet::EMPTY);
        assert_eq!(nothing, SocketStats::default());
    }

    #[test]
    fn one_counter() {
        assert_eq!(counter_of(SNMP, b"Tcp", b"ActiveOpens"), Some(5452));
        assert_eq!(counter_of(SNMP, b"Tcp", b"Nothing"), None);
        assert_eq!(counter_of(b"Tcp: A\n", b"Tcp", b"A"), None);
    }
}
