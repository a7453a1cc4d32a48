//! One migration: `V3__add_labels.sql` is version 3, named `add_labels`.

use refinery_core::Migration;

use super::folder::line;
use crate::{
    error::{Error, Result},
    types::Invalid,
};

/// The longest migration in bytes. Data is loaded by programs, not by migrations.
pub const MAX_SQL_BYTES: usize = 256 * 1024;
const MAX_NAME: usize = 100;
/// What some editors write before a text. PostgreSQL takes it for a part of the first word.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// One file of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationFile {
    /// From 1, without gaps.
    pub version: i32,
    /// What it does: `[a-z0-9_]{1,100}`.
    pub name: String,
    /// The statements; white space and comments count as part of them.
    pub sql: String,
}

impl MigrationFile {
    /// Reads version and name off a file's name.
    ///
    /// # Errors
    /// `invalid_file_name`.
    pub fn parse(file_name: &str, sql: impl Into<String>) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "invalid_file_name",
                "must have the form V3__add_labels.sql: a number without leading zeros, \
                 two underscores, a name of lower-case letters, digits and underscores",
            )
        };
        let stem = file_name.strip_prefix('V').and_then(|rest| rest.strip_suffix(".sql")).ok_or_else(invalid)?;
        let (number, name) = stem.split_once("__").ok_or_else(invalid)?;
        let version = number.parse().map_err(|_| invalid())?;
        let file = Self { version, name: name.to_owned(), sql: sql.into() };
        // The way back must give the same name: this refuses `V01`, `V+1` and the like.
        if file.file_name() != file_name || !file.is_well_named() {
            return Err(invalid());
        }
        Ok(file)
    }

    /// The name of the file: `V3__add_labels.sql`.
    #[must_use]
    pub fn file_name(&self) -> String {
        Self::named(self.version, &self.name)
    }

    /// The name of the file of this version and name.
    #[must_use]
    pub fn named(version: i32, name: &str) -> String {
        format!("V{version}__{name}.sql")
    }

    /// What is wrong with the file by itself: the member and the reason.
    pub(super) fn check(&self) -> Result<(), (&'static str, Invalid)> {
        if !self.is_well_named() {
            let message = "must be a version from 1 and a name of lower-case letters, digits and underscores";
            return Err(("name", Invalid::new("invalid_file_name", message)));
        }
        let (offset, message) = if self.sql.starts_with(BYTE_ORDER_MARK) {
            (0, "must not begin with a byte order mark, which PostgreSQL takes for a part of the first word")
        } else if let Some(offset) = self.sql.find(['\r', '\0']) {
            (offset, "must have Unix line ends and no NUL: the checksum counts every byte")
        } else if is_without_statement(&self.sql) {
            (0, "must hold at least one statement")
        } else if self.sql.len() > MAX_SQL_BYTES {
            (0, "must not be longer than 256 KiB")
        } else {
            return Ok(());
        };
        Err(("sql", Invalid::new("invalid_migration", format!("line {}: {message}", line(&self.sql, offset)))))
    }

    /// As refinery wants it.
    pub(super) fn to_refinery(&self) -> Result<Migration> {
        Migration::unapplied(&self.stem(), &self.sql).map_err(Error::internal)
    }

    fn stem(&self) -> String {
        format!("V{}__{}", self.version, self.name)
    }

    fn is_well_named(&self) -> bool {
        let good = |b: u8| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit();
        self.version >= 1 && (1..=MAX_NAME).contains(&self.name.len()) && self.name.bytes().all(good)
    }
}

/// Whether a text holds nothing but white space, semicolons and comments. Block comments nest (PostgreSQL manual,
/// Lexical Structure).
fn is_without_statement(sql: &str) -> bool {
    let mut rest = sql;
    let mut depth = 0_u32;
    while let Some(first) = rest.chars().next() {
        let (opens, closes) = (rest.starts_with("/*"), rest.starts_with("*/"));
        let skipped = if opens || (closes && depth > 0) {
            depth = if opens { depth + 1 } else { depth - 1 };
            2
        } else if depth == 0 && rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if depth > 0 || first.is_whitespace() || first == ';' {
            first.len_utf8()
        } else {
            return false;
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_comments_is_no_migration() {
        for empty in ["", " ;\n", "-- nothing", "/* a /* b */ c */ -- d\n;", "--"] {
            assert!(is_without_statement(empty), "{empty}");
        }
        for full in ["SELECT 1", "-- a\nSELECT 1", "/* a */ SELECT 1", "/* a /* b */ */ x", "'--'"] {
            assert!(!is_without_statement(full), "{full}");
        }
    }

    #[test]
    fn a_file_name_gives_version_and_name_and_is_given_back() {
        let file = MigrationFile::parse("V12__add_labels_2.sql", "SELECT 1").unwrap();
        assert_eq!((file.version, file.name.as_str()), (12, "add_labels_2"));
        assert_eq!(file.file_name(), "V12__add_labels_2.sql");
        assert_eq!(file.to_refinery().unwrap().name(), file.name);
    }

    #[test]
    fn a_misnamed_file_is_refused() {
        for name in [
            "1__a.sql",
            "v1__a.sql",
            "V1_a.sql",
            "V01__a.sql",
            "V+1__a.sql",
            "V-1__a.sql",
            "V1__.sql",
            "V1__A.sql",
            "V1__a-b.sql",
            "V1__a.SQL",
            "V1__a",
            "V1.5__a.sql",
            "U1__a.sql",
            "V99999999999__a.sql",
            "V1__ä.sql",
        ] {
            assert!(MigrationFile::parse(name, "SELECT 1").is_err(), "{name}");
        }
    }

    #[test]
    fn content_that_cannot_be_applied_the_same_everywhere_is_refused() {
        let long = "x".repeat(MAX_SQL_BYTES + 1);
        for sql in ["", " \n", "SELECT 1;\r\n", "SELECT '\0'", "\u{feff}SELECT 1", long.as_str()] {
            let file = MigrationFile { version: 1, name: "a".into(), sql: sql.into() };
            assert_eq!(file.check().map_err(|(member, _)| member), Err("sql"));
        }
    }
}
