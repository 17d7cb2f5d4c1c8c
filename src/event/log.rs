//! Pure: creations and deletions as bytes, in chunks.
//!
//! They are the many events: two for each container. As structs with a name each they would lie
//! scattered among the memory of containers that have gone, and keep all of it from being given
//! back. The newest are kept as they are, in one piece; the others are sealed: packed in chunks of
//! [`SEALED_EVENTS`], at some forty bytes each where the name has the 64 digits of an id. Of those the
//! oldest chunk is unpacked again once its events are to be dropped.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Event, EventKind};
use crate::cgroup::ContainerName;
use crate::pack;
use crate::units::Timestamp;

/// Events that are packed together: of more a reader would have to unpack what it does not want, and
/// fewer take more room each.
pub(super) const SEALED_EVENTS: usize = 256;

/// Bytes from which on fewer are, where names are long.
const SEALED_BYTES: usize = 64 * 1024;

/// `id`, `timestamp`, `noticed`, tag, exit code, length of the name.
const HEADER_BYTES: usize = 8 + 8 + 8 + 1 + 4 + 4;

/// Events of containers that came or went, oldest first.
#[derive(Debug, Default)]
pub(super) struct PackedLog {
    /// The oldest, if they have been unpacked again.
    front: Chunk,
    sealed: VecDeque<Arc<Sealed>>,
    /// The newest.
    back: Chunk,
    sealed_events: usize,
}

/// Events one behind the other.
#[derive(Debug, Default, Clone)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where the oldest event that is still kept begins.
    start: usize,
    count: usize,
}

/// Events that are packed.
#[derive(Debug)]
struct Sealed {
    packed: pack::Packed,
    count: usize,
    first: First,
    last_id: u64,
    earliest: Timestamp,
    latest: Timestamp,
}

/// The oldest event, as far as it matters when it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First {
    pub id: u64,
    pub noticed: Timestamp,
}

/// Some of the events of a log, as they were at one time: to be read without it.
#[derive(Debug)]
pub(super) struct Part(Events);

#[derive(Debug)]
enum Events {
    Plain(Chunk),
    Sealed(Arc<Sealed>),
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
        if u32::try_from(name.len()).is_err() {
            return Err(event);
        }
        self.back.push(Packed {
            id: event.id,
            timestamp: event.timestamp,
            noticed: event.noticed,
            tag,
            exit_code,
            name,
        });
        if self.back.count >= SEALED_EVENTS || self.back.bytes.len() >= SEALED_BYTES {
            self.seal();
        }
        Ok(())
    }

    fn seal(&mut self) {
        if let Some(sealed) = Sealed::of(&self.back) {
            self.sealed_events += sealed.count;
            self.sealed.push_back(Arc::new(sealed));
        }
        self.back.clear();
    }

    /// How many events are kept.
    pub fn len(&self) -> usize {
        self.front.count + self.sealed_events + self.back.count
    }

    /// How much memory they take, bytes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let sealed = self.sealed.iter();
        let sealed: usize = sealed
            .map(|of| of.packed.bytes() + size_of::<Sealed>() + 2 * size_of::<usize>())
            .sum();
        sealed
            + self.sealed.capacity() * size_of::<Arc<Sealed>>()
            + self.front.bytes.capacity()
            + self.back.bytes.capacity()
    }

    /// The oldest event.
    pub fn first(&self) -> Option<First> {
        let sealed = || self.sealed.front().map(|sealed| sealed.first);
        let newest = || self.back.first();
        self.front.first().or_else(sealed).or_else(newest)
    }

    /// Drops the oldest event.
    pub fn pop_front(&mut self) {
        if self.front.count == 0
            && let Some(sealed) = self.sealed.pop_front()
        {
            self.sealed_events -= sealed.count;
            self.front = sealed.open(&mut pack::Opener::default());
            if self.front.count == 0 {
                // What cannot be unpacked has gone with it.
                return;
            }
        }
        if self.front.count > 0 {
            self.front.pop();
        } else {
            self.back.pop();
        }
    }

    /// Shows `look` the events with a number above `id`, oldest first, until it has enough. Chunks before
    /// them are not looked into.
    pub fn after(&self, id: u64, mut look: impl FnMut(Packed<'_>) -> ControlFlow<()>) {
        let mut look = |event: Packed<'_>| match event.id > id {
            true => look(event),
            false => ControlFlow::Continue(()),
        };
        let mut show = || {
            self.front.each(&mut look)?;
            let later = self.sealed.partition_point(|sealed| sealed.last_id <= id);
            let mut opener = pack::Opener::default();
            for sealed in self.sealed.range(later..) {
                sealed.open(&mut opener).each(&mut look)?;
            }
            self.back.each(&mut look)
        };
        // That it has enough is no news.
        let _: ControlFlow<()> = show();
    }

    /// All events, newest chunks first.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let plain = |chunk: &Chunk| (chunk.count > 0).then(|| Part(Events::Plain(chunk.clone())));
        let sealed = self.sealed.iter().rev();
        let sealed = sealed.map(|sealed| Part(Events::Sealed(Arc::clone(sealed))));
        let (back, front) = (plain(&self.back), plain(&self.front));
        back.into_iter().chain(sealed).chain(front)
    }
}

impl Part {
    /// Whether there may be events in it that are neither before `start` nor after `end`.
    pub fn is_within(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> bool {
        match &self.0 {
            Events::Plain(_) => true,
            Events::Sealed(sealed) => {
                start.is_none_or(|start| sealed.latest >= start)
                    && end.is_none_or(|end| sealed.earliest <= end)
            }
        }
    }

    /// Shows `look` all events of it, oldest first.
    pub fn each(&self, opener: &mut pack::Opener, mut look: impl FnMut(Packed<'_>)) {
        let look = |event: Packed<'_>| {
            look(event);
            ControlFlow::Continue(())
        };
        let _: ControlFlow<()> = match &self.0 {
            Events::Plain(chunk) => chunk.each(look),
            Events::Sealed(sealed) => sealed.open(opener).each(look),
        };
    }
}

impl Chunk {
    fn push(&mut self, event: Packed<'_>) {
        let bytes = &mut self.bytes;
        bytes.extend_from_slice(&event.id.to_ne_bytes());
        bytes.extend_from_slice(&event.timestamp.0.to_ne_bytes());
        bytes.extend_from_slice(&event.noticed.0.to_ne_bytes());
        bytes.push(event.tag);
        bytes.extend_from_slice(&event.exit_code.to_ne_bytes());
        let length = u32::try_from(event.name.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(event.name);
        self.count += 1;
    }

    fn first(&self) -> Option<First> {
        let (event, _) = read(self.bytes.get(self.start..)?)?;
        Some(First {
            id: event.id,
            noticed: event.noticed,
        })
    }

    fn pop(&mut self) {
        let oldest = self.bytes.get(self.start..).and_then(read);
        match oldest {
            Some((_, length)) if self.count > 1 => {
                self.start += length;
                self.count -= 1;
            }
            _ => self.clear(),
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn each(&self, mut look: impl FnMut(Packed<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut rest = self.bytes.get(self.start..).unwrap_or_default();
        while let Some((event, length)) = read(rest) {
            look(event)?;
            rest = &rest[length..];
        }
        ControlFlow::Continue(())
    }
}

impl Sealed {
    /// The events of `chunk`; `None` if it has none.
    fn of(chunk: &Chunk) -> Option<Self> {
        let first = chunk.first()?;
        let (mut earliest, mut latest) = (Timestamp(i64::MAX), Timestamp(i64::MIN));
        let (mut count, mut id, mut time) = (0, first.id, Timestamp(0));
        let mut packer = pack::Packer::default();
        let each = |look: &mut dyn FnMut(Packed<'_>)| {
            let _: ControlFlow<()> = chunk.each(|event| {
                look(event);
                ControlFlow::Continue(())
            });
        };
        // What is the same all along comes apart from what never is: so it packs best.
        each(&mut |event| {
            packer.number(event.id.wrapping_sub(id));
            packer.number(event.tag.into());
            (count, id) = (count + 1, event.id);
        });
        each(&mut |event| {
            packer.signed(event.timestamp.0.wrapping_sub(time.0));
            packer.signed(event.noticed.0.wrapping_sub(event.timestamp.0));
            if event.tag & WITH_CODE != 0 {
                packer.signed(event.exit_code.into());
            }
            packer.text(event.name);
            time = event.timestamp;
            (earliest, latest) = (earliest.min(time), latest.max(time));
        });
        Some(Self {
            packed: packer.seal(),
            count,
            first,
            last_id: id,
            earliest,
            latest,
        })
    }

    /// The events again: as many as can be read.
    fn open(&self, opener: &mut pack::Opener) -> Chunk {
        let mut chunk = Chunk::default();
        let Some(mut from) = opener.open(&self.packed) else {
            tracing::error!(
                events = self.count,
                "events of the history cannot be unpacked"
            );
            return chunk;
        };
        let (mut id, mut time) = (self.first.id, Timestamp(0));
        let mut heads = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            let (Some(step), Some(tag)) = (from.number(), from.number()) else {
                break;
            };
            id = id.wrapping_add(step);
            heads.push((id, u8::try_from(tag).unwrap_or(u8::MAX)));
        }
        let mut name = Vec::new();
        let next = |(id, tag): (u64, u8)| {
            time = Timestamp(time.0.wrapping_add(from.signed()?));
            let noticed = Timestamp(time.0.wrapping_add(from.signed()?));
            let exit_code = match tag & WITH_CODE != 0 {
                true => i32::try_from(from.signed()?).ok()?,
                false => 0,
            };
            from.text(&mut name)?;
            chunk.push(Packed {
                id,
                timestamp: time,
                noticed,
                tag,
                exit_code,
                name: &name,
            });
            Some(())
        };
        let read = heads.into_iter().map_while(next).count();
        if read < self.count {
            tracing::error!("events of the history cannot be unpacked");
        }
        chunk
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

    fn all(log: &PackedLog) -> VecDeque<Event> {
        let mut parts: Vec<Part> = log.parts().collect();
        parts.reverse();
        let (mut opener, mut found) = (pack::Opener::default(), VecDeque::new());
        for part in &parts {
            part.each(&mut opener, |event| found.push_back(event.unpack()));
        }
        found
    }

    fn ids_after(log: &PackedLog, id: u64, most: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        log.after(id, |event| {
            ids.push(event.id);
            match ids.len() < most {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        ids
    }

    fn step() -> impl Strategy<Value = (usize, Vec<u8>, Option<Option<i32>>)> {
        let name = prop::collection::vec(any::<u8>(), 0..9000);
        let exit_code = prop::option::of(prop::option::of(any::<i32>()));
        (0..3_usize, name, exit_code)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Names are long, so that chunks are full after a few events.
        #[test]
        fn a_log_is_a_queue_of_events(steps in prop::collection::vec(step(), 0..60)) {
            let (mut log, mut model) = (PackedLog::default(), VecDeque::new());
            for (id, (drop, name, exit_code)) in steps.into_iter().enumerate() {
                let event = event(id as u64, &name, exit_code);
                log.push(event.clone()).unwrap();
                model.push_back(event);
                for _ in 1..drop {
                    log.pop_front();
                    model.pop_front();
                }
                prop_assert_eq!(log.len(), model.len());
                prop_assert_eq!(log.first().map(|first| (first.id, first.noticed)), model.front().map(|first| (first.id, first.noticed)));
            }
            prop_assert_eq!(&all(&log), &model);
            for id in (0..61).step_by(13) {
                model.retain(|event: &Event| event.id > id);
                let ids: Vec<u64> = model.iter().map(|event| event.id).collect();
                prop_assert_eq!(ids_after(&log, id, usize::MAX), ids);
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
        assert_eq!(log.sealed.len(), 10_000 / SEALED_EVENTS);
        assert_eq!(ids_after(&log, 5_000, 300), Vec::from_iter(5_001..5_301));
        for gone in 1..=10_000 {
            assert_eq!(log.first().map(|first| first.id), Some(gone - 1));
            log.pop_front();
            assert_eq!(log.len() as u64, 10_000 - gone);
        }
        assert_eq!(
            (log.sealed.len(), log.bytes()),
            (0, log.sealed.capacity() * 8)
        );
        log.pop_front();
        assert_eq!((log.len(), log.first()), (0, None));
        assert!(
            log.push(Event {
                kind: EventKind::Oom,
                ..event(1, b"/", None)
            })
            .is_err()
        );
    }

    #[test]
    fn an_event_of_a_container_with_an_id_takes_forty_bytes() {
        let mut log = PackedLog::default();
        let noise = |of: u64| {
            let of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 1
        };
        let number = 100_000;
        for id in 0..number {
            let digits: String = (0..4)
                .map(|part| format!("{:016x}", noise(id * 4 + part + 1) << 1))
                .collect();
            let name = format!("/kubepods/burstable/pod7/{digits}");
            let mut event = event(id * 2, name.as_bytes(), (id % 2 == 1).then_some(Some(0)));
            // Every 50 ms, noticed within four.
            let jitter = |salt| i64::try_from(noise(id + salt) % 2_000_000).unwrap();
            event.timestamp = Timestamp(1_800_000_000_000_000_000 + id.cast_signed() * 50_000_000);
            event.timestamp.0 += jitter(1 << 40);
            event.noticed = Timestamp(event.timestamp.0 + jitter(1 << 41));
            log.push(event).unwrap();
        }
        let each = log.bytes() as f64 / number as f64;
        assert!(each < 41.0, "{each}");
    }

    #[test]
    fn what_cannot_be_unpacked_is_gone_and_the_rest_is_there() {
        let mut log = PackedLog::default();
        let events = SEALED_EVENTS as u64;
        for id in 0..3 * events {
            log.push(event(id, b"/a", None)).unwrap();
        }
        let first = Arc::get_mut(log.sealed.front_mut().unwrap()).unwrap();
        first.packed = pack::Packer::default().seal();
        assert_eq!(all(&log).len() as u64, 2 * events);
        log.pop_front();
        let first = log.first().map(|first| first.id);
        assert_eq!((log.len() as u64, first), (2 * events, Some(events)));
    }
}
