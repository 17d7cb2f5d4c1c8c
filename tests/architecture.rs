//! The order of `src/lib.rs` is the order of imports; files stay small; stages say what they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{in_guest, not_here};

/// The hard limit of a file.
const MAX_LINES: usize = 600;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `folder`, sorted.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The modules that `lib.rs` declares, in order.
fn modules(lib: &str) -> Vec<&str> {
    lib.lines()
        .filter_map(|line| {
            line.strip_prefix("pub mod ")
                .or_else(|| line.strip_prefix("mod "))
        })
        .filter_map(|rest| rest.strip_suffix(';'))
        .collect()
}

/// `source` without comments and without `#[cfg(test)]` modules.
///
/// An item ends at the first line that is a closing brace as deep as the item begins: rustfmt's
/// layout, which CI checks.
fn product_code(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", &line[..indent]);
            for skipped in lines.by_ref() {
                let inside = skipped.starts_with(&format!("{}    ", &line[..indent]));
                let last = skipped.trim_end().ends_with([';', '}']);
                if skipped.starts_with(&end) || (last && !inside) {
                    break;
                }
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or(""));
        code.push('\n');
    }
    code
}

/// The top-level modules that `code` names after `crate::`, alone or in a group.
fn imports(code: &str) -> BTreeSet<&str> {
    let ident = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(mut group) = rest.strip_prefix('{') else {
            found.insert(&rest[..ident(rest)]);
            continue;
        };
        let mut depth = 0;
        loop {
            group = group.trim_start();
            let length = ident(group);
            if length > 0 {
                if depth == 0 {
                    found.insert(&group[..length]);
                }
                group = &group[length..];
                // What follows `::` belongs to the name before it.
                while let Some(path) = group.strip_prefix("::") {
                    group = &path[ident(path)..];
                }
                continue;
            }
            let mut characters = group.chars();
            match characters.next() {
                Some('{') => depth += 1,
                Some('}') if depth == 0 => break,
                Some('}') => depth -= 1,
                Some(_) => {}
                None => break,
            }
            group = characters.as_str();
        }
    }
    found
}

#[test]
fn imports_go_one_way() {
    if in_guest() {
        not_here!("the sources are on the host");
    }
    let lib = fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    let order = modules(&lib);
    assert!(order.len() > 5, "{order:?}");
    let mut wrong = Vec::new();
    let source = repository().join("src");
    for path in sources("src") {
        let relative = path.strip_prefix(&source).unwrap();
        let own = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        let Some(place) = order.iter().position(|m| *m == own) else {
            continue;
        };
        if relative.file_name().is_some_and(|n| n == "tests.rs")
            || relative.iter().any(|part| part == "tests")
        {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = product_code(&text);
        for import in imports(&code) {
            if order
                .iter()
                .position(|m| *m == import)
                .is_some_and(|other| other > place)
            {
                wrong.push(format!(
                    "{}: {own} uses crate::{import}, which comes after it",
                    relative.display()
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "a module may use only those above it in src/lib.rs:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_stay_small() {
    if in_guest() {
        not_here!("the sources are on the host");
    }
    let mut long = Vec::new();
    for path in ["src", "tests", "examples", "benches"]
        .into_iter()
        .flat_map(sources)
    {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > MAX_LINES {
            long.push(format!(
                "{}: {lines}",
                path.strip_prefix(repository()).unwrap().display()
            ));
        }
    }
    assert!(
        long.is_empty(),
        "more than {MAX_LINES} lines, split them:\n{}",
        long.join("\n")
    );
}

#[test]
fn every_stage_says_what_it_is() {
    if in_guest() {
        not_here!("the sources are on the host");
    }
    for path in sources("src")
        .into_iter()
        .filter(|p| p.file_name().is_some_and(|n| n == "mod.rs"))
    {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} begins with a //! line",
            path.display()
        );
    }
}

#[test]
fn imports_are_found_in_every_spelling() {
    let found = |code| imports(code).into_iter().collect::<Vec<_>>();
    assert_eq!(found("use crate::cgroup::{Name, Spec};"), ["cgroup"]);
    assert_eq!(
        found("use crate::{a, b::{c, d::e}, f::g};"),
        ["a", "b", "f"]
    );
    assert_eq!(
        found("fn x(y: &crate::query::Thing) -> mycrate::z::T"),
        ["query"]
    );
    assert_eq!(found("let x = 1;"), [""; 0]);
}

#[test]
fn comments_and_tests_do_not_import() {
    let source = "use crate::a::X;\n// crate::b\n#[cfg(test)]\nuse crate::c;\n#[cfg(test)]\nfn x() {}\nfn y() {}\n\
                  #[cfg(test)]\nmod tests {\n    use crate::d;\n    fn t() {\n    }\n}\nuse crate::e;\n";
    let code = product_code(source);
    assert_eq!(imports(&code).into_iter().collect::<Vec<_>>(), ["a", "e"]);
    assert!(code.contains("fn y"));
}
