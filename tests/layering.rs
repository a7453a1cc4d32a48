//! The layer map in `src/lib.rs` and the code agree: no edge outside of it, no edge that is not used, no cycle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

pub(crate) type Edges = BTreeSet<(String, String)>;

/// Open to everybody, and so in no map.
const OPEN: [&str; 2] = ["error", "types"];

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// The map as `lib.rs` draws it: `a, b -> c, d` within a fence. Words in parentheses are remarks.
pub(crate) fn written(lib: &str) -> Edges {
    let lines = lib.lines().skip_while(|line| !line.contains("```text")).skip(1);
    let lines: Vec<_> = lines.take_while(|line| !line.contains("```")).collect();
    let names = |text: &str| -> Vec<String> {
        let text = text.split('(').next().unwrap().trim_start_matches("//!");
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let mut edges = Edges::new();
    for (from, to) in lines.iter().filter_map(|line| line.split_once("->")) {
        for from in names(from) {
            edges.extend(names(to).into_iter().map(|to| (from.clone(), to)));
        }
    }
    edges
}

/// The modules that `text` names as `crate::name` or `crate::{name, …}`, comments left out.
pub(crate) fn named(text: &str, krate: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
    let mut names = BTreeSet::new();
    for (at, found) in code.match_indices(krate) {
        let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if !is_word {
            names.extend(heads(&code[at + found.len()..]));
        }
    }
    names
}

/// The first words of a path or of the paths in a brace.
fn heads(path: &str) -> Vec<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(list) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut heads, mut start) = (0, Vec::new(), 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            ',' if depth == 0 => {
                heads.push(word(list[start..at].trim()));
                start = at + 1;
            }
            '}' if depth == 0 => {
                heads.push(word(list[start..at].trim()));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads.into_iter().filter(|head| !head.is_empty() && head != "self").collect()
}

/// What the code uses: all files of a module, named after the module that `lib.rs` declares.
fn used() -> Edges {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut edges = Edges::new();
    for module in modules {
        let mut files = vec![source().join(format!("{module}.rs")), source().join(module)];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
                let text = fs::read_to_string(&path).unwrap();
                edges.extend(named(&text, "crate::").into_iter().map(|to| (module.to_owned(), to)));
            }
        }
    }
    let main = fs::read_to_string(source().join("main.rs")).unwrap();
    // `freehold::main` is the command line's.
    let behind = |to: String| if to == "main" { "cli".to_owned() } else { to };
    edges.extend(named(&main, "freehold::").into_iter().map(|to| ("main".to_owned(), behind(to))));
    edges.retain(|(from, to)| from != to && !OPEN.contains(&to.as_str()));
    edges
}

fn text(edges: impl Iterator<Item = (String, String)>) -> Vec<String> {
    edges.map(|(from, to)| format!("{from} -> {to}")).collect()
}

#[test]
fn the_map_is_what_the_code_does() {
    let written = written(&fs::read_to_string(source().join("lib.rs")).unwrap());
    let used = used();
    assert!(used.len() > 20, "the reader of the code finds next to nothing");
    let outside = text(used.difference(&written).cloned());
    assert!(outside.is_empty(), "not in the layer map of src/lib.rs: {outside:?}");
    let idle = text(written.difference(&used).cloned());
    assert!(idle.is_empty(), "in the layer map of src/lib.rs, and not used any more: {idle:?}");
}

#[test]
fn the_map_has_no_cycle() {
    let mut left = BTreeMap::<String, BTreeSet<String>>::new();
    for (from, to) in written(&fs::read_to_string(source().join("lib.rs")).unwrap()) {
        left.entry(to.clone()).or_default();
        left.entry(from).or_default().insert(to);
    }
    while let Some(bottom) = left.iter().find(|(_, below)| below.is_empty()).map(|(name, _)| name.clone()) {
        left.remove(&bottom);
        for below in left.values_mut() {
            below.remove(&bottom);
        }
    }
    assert!(left.is_empty(), "modules that need each other: {:?}", left.keys());
}

#[test]
fn paths_are_read_in_every_form() {
    let code = "use crate::{\n    control::{ControlDb, tenants::{self, Tenant}},\n    error::Result,\n    http,\n};\n\
                // crate::never\nfn f() -> crate::tenancy::X { $crate::macros::y; mycrate::z }";
    let names: Vec<_> = named(code, "crate::").into_iter().collect();
    assert_eq!(names, ["control", "error", "http", "tenancy"]);
}
