//! Durable operations.

use super::source::Reader;

/// How much work this replica does at once.
#[derive(Clone, Copy, Debug)]
pub struct OperationsConfig {
    /// How many operations run at once in this replica. PostgreSQL copies databases one after another, so a
    /// few suffice; 0 makes a replica that serves requests and leaves operations to others.
    pub concurrency: u32,
}

impl OperationsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { concurrency: reader.number("operation_concurrency", 4, 0..=64) }
    }
}
