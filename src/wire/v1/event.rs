//! An event: the keys that clients know, then what else the kernel said.

use crate::event::{self, EventKind, OomKill};
use crate::runtime::Identity;
use crate::wire::object::objects;
use crate::wire::shared::identity::Called;
use crate::wire::shared::name::Name;
use crate::wire::time::rfc3339;

/// Exit code of a container of which no runtime told one.
const EXIT_CODE_UNKNOWN: i32 = -1;

objects! {
    /// An event, and who the container is, as far as a runtime has told.
    pub struct Event<'a>((&'a event::Event, Option<&'a Identity>)) |(event, identity)| {
        "container_name" => Some(Name(&event.container)),
        "timestamp" => Some(rfc3339(event.timestamp)),
        "event_type" => Some(event.kind.event_type().as_str()),
        "event_data" => Some(Data(&event.kind)),
        "identity" => identity.map(Called),
    }

    /// What belongs to its type.
    pub(in crate::wire) struct Data<'a>(&'a EventKind) |kind| {
        "container_deletion" => match kind {
            EventKind::ContainerDeletion {
                exit_code,
                while_down,
            } => Some(Deletion((*exit_code, *while_down))),
            _ => None,
        },
        "oom" => match kind {
            EventKind::OomKill(kill) => Some(Kill(kill)),
            _ => None,
        },
    }

    struct Deletion((Option<i32>, bool)) |deletion| {
        "exit_code" => Some(deletion.0.unwrap_or(EXIT_CODE_UNKNOWN)),
        "while_down" => deletion.1.then_some(true),
    }

    /// What the kernel's log says of an OOM kill.
    pub struct Kill<'a>(&'a OomKill) |kill| {
        "pid" => kill.pid,
        "process_name" => kill.process_name.as_deref(),
        "constraint" => kill.constraint.map(|constraint| constraint.as_str()),
        "oom_memcg" => kill.oom_memcg.as_deref(),
        "task_memcg" => kill.task_memcg.as_deref(),
        "group" => kill.group.then_some(true),
        "invoked_by" => kill.invoked_by.as_deref(),
        "total_vm_bytes" => kill.total_vm_bytes,
        "anon_rss_bytes" => kill.anon_rss_bytes,
        "file_rss_bytes" => kill.file_rss_bytes,
        "shmem_rss_bytes" => kill.shmem_rss_bytes,
        "pgtables_bytes" => kill.pgtables_bytes,
        "oom_score_adj" => kill.oom_score_adj,
        "uid" => kill.uid,
        "memcg_usage_bytes" => kill.memcg_usage_bytes,
        "memcg_limit_bytes" => kill.memcg_limit_bytes,
        "memcg_failcnt" => kill.memcg_failcnt,
    }
}
