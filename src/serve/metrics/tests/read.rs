//! A reader of the text format, by its rules and not by those of the writer.

use std::collections::BTreeMap;

/// The samples of a page, read back by the rules of the format: name, labels, value.
pub(super) type Read = Vec<(String, BTreeMap<String, String>, String)>;

pub(super) fn read(page: &str) -> Read {
    let mut samples = Read::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, after) = rest.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut chars = after.char_indices();
                let end = loop {
                    match chars.next().unwrap() {
                        (at, '"') => break at,
                        (_, '\\') => value.push(match chars.next().unwrap().1 {
                            'n' => '\n',
                            escaped @ ('\\' | '"') => escaped,
                            other => panic!("escape {other:?} in {line}"),
                        }),
                        (_, other) => value.push(other),
                    }
                };
                assert!(
                    labels.insert(label.to_owned(), value).is_none(),
                    "label twice: {line}"
                );
                rest = after.split_at(end + 1).1;
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}').unwrap();
        }
        samples.push((
            name.to_owned(),
            labels,
            rest.strip_prefix(' ').unwrap().to_owned(),
        ));
    }
    samples
}
