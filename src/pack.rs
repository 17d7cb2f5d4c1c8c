//! Pure: many small records in few bytes, for what is remembered for long and seldom asked for.
//!
//! A record is a series of numbers and texts, read back in the order in which they were written; what
//! they mean is the caller's. Numbers are LEB128 varints and best given as differences. In texts each
//! long run of hexadecimal digits (the id of a container) is kept as the bytes that it spells, once,
//! and what is left of the texts repeats itself: it is deflated, as are the numbers.
//!
//! Nothing here panics on bytes that are damaged: they are [`None`].

use std::collections::HashMap;
use std::ops::Range;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Digits from which on a run is kept as bytes: the parts of a UUID are shorter, and repeat.
const MIN_RUN_DIGITS: usize = 16;

/// Digits of a run that are kept together; what is more is another run.
const MAX_RUN_DIGITS: usize = 2 * u8::MAX as usize;

/// Between numbers and size the best for kilobytes: higher levels find nothing more there.
const LEVEL: u32 = 6;

/// In a text, what follows is one of these, or the length of a run in bytes.
const ESCAPE: u8 = 0;
/// A byte zero.
const ZERO: u8 = 0;
/// A run that was there before, by its number.
const AGAIN: u8 = 1;
/// The text is over.
const END: u8 = 2;

const _: () = assert!(MIN_RUN_DIGITS / 2 > END as usize);

/// Records on their way into a [`Packed`].
#[derive(Debug, Default)]
pub(crate) struct Packer {
    numbers: Vec<u8>,
    texts: Vec<u8>,
    runs: Vec<u8>,
    /// Runs by what they spell.
    known: HashMap<Box<[u8]>, u64>,
}

impl Packer {
    /// Writes a number, the smaller the shorter.
    pub fn number(&mut self, number: u64) {
        put_varint(&mut self.numbers, number);
    }

    /// Writes a number, the nearer to zero the shorter.
    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// Writes a text, of whatever bytes.
    pub fn text(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            let most = &rest[..rest.len().min(MAX_RUN_DIGITS)];
            let digits = most.iter().take_while(|byte| nibble(**byte).is_some());
            let digits = digits.count() & !1;
            if digits >= MIN_RUN_DIGITS {
                self.run(&rest[..digits]);
                rest = &rest[digits..];
            } else if digits > 0 {
                self.texts.extend_from_slice(&rest[..digits]);
                rest = &rest[digits..];
            } else {
                self.texts.push(byte);
                if byte == ESCAPE {
                    self.texts.push(ZERO);
                }
                rest = behind;
            }
        }
        self.texts.extend_from_slice(&[ESCAPE, END]);
    }

    /// Writes an even number of digits.
    fn run(&mut self, digits: &[u8]) {
        let pairs = digits.chunks_exact(2).filter_map(|pair| match pair {
            [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
            _ => None,
        });
        let bytes: Box<[u8]> = pairs.collect();
        self.texts.push(ESCAPE);
        if let Some(number) = self.known.get(&bytes) {
            self.texts.push(AGAIN);
            put_varint(&mut self.texts, *number);
            return;
        }
        self.texts
            .push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.runs.extend_from_slice(&bytes);
        let number = self.known.len() as u64;
        self.known.insert(bytes, number);
    }

    /// All that was written, packed.
    pub fn seal(self) -> Packed {
        let mut bytes = Vec::new();
        for part in [&self.numbers, &self.texts] {
            let packed = deflate(part).filter(|packed| packed.len() < part.len());
            put_varint(&mut bytes, part.len() as u64);
            // 0: as it is.
            put_varint(&mut bytes, packed.as_ref().map_or(0, Vec::len) as u64);
            bytes.extend_from_slice(packed.as_ref().unwrap_or(part));
        }
        bytes.extend_from_slice(&self.runs);
        Packed(bytes.into())
    }
}

/// Records as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    /// How much memory they take beside the struct itself, bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Unpacks; to be kept while more than one [`Packed`] is to be read.
#[derive(Debug)]
pub(crate) struct Opener(Decompress);

impl Default for Opener {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Opener {
    /// The records in `packed`; `None` if it is damaged.
    pub fn open(&mut self, packed: &Packed) -> Option<Unpacked> {
        let mut rest = &*packed.0;
        let (numbers, texts) = (self.part(&mut rest)?, self.part(&mut rest)?);
        Some(Unpacked {
            numbers,
            texts,
            runs: rest.into(),
            number_at: 0,
            text_at: 0,
            known: Vec::new(),
        })
    }

    fn part(&mut self, rest: &mut &[u8]) -> Option<Vec<u8>> {
        let length = usize::try_from(take_varint(rest)?).ok()?;
        let packed = usize::try_from(take_varint(rest)?).ok()?;
        if packed == 0 {
            let (part, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            return Some(part.to_owned());
        }
        let (packed, behind) = rest.split_at_checked(packed)?;
        *rest = behind;
        self.inflate(packed, length)
    }

    fn inflate(&mut self, packed: &[u8], length: usize) -> Option<Vec<u8>> {
        // A byte of deflate is never more than some thousand.
        if length > packed.len().saturating_mul(1_100) {
            return None;
        }
        self.0.reset(false);
        // A byte to spare: the end is only noticed by one who could go on.
        let mut part = Vec::with_capacity(length + 1);
        let status = self
            .0
            .decompress_vec(packed, &mut part, FlushDecompress::Finish);
        (status.ok()? == Status::StreamEnd && part.len() == length).then_some(part)
    }
}

/// Records that are being read.
#[derive(Debug)]
pub(crate) struct Unpacked {
    numbers: Vec<u8>,
    texts: Vec<u8>,
    runs: Vec<u8>,
    number_at: usize,
    text_at: usize,
    /// Where the runs so far lie in `runs`.
    known: Vec<Range<usize>>,
}

impl Unpacked {
    /// The next number; `None` at the end, and of nonsense.
    pub fn number(&mut self) -> Option<u64> {
        let mut rest = self.numbers.get(self.number_at..)?;
        let before = rest.len();
        let number = take_varint(&mut rest)?;
        self.number_at += before - rest.len();
        Some(number)
    }

    /// The next number that was written as a signed one.
    pub fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// Reads the next text into `text`, in place of what is there.
    pub fn text(&mut self, text: &mut Vec<u8>) -> Option<()> {
        text.clear();
        let all = self.texts.get(self.text_at..)?;
        let mut rest = all;
        loop {
            let plain = rest.iter().position(|byte| *byte == ESCAPE)?;
            text.extend_from_slice(rest.get(..plain)?);
            let (&what, behind) = rest.get(plain + 1..)?.split_first()?;
            rest = behind;
            let run = match what {
                END => break,
                ZERO => {
                    text.push(0);
                    continue;
                }
                AGAIN => {
                    let number = usize::try_from(take_varint(&mut rest)?).ok()?;
                    self.known.get(number)?.clone()
                }
                length => {
                    let start = self.known.last().map_or(0, |last| last.end);
                    let run = start..start + usize::from(length);
                    self.known.push(run.clone());
                    run
                }
            };
            let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 0xf)];
            text.extend(self.runs.get(run)?.iter().flat_map(digits));
        }
        self.text_at += all.len() - rest.len();
        Some(())
    }
}

fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(bytes.len() + 64);
    let status = Compress::new(Compression::new(LEVEL), false).compress_vec(
        bytes,
        &mut packed,
        FlushCompress::Finish,
    );
    (status.ok()? == Status::StreamEnd).then_some(packed)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn digit(nibble: u8) -> u8 {
    match nibble {
        0..10 => b'0' + nibble,
        _ => b'a' + (nibble & 0xf) - 10,
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq)]
    enum Item {
        Number(u64),
        Signed(i64),
        Text(Vec<u8>),
    }

    fn packed(items: &[Item]) -> Packed {
        let mut packer = Packer::default();
        for item in items {
            match item {
                Item::Number(number) => packer.number(*number),
                Item::Signed(number) => packer.signed(*number),
                Item::Text(text) => packer.text(text),
            }
        }
        packer.seal()
    }

    /// What is read where `items` were written.
    fn unpacked(packed: &Packed, items: &[Item]) -> Option<Vec<Item>> {
        let mut unpacked = Opener::default().open(packed)?;
        let read = items.iter().map(|item| {
            Some(match item {
                Item::Number(_) => Item::Number(unpacked.number()?),
                Item::Signed(_) => Item::Signed(unpacked.signed()?),
                Item::Text(_) => {
                    let mut text = Vec::new();
                    unpacked.text(&mut text)?;
                    Item::Text(text)
                }
            })
        });
        read.collect()
    }

    fn item() -> impl Strategy<Value = Item> {
        prop_oneof![
            any::<u64>().prop_map(Item::Number),
            any::<i64>().prop_map(Item::Signed),
            prop::collection::vec(any::<u8>(), 0..60).prop_map(Item::Text),
            // Digits, often the same ones, beside other bytes and zeros.
            "[/\0]{0,2}([0-9a-f]{14,18}|0{500,600})[g\0]{0,2}(0123456789abcdef){0,3}"
                .prop_map(|text| Item::Text(text.into_bytes())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(items in prop::collection::vec(item(), 0..40)) {
            prop_assert_eq!(unpacked(&packed(&items), &items), Some(items));
        }

        #[test]
        fn damage_is_no_panic(items in prop::collection::vec(item(), 0..40), at in any::<prop::sample::Index>(), bits in 1..=u8::MAX, cut in any::<prop::sample::Index>()) {
            let good = packed(&items);
            let mut bad = good.clone();
            bad.0[at.index(good.0.len())] ^= bits;
            unpacked(&bad, &items);
            let cut = Packed(good.0[..cut.index(good.0.len())].into());
            unpacked(&cut, &items);
        }

        #[test]
        fn noise_is_no_panic(noise in prop::collection::vec(any::<u8>(), 0..200), items in prop::collection::vec(item(), 0..40)) {
            unpacked(&Packed(noise.into()), &items);
        }
    }

    #[test]
    fn an_id_costs_what_it_spells_and_once() {
        let ids: Vec<Item> = (0..256_u64)
            .map(|number| {
                let noise = |salt: u64| (number + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let id: String = (1..5)
                    .map(|salt| format!("{:016x}", noise(salt << 8)))
                    .collect();
                Item::Text(format!("/docker/{id}").into_bytes())
            })
            .collect();
        let once = packed(&ids).bytes();
        assert!(once < 256 * 33, "{once}");
        let twice = packed(&[ids.clone(), ids].concat()).bytes();
        assert!(twice - once < 256 * 4, "{twice} after {once}");
    }

    #[test]
    fn what_says_that_it_is_endless_is_not_believed() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        put_varint(&mut bytes, 4);
        bytes.extend_from_slice(&[0; 4]);
        assert!(Opener::default().open(&Packed(bytes.into())).is_none());
    }
}
