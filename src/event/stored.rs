//! An event as a record of the journal: JSON, with keys of its own.
//!
//! Text, so that a journal can be read without cgauge (`strings`), and so that an older or newer
//! cgauge passes over keys it does not know. Nothing that is a field in memory is a key on disk
//! by itself: to rename one must not lose what was written.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Constraint, Event, EventKind, EventType, OomKill};
use crate::cgroup::ContainerName;
use crate::units::Timestamp;

#[derive(Debug, Serialize, Deserialize)]
struct Stored<'a> {
    id: u64,
    time: i64,
    noticed: i64,
    #[serde(borrow)]
    container: Name<'a>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    while_down: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    kill: Option<Kill<'a>>,
}

/// A name is text, but for one that is not UTF-8.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Name<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

/// What the log said of a kill.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kill<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    process_name: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    constraint: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    oom_memcg: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    task_memcg: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    group: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    invoked_by: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_vm_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anon_rss_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_rss_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shmem_rss_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pgtables_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memcg_usage_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memcg_limit_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memcg_failcnt: Option<u64>,
    #[serde(default)]
    stamp_us: u64,
    #[serde(default)]
    sequence: u64,
}

/// The payload of a [`Kind::EVENT`](crate::journal::Kind::EVENT) record.
///
/// # Errors
/// Never in practice: what an event holds can be written as JSON.
pub fn encode(event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    let name = event.container.as_bytes();
    let (exit_code, kill) = match &event.kind {
        EventKind::ContainerCreation | EventKind::Oom => (None, None),
        EventKind::ContainerDeletion { exit_code, .. } => (*exit_code, None),
        EventKind::OomKill(kill) => (None, Some(kill_as_stored(kill))),
    };
    let is_while_down = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::ContainerDeletion {
                while_down: true,
                ..
            }
        )
    };
    let stored = Stored {
        id: event.id,
        time: event.timestamp.0,
        noticed: event.noticed.0,
        container: match std::str::from_utf8(name) {
            Ok(text) => Name::Text(text.into()),
            Err(_) => Name::Bytes(name.into()),
        },
        kind: event.kind.event_type().as_str().into(),
        exit_code,
        while_down: is_while_down(&event.kind),
        kill,
    };
    serde_json::to_vec(&stored)
}

/// Why a record is no event that this cgauge knows.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not what was to be written.
    #[error("the record is no event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A newer cgauge has more types.
    #[error("the event has a type that is not known: {0:?}")]
    UnknownType(String),
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(payload: &[u8]) -> Result<Event, DecodeError> {
    let stored: Stored<'_> = serde_json::from_slice(payload)?;
    let kind = match EventType::from_name(&stored.kind) {
        Some(EventType::ContainerCreation) => EventKind::ContainerCreation,
        Some(EventType::ContainerDeletion) => EventKind::ContainerDeletion {
            exit_code: stored.exit_code,
            while_down: stored.while_down,
        },
        Some(EventType::Oom) => EventKind::Oom,
        Some(EventType::OomKill) => EventKind::OomKill(Arc::new(
            stored.kill.map(kill_from_stored).unwrap_or_default(),
        )),
        None => return Err(DecodeError::UnknownType(stored.kind.into_owned())),
    };
    Ok(Event {
        id: stored.id,
        timestamp: Timestamp(stored.time),
        noticed: Timestamp(stored.noticed),
        container: match &stored.container {
            Name::Text(text) => ContainerName::from_bytes(text.as_bytes()),
            Name::Bytes(bytes) => ContainerName::from_bytes(bytes),
        },
        kind,
    })
}

/// Field by field and by name, so that one that is added is not forgotten here.
pub(crate) fn kill_as_stored(kill: &OomKill) -> Kill<'_> {
    fn text(text: &Option<String>) -> Option<Cow<'_, str>> {
        text.as_deref().map(Cow::Borrowed)
    }
    let OomKill {
        pid,
        process_name,
        constraint,
        oom_memcg,
        task_memcg,
        group,
        again: _,
        invoked_by,
        total_vm_bytes,
        anon_rss_bytes,
        file_rss_bytes,
        shmem_rss_bytes,
        pgtables_bytes,
        oom_score_adj,
        uid,
        memcg_usage_bytes,
        memcg_limit_bytes,
        memcg_failcnt,
        stamp,
        sequence,
    } = kill;
    Kill {
        pid: *pid,
        process_name: text(process_name),
        constraint: constraint.map(|constraint| constraint.as_str().into()),
        oom_memcg: text(oom_memcg),
        task_memcg: text(task_memcg),
        group: *group,
        invoked_by: text(invoked_by),
        total_vm_bytes: *total_vm_bytes,
        anon_rss_bytes: *anon_rss_bytes,
        file_rss_bytes: *file_rss_bytes,
        shmem_rss_bytes: *shmem_rss_bytes,
        pgtables_bytes: *pgtables_bytes,
        oom_score_adj: *oom_score_adj,
        uid: *uid,
        memcg_usage_bytes: *memcg_usage_bytes,
        memcg_limit_bytes: *memcg_limit_bytes,
        memcg_failcnt: *memcg_failcnt,
        stamp_us: u64::try_from(stamp.as_micros()).unwrap_or(u64::MAX),
        sequence: *sequence,
    }
}

/// Reads it back.
pub(crate) fn kill_from_stored(kill: Kill<'_>) -> OomKill {
    let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    OomKill {
        pid: kill.pid,
        process_name: text(kill.process_name),
        constraint: kill.constraint.and_then(|name| Constraint::parse(&name)),
        oom_memcg: text(kill.oom_memcg),
        task_memcg: text(kill.task_memcg),
        group: kill.group,
        again: false,
        invoked_by: text(kill.invoked_by),
        total_vm_bytes: kill.total_vm_bytes,
        anon_rss_bytes: kill.anon_rss_bytes,
        file_rss_bytes: kill.file_rss_bytes,
        shmem_rss_bytes: kill.shmem_rss_bytes,
        pgtables_bytes: kill.pgtables_bytes,
        oom_score_adj: kill.oom_score_adj,
        uid: kill.uid,
        memcg_usage_bytes: kill.memcg_usage_bytes,
        memcg_limit_bytes: kill.memcg_limit_bytes,
        memcg_failcnt: kill.memcg_failcnt,
        stamp: Duration::from_micros(kill.stamp_us),
        sequence: kill.sequence,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = Event> {
        let kill = (
            any::<Option<u32>>(),
            any::<Option<String>>(),
            any::<bool>(),
            any::<u32>(),
        );
        let kind = prop_oneof![
            Just(EventKind::ContainerCreation),
            Just(EventKind::Oom),
            any::<(Option<i32>, bool)>().prop_map(|(exit_code, while_down)| {
                EventKind::ContainerDeletion {
                    exit_code,
                    while_down,
                }
            }),
            kill.prop_map(|(pid, text, group, number)| {
                EventKind::OomKill(Arc::new(OomKill {
                    pid,
                    process_name: text.clone(),
                    constraint: Some(Constraint::Cpuset),
                    oom_memcg: text.clone(),
                    task_memcg: text.clone(),
                    group,
                    again: false,
                    invoked_by: text,
                    total_vm_bytes: Some(1),
                    anon_rss_bytes: Some(2),
                    file_rss_bytes: Some(3),
                    shmem_rss_bytes: Some(4),
                    pgtables_bytes: Some(5),
                    oom_score_adj: Some(-6),
                    uid: Some(7),
                    memcg_usage_bytes: Some(8),
                    memcg_limit_bytes: Some(u64::MAX),
                    memcg_failcnt: pid.map(u64::from),
                    stamp: Duration::from_micros(number.into()),
                    sequence: number.into(),
                }))
            }),
        ];
        let name = prop::collection::vec(any::<u8>(), 0..30);
        (any::<(u64, i64, i64)>(), name, kind).prop_map(|((id, time, noticed), name, kind)| Event {
            id,
            timestamp: Timestamp(time),
            noticed: Timestamp(noticed),
            container: ContainerName::from_bytes(&name),
            kind,
        })
    }

    proptest! {
        #[test]
        fn every_event_comes_back(event in events()) {
            let bytes = encode(&event).unwrap();
            // No marker of the journal can hide in it.
            prop_assert!(std::str::from_utf8(&bytes).is_ok());
            prop_assert_eq!(decode(&bytes).unwrap(), event);
        }

        #[test]
        fn no_record_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn the_keys_on_disk_stay_what_they_are() {
        let event = Event {
            id: 7,
            timestamp: Timestamp(1),
            noticed: Timestamp(2),
            container: ContainerName::from_request("/a\"b"),
            kind: EventKind::ContainerDeletion {
                exit_code: Some(137),
                while_down: false,
            },
        };
        const TEXT: &str = r#"{"id":7,"time":1,"noticed":2,"container":"/a\"b","type":"containerDeletion","exit_code":137}"#;
        assert_eq!(encode(&event).unwrap(), TEXT.as_bytes());
        let newer = TEXT.replace("\"id\"", "\"more\":[1],\"id\"");
        assert_eq!(decode(newer.as_bytes()).unwrap(), event);
        let other = TEXT.replace("containerDeletion", "containerFrozen");
        assert!(matches!(
            decode(other.as_bytes()),
            Err(DecodeError::UnknownType(_))
        ));
        let bytes = encode(&Event {
            container: ContainerName::from_bytes(b"/\xff"),
            ..event
        });
        assert!(
            String::from_utf8(bytes.unwrap())
                .unwrap()
                .contains("\"container\":[47,255]")
        );
    }
}
