//! A life as a record of the journal: JSON, with keys of its own. A later record of the same number
//! takes the place of an earlier one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Finality, LastRead};
use super::kill::{KillSource, OomRecord};
use super::life::{Exit, Identity, Life, Which};
use crate::cgroup::{ContainerName, OomCounters};
use crate::event::stored::{Kill, kill_as_stored, kill_from_stored};
use crate::units::Timestamp;

/// Incarnations of lives that are read back have this bit, and their number: those of this run begin
/// anew, and none may be taken for another.
pub(super) const OF_EARLIER_RUN: u64 = 1 << 63;

#[derive(Debug, Serialize, Deserialize)]
struct Stored<'a> {
    number: u64,
    container: Name,
    started: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    preexisting: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    end_unseen: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit: Option<StoredExit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<StoredIdentity>,
    /// In the order of `Figures::each`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    figures: Vec<Option<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_read: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_ns: Option<u64>,
    #[serde(default)]
    oom_kills: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    kills: Vec<StoredKill<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    directories: Vec<(u8, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_counter: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_group_counter: Option<u64>,
}

/// A name is text, but for one that is not UTF-8.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl Name {
    fn of(name: &ContainerName) -> Self {
        match std::str::from_utf8(name.as_bytes()) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(name.as_bytes().to_owned()),
        }
    }

    fn read(&self) -> ContainerName {
        ContainerName::from_bytes(match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredExit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredIdentity {
    workload: Option<String>,
    name: Option<String>,
    id: Option<String>,
    image: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredKill<'a> {
    when: i64,
    victim: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_of: Option<Name>,
    source: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    while_down: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    told: Option<Kill<'a>>,
}

/// The payload of a [`Kind::LIFE`](crate::journal::Kind::LIFE) record.
pub(super) fn encode(life: &Life, boot: Option<&str>) -> Result<Vec<u8>, serde_json::Error> {
    let is_over = life.ended.is_some();
    let identity = life.identity.as_deref().cloned();
    serde_json::to_vec(&Stored {
        number: life.number,
        container: Name::of(&life.which.name),
        started: life.started.0,
        preexisting: life.preexisting,
        ended: life.ended.map(|ended| ended.0),
        end_unseen: life.end_unseen,
        exit: life.exit.as_ref().map(|exit| StoredExit {
            code: exit.code,
            signal: exit.signal,
            reason: exit.reason.clone(),
        }),
        identity: identity.map(|of| StoredIdentity {
            workload: of.workload,
            name: of.name,
            id: of.id,
            image: of.image,
            pod: of.pod,
            namespace: of.namespace,
        }),
        figures: if is_over {
            life.figures.each().to_vec()
        } else {
            Vec::new()
        },
        last_read: is_over.then(|| life.finality.last_read.as_str().to_owned()),
        age_ns: (life.finality.age).and_then(|age| u64::try_from(age.as_nanos()).ok()),
        oom_kills: life.oom_kills,
        kills: life.kills.iter().map(|(_, kill)| stored(kill)).collect(),
        // What is over is never met again.
        boot: boot.filter(|_| !is_over).map(str::to_owned),
        directories: if is_over {
            Vec::new()
        } else {
            life.directories.clone()
        },
        oom_counter: life.oom_counter.map(|counted| counted.kills),
        oom_group_counter: life.oom_counter.and_then(|counted| counted.groups),
    })
}

/// A kill alone: all but in which container of its name it was.
pub(super) fn encode_kill(kill: &OomRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&stored(kill))
}

/// Reads what [`encode_kill`] wrote.
///
/// # Errors
/// If it is no kill.
pub(super) fn decode_kill(text: &[u8]) -> Result<OomRecord, serde_json::Error> {
    serde_json::from_slice(text).map(|kill| read(kill, None))
}

fn read(kill: StoredKill<'_>, incarnation: Option<u64>) -> OomRecord {
    OomRecord {
        when: Timestamp(kill.when),
        victim: kill.victim.read(),
        incarnation,
        limit_of: kill.limit_of.as_ref().map(Name::read),
        source: KillSource::from_name(&kill.source).unwrap_or(KillSource::Counter),
        while_down: kill.while_down,
        told: kill.told.map(|told| Arc::new(kill_from_stored(told))),
    }
}

fn stored(kill: &OomRecord) -> StoredKill<'_> {
    StoredKill {
        when: kill.when.0,
        victim: Name::of(&kill.victim),
        limit_of: kill.limit_of.as_ref().map(Name::of),
        source: kill.source.as_str().to_owned(),
        while_down: kill.while_down,
        told: kill.told.as_deref().map(kill_as_stored),
    }
}

/// Reads what [`encode`] wrote; with the boot in which it was written of a container that was there.
///
/// # Errors
/// If it is no life.
pub(super) fn decode(payload: &[u8]) -> Result<(Life, Option<String>), serde_json::Error> {
    let stored: Stored<'_> = serde_json::from_slice(payload)?;
    let which = Which {
        name: stored.container.read(),
        incarnation: OF_EARLIER_RUN | stored.number,
    };
    let started = Timestamp(stored.started);
    let mut life = Life::new(stored.number, which.clone(), started, stored.preexisting);
    life.ended = stored.ended.map(Timestamp);
    life.end_unseen = stored.end_unseen;
    life.exit = stored.exit.map(|exit| Exit {
        code: exit.code,
        signal: exit.signal,
        reason: exit.reason,
    });
    life.identity = stored.identity.map(|of| {
        Arc::new(Identity {
            workload: of.workload,
            name: of.name,
            id: of.id,
            image: of.image,
            pod: of.pod,
            namespace: of.namespace,
        })
    });
    life.figures = Figures::from_each(&stored.figures);
    life.finality = Finality {
        last_read: (stored.last_read.as_deref())
            .and_then(LastRead::from_name)
            .unwrap_or_default(),
        age: stored.age_ns.map(Duration::from_nanos),
    };
    life.oom_kills = stored.oom_kills;
    let kills = stored.kills.into_iter();
    // No other witness is heard after a restart: they need no number.
    life.kills = kills
        .map(|kill| (0, read(kill, Some(which.incarnation))))
        .collect();
    life.directories = stored.directories;
    life.oom_counter = stored.oom_counter.map(|kills| OomCounters {
        kills,
        groups: stored.oom_group_counter,
    });
    Ok((life, stored.boot))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{Constraint, OomKill};

    #[test]
    fn what_is_written_is_read_back() {
        let name = ContainerName::from_bytes(b"/a\xff \"b\n");
        let which = Which {
            name: name.clone(),
            incarnation: OF_EARLIER_RUN | 9,
        };
        let mut life = Life::new(9, which, Timestamp(5), true);
        life.identity = Some(Arc::new(Identity {
            workload: Some("w".into()),
            ..Identity::default()
        }));
        life.directories = vec![(2, 77)];
        life.oom_counter = Some(OomCounters {
            kills: 4,
            groups: Some(1),
        });
        let told = OomKill {
            pid: Some(3),
            process_name: Some("a\u{fffd} b".into()),
            constraint: Some(Constraint::Cpuset),
            group: true,
            ..OomKill::default()
        };
        life.add_kill(
            0,
            OomRecord {
                when: Timestamp(6),
                victim: name.clone(),
                incarnation: Some(OF_EARLIER_RUN | 9),
                limit_of: Some(ContainerName::root()),
                source: KillSource::Both,
                while_down: true,
                told: Some(Arc::new(told)),
            },
        );
        let living = encode(&life, Some("boot")).unwrap();
        assert_eq!(
            decode(&living).unwrap(),
            (life.clone(), Some("boot".into()))
        );

        life.ended = Some(Timestamp(8));
        life.end_unseen = true;
        life.exit = Some(Exit {
            code: Some(137),
            signal: Some(9),
            reason: Some("OOMKilled".into()),
        });
        life.figures.cpu_ns = Some(u64::MAX);
        life.finality = Finality {
            last_read: LastRead::Exit,
            age: Some(Duration::from_nanos(3)),
        };
        let over = encode(&life, Some("boot")).unwrap();
        life.directories.clear();
        assert_eq!(decode(&over).unwrap(), (life, None));
    }

    #[test]
    fn keys_of_a_newer_cgauge_are_passed_over_and_nonsense_is_an_error() {
        let (life, _) =
            decode(br#"{"number":1,"container":"/a","started":2,"new":[1],"figures":[7]}"#)
                .unwrap();
        assert_eq!((life.number, life.figures.cpu_ns), (1, Some(7)));
        assert_eq!(life.figures.cpu_user_ns, None);
        for bad in [&b"{}"[..], b"", b"\xff", b"[1]"] {
            assert!(decode(bad).is_err());
        }
    }
}
