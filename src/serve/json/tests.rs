#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::io::{self, Write};

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::*;

fn text<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_bytes(value).unwrap().to_vec()).unwrap()
}

#[test]
fn strings() {
    for (plain, want) in [
        ("", r#""""#),
        (
            "<a href=\"x\">&</a>",
            r#""\u003ca href=\"x\"\u003e\u0026\u003c/a\u003e""#,
        ),
        ("a\u{2028}b\u{2029}", r#""a\u2028b\u2029""#),
        (
            "\u{2027}\u{202a}\u{20ac}\u{e9}",
            "\"\u{2027}\u{202a}\u{20ac}\u{e9}\"",
        ),
        (
            "\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}",
            "\"\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\"",
        ),
        ("\\/", r#""\\/""#),
    ] {
        assert_eq!(text(plain), want);
    }
    assert_eq!(
        text(&json!({"<k>": ["&"]})),
        r#"{"\u003ck\u003e":["\u0026"]}"#
    );
}

#[test]
fn floats() {
    for (value, want) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.5, "0.5"),
        (1e-6, "0.000001"),
        (9.5e-7, "9.5e-7"),
        (1e-7, "1e-7"),
        (-1e-10, "-1e-10"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1.5e300, "-1.5e+300"),
        (0.1 + 0.2, "0.30000000000000004"),
    ] {
        assert_eq!(text(&value), want);
    }
    assert_eq!(text(&0.1_f32), "0.1");
    assert_eq!(text(&f64::NAN), "null"); // Go fails; a whole answer must not, for one number
}

#[test]
fn values_follow_each_other() {
    let mut out = Vec::new();
    write(&mut out, &1).unwrap();
    out.push(b'\n');
    write(&mut out, &json!([null, true])).unwrap();
    assert_eq!(out, b"1\n[null,true]");
}

proptest! {
    #[test]
    fn reads_back_as_the_same(s in any::<String>(), tricky in "[<>&\u{2020}-\u{2030}\u{0}-\u{30}]*", f in any::<f64>()) {
        for s in [&s, &tricky] {
            let out = text(s);
            let bare = out.contains(['<', '>', '&', '\u{2028}', '\u{2029}']);
            prop_assert!(!bare);
            prop_assert_eq!(&serde_json::from_str::<String>(&out).unwrap(), s);
        }
        if f.is_finite() {
            prop_assert_eq!(text(&f).parse::<f64>().unwrap().to_bits(), f.to_bits());
        }
    }
}

/// Go's spelling, by the library's writer: slower, and another way to the same text.
#[derive(Debug, Default)]
struct GoFormatter(CompactFormatter);

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let escaped = fragment
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
        self.0.write_string_fragment(writer, &escaped)
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if (1e-4..1e12).contains(&size) {
            let mut text = Vec::new();
            self.0.write_f64(&mut text, value)?;
            return writer.write_all(text.strip_suffix(b".0").unwrap_or(&text));
        }
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            return write!(writer, "{value}");
        }
        let text = format!("{value:e}");
        let plus = !text.contains("e-");
        write!(
            writer,
            "{}",
            if plus { text.replace('e', "e+") } else { text }
        )
    }
}

fn by_the_library<T: Serialize + ?Sized>(value: &T) -> String {
    let mut out = Vec::new();
    let mut writer = Serializer::with_formatter(&mut out, GoFormatter::default());
    value.serialize(&mut writer).unwrap();
    String::from_utf8(out).unwrap()
}

/// One of each kind that a type may be made of.
#[derive(Debug, Clone, Default, Serialize)]
struct Everything {
    truth: bool,
    small: i8,
    large: u64,
    wide: i128,
    real: f64,
    letter: char,
    nothing: (),
    maybe: Option<Box<Everything>>,
    pair: (u16, String),
    bytes: Vec<u8>,
    by_number: BTreeMap<i64, f64>,
    by_truth: BTreeMap<bool, Wrapped>,
    by_letter: BTreeMap<char, Unit>,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "String::is_empty")]
    often_absent: String,
    #[serde(flatten)]
    more: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Unit;

#[derive(Debug, Clone, Default, Serialize)]
struct Wrapped(String);

#[derive(Debug, Clone, Serialize)]
enum Choice {
    Bare,
    One(f64),
    Two(u8, String),
    Named { a: Option<u8>, b: Vec<Choice> },
}

fn everything() -> impl Strategy<Value = Everything> {
    let text = || "[a-z\"\\\\<>&é\u{2027}-\u{202a}\u{0}-\u{1f}]{0,12}";
    let choice = prop_oneof![
        Just(Choice::Bare),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Choice::One),
        (any::<u8>(), text()).prop_map(|(number, text)| Choice::Two(number, text)),
    ];
    let choices = prop::collection::vec(choice, 0..4);
    let named = (any::<Option<u8>>(), choices.clone()).prop_map(|(a, b)| Choice::Named { a, b });
    let figures = (
        any::<bool>(),
        any::<i8>(),
        any::<u64>(),
        any::<i128>(),
        any::<f64>(),
        any::<char>(),
    );
    let maps = (
        prop::collection::btree_map(any::<i64>(), -1e6..1e6, 0..3),
        prop::collection::btree_map(any::<bool>(), text().prop_map(Wrapped), 0..3),
        prop::collection::btree_map(any::<char>(), Just(Unit), 0..3),
        prop::collection::btree_map(text(), any::<u32>(), 0..3),
    );
    let rest = (
        (any::<u16>(), text()),
        any::<Vec<u8>>(),
        text(),
        choices,
        named,
        any::<bool>(),
    );
    (figures, maps, rest).prop_map(|(figures, maps, rest)| {
        let (truth, small, large, wide, real, letter) = figures;
        let (by_number, by_truth, by_letter, more) = maps;
        let (pair, bytes, often_absent, mut choices, named, nested) = rest;
        choices.push(named);
        let mut all = Everything {
            truth,
            small,
            large,
            wide,
            letter,
            pair,
            bytes,
            by_number,
            by_truth,
            by_letter,
            choices,
            often_absent,
            more,
            real: if real.is_finite() { real } else { 0.0 },
            ..Everything::default()
        };
        all.maybe = nested.then(|| Box::new(all.clone()));
        all
    })
}

proptest! {
    #[test]
    fn is_what_the_library_makes_of_the_same(all in everything()) {
        prop_assert_eq!(text(&all), by_the_library(&all));
        let value: Value = serde_json::from_str(&by_the_library(&all)).unwrap();
        prop_assert_eq!(text(&value), by_the_library(&value));
    }

    #[test]
    fn hundredths_are_what_the_library_makes_of_them(hundredths in 0_u64..200_000, over in 0..15) {
        let value = hundredths as f64 / 100.0 + 10_f64.powi(over);
        for value in [value, -value, hundredths as f64 / 100.0] {
            prop_assert_eq!(text(&value), by_the_library(&value));
            let real = value as f32;
            prop_assert_eq!(text(&real), real.to_string());
        }
    }

    #[test]
    fn floats_are_what_the_library_makes_of_them(digits in any::<i32>(), power in -30..30) {
        let value = f64::from(digits) * 10_f64.powi(power);
        prop_assert_eq!(text(&value), by_the_library(&value));
    }
}

#[test]
fn keys_are_text() {
    assert_eq!(text(&BTreeMap::from([("<", 1)])), r#"{"\u003c":1}"#);
    assert_eq!(text(&BTreeMap::from([(-3, [1.5])])), r#"{"-3":[1.5]}"#);
    for no_text in [json!([]), json!({}), Value::Null] {
        let keys = [(no_text, 1)].into_iter();
        let map = Pairs(keys.collect());
        assert!(to_bytes(&map).is_err(), "{map:?}");
    }
}

#[derive(Debug)]
struct Pairs(Vec<(Value, i32)>);

impl Serialize for Pairs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
