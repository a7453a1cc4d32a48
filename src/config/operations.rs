//! Durable operations.

use super::source::Reader;

/// How much work this replica does at once.
#[derive(Clone, Copy, Debug)]
pub struct OperationsConfig {
    /// How many operations run at once in this replica. PostgreSQL copies databases one after another, so a
    /// few suffice; 0 makes a replica that serves requests and leaves operations to others.
    pub concurrency: u32,
    /// How many databases are kept ready on each server that follows demand: at least.
    pub warm_min: u32,
    /// At most.
    pub warm_max: u32,
}

impl OperationsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let warm_min = reader.number("warm_min", 2, 0..=1_000);
        let warm_max = reader.number("warm_max", 20, 0..=1_000);
        if warm_min > warm_max {
            reader.problem("warm_min", "must not be above FREEHOLD_WARM_MAX");
        }
        Self { concurrency: reader.number("operation_concurrency", 4, 0..=64), warm_min, warm_max }
    }
}
