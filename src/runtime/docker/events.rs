//! What an event of Docker or Podman says. Pure.

use serde_json::Value;

use super::describe::{exit_reason, usable_id};
use crate::runtime::Health;
use crate::units::Timestamp;

/// What has happened, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// Something about a container is new: it is to be looked at.
    Changed(String),
    /// It has been given this name, and is to be looked at.
    Renamed(String, Option<String>),
    /// The kernel killed one of its processes for want of memory.
    OutOfMemory(String),
    /// It has ended.
    Ended {
        /// Which.
        id: String,
        /// Its exit status.
        code: Option<i32>,
        /// When.
        at: Option<Timestamp>,
    },
    /// Its health check says so now; `None`: that is to be looked up.
    Health(String, Option<Health>),
    /// It has been removed.
    Removed(String),
    /// A pod of Podman has this name.
    PodNamed(String, String),
}

impl News {
    /// The container that it is about.
    pub(crate) fn container(&self) -> Option<&str> {
        match self {
            Self::Changed(id)
            | Self::Renamed(id, _)
            | Self::OutOfMemory(id)
            | Self::Ended { id, .. }
            | Self::Health(id, _)
            | Self::Removed(id) => Some(id),
            Self::PodNamed(..) => None,
        }
    }
}

/// Reads one event. `None` for one that changes nothing here; an error if it is none.
pub(crate) fn parse(line: &[u8]) -> Result<Option<News>, serde_json::Error> {
    let line = line.strip_prefix(&[0x1e]).unwrap_or(line).trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let event: Value = serde_json::from_slice(line)?;
    Ok(read(&event))
}

fn read(event: &Value) -> Option<News> {
    let actor = &event["Actor"];
    let attribute = |name: &str| actor["Attributes"][name].as_str();
    // Docker before 1.22 and some of Podman's clones say it only in the old place.
    let action = event["Action"].as_str().or(event["status"].as_str())?;
    let (action, detail) = match action.split_once(':') {
        Some((action, detail)) => (action, Some(detail.trim())),
        None => (action, None),
    };
    let id = || {
        let id = actor["ID"].as_str().or(event["id"].as_str())?;
        usable_id(id).then(|| id.to_owned())
    };
    match event["Type"].as_str().unwrap_or("container") {
        "container" => {}
        "network" => {
            let id = attribute("container").filter(|id| usable_id(id))?;
            return Some(News::Changed(id.to_owned()));
        }
        "pod" if action == "create" => {
            return Some(News::PodNamed(id()?, attribute("name")?.to_owned()));
        }
        _ => return None,
    }
    Some(match action {
        "create" | "init" | "start" | "restart" | "pause" | "unpause" | "update" | "stop"
        | "restore" | "checkpoint" | "cleanup" => News::Changed(id()?),
        "rename" => News::Renamed(id()?, attribute("name").map(str::to_owned)),
        "oom" => News::OutOfMemory(id()?),
        "die" | "died" => News::Ended {
            id: id()?,
            code: attribute("exitCode")
                .or(attribute("containerExitCode"))
                .and_then(|code| code.parse().ok()),
            at: event["timeNano"].as_i64().map(Timestamp),
        },
        // Podman tells what was so before the check.
        "health_status" => News::Health(id()?, detail.and_then(health)),
        "destroy" | "remove" => News::Removed(id()?),
        _ => return None,
    })
}

/// The word of a health check.
pub(crate) fn health(word: &str) -> Option<Health> {
    match word {
        "starting" => Some(Health::Starting),
        "healthy" => Some(Health::Healthy),
        "unhealthy" => Some(Health::Unhealthy),
        _ => None,
    }
}

/// The state of a container of which nothing but its end is known.
pub(crate) fn ended(
    code: Option<i32>,
    out_of_memory: bool,
    at: Option<Timestamp>,
) -> crate::runtime::State {
    crate::runtime::State::Exited {
        code,
        reason: exit_reason(code, out_of_memory),
        finished: at,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "e36dd755c5fe233cfb9835c892d8fc921ac1142cb55835bacdf19c9dd8439121";

    fn of(text: &str) -> Option<News> {
        parse(text.replace("ID_", ID).as_bytes()).unwrap()
    }

    #[test]
    fn events_of_docker_20_10() {
        let id = ID.to_owned();
        let start = r#"{"status":"start","id":"ID_","from":"bb:1.0","Type":"container","Action":"start","Actor":{"ID":"ID_","Attributes":{"image":"bb:1.0","name":"crash"}},"scope":"local","time":1795366643,"timeNano":1795366643235330661}"#;
        assert_eq!(of(start), Some(News::Changed(id.clone())));
        let die = r#"{"status":"die","Type":"container","Action":"die","Actor":{"ID":"ID_","Attributes":{"exitCode":"3","image":"bb:1.0","name":"crash"}},"timeNano":1795366643258439953}"#;
        let ended = News::Ended {
            id: id.clone(),
            code: Some(3),
            at: Some(Timestamp(1_795_366_643_258_439_953)),
        };
        assert_eq!(of(die), Some(ended));
        let network = r#"{"Type":"network","Action":"connect","Actor":{"ID":"75e3","Attributes":{"container":"ID_","name":"none","type":"null"}}}"#;
        assert_eq!(of(network), Some(News::Changed(id.clone())));
        let rename = r#"{"Type":"container","Action":"rename","Actor":{"ID":"ID_","Attributes":{"name":"new","oldName":"/old"}}}"#;
        assert_eq!(
            of(rename),
            Some(News::Renamed(id.clone(), Some("new".to_owned())))
        );
        let health = r#"{"Type":"container","Action":"health_status: unhealthy","Actor":{"ID":"ID_","Attributes":{}}}"#;
        let unhealthy = Some(Health::Unhealthy);
        assert_eq!(of(health), Some(News::Health(id.clone(), unhealthy)));
        let destroy = r#"{"Type":"container","Action":"destroy","Actor":{"ID":"ID_"}}"#;
        assert_eq!(of(destroy), Some(News::Removed(id.clone())));
        for other in [
            r#"{"Type":"container","Action":"exec_create: true","Actor":{"ID":"ID_"}}"#,
            r#"{"Type":"container","Action":"attach","Actor":{"ID":"ID_"}}"#,
            r#"{"Type":"network","Action":"create","Actor":{"ID":"75e3","Attributes":{}}}"#,
            r#"{"Type":"image","Action":"pull","Actor":{"ID":"bb"}}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"../../x"}}"#,
            r#"{"Type":"container"}"#,
            "[]",
            "3",
            "\r",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert!(parse(b"{").is_err() && parse(b"HTTP/1.1").is_err());
    }

    #[test]
    fn events_of_podman_4_3() {
        let died = r#"{"status":"died","Type":"container","Action":"died","Actor":{"ID":"ID_","Attributes":{"containerExitCode":"137","image":"localhost/bb:1.0","name":"oom","podId":""}}}"#;
        let ended = News::Ended {
            id: ID.to_owned(),
            code: Some(137),
            at: None,
        };
        assert_eq!(of(died), Some(ended));
        let health = r#"{"Type":"container","Action":"health_status","Actor":{"ID":"ID_"},"HealthStatus":"starting"}"#;
        assert_eq!(of(health), Some(News::Health(ID.to_owned(), None)));
        let pod = r#"{"Type":"pod","Action":"create","Actor":{"ID":"ID_","Attributes":{"name":"mypod"}}}"#;
        assert_eq!(
            of(pod),
            Some(News::PodNamed(ID.to_owned(), "mypod".to_owned()))
        );
        let remove = r#"{"Type":"container","Action":"remove","Actor":{"ID":"ID_"}}"#;
        assert_eq!(of(remove), Some(News::Removed(ID.to_owned())));
    }

    proptest! {
        #[test]
        fn whatever_comes_there_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
            let _ = parse(format!(r#"{{"Type":{text:?},"Action":{text:?},"Actor":{{"ID":{text:?}}}}}"#).as_bytes());
        }
    }
}
