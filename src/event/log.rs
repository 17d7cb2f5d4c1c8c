//! Pure: creations and deletions as bytes, in chunks.
//!
//! They are the many events: two for each container. As structs with a name each they would lie
//! scattered among the memory of containers that have gone, and keep all of it from being given
//! back. In chunks they cost their own size, about a hundred bytes, and leave in one piece.

use std::collections::VecDeque;

use super::{Event, EventKind};
use crate::cgroup::ContainerName;
use crate::units::Timestamp;

/// Size of a chunk. Only an event whose name is longer gets a larger one of its own.
const CHUNK_BYTES: usize = 32 * 1024;

/// `id`, `timestamp`, `noticed`, tag, exit code, length of the name.
const HEADER_BYTES: usize = 8 + 8 + 8 + 1 + 4 + 4;

/// Events of containers that came or went, oldest first.
#[derive(Debug, Default)]
pub(super) struct PackedLog {
    chunks: VecDeque<Chunk>,
    count: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where the oldest event that is still kept begins.
    start: usize,
}

/// An event as it lies in its chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    pub id: u64,
    pub timestamp: Timestamp,
    pub noticed: Timestamp,
    tag: u8,
    exit_code: i32,
    pub name: &'a [u8],
}

const CREATION: u8 = 0;
const DELETION: u8 = 1;
const WITH_CODE: u8 = 2;
const WHILE_DOWN: u8 = 4;

impl PackedLog {
    /// Adds an event. Gives back one of a kind that is not kept here.
    pub fn push(&mut self, event: Event) -> Result<(), Event> {
        let Some((tag, exit_code)) = tag(&event.kind) else {
            return Err(event);
        };
        let name = event.container.as_bytes();
        let Ok(length) = u32::try_from(name.len()) else {
            return Err(event);
        };
        let needed = HEADER_BYTES + name.len();
        let room = self
            .chunks
            .back()
            .map_or(0, |chunk| chunk.bytes.capacity() - chunk.bytes.len());
        if room < needed {
            let bytes = Vec::with_capacity(CHUNK_BYTES.max(needed));
            self.chunks.push_back(Chunk { bytes, start: 0 });
        }
        if let Some(chunk) = self.chunks.back_mut() {
            let bytes = &mut chunk.bytes;
            bytes.extend_from_slice(&event.id.to_ne_bytes());
            bytes.extend_from_slice(&event.timestamp.0.to_ne_bytes());
            bytes.extend_from_slice(&event.noticed.0.to_ne_bytes());
            bytes.push(tag);
            bytes.extend_from_slice(&exit_code.to_ne_bytes());
            bytes.extend_from_slice(&length.to_ne_bytes());
            bytes.extend_from_slice(name);
            self.count += 1;
        }
        Ok(())
    }

    /// How many events are kept.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The oldest event.
    pub fn first(&self) -> Option<Packed<'_>> {
        let chunk = self.chunks.front()?;
        read(chunk.bytes.get(chunk.start..)?).map(|(event, _)| event)
    }

    /// Drops the oldest event.
    pub fn pop_front(&mut self) {
        let Some(chunk) = self.chunks.front_mut() else {
            return;
        };
        let length = chunk
            .bytes
            .get(chunk.start..)
            .and_then(read)
            .map_or(0, |(_, length)| length);
        chunk.start += length;
        self.count -= 1;
        if length == 0 || chunk.start >= chunk.bytes.len() {
            self.chunks.pop_front();
        }
    }

    /// All events, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Packed<'_>> {
        self.chunks.iter().flat_map(Chunk::iter)
    }

    /// The events with a number above `id`, oldest first. Chunks before them are not looked into.
    pub fn after(&self, id: u64) -> impl Iterator<Item = Packed<'_>> {
        let later = self
            .chunks
            .partition_point(|chunk| chunk.iter().next().is_some_and(|first| first.id <= id));
        self.chunks
            .iter()
            .skip(later.saturating_sub(1))
            .flat_map(Chunk::iter)
            .skip_while(move |event| event.id <= id)
    }
}

impl Chunk {
    fn iter(&self) -> impl Iterator<Item = Packed<'_>> {
        let mut rest = self.bytes.get(self.start..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (event, length) = read(rest)?;
            rest = &rest[length..];
            Some(event)
        })
    }
}

impl Packed<'_> {
    /// As a whole.
    pub fn unpack(&self) -> Event {
        let kind = match self.tag {
            CREATION => EventKind::ContainerCreation,
            tag => EventKind::ContainerDeletion {
                exit_code: (tag & WITH_CODE != 0).then_some(self.exit_code),
                while_down: tag & WHILE_DOWN != 0,
            },
        };
        Event {
            id: self.id,
            timestamp: self.timestamp,
            noticed: self.noticed,
            container: ContainerName::from_bytes(self.name),
            kind,
        }
    }
}

fn tag(kind: &EventKind) -> Option<(u8, i32)> {
    match kind {
        EventKind::ContainerCreation => Some((CREATION, 0)),
        EventKind::ContainerDeletion {
            exit_code,
            while_down,
        } => {
            let with_code = exit_code.map_or(0, |_| WITH_CODE);
            let while_down = if *while_down { WHILE_DOWN } else { 0 };
            Some((DELETION | with_code | while_down, exit_code.unwrap_or(0)))
        }
        EventKind::Oom | EventKind::OomKill(_) => None,
    }
}

/// The event at the start of `bytes`, and its length.
fn read(bytes: &[u8]) -> Option<(Packed<'_>, usize)> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (timestamp, rest) = rest.split_first_chunk()?;
    let (noticed, rest) = rest.split_first_chunk()?;
    let (&tag, rest) = rest.split_first()?;
    let (exit_code, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = u32::from_ne_bytes(*length) as usize;
    let event = Packed {
        id: u64::from_ne_bytes(*id),
        timestamp: Timestamp(i64::from_ne_bytes(*timestamp)),
        noticed: Timestamp(i64::from_ne_bytes(*noticed)),
        tag,
        exit_code: i32::from_ne_bytes(*exit_code),
        name: rest.get(..length)?,
    };
    Some((event, HEADER_BYTES + length))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(id: u64, name: &[u8], exit_code: Option<Option<i32>>) -> Event {
        let while_down = id.is_multiple_of(3);
        let kind = match exit_code {
            None => EventKind::ContainerCreation,
            Some(exit_code) => EventKind::ContainerDeletion {
                exit_code,
                while_down,
            },
        };
        let container = ContainerName::from_bytes(name);
        let time = Timestamp(id.cast_signed() - 5);
        Event {
            id,
            timestamp: time,
            noticed: Timestamp(-time.0),
            container,
            kind,
        }
    }

    proptest! {
        #[test]
        fn a_log_is_a_queue_of_events(steps in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..9000), prop::option::of(prop::option::of(any::<i32>()))), 0..60)) {
            let (mut log, mut model) = (PackedLog::default(), VecDeque::new());
            for (id, (drop, name, exit_code)) in steps.into_iter().enumerate() {
                if drop {
                    log.pop_front();
                    model.pop_front();
                } else {
                    let event = event(id as u64, &name, exit_code);
                    log.push(event.clone()).unwrap();
                    model.push_back(event);
                }
                prop_assert_eq!(log.len(), model.len());
                prop_assert_eq!(log.first().map(|event| event.unpack()), model.front().cloned());
            }
            prop_assert_eq!(&log.iter().map(|event| event.unpack()).collect::<VecDeque<_>>(), &model);
            for id in (0..61).step_by(13) {
                model.retain(|event: &Event| event.id > id);
                prop_assert!(log.after(id).map(|event| event.id).eq(model.iter().map(|event| event.id)));
            }
        }
    }

    #[test]
    fn chunks_leave_with_their_events() {
        let mut log = PackedLog::default();
        for id in 0..10_000 {
            log.push(event(id, b"/kubepods/burstable/pod/container", None))
                .unwrap();
        }
        let full = log.chunks.len();
        assert!((10..40).contains(&full), "{full} chunks");
        for _ in 0..10_000 {
            log.pop_front();
        }
        assert_eq!((log.len(), log.chunks.len()), (0, 0));
        assert!(
            log.push(Event {
                kind: EventKind::Oom,
                ..event(1, b"/", None)
            })
            .is_err()
        );
    }
}
