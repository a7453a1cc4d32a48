//! Work that nobody waits for.

use super::source::Reader;

/// Work that nobody waits for.
#[derive(Clone, Copy, Debug)]
pub struct JobsConfig {
    /// How many jobs this replica is at, at most; with 0 it leaves them to others.
    pub concurrency: u32,
}

impl JobsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { concurrency: reader.number("job_concurrency", 4, 0..=64) }
    }
}
