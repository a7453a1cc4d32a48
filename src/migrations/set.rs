//! An ordered set of migrations: all files up to a version. Sets only ever grow.

use std::path::Path;

use anyhow::Context;
use refinery_core::Migration;

use super::{MAX_SQL_BYTES, MigrationFile, schema::fingerprint};
use crate::error::{Error, FieldError, Result};

/// The most files that a set may have.
pub const MAX_FILES: usize = 1_000;

/// Files by version, from 1, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationSet {
    files: Vec<MigrationFile>,
}

impl MigrationSet {
    /// A set of these files, in whatever order they come.
    ///
    /// # Errors
    /// Every finding at once, on `files[i].name` or `files[i].sql`: `invalid_file_name`, `invalid_migration`,
    /// `duplicate_version`, `version_gap`; on `files`: `too_many`.
    pub fn new(files: Vec<MigrationFile>) -> Result<Self> {
        if files.len() > MAX_FILES {
            return Err(FieldError::new("files", "too_many", format!("must be {MAX_FILES} files at most")).into());
        }
        let mut findings = wrong_by_themselves(&files);
        let mut files: Vec<_> = files.into_iter().enumerate().collect();
        files.sort_by_key(|(_, file)| file.version);
        findings.extend(first_out_of_order(&files));
        if !findings.is_empty() {
            return Err(Error::Validation(findings));
        }
        Ok(Self { files: files.into_iter().map(|(_, file)| file).collect() })
    }

    /// The set of all `*.sql` files of a folder. Other files and sub-folders are not looked at; a `*.sql` file
    /// with another name than a migration's is an error, not skipped.
    ///
    /// # Errors
    /// As [`new`](Self::new), with the file's name in place of `files[i]`; internal when the folder cannot be read.
    pub fn from_directory(directory: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for path in sql_files(directory).map_err(Error::Internal)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let sql = read_bounded(&path).map_err(Error::Internal)?;
            let file =
                MigrationFile::parse(&name, sql).map_err(|invalid| Error::from(FieldError::invalid(&name, invalid)))?;
            file.check().map_err(|(_, invalid)| Error::from(FieldError::invalid(&name, invalid)))?;
            files.push(file);
        }
        Self::new(files)
    }

    /// The newest version; 0 for an empty set.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.files.last().map_or(0, |file| file.version)
    }

    /// The set as it was when `version` was its newest.
    #[must_use]
    pub fn up_to(&self, version: i32) -> Self {
        Self { files: self.files.iter().filter(|file| file.version <= version).cloned().collect() }
    }

    /// The files, by version.
    #[must_use]
    pub fn files(&self) -> &[MigrationFile] {
        &self.files
    }

    /// Whether this set begins with all of `other`'s files, unchanged. Every set extends itself.
    #[must_use]
    pub fn extends(&self, other: &Self) -> bool {
        self.files.starts_with(&other.files)
    }

    /// SHA-256 over all names and texts, in hexadecimal: equal sets have equal fingerprints.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let parts: Vec<_> = self.files.iter().map(|file| (file.file_name(), file.sql.as_str())).collect();
        fingerprint(parts.iter().flat_map(|(name, sql)| [name.as_bytes(), sql.as_bytes()]))
    }

    pub(super) fn to_refinery(&self) -> Result<Vec<Migration>> {
        self.files.iter().map(MigrationFile::to_refinery).collect()
    }
}

fn wrong_by_themselves(files: &[MigrationFile]) -> Vec<FieldError> {
    let check = |(index, file): (usize, &MigrationFile)| {
        let (member, invalid) = file.check().err()?;
        Some(FieldError::invalid(format!("files[{index}].{member}"), invalid))
    };
    files.iter().enumerate().filter_map(check).collect()
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

fn sql_files(directory: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let what = || format!("the folder of migrations {}", directory.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(what)? {
        let path = entry.with_context(what)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_bounded(path: &Path) -> anyhow::Result<String> {
    let what = || format!("the migration {}", path.display());
    let size = std::fs::metadata(path).with_context(what)?.len();
    anyhow::ensure!(size <= MAX_SQL_BYTES as u64, "{} is longer than 256 KiB", what());
    std::fs::read_to_string(path).with_context(what)
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
        let beside = sql_files(&root.join("tenant-migrations")).unwrap();
        assert!(beside.is_empty(), "of no stream, and so of no database: {beside:?}");
    }
}
