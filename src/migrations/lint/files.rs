//! Files and sets: names, bytes, versions; and the walk over the statements of each file.

use std::{collections::BTreeMap, path::Path};

use super::{
    Finding, columns, compatibility, finding, isolation,
    known::{Facts, Known},
    locks, mistakes, regrets,
    rules::{
        BATCHED_STATEMENT, BYTE_ORDER_MARK, CARRIAGE_RETURN, CONTRACT, DROP_COLUMN, DROP_OBJECT, DROP_SCHEMA,
        DROP_TABLE, DUPLICATE_VERSION, EMPTY_FILE, FILE_NAME, FILE_UNREADABLE, FOREIGN_KEY_INDEX, MARKER,
        NO_TRANSACTION_ONE, NOT_UTF8, NUL_BYTE, RENAME, Rule, SYNTAX, UNDO_FILE, UNDO_LOSES_DATA, VERSION_GAP,
    },
    running,
    scene::{Found, Scene},
    syntax::{Kind, Node, Script},
    tree::{child, column, columns as columns_of, inside, relation, start},
    waivers::{self, Waiver},
};
use crate::{
    error::Result,
    migrations::{
        Contract, MAX_SQL_BYTES, MigrationFile,
        folder::{self, Entry, Unreadable},
        marker::{self, Mode},
    },
};

/// A line, from 1.
pub(super) type Place = usize;

/// One file of a folder or set.
pub(super) struct File {
    pub(super) name: String,
    /// Version and name, and whether it undoes; none of a misnamed file.
    parsed: Option<(i32, String, bool)>,
    text: String,
    found: Vec<Found>,
    waivers: Vec<Waiver>,
}

impl File {
    pub(super) fn of(name: String, text: String) -> Self {
        let undone = name.strip_prefix('U').map(|rest| format!("V{rest}"));
        let parsed = MigrationFile::parse(undone.as_ref().unwrap_or(&name), "").ok();
        let parsed = parsed.map(|file| (file.version, file.name, undone.is_some()));
        Self { name, parsed, text, found: Vec::new(), waivers: Vec::new() }
    }

    fn report(&mut self, rule: &'static Rule, offset: usize, what: impl Into<String>) {
        self.found.push(Found { rule, offset, what: what.into(), statement: None });
    }

    fn is_undo(&self) -> bool {
        self.parsed.as_ref().is_some_and(|(_, _, undo)| *undo)
    }

    /// By version; misnamed files and those that undo come last.
    fn order(&self) -> (bool, i32) {
        self.parsed.as_ref().map_or((true, i32::MAX), |(version, _, undo)| (*undo, *version))
    }

    fn line(&self, offset: usize) -> Place {
        folder::line(&self.text, offset)
    }

    fn into_findings(self) -> Vec<Finding> {
        let mut findings: Vec<_> = self
            .found
            .iter()
            .map(|found| finding(found.rule, &self.name, self.line(found.offset), &found.what))
            .collect();
        findings.sort_by_key(|finding| finding.line);
        findings
    }
}

/// The `*.sql` files of a folder.
pub(super) fn read(directory: &Path) -> Result<Vec<File>> {
    let file = |Entry { name, text }| match text {
        Ok(text) => File::of(name, text),
        Err(Unreadable::NotUtf8(offset, text)) => {
            let mut file = File::of(name, text);
            file.report(&NOT_UTF8, offset, "");
            file
        }
        Err(Unreadable::Otherwise(reason)) => {
            let mut file = File::of(name, String::new());
            file.report(&FILE_UNREADABLE, 0, reason);
            file
        }
    };
    Ok(folder::sql_files(directory)?.into_iter().map(file).collect())
}

/// A foreign key, and where it was made.
struct ForeignKey {
    file: usize,
    statement: usize,
    offset: usize,
    table: String,
    columns: Vec<String>,
}

/// All findings of the files.
pub(super) fn findings(files: Vec<File>) -> Vec<Finding> {
    let left = |mut file: File| {
        file.found = waivers::apply(&file.waivers, std::mem::take(&mut file.found));
        file.into_findings()
    };
    examined(files).into_iter().flat_map(left).collect()
}

/// What undo files throw away, with the reason of the waiver where there is one.
pub(super) fn losses(files: Vec<File>) -> Vec<Finding> {
    let told = |file: File| {
        let loss = |found: &Found| {
            let told = finding(found.rule, &file.name, file.line(found.offset), &found.what);
            match waivers::reason(&file.waivers, found) {
                Some(reason) => Finding { message: format!("{}; waived: {reason}", told.message), ..told },
                None => told,
            }
        };
        let found = file.found.iter().filter(|found| found.rule.name == UNDO_LOSES_DATA.name);
        let mut losses: Vec<_> = found.map(loss).collect();
        losses.sort_by_key(|loss| loss.line);
        losses
    };
    examined(files).into_iter().flat_map(told).collect()
}

/// The files in their order, with what was found in each before waivers.
fn examined(mut files: Vec<File>) -> Vec<File> {
    files.sort_by_key(File::order);
    versions(&mut files);
    let (mut known, mut keys) = (Known::default(), Vec::new());
    for (index, file) in files.iter_mut().enumerate() {
        known.file = Facts::default();
        let text = cleaned(file);
        let is_empty = text.is_empty() && !file.found.is_empty();
        if !is_empty {
            lint(file, &text, &mut known, &mut |statement, (offset, table, columns)| {
                keys.push(ForeignKey { file: index, statement, offset, table, columns });
            });
        }
    }
    without_index(&mut files, &known, keys);
    files
}

/// Names and versions.
fn versions(files: &mut [File]) {
    let (mut newest, mut names) = (0, BTreeMap::new());
    for file in files {
        let Some((version, name, undo)) = file.parsed.clone() else {
            file.report(&FILE_NAME, 0, "");
            continue;
        };
        if undo {
            if names.get(&version) != Some(&name) {
                file.report(&UNDO_FILE, 0, format!("there is no V{version}__{name}.sql"));
            }
            continue;
        }
        if version > newest + 1 {
            file.report(&VERSION_GAP, 0, format!("version {} is missing before version {version}", newest + 1));
        } else if version == newest {
            file.report(&DUPLICATE_VERSION, 0, format!("version {version} is there twice"));
        }
        newest = version;
        names.insert(version, name);
    }
}

/// The text as it is parsed: what does not belong into it is reported, and made a blank.
fn cleaned(file: &mut File) -> String {
    let text = file.text.replace('\0', " ").replace('\u{feff}', "   ");
    for (character, rule) in [('\u{feff}', &BYTE_ORDER_MARK), ('\0', &NUL_BYTE), ('\r', &CARRIAGE_RETURN)] {
        if let Some(offset) = file.text.find(character) {
            file.report(rule, offset, "");
        }
    }
    if file.text.len() > MAX_SQL_BYTES {
        file.report(&FILE_UNREADABLE, 0, "it is longer than 256 KiB");
        return String::new();
    }
    text
}

fn lint(file: &mut File, text: &str, known: &mut Known, key: &mut dyn FnMut(usize, Reference)) {
    let script = Script::read(text);
    let mode = markers(file, &script);
    file.waivers = script.comments.iter().filter_map(Waiver::of).collect();
    if script.statements.is_empty() {
        file.report(&EMPTY_FILE, 0, "");
    }
    if let Some(second) = script.statements.get(1).filter(|_| mode != Mode::Transaction) {
        let rule = if mode == Mode::Batched { &BATCHED_STATEMENT } else { &NO_TRANSACTION_ONE };
        file.report(rule, second.offset, "");
    }
    for (index, statement) in script.statements.iter().enumerate() {
        if let Some((offset, what)) = &statement.error {
            file.found.push(Found { rule: &SYNTAX, offset: *offset, what: what.clone(), statement: Some(index) });
        }
        for node in &statement.nodes {
            let place = (statement.offset, index);
            let mut scene = Scene {
                node,
                known,
                mode,
                undo: file.is_undo(),
                is_first: file.order() == (false, 1),
                place,
                found: Vec::new(),
            };
            check(&mut scene);
            file.found.append(&mut scene.found);
            references(node).for_each(|(offset, table, columns)| key(index, (offset + place.0, table, columns)));
            known.learn(node);
        }
    }
    for (index, statement) in script.statements.iter().enumerate() {
        for node in &statement.nodes {
            let place = (statement.offset, index);
            let mut scene = Scene {
                node,
                known,
                mode,
                undo: file.is_undo(),
                is_first: file.order() == (false, 1),
                place,
                found: Vec::new(),
            };
            regrets::without_key(&mut scene);
            file.found.append(&mut scene.found);
        }
    }
    contract(file);
}

/// A file that takes away what an older release reads, and does not say which.
fn contract(file: &mut File) {
    let takes_away =
        |found: &&Found| [&DROP_COLUMN, &DROP_OBJECT, &DROP_SCHEMA, &DROP_TABLE, &RENAME].contains(&found.rule);
    if file.is_undo() || Contract::of(&file.text).is_some() {
        return;
    }
    if let Some((offset, what)) = file.found.iter().find(takes_away).map(|found| (found.offset, found.what.clone())) {
        file.report(&CONTRACT, offset, what);
    }
}

/// The families of rules for statements.
fn check(scene: &mut Scene<'_>) {
    running::check(scene);
    isolation::check(scene);
    locks::check(scene);
    columns::check(scene);
    compatibility::check(scene);
    mistakes::check(scene);
    regrets::check(scene);
}

/// How the file is run; a marker that is not read is reported.
fn markers(file: &mut File, script: &Script<'_>) -> Mode {
    let head = marker::head(&file.text).count();
    let stray = |offset: usize, text: &str| {
        marker::word(text).is_some_and(|word| !marker::is_waiver(word)) && file.line(offset) > head
    };
    let stray: Vec<_> = script
        .comments
        .iter()
        .filter(|comment| stray(comment.offset, comment.text))
        .map(|comment| comment.offset)
        .collect();
    for offset in stray {
        file.report(&MARKER, offset, "it does not stand before the first statement");
    }
    Mode::read(&file.text).unwrap_or_else(|(line, what)| {
        let before: usize = file.text.split_inclusive('\n').take(line - 1).map(str::len).sum();
        file.report(&MARKER, before, what);
        Mode::default()
    })
}

/// Where a foreign key is within its statement, of which table, of which columns.
type Reference = (usize, String, Vec<String>);

fn references(node: &Node) -> impl Iterator<Item = Reference> {
    let makes = matches!(node.kind(), Kind::CREATE_TABLE | Kind::ALTER_TABLE);
    let table = relation(node).filter(|_| makes);
    let keys = inside(node, Kind::FOREIGN_KEY_CONSTRAINT).chain(inside(node, Kind::REFERENCES_CONSTRAINT));
    keys.filter_map(move |key| {
        let columns = match key.kind() {
            Kind::FOREIGN_KEY_CONSTRAINT => child(&key, Kind::FOREIGN_KEY_COLUMN_LIST).map(|_| columns_of(&key))?,
            _ => vec![column(&key.parent()?)],
        };
        Some((start(&key), table.clone()?, columns))
    })
}

/// Foreign keys that no index of the whole set begins with.
fn without_index(files: &mut [File], known: &Known, keys: Vec<ForeignKey>) {
    for key in keys {
        let mut indexes = known.indexes.iter().filter(|index| index.table == key.table);
        let serves = |columns: &[String]| {
            let first = columns.get(..key.columns.len()).unwrap_or_default();
            !key.columns.is_empty() && key.columns.iter().all(|column| first.contains(column))
        };
        if known.tables.contains_key(&key.table) && !indexes.any(|index| serves(&index.columns)) {
            let what = format!("{} ({})", key.table, key.columns.join(", "));
            let statement = Some(key.statement);
            files[key.file].found.push(Found { rule: &FOREIGN_KEY_INDEX, offset: key.offset, what, statement });
        }
    }
}
