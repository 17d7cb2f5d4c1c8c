//! What a stream of events is made of: events, word of those that were missed, and positions.

use crate::event;
use crate::runtime::Identity;
use crate::wire::object::{objects, put};
use crate::wire::shared::identity::Called;
use crate::wire::shared::name::Name;
use crate::wire::time::rfc3339;
use crate::wire::v1::event::Data;

/// An event as it is listed elsewhere, with its number, the position behind it, and when it was
/// noticed.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What happened.
    pub event: &'a event::Event,
    /// Where a client that has read it goes on.
    pub position: event::Position,
    /// Who the container is, as far as a runtime has told.
    pub identity: Option<&'a Identity>,
}

impl serde::Serialize for Event<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let Self {
            event,
            position,
            identity,
        } = self;
        let mut object = serializer.serialize_struct("Event", 8)?;
        object.serialize_field("id", &event.id)?;
        object.serialize_field("position", &Text(position))?;
        object.serialize_field("container_name", &Name(&event.container))?;
        object.serialize_field("timestamp", &rfc3339(event.timestamp))?;
        object.serialize_field("noticed", &rfc3339(event.noticed))?;
        object.serialize_field("event_type", event.kind.event_type().as_str())?;
        object.serialize_field("event_data", &Data(&event.kind))?;
        put(&mut object, "identity", identity.map(Called))?;
        object.end()
    }
}

/// What prints itself, as text.
struct Text<'a>(&'a event::Position);

impl serde::Serialize for Text<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

objects! {
    /// Events are missing here.
    pub struct Missed(event::Missed) |missed| {
        "missed" => Some(Why(missed)),
    }

    struct Why(event::Missed) |missed| {
        "reason" => Some(match missed {
            event::Missed::Forgotten { .. } => "forgotten",
            event::Missed::UnknownPosition => "unknown_position",
        }),
        "at_most" => missed.number(),
    }

    /// Where the stream is, when it has nothing to tell.
    pub struct Position<'a>(&'a event::Position) |position| {
        "position" => Some(Text(position)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cgroup::ContainerName;
    use crate::event::EventKind;
    use crate::journal::Epoch;
    use crate::runtime::Runtime;
    use crate::units::Timestamp;

    fn text(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn what_is_on_the_wire() {
        let event = event::Event {
            id: 17,
            timestamp: Timestamp(1_000_000_000),
            noticed: Timestamp(1_500_000_000),
            container: ContainerName::from_request("/a"),
            kind: EventKind::ContainerDeletion {
                exit_code: None,
                while_down: false,
            },
        };
        let position = event::Position {
            epoch: Some(Epoch(0xabc)),
            id: 17,
        };
        assert_eq!(
            text(&Event {
                event: &event,
                position,
                identity: None
            }),
            r#"{"id":17,"position":"0000000000000abc-17","container_name":"/a","timestamp":"1970-01-01T00:00:01Z","noticed":"1970-01-01T00:00:01.5Z","event_type":"containerDeletion","event_data":{"container_deletion":{"exit_code":-1}}}"#
        );
        let identity = Identity {
            name: Some("web".into()),
            ..Identity::new(Runtime::Docker, "abc")
        };
        let told = text(&Event {
            event: &event,
            position,
            identity: Some(&identity),
        });
        assert!(
            told.ends_with(r#"},"identity":{"name":"web","id":"abc"}}"#),
            "{told}"
        );
        assert_eq!(
            text(&Position(&position)),
            r#"{"position":"0000000000000abc-17"}"#
        );
        assert_eq!(
            text(&Missed(event::Missed::Forgotten { number: 3 })),
            r#"{"missed":{"reason":"forgotten","at_most":3}}"#
        );
        assert_eq!(
            text(&Missed(event::Missed::UnknownPosition)),
            r#"{"missed":{"reason":"unknown_position"}}"#
        );
    }
}
