//! Pure: lives that have ended, packed together, and what is known of them without unpacking.

use std::sync::Arc;
use std::time::Duration;

use super::figures::{Figures, LastRead};
use super::life::{Exit, Identity, LedgerRequest, Life, Which};
use super::stored::{self, OF_EARLIER_RUN};
use crate::cgroup::{ContainerName, OomCounters};
use crate::pack::{Opener, Packed, Packer, Unpacked};
use crate::units::Timestamp;

/// Lives as they are kept once nothing more is expected of them, by end.
#[derive(Debug)]
pub(super) struct Sealed {
    packed: Packed,
    /// A hash of each one's name, and the low half of each one's number: by these one is found without
    /// unpacking others in vain. There may be others with the same.
    names: Box<[u32]>,
    numbers: Box<[u32]>,
    /// When the first of them ended.
    pub oldest: Timestamp,
    /// When the last did.
    newest: Timestamp,
    is_oom: bool,
    /// From the lowest number of a kill to the highest, if there is one.
    kills: Option<(u64, u64)>,
    /// How many are of containers that nobody knew.
    pub strays: usize,
}

const PREEXISTING: u64 = 1;
const END_UNSEEN: u64 = 1 << 1;
const ENDED: u64 = 1 << 2;
const EARLIER_RUN: u64 = 1 << 3;
const COUNTED: u64 = 1 << 4;
const GROUPS_COUNTED: u64 = 1 << 5;
const AGE: u64 = 1 << 6;
const EXIT: u64 = 1 << 7;
const EXIT_CODE: u64 = 1 << 8;
const EXIT_SIGNAL: u64 = 1 << 9;
const EXIT_REASON: u64 = 1 << 10;
const IDENTITY: u64 = 1 << 11;
const KILLS: u64 = 1 << 12;
/// Six bits, for the texts of an identity.
const IDENTITY_FROM: u32 = 13;
/// The rest, for where the last figures are from.
const LAST_READ_FROM: u32 = 19;

impl Sealed {
    /// Of lives by end, each with the hash of its name.
    pub fn of<'a>(lives: impl Iterator<Item = (&'a Life, u32)>) -> Self {
        let mut writer = Writer::default();
        let (mut names, mut numbers) = (Vec::new(), Vec::new());
        let (mut oldest, mut newest) = (None, Timestamp(i64::MIN));
        let (mut is_oom, mut kills, mut strays) = (false, None, 0);
        for (life, name) in lives {
            writer.put(life);
            names.push(name);
            numbers.push(low(life.number));
            let ended = life.ended.unwrap_or(life.started);
            oldest.get_or_insert(ended);
            newest = newest.max(ended);
            is_oom |= life.oom_kills > 0;
            for (number, _) in &life.kills {
                let (low, high) = kills.unwrap_or((*number, *number));
                kills = Some((low.min(*number), high.max(*number)));
            }
            strays += usize::from(life.which.incarnation == 0);
        }
        Self {
            packed: writer.packer.seal(),
            names: names.into(),
            numbers: numbers.into(),
            oldest: oldest.unwrap_or(newest),
            newest,
            is_oom,
            kills,
            strays,
        }
    }

    #[cfg(test)]
    pub fn damage(&mut self, packed: Packed) {
        self.packed = packed;
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// How much memory they take, with what is known of them.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
            + size_of_val(&*self.names)
            + size_of_val(&*self.numbers)
            + size_of::<Self>()
    }

    /// Whether one may bear this name.
    pub fn may_have_name(&self, hash: u32) -> bool {
        self.names.contains(&hash)
    }

    /// Whether one may have this number.
    pub fn may_have_number(&self, number: u64) -> bool {
        self.numbers.contains(&low(number))
    }

    /// Whether the kill of this number may be one in them.
    pub fn may_have_kill(&self, number: u64) -> bool {
        self.kills
            .is_some_and(|(low, high)| (low..=high).contains(&number))
    }

    /// Whether `request` may want one of them.
    pub fn may_be_wanted(&self, request: &LedgerRequest) -> bool {
        (self.is_oom || !request.only_oom) && request.since.is_none_or(|since| self.newest >= since)
    }

    /// The lives, as many as can be read.
    pub fn open(&self, opener: &mut Opener) -> Vec<Life> {
        let mut lives = Vec::with_capacity(self.len());
        if let Some(from) = opener.open(&self.packed) {
            let mut reader = Reader {
                from,
                before: Before::default(),
                text: Vec::new(),
            };
            let read = self.numbers.iter().map_while(|_| reader.life());
            lives.extend(read);
        }
        if lives.len() < self.len() {
            let lost = self.len() - lives.len();
            tracing::error!(lost, "lives of the ledger cannot be unpacked");
        }
        lives
    }
}

fn low(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Of the life before: numbers are written as differences from it.
#[derive(Debug, Default)]
struct Before {
    number: u64,
    incarnation: u64,
    ended: i64,
}

#[derive(Debug, Default)]
struct Writer {
    packer: Packer,
    before: Before,
}

impl Writer {
    fn put(&mut self, life: &Life) {
        let (packer, before) = (&mut self.packer, &mut self.before);
        let earlier_run = life.which.incarnation == OF_EARLIER_RUN | life.number;
        let exit = life.exit.as_ref();
        let identity = life.identity.as_deref();
        let groups = life.oom_counter.and_then(|counted| counted.groups);
        let code = exit.and_then(|exit| exit.code);
        let signal = exit.and_then(|exit| exit.signal);
        let reason = exit.and_then(|exit| exit.reason.as_deref());
        let flag = |is: bool, flag: u64| if is { flag } else { 0 };
        let mut flags = flag(life.preexisting, PREEXISTING)
            | flag(life.end_unseen, END_UNSEEN)
            | flag(life.ended.is_some(), ENDED)
            | flag(earlier_run, EARLIER_RUN)
            | flag(life.oom_counter.is_some(), COUNTED)
            | flag(groups.is_some(), GROUPS_COUNTED)
            | flag(life.finality.age.is_some(), AGE)
            | flag(exit.is_some(), EXIT)
            | flag(code.is_some(), EXIT_CODE)
            | flag(signal.is_some(), EXIT_SIGNAL)
            | flag(reason.is_some(), EXIT_REASON)
            | flag(identity.is_some(), IDENTITY)
            | flag(life.oom_kills > 0 || !life.kills.is_empty(), KILLS);
        for (at, text) in identity.into_iter().flat_map(texts).enumerate() {
            flags |= flag(text.is_some(), 1 << IDENTITY_FROM << at);
        }
        flags |= u64::from(life.finality.last_read.number()) << LAST_READ_FROM;
        packer.number(flags);

        let step = |now: u64, before: u64| now.wrapping_sub(before).cast_signed();
        packer.signed(step(life.number, before.number));
        if !earlier_run {
            packer.signed(step(life.which.incarnation, before.incarnation));
            before.incarnation = life.which.incarnation;
        }
        let last = life.ended.unwrap_or(life.started).0;
        packer.signed(last.wrapping_sub(before.ended));
        if life.ended.is_some() {
            packer.signed(last.wrapping_sub(life.started.0));
        }
        (before.number, before.ended) = (life.number, last);
        packer.text(life.which.name.as_bytes());

        let figures = life.figures.each();
        let known = figures.iter().rev();
        packer.number(known.fold(0, |known, figure| known << 1 | u64::from(figure.is_some())));
        for figure in figures.into_iter().flatten() {
            packer.number(figure);
        }
        if let Some(age) = life.finality.age {
            packer.number(age.as_secs());
            packer.number(age.subsec_nanos().into());
        }
        if let Some(counted) = life.oom_counter {
            packer.number(counted.kills);
        }
        for number in [groups, signal.map(u64::from)].into_iter().flatten() {
            packer.number(number);
        }
        if let Some(code) = code {
            packer.signed(code.into());
        }
        for text in [reason]
            .into_iter()
            .chain(identity.into_iter().flat_map(texts))
            .flatten()
        {
            packer.text(text.as_bytes());
        }
        if flags & KILLS != 0 {
            packer.number(life.oom_kills);
            put_kills(packer, life);
        }
    }
}

/// Few lives have any: what is on disk will do.
fn put_kills(packer: &mut Packer, life: &Life) {
    let written: Vec<_> = life
        .kills
        .iter()
        .filter_map(|(number, kill)| match stored::encode_kill(kill) {
            Ok(text) => Some((*number, kill.incarnation, text)),
            Err(error) => {
                tracing::error!(%error, "a kill cannot be written");
                None
            }
        })
        .collect();
    packer.number(written.len() as u64);
    for (number, incarnation, text) in written {
        packer.number(number);
        packer.number(u64::from(incarnation.is_some()));
        if let Some(incarnation) = incarnation {
            packer.signed(
                incarnation
                    .wrapping_sub(life.which.incarnation)
                    .cast_signed(),
            );
        }
        packer.text(&text);
    }
}

fn texts(identity: &Identity) -> [Option<&str>; 6] {
    let Identity {
        workload,
        name,
        id,
        image,
        pod,
        namespace,
    } = identity;
    [workload, name, id, image, pod, namespace].map(Option::as_deref)
}

#[derive(Debug)]
struct Reader {
    from: Unpacked,
    before: Before,
    text: Vec<u8>,
}

impl Reader {
    fn life(&mut self) -> Option<Life> {
        let flags = self.from.number()?;
        let has = |flag: u64| flags & flag != 0;
        let number = self.before.number.wrapping_add(self.unsigned_step()?);
        let incarnation = if has(EARLIER_RUN) {
            OF_EARLIER_RUN | number
        } else {
            self.before.incarnation = (self.before.incarnation).wrapping_add(self.unsigned_step()?);
            self.before.incarnation
        };
        let last = self.before.ended.wrapping_add(self.from.signed()?);
        let started = match has(ENDED) {
            true => last.wrapping_sub(self.from.signed()?),
            false => last,
        };
        (self.before.number, self.before.ended) = (number, last);
        self.from.text(&mut self.text)?;
        let name = ContainerName::from_bytes(&self.text);
        let which = Which { name, incarnation };
        let mut life = Life::new(number, which, Timestamp(started), has(PREEXISTING));
        life.ended = has(ENDED).then_some(Timestamp(last));
        life.end_unseen = has(END_UNSEEN);

        let known = self.from.number()?;
        let mut figures = Figures::default().each();
        for (at, figure) in figures.iter_mut().enumerate() {
            if known >> at & 1 != 0 {
                *figure = Some(self.from.number()?);
            }
        }
        life.figures = Figures::from_each(&figures);
        life.finality.last_read = LastRead::from_number(flags >> LAST_READ_FROM)?;
        if has(AGE) {
            let (seconds, nanos) = (self.from.number()?, self.from.number()?);
            let nanos = u32::try_from(nanos).ok().filter(|of| *of < 1_000_000_000)?;
            life.finality.age = Some(Duration::new(seconds, nanos));
        }
        if has(COUNTED) {
            let kills = self.from.number()?;
            let groups = self.number_if(has(GROUPS_COUNTED))?;
            life.oom_counter = Some(OomCounters { kills, groups });
        }
        if has(EXIT) {
            let signal = self.number_if(has(EXIT_SIGNAL))?;
            let signal = signal.map(u8::try_from).transpose().ok()?;
            let code = match has(EXIT_CODE) {
                true => Some(i32::try_from(self.from.signed()?).ok()?),
                false => None,
            };
            let reason = self.text_if(has(EXIT_REASON))?;
            life.exit = Some(Exit {
                code,
                signal,
                reason,
            });
        }
        if has(IDENTITY) {
            let mut next = |at: u32| self.text_if(has(1 << IDENTITY_FROM << at));
            life.identity = Some(Arc::new(Identity {
                workload: next(0)?,
                name: next(1)?,
                id: next(2)?,
                image: next(3)?,
                pod: next(4)?,
                namespace: next(5)?,
            }));
        }
        if has(KILLS) {
            life.oom_kills = self.from.number()?;
            for _ in 0..self.from.number()? {
                let number = self.from.number()?;
                let incarnation = match self.from.number()? {
                    0 => None,
                    _ => Some(life.which.incarnation.wrapping_add(self.unsigned_step()?)),
                };
                self.from.text(&mut self.text)?;
                let mut kill = stored::decode_kill(&self.text).ok()?;
                kill.incarnation = incarnation;
                life.kills.push((number, kill));
            }
        }
        Some(life)
    }

    fn unsigned_step(&mut self) -> Option<u64> {
        self.from.signed().map(i64::cast_unsigned)
    }

    /// The next number, if there is one: the outer `None` is of nonsense.
    fn number_if(&mut self, is_there: bool) -> Option<Option<u64>> {
        match is_there {
            true => Some(Some(self.from.number()?)),
            false => Some(None),
        }
    }

    fn text_if(&mut self, is_there: bool) -> Option<Option<String>> {
        if !is_there {
            return Some(None);
        }
        self.from.text(&mut self.text)?;
        Some(Some(String::from_utf8(self.text.clone()).ok()?))
    }
}
