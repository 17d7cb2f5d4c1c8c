//! What is kept of maps and lists that a user of the runtime may make as large as he likes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A longer value is left out: cut off it would be a lie. kubectl puts whole manifests into
/// annotations.
pub const MAX_VALUE: usize = 4 << 10;

/// How many entries a map may have.
pub const MAX_ENTRIES: usize = 256;

/// How long all keys and values of a map may be together.
pub const MAX_MAP: usize = 64 << 10;

/// How many elements of a list are looked at.
const MAX_LIST: usize = 10_000;

/// Labels or annotations, of which no more are kept than the limits of this module allow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    kept: BTreeMap<String, String>,
    length: usize,
}

impl Labels {
    /// Keeps a label if there is room.
    pub fn insert(&mut self, key: String, value: String) {
        let length = key.len() + value.len();
        let fits =
            length <= MAX_VALUE && self.kept.len() < MAX_ENTRIES && self.length + length <= MAX_MAP;
        if fits && self.kept.insert(key, value).is_none() {
            self.length += length;
        }
    }

    /// What was kept.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.kept
    }
}

impl Deref for Labels {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.kept
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(all: I) -> Self {
        let mut labels = Self::default();
        for (key, value) in all {
            labels.insert(key, value);
        }
        labels
    }
}

impl<'de> serde::Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Labels::default();
                while let Some((key, value)) = map.next_entry()? {
                    labels.insert(key, value);
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// Reads a list of strings, or nothing, up to a number of them.
///
/// # Errors
/// When it is neither.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Read;

    impl<'de> Visitor<'de> for Read {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strings")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MAX_LIST {
                match list.next_element()? {
                    Some(one) => kept.push(one),
                    None => return Ok(kept),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_any(Read)
}

/// Of `NAME=value` the variables whose names start with one of `prefixes`. An empty prefix allows
/// nothing: nobody who writes one can mean all secrets.
pub fn env<'a>(
    all: impl Iterator<Item = &'a str>,
    prefixes: &[String],
) -> BTreeMap<String, String> {
    let allowed = |name: &str| {
        let mut prefixes = prefixes.iter();
        prefixes.any(|prefix| !prefix.is_empty() && name.starts_with(prefix.as_str()))
    };
    let pairs = all.filter_map(|one| one.split_once('='));
    let kept: Labels = pairs
        .filter(|(name, _)| allowed(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    kept.into_map()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn large_maps_are_cut_and_long_values_left_out() {
        let mut labels = Labels::default();
        labels.insert("long".to_owned(), "x".repeat(MAX_VALUE));
        assert!(labels.is_empty());
        for number in 0..1_000 {
            labels.insert(format!("{number:04}"), "y".to_owned());
        }
        assert_eq!(labels.len(), MAX_ENTRIES);
        let wide: Labels = (0..100)
            .map(|n| (n.to_string(), "x".repeat(4_000)))
            .collect();
        assert_eq!(wide.len(), MAX_MAP / 4_002);
    }

    #[test]
    fn absent_maps_and_lists_are_empty() {
        let labels: Labels = serde_json::from_str("null").unwrap();
        assert!(labels.is_empty());
        assert!(serde_json::from_str::<Labels>("3").is_err());
        let mut json = serde_json::Deserializer::from_str("null");
        assert!(list(&mut json).unwrap().is_empty());
        let many = serde_json::to_string(&vec!["a"; MAX_LIST + 5]).unwrap();
        let mut json = serde_json::Deserializer::from_str(&many);
        assert_eq!(list(&mut json).unwrap().len(), MAX_LIST);
    }
}
