//! A life of the ledger.

use crate::ledger::{self, Exit, Figures, Finality, Identity, OomRecord};
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::name::Name;
use crate::wire::time::rfc3339;
use crate::wire::v1::Kill;

objects! {
    /// A container's life.
    pub struct Life<'a>(&'a ledger::Life) |life| {
        "number" => Some(life.number),
        "container" => Some(Name(&life.which.name)),
        "incarnation" => life.incarnation(),
        "workload" => Some(&*life.workload()),
        "identity" => life.identity.as_deref().map(Called),
        "started" => Some(rfc3339(life.started)),
        "preexisting" => life.preexisting.then_some(true),
        "ended" => life.ended.map(rfc3339),
        "end_unseen" => life.end_unseen.then_some(true),
        "exit" => life.exit.as_ref().map(Ended),
        "cpu" => Some(Cpu(&life.figures)),
        "memory" => Some(Memory(&life.figures)),
        "io" => Some(Io(&life.figures)),
        "network" => Some(Network(&life.figures)),
        "last_read" => Some(Read(&life.finality)),
        "oom_kills" => Some(life.oom_kills),
        "kills" => unless_empty(&life.kills).map(Kills),
    }

    struct Called<'a>(&'a Identity) |of| {
        "name" => of.name.as_deref(),
        "id" => of.id.as_deref(),
        "image" => of.image.as_deref(),
        "pod" => of.pod.as_deref(),
        "namespace" => of.namespace.as_deref(),
    }

    struct Ended<'a>(&'a Exit) |exit| {
        "code" => exit.code,
        "signal" => exit.signal,
        "reason" => exit.reason.as_deref(),
    }

    struct Cpu<'a>(&'a Figures) |of| {
        "usage_ns" => of.cpu_ns,
        "user_ns" => of.cpu_user_ns,
        "system_ns" => of.cpu_system_ns,
        "periods" => of.periods,
        "throttled_periods" => of.throttled_periods,
        "throttled_ns" => of.throttled_ns,
    }

    struct Memory<'a>(&'a Figures) |of| {
        "peak_bytes" => of.memory_peak_bytes,
        "limit_bytes" => of.memory_limit_bytes,
    }

    struct Io<'a>(&'a Figures) |of| {
        "read_bytes" => of.io_read_bytes,
        "write_bytes" => of.io_write_bytes,
        "reads" => of.io_reads,
        "writes" => of.io_writes,
    }

    struct Network<'a>(&'a Figures) |of| {
        "rx_bytes" => of.network_rx_bytes,
        "tx_bytes" => of.network_tx_bytes,
    }

    struct Read<'a>(&'a Finality) |of| {
        "how" => Some(of.last_read.as_str()),
        "age_ns" => of.age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
    }

    /// An OOM kill.
    pub struct Record<'a>(&'a OomRecord) |kill| {
        "when" => Some(rfc3339(kill.when)),
        "container" => Some(Name(&kill.victim)),
        "limit_of" => kill.limit_of.as_ref().map(Name),
        "source" => Some(kill.source.as_str()),
        "constraint" => kill.constraint().map(|constraint| constraint.as_str()),
        "group" => kill.group().then_some(true),
        "while_down" => kill.while_down.then_some(true),
        "victim" => kill.told.as_deref().map(Kill),
    }
}

/// The kills of a life, oldest first.
#[derive(Debug, Clone, Copy)]
struct Kills<'a>(&'a [(u64, OomRecord)]);

impl serde::Serialize for Kills<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(_, kill)| Record(kill)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::cgroup::ContainerName;
    use crate::event::{Constraint, OomKill};
    use crate::ledger::{KillSource, LastRead, Which};
    use crate::units::Timestamp;

    fn life() -> ledger::Life {
        let name = ContainerName::from_request("/pod/a");
        ledger::Life {
            number: 7,
            which: Which {
                name: name.clone(),
                incarnation: 3,
            },
            identity: None,
            started: Timestamp(1_000_000_000),
            preexisting: false,
            ended: Some(Timestamp(3_000_000_000)),
            end_unseen: false,
            directories: Vec::new(),
            oom_counter: None,
            exit: Some(Exit {
                code: Some(137),
                signal: Some(9),
                reason: None,
            }),
            figures: Figures {
                cpu_ns: Some(5),
                memory_peak_bytes: Some(6),
                ..Figures::default()
            },
            finality: Finality {
                last_read: LastRead::Empty,
                age: Some(Duration::from_millis(2)),
            },
            oom_kills: 1,
            kills: vec![(
                1,
                OomRecord {
                    when: Timestamp(2_000_000_000),
                    victim: name,
                    incarnation: Some(3),
                    limit_of: Some(ContainerName::from_request("/pod")),
                    source: KillSource::Both,
                    while_down: false,
                    told: Some(Arc::new(OomKill {
                        pid: Some(42),
                        constraint: Some(Constraint::Memcg),
                        ..OomKill::default()
                    })),
                },
            )],
        }
    }

    #[test]
    fn a_life_says_what_is_known_and_nothing_else() {
        let text = serde_json::to_string(&Life(&life())).unwrap();
        let want = concat!(
            r#"{"number":7,"container":"/pod/a","incarnation":3,"workload":"/pod/a","#,
            r#""started":"1970-01-01T00:00:01Z","ended":"1970-01-01T00:00:03Z","#,
            r#""exit":{"code":137,"signal":9},"cpu":{"usage_ns":5},"memory":{"peak_bytes":6},"#,
            r#""io":{},"network":{},"last_read":{"how":"empty","age_ns":2000000},"oom_kills":1,"#,
            r#""kills":[{"when":"1970-01-01T00:00:02Z","container":"/pod/a","limit_of":"/pod","#,
            r#""source":"both","constraint":"CONSTRAINT_MEMCG","#,
            r#""victim":{"pid":42,"constraint":"CONSTRAINT_MEMCG"}}]}"#,
        );
        assert_eq!(text, want);
        let identity = Identity {
            workload: Some("web".into()),
            name: Some("web.1".into()),
            ..Identity::default()
        };
        let named = ledger::Life {
            identity: Some(Arc::new(identity)),
            ..life()
        };
        let text = serde_json::to_string(&Life(&named)).unwrap();
        assert!(
            text.contains(r#""workload":"web","identity":{"name":"web.1"}"#),
            "{text}"
        );
    }
}
