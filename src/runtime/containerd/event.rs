//! The events of containerd: what each of them says, and nothing else.

use prost::Message;

use super::api::events::{ContainerEvent, TaskEvent, TaskExit, TaskStart};
use super::api::types::Envelope;
use super::describe::time;
use crate::units::Timestamp;

/// The topics that are subscribed to.
pub const TOPICS: [&str; 8] = [
    "/containers/create",
    "/containers/update",
    "/containers/delete",
    "/tasks/start",
    "/tasks/exit",
    "/tasks/oom",
    "/tasks/paused",
    "/tasks/resumed",
];

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is a new container, or its labels changed.
    Container { id: String },
    /// A container is there no more.
    Gone { id: String },
    /// Its first process was started.
    Started {
        id: String,
        pid: u32,
        at: Option<Timestamp>,
    },
    /// Its first process ended.
    Exited {
        id: String,
        code: i32,
        at: Option<Timestamp>,
    },
    /// The kernel killed a process in it for want of memory.
    Killed { id: String },
    /// It was frozen or thawed.
    Paused { id: String, paused: bool },
}

/// Reads an event; `None` if it says nothing about a container: another topic, an `exec` that ended.
pub fn read(envelope: &Envelope) -> Option<Change> {
    let value = envelope.event.as_ref()?.value.as_slice();
    let container = || Some(ContainerEvent::decode(value).ok()?.id);
    let task = || Some(TaskEvent::decode(value).ok()?.container_id);
    let change = match envelope.topic.as_str() {
        "/containers/create" | "/containers/update" => Change::Container { id: container()? },
        "/containers/delete" => Change::Gone { id: container()? },
        "/tasks/start" => {
            let start = TaskStart::decode(value).ok()?;
            Change::Started {
                id: start.container_id,
                pid: start.pid,
                at: time(envelope.timestamp.as_ref()),
            }
        }
        "/tasks/exit" => {
            let exit = TaskExit::decode(value).ok()?;
            if !exit.id.is_empty() && exit.id != exit.container_id {
                return None;
            }
            Change::Exited {
                code: i32::try_from(exit.exit_status).ok()?,
                at: time(exit.exited_at.as_ref()),
                id: exit.container_id,
            }
        }
        "/tasks/oom" => Change::Killed { id: task()? },
        "/tasks/paused" => Change::Paused {
            id: task()?,
            paused: true,
        },
        "/tasks/resumed" => Change::Paused {
            id: task()?,
            paused: false,
        },
        _ => return None,
    };
    let (Change::Container { id }
    | Change::Gone { id }
    | Change::Started { id, .. }
    | Change::Exited { id, .. }
    | Change::Killed { id }
    | Change::Paused { id, .. }) = &change;
    (!id.is_empty()).then_some(change)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost_types::{Any, Timestamp as Time};

    use super::*;

    fn envelope(topic: &str, event: &impl Message) -> Envelope {
        Envelope {
            timestamp: Some(Time {
                seconds: 5,
                nanos: 7,
            }),
            namespace: "default".to_owned(),
            topic: topic.to_owned(),
            event: Some(Any {
                type_url: String::new(),
                value: event.encode_to_vec(),
            }),
        }
    }

    #[test]
    fn what_events_say() {
        let id = || "web".to_owned();
        let exit = |process: &str| TaskExit {
            container_id: id(),
            id: process.to_owned(),
            pid: 9,
            exit_status: 137,
            exited_at: Some(Time {
                seconds: 6,
                nanos: 0,
            }),
        };
        let start = TaskStart {
            container_id: id(),
            pid: 9,
        };
        assert_eq!(
            read(&envelope("/tasks/start", &start)),
            Some(Change::Started {
                id: id(),
                pid: 9,
                at: Some(Timestamp(5_000_000_007)),
            })
        );
        assert_eq!(
            read(&envelope("/tasks/exit", &exit("web"))),
            Some(Change::Exited {
                id: id(),
                code: 137,
                at: Some(Timestamp(6_000_000_000)),
            })
        );
        assert_eq!(read(&envelope("/tasks/exit", &exit("exec-1"))), None);
        let gone = ContainerEvent { id: id() };
        assert_eq!(
            read(&envelope("/containers/delete", &gone)),
            Some(Change::Gone { id: id() })
        );
        let nobody = ContainerEvent { id: String::new() };
        assert_eq!(read(&envelope("/containers/delete", &nobody)), None);
        assert_eq!(read(&envelope("/images/create", &gone)), None);
        let mut garbage = envelope("/tasks/start", &start);
        garbage.event.as_mut().unwrap().value = vec![0xff; 9];
        assert_eq!(read(&garbage), None);
    }
}
