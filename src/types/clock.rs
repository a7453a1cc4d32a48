//! The time, as an argument. Code that needs it takes a [`Clock`]; `clippy.toml` forbids the ambient ones.
//!
//! What replicas agree on (leases, grace times) uses the database's clock instead: see `control`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

use chrono::{DateTime, TimeDelta, Utc};

/// The system's clock, plus an offset that only tests move. Clones share the offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_millis: Arc<AtomicI64>,
}

impl Clock {
    /// The present moment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::<Utc>::from(SystemTime::now()) + TimeDelta::milliseconds(self.offset_millis.load(Ordering::Relaxed))
    }

    /// Seconds since the Unix epoch, as tokens carry them (RFC 7519 NumericDate).
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        self.now().timestamp()
    }

    /// Moves this clock and all its clones: how tests let time pass.
    pub fn advance(&self, by: TimeDelta) {
        self.offset_millis.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}
