//! What a run did to a database, and what it is doing.

use tokio::time::Instant;

use crate::types::{SchemaVersions, Stream};

/// What was done to a tenant's database or to a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The versions that the database had.
    pub from: SchemaVersions,
    /// The versions that it has now. A version is above the set's where a newer program was here.
    pub to: SchemaVersions,
    /// The files that were applied now, in order.
    pub files: Vec<AppliedFile>,
}

impl Outcome {
    /// How often a file was tried again because a lock was not to be had.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.files.iter().map(|file| file.retries).sum()
    }
}

/// A file that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedFile {
    /// Of which stream it is; none in the control database.
    pub stream: Option<Stream>,
    /// Its version.
    pub version: i32,
    /// How long it took, with the tries that failed and the pauses between them.
    pub millis: u64,
    /// How often it was tried again because a lock was not to be had.
    pub retries: u32,
}

impl AppliedFile {
    /// One that was begun at `started` and is done by now.
    pub(super) fn new(stream: Option<Stream>, version: i32, started: Instant, retries: u32) -> Self {
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self { stream, version, millis, retries }
    }
}

/// What was done to the control database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The versions applied now, in order.
    pub applied: Vec<i32>,
    /// The database's version afterwards; above the set's where a newer program was here.
    pub version: i32,
}

/// What a run is doing just now: for those who look on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The file at work.
    pub file: Option<(Stream, i32)>,
    /// How many rows its batches have touched.
    pub rows: u64,
    /// Why it waits, if it does.
    pub wait: Option<Wait>,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A lock that another session holds.
    Lock,
    /// Between two batches: VACUUM or its like, at work on the table.
    Vacuum,
    /// Between two batches: other sessions, which wait for the table.
    Sessions,
    /// Between two batches: requests, which wait for connections to the database.
    Connections,
    /// Between two batches: the archiving of WAL, which lags or fails.
    Archiving,
}
