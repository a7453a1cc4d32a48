//! An ordered set of migrations: all files up to a version. Sets only ever grow.

use std::{collections::BTreeMap, path::Path};

use refinery_core::Migration;

use super::{
    MigrationFile, UndoFile,
    contract::{self, Contract},
    folder::{self, Entry},
    schema::fingerprint,
};
use crate::{
    error::{Error, FieldError, Result},
    types::Invalid,
};

/// The most files that a set may have: one a day for a quarter of a century.
pub const MAX_FILES: usize = 10_000;

/// Files by version, from 1, without gaps, and the undo files of some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationSet {
    files: Vec<MigrationFile>,
    undo: BTreeMap<i32, String>,
}

impl MigrationSet {
    /// A set of these files, in whatever order they come.
    ///
    /// # Errors
    /// Every finding at once, on `files[i].name` or `files[i].sql`: `invalid_file_name`, `invalid_migration`,
    /// `duplicate_version`, `version_gap`; on `files`: `too_many`.
    pub fn new(files: Vec<MigrationFile>) -> Result<Self> {
        Self::build(files.into_iter().enumerate().collect(), Vec::new())
    }

    /// A set of these texts by their files' names, migrations and undo files, in whatever order they come.
    ///
    /// # Errors
    /// As [`new`](Self::new), and `undo_unmatched` for an undo file without its migration.
    pub fn parse(texts: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let (mut files, mut undo, mut findings) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (name, sql)) in texts.into_iter().enumerate() {
            let wrong = |invalid| FieldError::invalid(format!("files[{index}].name"), invalid);
            if UndoFile::is_meant(&name) {
                UndoFile::parse(&name, sql).map_or_else(|e| findings.push(wrong(e)), |file| undo.push((index, file)));
            } else {
                let file = MigrationFile::parse(&name, sql);
                file.map_or_else(|e| findings.push(wrong(e)), |file| files.push((index, file)));
            }
        }
        if findings.is_empty() { Self::build(files, undo) } else { Err(Error::Validation(findings)) }
    }

    /// The set of all `*.sql` files of a folder. Other files and sub-folders are not looked at; a `*.sql` file
    /// with another name than a migration's is an error, not skipped.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), with the file's name in place of `files[i]`; `invalid_migration` for each file that
    /// cannot be read, or for the folder.
    pub fn from_directory(directory: &Path) -> Result<Self> {
        let (mut names, mut texts, mut findings) = (Vec::new(), Vec::new(), Vec::new());
        for Entry { name, text } in folder::sql_files(directory)? {
            match text {
                Ok(text) => {
                    names.push(name.clone());
                    texts.push((name, text));
                }
                Err(unreadable) => findings.push(FieldError::new(name, "invalid_migration", unreadable.told())),
            }
        }
        if !findings.is_empty() {
            return Err(Error::Validation(findings));
        }
        Self::parse(texts).map_err(|error| match error {
            Error::Validation(findings) => Error::Validation(named(findings, &names)),
            other => other,
        })
    }

    fn build(mut files: Vec<(usize, MigrationFile)>, undo: Vec<(usize, UndoFile)>) -> Result<Self> {
        if files.len() > MAX_FILES {
            return Err(FieldError::new("files", "too_many", format!("must be {MAX_FILES} files at most")).into());
        }
        let mut findings = wrong_by_themselves(files.iter().map(|(index, file)| (*index, file.check())));
        findings.extend(wrong_by_themselves(undo.iter().map(|(index, file)| (*index, file.check()))));
        files.sort_by_key(|(_, file)| file.version);
        findings.extend(first_out_of_order(&files));
        findings.extend(unmatched(&undo, &files));
        findings.extend(misfits(&files));
        if !findings.is_empty() {
            return Err(Error::Validation(findings));
        }
        let undo = undo.into_iter().map(|(_, file)| (file.version, file.sql)).collect();
        Ok(Self { files: files.into_iter().map(|(_, file)| file).collect(), undo })
    }

    /// The newest version; 0 for an empty set.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.files.last().map_or(0, |file| file.version)
    }

    /// The set as it was when `version` was its newest.
    #[must_use]
    pub fn up_to(&self, version: i32) -> Self {
        let undo = self.undo.iter().filter(|(undone, _)| **undone <= version);
        Self {
            files: self.files.iter().filter(|file| file.version <= version).cloned().collect(),
            undo: undo.map(|(undone, sql)| (*undone, sql.clone())).collect(),
        }
    }

    /// The files, by version.
    #[must_use]
    pub fn files(&self) -> &[MigrationFile] {
        &self.files
    }

    /// The undo file of a version, if there is one.
    #[must_use]
    pub fn undo_of(&self, version: i32) -> Option<&str> {
        self.undo.get(&version).map(String::as_str)
    }

    /// All files by their names, as [`parse`](Self::parse) takes them.
    #[must_use]
    pub fn texts(&self) -> Vec<(String, &str)> {
        let mut texts = Vec::new();
        for file in &self.files {
            texts.push((file.file_name(), file.sql.as_str()));
            texts.extend(self.undo_of(file.version).map(|undo| (UndoFile::file_name(file.version, &file.name), undo)));
        }
        texts
    }

    /// The files that take something away from older releases: each with the oldest version that a release must carry to
    /// do without it, and the batched file that has to be finished first.
    pub fn contracts(&self) -> impl Iterator<Item = (&MigrationFile, i32, Option<i32>)> {
        self.files.iter().filter_map(|file| {
            let Contract { oldest, backfill } = Contract::of(&file.sql)?;
            Some((file, oldest.unwrap_or(file.version), backfill))
        })
    }

    /// How many versions have an undo file.
    #[must_use]
    pub fn undo_files(&self) -> usize {
        self.undo.len()
    }

    /// The versions whose undo file `other` lacks.
    pub fn more_undo<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (i32, &'a str)> {
        let more = self.undo.iter().filter(move |(version, _)| !other.undo.contains_key(version));
        more.map(|(version, sql)| (*version, sql.as_str()))
    }

    /// Whether this set begins with all of `other`'s files, unchanged, and changes none of its undo files. Every set
    /// extends itself. An undo file may come later than its migration, and need not be handed over again.
    #[must_use]
    pub fn extends(&self, other: &Self) -> bool {
        let is_kept = |(version, sql): (&i32, &String)| self.undo.get(version).is_none_or(|mine| mine == sql);
        self.files.starts_with(&other.files) && other.undo.iter().all(is_kept)
    }

    /// SHA-256 over all names and texts, in hexadecimal: sets that make the same of a database have equal fingerprints.
    /// Undo files are no part of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let parts: Vec<_> = self.files.iter().map(|file| (file.file_name(), file.sql.as_str())).collect();
        fingerprint(parts.iter().flat_map(|(name, sql)| [name.as_bytes(), sql.as_bytes()]))
    }

    pub(super) fn to_refinery(&self) -> Result<Vec<Migration>> {
        self.files.iter().map(MigrationFile::to_refinery).collect()
    }
}

/// The findings with the name of the file in place of its number.
fn named(findings: Vec<FieldError>, names: &[String]) -> Vec<FieldError> {
    let with_name = |mut finding: FieldError| {
        if let Some(name) = name_of(&finding, names) {
            finding.field.clone_from(name);
        }
        finding
    };
    findings.into_iter().map(with_name).collect()
}

/// The name of the file that a finding is about.
pub(super) fn name_of<'a>(finding: &FieldError, names: &'a [String]) -> Option<&'a String> {
    let number = finding.field.strip_prefix("files[").and_then(|rest| rest.split_once(']')?.0.parse().ok());
    number.and_then(|number: usize| names.get(number))
}

fn wrong_by_themselves(checked: impl Iterator<Item = (usize, Result<(), (&'static str, Invalid)>)>) -> Vec<FieldError> {
    let finding = |(index, checked): (usize, Result<(), (&'static str, Invalid)>)| {
        let (member, invalid) = checked.err()?;
        Some(FieldError::invalid(format!("files[{index}].{member}"), invalid))
    };
    checked.filter_map(finding).collect()
}

/// Undo files that undo nothing, or what another one undoes.
fn unmatched(undo: &[(usize, UndoFile)], files: &[(usize, MigrationFile)]) -> Vec<FieldError> {
    let finding = |(place, (index, file)): (usize, &(usize, UndoFile))| {
        let UndoFile { version, name, .. } = file;
        let field = format!("files[{index}].name");
        if undo.iter().take(place).any(|(_, other)| other.version == *version) {
            return Some(FieldError::new(field, "duplicate_version", format!("version {version} is undone twice")));
        }
        let is_matched = files.iter().any(|(_, other)| other.version == *version && other.name == *name);
        let message = || format!("there is no V{version}__{name}.sql that it undoes");
        (!is_matched).then(|| FieldError::new(field, "undo_unmatched", message()))
    };
    undo.iter().enumerate().filter_map(finding).collect()
}

/// Files whose contracts name what is not there.
fn misfits(files: &[(usize, MigrationFile)]) -> Vec<FieldError> {
    let contracting: Vec<_> = files.iter().filter(|(_, file)| Contract::of(&file.sql).is_some()).collect();
    if contracting.is_empty() {
        return Vec::new();
    }
    let all: Vec<_> = files.iter().map(|(_, file)| file.clone()).collect();
    let finding = |(index, file): &&(usize, MigrationFile)| {
        let what = contract::misfit(file, &all)?;
        Some(FieldError::new(format!("files[{index}].sql"), "invalid_migration", format!("the contract: {what}")))
    };
    contracting.iter().filter_map(finding).collect()
}

/// Versions must be 1, 2, 3, …; one finding is enough, since the rest follow from it.
fn first_out_of_order(sorted: &[(usize, MigrationFile)]) -> Option<FieldError> {
    let (expected, (index, file)) = (1_i32..).zip(sorted).find(|(expected, (_, file))| file.version != *expected)?;
    let (code, message) = if file.version < expected {
        ("duplicate_version", format!("version {} is there twice", file.version))
    } else {
        ("version_gap", format!("version {expected} is missing before version {}", file.version))
    };
    Some(FieldError::new(format!("files[{index}].name"), code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: i32, sql: &str) -> MigrationFile {
        MigrationFile { version, name: "change".into(), sql: sql.into() }
    }

    fn codes(files: Vec<MigrationFile>) -> Vec<String> {
        match MigrationSet::new(files) {
            Err(Error::Validation(errors)) => {
                errors.into_iter().map(|error| format!("{} {}", error.field, error.code)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_are_put_in_order() {
        let set = MigrationSet::new(vec![file(2, "b"), file(1, "a")]).unwrap();
        assert_eq!(set.files().iter().map(|file| file.version).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(set.version(), 2);
    }

    #[test]
    fn gaps_and_repetitions_are_told_by_the_place_they_came_from() {
        assert_eq!(codes(vec![file(3, "c"), file(1, "a")]), ["files[0].name version_gap"]);
        assert_eq!(codes(vec![file(1, "a"), file(1, "b")]), ["files[1].name duplicate_version"]);
        assert_eq!(codes(vec![file(1, "a"), file(2, "")]), ["files[1].sql invalid_migration"]);
    }

    fn parsed(texts: &[(&str, &str)]) -> Result<MigrationSet> {
        MigrationSet::parse(texts.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())))
    }

    #[test]
    fn undo_files_go_with_their_migrations() {
        let set = parsed(&[("U2__b.sql", "c"), ("V1__a.sql", "a"), ("V2__b.sql", "b")]).unwrap();
        assert_eq!((set.undo_of(1), set.undo_of(2), set.undo_files()), (None, Some("c"), 1));
        assert_eq!(set.up_to(1).undo_files(), 0);
        let codes = |texts: &[(&str, &str)]| match parsed(texts) {
            Err(Error::Validation(errors)) => errors.into_iter().map(|e| format!("{} {}", e.field, e.code)).collect(),
            other => vec![format!("{other:?}")],
        };
        assert_eq!(codes(&[("V1__a.sql", "a"), ("U2__b.sql", "b")]), ["files[1].name undo_unmatched"]);
        assert_eq!(codes(&[("U1__b.sql", "b"), ("V1__a.sql", "a")]), ["files[0].name undo_unmatched"]);
        assert_eq!(codes(&[("V1__a.sql", "a"), ("U1__a.sql", "-- b")]), ["files[1].sql invalid_migration"]);
        let twice = [("V1__a.sql", "a"), ("U1__a.sql", "b"), ("U1__a.sql", "b")];
        assert_eq!(codes(&twice), ["files[2].name duplicate_version"]);
        let batched = [("V1__a.sql", "a"), ("U1__a.sql", "-- freehold:batched\nb")];
        assert_eq!(codes(&batched), ["files[1].sql invalid_migration"]);
    }

    #[test]
    fn an_undo_file_may_come_later_and_may_not_change() {
        let bare = parsed(&[("V1__a.sql", "a")]).unwrap();
        let with = parsed(&[("V1__a.sql", "a"), ("U1__a.sql", "b")]).unwrap();
        let other = parsed(&[("V1__a.sql", "a"), ("U1__a.sql", "c")]).unwrap();
        assert!(with.extends(&bare) && bare.extends(&with) && !other.extends(&with));
        assert_eq!(with.more_undo(&bare).collect::<Vec<_>>(), [(1, "b")]);
        assert_eq!(with.more_undo(&other).count(), 0);
        assert_eq!(with.fingerprint(), bare.fingerprint(), "a database does not know of it");
    }

    #[test]
    fn a_fingerprint_names_the_content_and_a_set_extends_its_beginnings() {
        let short = MigrationSet::new(vec![file(1, "a")]).unwrap();
        let long = MigrationSet::new(vec![file(1, "a"), file(2, "b")]).unwrap();
        let other = MigrationSet::new(vec![file(1, "a "), file(2, "b")]).unwrap();
        assert!(long.extends(&short) && long.extends(&long));
        assert!(!short.extends(&long) && !other.extends(&short));
        assert_ne!(long.fingerprint(), other.fingerprint());
        assert_eq!(long.fingerprint().len(), 64);
    }

    #[test]
    fn the_program_holds_what_the_folders_hold() {
        // Also the check of all file names: the embedding macro skips a misnamed file without a word.
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (folder, embedded) in [
            ("tenant-migrations/freehold", MigrationSet::embedded_freehold()),
            ("control-migrations", MigrationSet::embedded_control()),
        ] {
            assert_eq!(embedded.unwrap(), MigrationSet::from_directory(&root.join(folder)).unwrap(), "{folder}");
        }
        let beside = folder::sql_files(&root.join("tenant-migrations")).unwrap();
        assert!(beside.is_empty(), "of no stream, and so of no database");
    }
}
