//! What `docs/metrics.md` says is what there is.

use super::*;

const DOCS: &str = include_str!("../../../../docs/metrics.md");

/// The cells of the rows of the table below this heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = DOCS.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split_once("\n## ").map_or(section, |parts| parts.0);
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn every_family_is_documented_as_it_is() {
    let page = page_of(vec![
        container("/", spec(), full(1)),
        container("/a", spec(), full(1)),
        known(&its_cgroup(), spec(), full(1), Some(identity())),
    ]);
    let found = labels(&page);
    let mut rows = table("Families of containers");
    rows.extend(table("Families of the machine"));
    rows.extend(table("Families of cgauge"));
    let documented: Vec<String> = rows
        .iter()
        .map(|row| format!("{} | {} | {} | {}", row[0], row[1], row[2], row[3]))
        .collect();
    let mut expected = Vec::new();
    for family in TABLE.iter() {
        let names: Vec<String> = (found.get(family.name).into_iter().flatten())
            .map(|label| format!("`{label}`"))
            .collect();
        expected.push(format!(
            "`{}` | {} | {} | {}",
            family.name,
            family.r#type.as_str(),
            names.join(", "),
            family.kind.map_or("", MetricKind::name)
        ));
    }
    let (documented, expected): (BTreeSet<_>, BTreeSet<_>) = (
        documented.into_iter().collect(),
        expected.into_iter().collect(),
    );
    let missing: Vec<_> = expected.difference(&documented).collect();
    let wrong: Vec<_> = documented.difference(&expected).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "missing: {missing:#?}\nwrong: {wrong:#?}"
    );
}

#[test]
fn every_omission_is_documented_with_its_reason() {
    let rows: Vec<(String, String)> = table("What is left out")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].to_owned()))
        .collect();
    let expected: Vec<(String, String)> = OMITTED
        .iter()
        .map(|row| (row.0.to_owned(), row.1.to_owned()))
        .collect();
    assert_eq!(rows, expected);
}
