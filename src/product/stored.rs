//! What is read from a table: one row as a resource, with the version that guards its changes.

use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    http::extract::{ETag, IfMatch},
};

/// What a row of a table is read as.
pub(super) trait Stored: Sized {
    /// What people call it: `project`.
    const NAME: &'static str;

    /// Reads the columns that the statements of the resource select.
    fn read(row: &Row) -> Result<Self>;

    /// The primary key.
    fn id(&self) -> Uuid;
}

/// A resource and its version, which the database counts up with every change.
#[derive(Debug)]
pub(super) struct Versioned<T> {
    pub(super) item: T,
    pub(super) version: i64,
}

impl<T> Versioned<T> {
    pub(super) fn etag(&self) -> ETag {
        ETag(self.version)
    }

    /// The same, if it is of a version that the client is ready to change.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] (412).
    pub(super) fn matching(self, expected: Option<&IfMatch>) -> Result<Self> {
        match expected {
            Some(expected) => expected.check(self.etag()).map(|()| self),
            None => Ok(self),
        }
    }
}

impl<T: Stored> Versioned<T> {
    /// The row that a client asked for.
    ///
    /// # Errors
    /// `not_found` (404).
    pub(super) fn found(row: Option<Row>) -> Result<Self> {
        Self::read(&row.ok_or_else(|| Error::not_found(T::NAME))?)
    }

    /// The row that a write has touched. That there is one is not in question.
    pub(super) fn written(row: Option<Row>) -> Result<Self> {
        Self::read(&row.ok_or_else(|| Error::defect(format!("a write touched no {}", T::NAME)))?)
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self { item: T::read(row)?, version: row.try_get("version")? })
    }
}
