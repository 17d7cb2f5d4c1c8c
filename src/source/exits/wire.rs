//! Pure: the messages of netlink, generic netlink, taskstats and the process connector.

/// Bytes before the payload of a netlink message.
const HEADER: usize = 16;
/// Bytes before the attributes of a generic netlink message.
const GENERIC_HEADER: usize = 4;
/// Bytes before the payload of a connector message (`struct cn_msg`).
const CONNECTOR_HEADER: usize = 20;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const TASKSTATS_CMD_GET: u8 = 1;
const TASKSTATS_CMD_ATTR_REGISTER_CPUMASK: u16 = 3;
const TASKSTATS_TYPE_PID: u16 = 1;
const TASKSTATS_TYPE_STATS: u16 = 3;
const TASKSTATS_TYPE_AGGR_PID: u16 = 4;

const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
const PROC_CN_MCAST_LISTEN: u32 = 1;
const PROC_EVENT_FORK: u32 = 1;
const PROC_EVENT_EXEC: u32 = 2;
const PROC_EVENT_EXIT: u32 = 0x8000_0000;

/// The multicast group of the process connector, as a bit.
pub const CONNECTOR_GROUP: u32 = CN_IDX_PROC;

/// The version of `struct taskstats` whose fields are elsewhere (Linux 6.13 to 6.15, by mistake).
const MOVED_VERSION: u16 = 15;

/// What the kernel answered to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, or the number of an error.
    Ack(i32),
    /// The number of the family that was asked for.
    Family(u16),
}

/// What a thread had used when it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadEnd {
    /// The thread.
    pub tid: u32,
    /// Its process; before Linux 5.19 the kernel does not say.
    pub pid: Option<u32>,
    /// Its time on a CPU, nanoseconds (`se.sum_exec_runtime`).
    pub cpu_ns: u64,
    /// How it ended, as `wait` says it.
    pub status: u32,
    /// The most memory that its process had resident, bytes.
    pub peak_rss_bytes: u64,
    /// Bytes it read from storage.
    pub read_bytes: u64,
    /// Bytes it wrote to storage.
    pub write_bytes: u64,
}

/// What the process connector tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEvent {
    /// A process (or, with another `tid`, a thread of it) was made by one of `parent`.
    Fork {
        /// The process of the maker.
        parent: u32,
        /// The new thread.
        tid: u32,
        /// Its process.
        pid: u32,
    },
    /// A process began another program.
    Exec {
        /// Which.
        pid: u32,
    },
    /// A thread has ended.
    Exit {
        /// The thread.
        tid: u32,
        /// Its process.
        pid: u32,
    },
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The messages in what was received: type and payload.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let kind = u16_at(bytes, 4)?;
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The attributes in a payload: type and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        // The two upper bits are flags.
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]);
    out.extend(payload);
    out
}

/// A request of generic netlink with one attribute, a text.
fn generic(family: u16, command: u8, attribute: u16, text: &str) -> Vec<u8> {
    let mut payload = vec![command, 1, 0, 0];
    let length = u16::try_from(4 + text.len() + 1).unwrap_or(u16::MAX);
    payload.extend(length.to_ne_bytes());
    payload.extend(attribute.to_ne_bytes());
    payload.extend(text.as_bytes());
    payload.push(0);
    payload.resize(aligned(payload.len()), 0);
    message(family, NLM_F_REQUEST | NLM_F_ACK, &payload)
}

/// Asks for the number of the taskstats family.
pub fn ask_family() -> Vec<u8> {
    generic(
        GENL_ID_CTRL,
        CTRL_CMD_GETFAMILY,
        CTRL_ATTR_FAMILY_NAME,
        "TASKSTATS",
    )
}

/// Asks for the end of every thread on these CPUs, a list such as `0-3`.
pub fn register(family: u16, cpus: &str) -> Vec<u8> {
    generic(
        family,
        TASKSTATS_CMD_GET,
        TASKSTATS_CMD_ATTR_REGISTER_CPUMASK,
        cpus,
    )
}

/// Asks the process connector to tell.
pub fn listen() -> Vec<u8> {
    let mut payload = Vec::with_capacity(CONNECTOR_HEADER + 4);
    payload.extend(CN_IDX_PROC.to_ne_bytes());
    payload.extend(CN_VAL_PROC.to_ne_bytes());
    payload.extend([0; 8]);
    payload.extend(4_u16.to_ne_bytes());
    payload.extend([0; 2]);
    payload.extend(PROC_CN_MCAST_LISTEN.to_ne_bytes());
    message(NLMSG_DONE, 0, &payload)
}

/// The answers in what was received.
pub fn answers(bytes: &[u8]) -> impl Iterator<Item = Answer> {
    messages(bytes).filter_map(|(kind, payload)| match kind {
        NLMSG_ERROR => Some(Answer::Ack(-i32::from_ne_bytes(
            payload.get(..4)?.try_into().ok()?,
        ))),
        GENL_ID_CTRL => {
            let (_, id) = attributes(payload.get(GENERIC_HEADER..)?)
                .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)?;
            Some(Answer::Family(u16_at(id, 0)?))
        }
        _ => None,
    })
}

/// The ends of threads in what the taskstats `family` sent. Its sums by process are passed over: they
/// are made up of the same threads.
pub fn thread_ends(bytes: &[u8], family: u16) -> impl Iterator<Item = ThreadEnd> {
    messages(bytes)
        .filter(move |(kind, _)| *kind == family)
        .flat_map(|(_, payload)| attributes(payload.get(GENERIC_HEADER..).unwrap_or_default()))
        .filter(|(kind, _)| *kind == TASKSTATS_TYPE_AGGR_PID)
        .filter_map(|(_, both)| {
            let find = |wanted| attributes(both).find(|(kind, _)| *kind == wanted);
            let (_, tid) = find(TASKSTATS_TYPE_PID)?;
            let (_, stats) = find(TASKSTATS_TYPE_STATS)?;
            thread_end(u32_at(tid, 0)?, stats)
        })
}

/// Reads `struct taskstats`. Fields are only ever added to its end, but for one version.
fn thread_end(tid: u32, stats: &[u8]) -> Option<ThreadEnd> {
    /// `ac_tgid` came with this version.
    const VERSION_WITH_PID: u16 = 11;
    let version = u16_at(stats, 0)?;
    if version == MOVED_VERSION {
        return None;
    }
    let pid = u32_at(stats, 368).filter(|&pid| version >= VERSION_WITH_PID && pid != 0);
    Some(ThreadEnd {
        tid,
        pid,
        cpu_ns: u64_at(stats, 72)?,
        status: u32_at(stats, 4)?,
        peak_rss_bytes: u64_at(stats, 200)?.saturating_mul(crate::units::BYTES_PER_KB),
        read_bytes: u64_at(stats, 248)?,
        write_bytes: u64_at(stats, 256)?,
    })
}

/// The events in what the process connector sent.
pub fn process_events(bytes: &[u8]) -> impl Iterator<Item = ProcessEvent> {
    messages(bytes).filter_map(|(_, payload)| {
        if u32_at(payload, 0)? != CN_IDX_PROC || u32_at(payload, 4)? != CN_VAL_PROC {
            return None;
        }
        // `what`, the CPU and a time stamp of eight bytes come before the data of the event.
        let event = payload.get(CONNECTOR_HEADER..)?;
        let word = |at: usize| u32_at(event, 16 + 4 * at);
        Some(match u32_at(event, 0)? {
            PROC_EVENT_FORK => ProcessEvent::Fork {
                parent: word(1)?,
                tid: word(2)?,
                pid: word(3)?,
            },
            PROC_EVENT_EXEC => ProcessEvent::Exec { pid: word(1)? },
            PROC_EVENT_EXIT => ProcessEvent::Exit {
                tid: word(0)?,
                pid: word(1)?,
            },
            _ => return None,
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(aligned(out.len()), 0);
        out
    }

    /// What the kernel sends when thread 7 of process 5 ends.
    fn ended(version: u16) -> Vec<u8> {
        let mut stats = vec![0; 416];
        stats[0..2].copy_from_slice(&version.to_ne_bytes());
        stats[4..8].copy_from_slice(&9_u32.to_ne_bytes());
        stats[72..80].copy_from_slice(&1_500_000_u64.to_ne_bytes());
        stats[200..208].copy_from_slice(&4_u64.to_ne_bytes());
        stats[248..256].copy_from_slice(&11_u64.to_ne_bytes());
        stats[256..264].copy_from_slice(&12_u64.to_ne_bytes());
        stats[368..372].copy_from_slice(&5_u32.to_ne_bytes());
        let mut both = attribute(TASKSTATS_TYPE_PID, &7_u32.to_ne_bytes());
        both.extend(attribute(TASKSTATS_TYPE_STATS, &stats));
        let mut payload = vec![2, 1, 0, 0];
        payload.extend(attribute(TASKSTATS_TYPE_AGGR_PID, &both));
        message(30, 0, &payload)
    }

    #[test]
    fn the_end_of_a_thread() {
        let end = ThreadEnd {
            tid: 7,
            pid: Some(5),
            cpu_ns: 1_500_000,
            status: 9,
            peak_rss_bytes: 4096,
            read_bytes: 11,
            write_bytes: 12,
        };
        let mut two = ended(16);
        two.extend(ended(10));
        let older = ThreadEnd {
            pid: None,
            ..end.clone()
        };
        let found: Vec<_> = thread_ends(&two, 30).collect();
        assert_eq!(found, [end, older]);
        assert_eq!(thread_ends(&two, 31).count(), 0, "another family");
        assert_eq!(thread_ends(&ended(15), 30).count(), 0, "fields elsewhere");
    }

    #[test]
    fn answers_to_requests() {
        let mut payload = vec![1, 2, 0, 0];
        payload.extend(attribute(CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0"));
        payload.extend(attribute(CTRL_ATTR_FAMILY_ID, &31_u16.to_ne_bytes()));
        let mut both = message(GENL_ID_CTRL, 0, &payload);
        both.extend(message(NLMSG_ERROR, 0, &(-1_i32).to_ne_bytes()));
        let found: Vec<_> = answers(&both).collect();
        assert_eq!(found, [Answer::Family(31), Answer::Ack(1)]);
    }

    #[test]
    fn processes_come_begin_programs_and_go() {
        let event = |what: u32, words: [u32; 4]| {
            let mut payload = Vec::new();
            payload.extend([1_u32, 1, 0, 0].map(u32::to_ne_bytes).concat());
            payload.extend([40, 0, 0, 0]);
            payload.extend(what.to_ne_bytes());
            payload.extend([0; 12]);
            payload.extend(words.map(u32::to_ne_bytes).concat());
            message(NLMSG_DONE, 0, &payload)
        };
        let sent = [
            event(PROC_EVENT_FORK, [10, 10, 11, 11]),
            event(PROC_EVENT_EXEC, [11, 11, 0, 0]),
            event(0x200, [11, 11, 0, 0]),
            event(PROC_EVENT_EXIT, [11, 11, 0, 17]),
        ]
        .concat();
        let found: Vec<_> = process_events(&sent).collect();
        assert_eq!(
            found,
            [
                ProcessEvent::Fork {
                    parent: 10,
                    tid: 11,
                    pid: 11
                },
                ProcessEvent::Exec { pid: 11 },
                ProcessEvent::Exit { tid: 11, pid: 11 },
            ]
        );
    }

    #[test]
    fn requests_are_as_long_as_they_say() {
        for request in [ask_family(), register(31, "0-63"), listen()] {
            let said = usize::try_from(u32_at(&request, 0).unwrap()).unwrap();
            assert_eq!(said, request.len());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = (answers(&bytes).count(), thread_ends(&bytes, 30).count());
            let _ = process_events(&bytes).count();
        }

        #[test]
        fn a_message_cut_anywhere_is_read_without_harm(at in 0_usize..500) {
            let whole = ended(16);
            prop_assert!(thread_ends(&whole[..at.min(whole.len() - 1)], 30).count() == 0);
        }
    }
}
