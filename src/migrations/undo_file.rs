//! The way back of one migration: `U12__add_labels.sql` beside `V12__add_labels.sql`.
//!
//! It is not a part of the set's history: it may be written later than the migration, and no database that never goes
//! back knows of it. Once it is published it stays as it is.

use super::{MigrationFile, Mode};
use crate::types::Invalid;

/// An undo file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoFile {
    /// The version that it undoes.
    pub version: i32,
    /// The name of the migration that it undoes.
    pub name: String,
    /// The statements.
    pub sql: String,
}

impl UndoFile {
    /// Whether a file of this name would be one, if it were well named.
    #[must_use]
    pub fn is_meant(file_name: &str) -> bool {
        file_name.starts_with('U')
    }

    /// Reads version and name off a file's name.
    ///
    /// # Errors
    /// `invalid_file_name`.
    pub fn parse(file_name: &str, sql: impl Into<String>) -> Result<Self, Invalid> {
        let migration = file_name.strip_prefix('U').map(|rest| MigrationFile::parse(&format!("V{rest}"), sql));
        let Some(Ok(MigrationFile { version, name, sql })) = migration else {
            let message = "must have the form U3__add_labels.sql, after the V3__add_labels.sql that it undoes";
            return Err(Invalid::new("invalid_file_name", message));
        };
        Ok(Self { version, name, sql })
    }

    /// The name of the file: `U3__add_labels.sql`.
    #[must_use]
    pub fn file_name(version: i32, name: &str) -> String {
        format!("U{version}__{name}.sql")
    }

    /// What is wrong with the file by itself: the member and the reason.
    pub(super) fn check(&self) -> Result<(), (&'static str, Invalid)> {
        MigrationFile { version: self.version, name: self.name.clone(), sql: self.sql.clone() }.check()?;
        match Mode::of(&self.sql) {
            Ok(Mode::Transaction) => Ok(()),
            Ok(_) => Err(("sql", Invalid::new("invalid_migration", "an undo file runs in one transaction"))),
            Err(invalid) => Err(("sql", invalid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undo_file_is_named_after_its_migration() {
        let undo = UndoFile::parse("U12__add_labels.sql", "SELECT 1").unwrap();
        assert_eq!((undo.version, undo.name.as_str()), (12, "add_labels"));
        assert_eq!(UndoFile::file_name(undo.version, &undo.name), "U12__add_labels.sql");
        for name in ["V1__a.sql", "u1__a.sql", "U01__a.sql", "U1_a.sql", "UV1__a.sql", "U0__a.sql"] {
            assert!(UndoFile::parse(name, "SELECT 1").is_err(), "{name}");
        }
    }
}
