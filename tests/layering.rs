//! The layer maps in `src/lib.rs` and the code agree: no edge outside of them, no edge that is not used, no cycle. One map
//! is of the crate, the other one of the rooms within `operations`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

pub(crate) type Edges = BTreeSet<(String, String)>;

/// Open to everybody, and so in no map.
const OPEN: [&str; 2] = ["error", "types"];

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// The map of the crate.
const CRATE: usize = 0;
/// The map of the rooms within `operations`.
const OPERATIONS: usize = 1;

/// The first map that a module's documentation draws.
pub(crate) fn written(text: &str) -> Edges {
    fence(text, 0)
}

/// What `text` names right below `root`.
pub(crate) fn named(text: &str, root: &str) -> BTreeSet<String> {
    paths_from(text, root).into_iter().map(|path| path[0].clone()).filter(|name| !name.is_empty()).collect()
}

/// A map as `lib.rs` draws it: `a, b -> c, d` within the fence of this number. Words in parentheses are remarks.
fn fence(lib: &str, number: usize) -> Edges {
    let fence = lib.split("```text").nth(number + 1).unwrap().split("```").next().unwrap();
    let names = |text: &str| -> Vec<String> {
        let text = text.split('(').next().unwrap().trim_start_matches("//!");
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let mut edges = Edges::new();
    for (from, to) in fence.lines().filter_map(|line| line.split_once("->")) {
        for from in names(from) {
            edges.extend(names(to).into_iter().map(|to| (from.clone(), to)));
        }
    }
    edges
}

/// The paths in `text` that begin with `root`, as their words without it, braces opened up and comments left out.
pub(crate) fn paths_from(text: &str, root: &str) -> Vec<Vec<String>> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
    let begins = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$'));
    let places = code.match_indices(root).map(|(at, _)| at).filter(begins);
    places.flat_map(|at| paths(&code[at + root.len()..]).0).filter(|path| !path.is_empty()).collect()
}

/// The paths that begin here, and how long their text is.
pub(crate) fn paths(text: &str) -> (Vec<Vec<String>>, usize) {
    if text.starts_with('{') {
        return list(text);
    }
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let length = word.len();
    let Some(rest) = text[length..].strip_prefix("::") else { return (vec![vec![word]], length) };
    let (below, used) = paths(rest);
    let below = below.into_iter().map(|path| [vec![word.clone()], path].concat()).collect();
    (below, length + 2 + used)
}

/// The paths in a brace.
fn list(text: &str) -> (Vec<Vec<String>>, usize) {
    let (mut found, mut at) = (Vec::new(), 1);
    while let Some(begins) = text[at..].find(|c: char| !c.is_whitespace() && c != ',') {
        at += begins;
        if text[at..].starts_with('}') {
            at += 1;
            break;
        }
        let (inner, used) = paths(&text[at..]);
        // `self` is the path of the brace itself.
        found.extend(inner.into_iter().map(|path| if path == ["self"] { Vec::new() } else { path }));
        // Another name for it, or a star, is nobody's path.
        at += used;
        at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
    }
    (found, at)
}

/// All files of a module, which is a file, a folder, or both.
pub(crate) fn files_of(folder: &Path, module: &str) -> Vec<PathBuf> {
    let (mut left, mut files) = (vec![folder.join(format!("{module}.rs")), folder.join(module)], Vec::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
            files.push(path);
        }
    }
    files
}

/// The modules that a file declares.
fn modules(file: &str) -> Vec<String> {
    let declared = file.lines().filter_map(|line| Some(line.split_once("mod ")?.1.strip_suffix(';')?.to_owned()));
    declared.collect()
}

/// What the code of the crate uses.
fn used() -> Edges {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let mut edges = Edges::new();
    for module in modules(&lib) {
        for file in files_of(source(), &module) {
            let named = paths_from(&fs::read_to_string(&file).unwrap(), "crate::");
            edges.extend(named.into_iter().map(|path| (module.clone(), path[0].clone())));
        }
    }
    let main = fs::read_to_string(source().join("main.rs")).unwrap();
    // `freehold::main` is the command line's.
    let behind = |to: String| if to == "main" { "cli".to_owned() } else { to };
    edges.extend(named(&main, "freehold::").into_iter().map(|to| ("main".to_owned(), behind(to))));
    edges.retain(|(from, to)| from != to && !to.is_empty() && !OPEN.contains(&to.as_str()));
    edges
}

/// What the rooms within `operations` use of each other.
fn used_between_rooms() -> Edges {
    let folder = source().join("operations");
    let top = fs::read_to_string(folder.join("mod.rs")).unwrap();
    let rooms = modules(&top);
    // `Context` is what `context` is open for.
    let offered: BTreeMap<_, _> = rooms
        .iter()
        .flat_map(|room| paths_from(&top, &format!("{room}::")).into_iter().map(|path| (path[0].clone(), room.clone())))
        .collect();
    let mut edges = Edges::new();
    for room in &rooms {
        for file in files_of(&folder, room) {
            let text = fs::read_to_string(&file).unwrap();
            let within = file.strip_prefix(&folder).unwrap().with_extension("");
            let depth = within.iter().filter(|part| *part != "mod").count();
            let absolute = paths_from(&text, "crate::").into_iter().filter(|path| path[0] == "operations");
            let relative = paths_from(&text, "super::").into_iter().filter_map(|path| {
                let above = 1 + path.iter().take_while(|word| *word == "super").count();
                (above == depth).then(|| path[above - 1..].to_vec())
            });
            let named = absolute.map(|path| path[1..].to_vec()).chain(relative);
            let heads = named.filter_map(|path| path.into_iter().next()).filter(|head| !head.is_empty());
            edges.extend(heads.map(|head| (room.clone(), offered.get(&head).cloned().unwrap_or(head))));
        }
    }
    edges.retain(|(from, to)| from != to && rooms.contains(to));
    edges
}

fn text(edges: impl Iterator<Item = (String, String)>) -> Vec<String> {
    edges.map(|(from, to)| format!("{from} -> {to}")).collect()
}

fn maps() -> [(Edges, Edges); 2] {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    [(fence(&lib, CRATE), used()), (fence(&lib, OPERATIONS), used_between_rooms())]
}

#[test]
fn the_maps_are_what_the_code_does() {
    for (written, used) in maps() {
        assert!(used.len() > 15, "the reader of the code finds next to nothing");
        let outside = text(used.difference(&written).cloned());
        assert!(outside.is_empty(), "not in the layer map of src/lib.rs: {outside:?}");
        let idle = text(written.difference(&used).cloned());
        assert!(idle.is_empty(), "in the layer map of src/lib.rs, and not used any more: {idle:?}");
    }
}

#[test]
fn the_maps_have_no_cycle() {
    for (written, _) in maps() {
        let mut left = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in written {
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
}

/// The engine runs what it is handed.
#[test]
fn the_engine_knows_no_operation() {
    let known: Vec<_> =
        used_between_rooms().into_iter().filter(|(from, _)| from == "engine").map(|(_, to)| to).collect();
    assert_eq!(known, ["context", "pace"]);
}

#[test]
fn paths_are_read_in_every_form() {
    let code = "use crate::{\n    control::{ControlDb, tenants::{self as rows, Tenant}},\n    error::Result,\n    http,\n};\n\
                // crate::never\nfn f() -> crate::tenancy::X { $crate::macros::y; mycrate::z }";
    let named: Vec<_> = paths_from(code, "crate::").into_iter().map(|path| path.join(".")).collect();
    let expected =
        ["control.ControlDb", "control.tenants", "control.tenants.Tenant", "error.Result", "http", "tenancy.X"];
    assert_eq!(named, expected);
}
