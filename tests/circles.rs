//! Files need each other in one direction: no circle in `src/` is of more than two files.
//!
//! A file that declares modules is the front of its folder. It names what is behind it, and what is behind it uses the
//! types that the folder shares: that is no circle. A name that the front hands on counts as the file's that has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::layering::paths;

/// A module by its path below `crate`.
type Module = Vec<String>;

/// The most files of one circle.
const MOST: usize = 2;
/// How often a name may be handed on.
const HANDS: usize = 5;

/// The code of each file, without comments and tests.
struct Code(BTreeMap<Module, String>);

impl Code {
    fn read(root: &Path) -> Self {
        let (mut folders, mut files) = (vec![root.to_owned()], BTreeMap::new());
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs")
                    && let Some(module) = module(path.strip_prefix(root).unwrap())
                {
                    files.insert(module, code(&fs::read_to_string(&path).unwrap()));
                }
            }
        }
        Self(files)
    }

    fn is_front(&self, module: &Module) -> bool {
        self.0.get(module).is_some_and(|code| code.lines().any(|line| line.contains("mod ") && line.ends_with(';')))
    }

    /// The module that has what is at `path`.
    fn home(&self, path: &[String], hands: usize) -> Module {
        let deepest = (0..=path.len()).rev().find(|&length| self.0.contains_key(&path[..length]));
        let (module, rest) = path.split_at(deepest.unwrap_or_default());
        let (Some(name), true) = (rest.first(), hands > 0) else { return module.to_vec() };
        match self.handed_on(module).into_iter().find(|handed| handed.last() == Some(name)) {
            Some(handed) => self.home(&[&handed, &rest[1..]].concat(), hands - 1),
            None => module.to_vec(),
        }
    }

    /// What a module offers in its own name and another one has.
    fn handed_on(&self, module: &[String]) -> Vec<Module> {
        let code = self.0.get(module).map_or("", String::as_str);
        let uses = code.split(';').filter_map(|statement| {
            let (visibility, used) = statement.trim().split_once("use ")?;
            visibility.rsplit('\n').next()?.starts_with("pub").then_some(used)
        });
        let named = uses.flat_map(|used| paths(used).0);
        named.map(|path| absolute(module, path)).collect()
    }

    /// The files that a file uses.
    fn used_by(&self, module: &Module) -> BTreeSet<Module> {
        let code = &self.0[module];
        let roots = ["crate::", "super::"].into_iter().flat_map(|root| {
            let begins = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c));
            code.match_indices(root).map(|(at, _)| at).filter(begins).collect::<Vec<_>>()
        });
        let named = roots.flat_map(|at| paths(&code[at..]).0).map(|path| absolute(module, path));
        let homes = named.map(|path| self.home(&path, HANDS));
        homes.filter(|home| home != module && self.0.contains_key(home) && !self.is_front(home)).collect()
    }

    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let files = self.0.keys().filter(|module| !self.is_front(module));
        files.map(|module| (module.clone(), self.used_by(module))).collect()
    }
}

/// What a path in a module means from the crate's root.
fn absolute(module: &[String], path: Module) -> Module {
    let mut from = module.to_vec();
    let mut path = path.into_iter().peekable();
    match path.peek().map(String::as_str) {
        Some("crate") => {
            from.clear();
            path.next();
        }
        Some("self") => drop(path.next()),
        _ => {}
    }
    while path.next_if(|word| word == "super").is_some() {
        from.pop();
    }
    from.extend(path);
    from
}

/// The module of a file below `src/`; none for tests and for the program, which nothing can use.
fn module(path: &Path) -> Option<Module> {
    let path: PathBuf = path.with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.ends_with("mod") || path.as_os_str() == "lib" {
        module.pop();
    }
    (!path.ends_with("tests") && path.as_os_str() != "main").then_some(module)
}

fn code(text: &str) -> String {
    let text =
        text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().replace("#[cfg(test)]\nmod tests;", "");
    text.lines().map(|line| line.split("//").next().unwrap_or_default().trim_end().to_owned() + "\n").collect()
}

/// All that can be got to from `file`.
fn reached(edges: &BTreeMap<Module, BTreeSet<Module>>, file: &Module) -> BTreeSet<Module> {
    let (mut left, mut found) = (vec![file], BTreeSet::new());
    while let Some(file) = left.pop() {
        left.extend(edges.get(file).into_iter().flatten().filter(|next| found.insert((*next).clone())));
    }
    found
}

/// The circles of more than [`MOST`] files.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Vec<String>> {
    let reached: BTreeMap<_, _> = edges.keys().map(|file| (file, reached(edges, file))).collect();
    let circle = |file| -> Vec<String> {
        let both_ways =
            reached[&file].iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(file)));
        both_ways.map(|other| other.join("/")).collect()
    };
    edges.keys().map(circle).filter(|circle| circle.len() > MOST).collect()
}

#[test]
fn no_circle_is_of_more_than_two_files() {
    let edges = Code::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))).edges();
    let uses: usize = edges.values().map(BTreeSet::len).sum();
    assert!(uses > 3 * edges.len(), "the reader of the code finds next to nothing: {uses}");
    let circles = circles(&edges);
    assert!(circles.is_empty(), "files that need each other: {circles:#?}");
}

#[test]
fn circles_are_found_through_fronts_and_relative_paths() {
    let files = [
        ("http", "pub mod one;\nmod two;\nmod three;\npub use two::Second as Other;\npub use three::{Third, help};\n"),
        ("http/one", "use crate::{\n    http::{Third},\n    error::Result,\n};\n"),
        ("http/two", "use super::one::First;\n"),
        ("http/three", "fn f() { super::super::http::two::g() }\n"),
        ("http/four", "use super::{one, two};\n"),
    ];
    let named = |path: &str| -> Module { path.split('/').map(str::to_owned).collect() };
    let code = Code(files.into_iter().map(|(path, code)| (named(path), code.to_owned())).collect());
    let expected = vec![vec!["http/one".to_owned(), "http/three".to_owned(), "http/two".to_owned()]];
    assert_eq!(circles(&code.edges()).into_iter().collect::<Vec<_>>(), expected);
}
