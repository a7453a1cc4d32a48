//! How long a migration may wait and work. A value: who migrates a fleet, and who builds an empty template, differ.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use crate::types::Random;

/// The bounds within which one database is migrated.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long to wait for another runner at the same database.
    pub runner: Duration,
    /// How long one try waits for one lock. Whoever comes after it in the queue of that lock waits as long.
    pub lock: Duration,
    /// How long a file is tried again because it did not get a lock.
    pub lock_budget: Duration,
    /// How long a file may take, its waits for locks included.
    pub statement: Duration,
    /// How long its transaction may be open. PostgreSQL knows this bound from version 17 on.
    pub transaction: Duration,
    /// How long a transaction may wait for its client. If the runner is stopped within one, PostgreSQL ends its
    /// session and frees its locks.
    pub idle: Duration,
    /// How long a statement outside a transaction may take.
    pub outside: Duration,
    /// How long one batch of a batched file is meant to take.
    pub batch: Duration,
    /// How long all batches of a file may take, with the pauses. The next run goes on with the rest.
    pub batches: Duration,
    /// How long a pause between two batches may take.
    pub quiet: Duration,
    /// Whether requests wait for connections to the database.
    pub crowd: WaitingRequests,
}

/// Tells whether requests wait for connections to a database, as far as whoever migrates it knows.
#[derive(Clone, Default)]
pub struct WaitingRequests(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl WaitingRequests {
    /// What this says.
    pub fn told_by(is_waiting: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_waiting)))
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|is_waiting| is_waiting())
    }
}

impl fmt::Debug for WaitingRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitingRequests").field(&self.is_waiting()).finish()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            runner: Duration::from_mins(1),
            lock: Duration::from_millis(500),
            lock_budget: Duration::from_mins(1),
            statement: Duration::from_mins(10),
            outside: Duration::from_hours(1),
            batch: Duration::from_millis(200),
            batches: Duration::from_hours(6),
            quiet: Duration::from_mins(5),
            crowd: WaitingRequests::default(),
            transaction: Duration::from_mins(11),
            idle: Duration::from_secs(10),
        }
    }
}

/// The pause after the first try for a lock; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause, before chance.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Limits {
    /// The bound of each statement alone.
    pub(super) fn of_a_statement(&self) -> String {
        self.of_a_statement_after(Duration::ZERO)
    }

    /// The bound of the next of some statements that have it together, of which `spent` is gone.
    pub(super) fn of_a_statement_after(&self, spent: Duration) -> String {
        format!("SET LOCAL statement_timeout = {}", millis(self.statement.saturating_sub(spent)))
    }

    /// The settings of a transaction.
    pub(super) fn settings(&self) -> String {
        let mut sql = String::new();
        for (name, bound) in [
            ("lock_timeout", self.lock),
            ("statement_timeout", self.statement),
            ("idle_in_transaction_session_timeout", self.idle),
        ] {
            let _ = write!(sql, "SET LOCAL {name} = {}; ", millis(bound));
        }
        // Older servers do not know the name.
        let _ = write!(
            sql,
            "SELECT pg_catalog.set_config('transaction_timeout', '{}', true)
              WHERE pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 170000; ",
            millis(self.transaction)
        );
        sql
    }
}

/// PostgreSQL counts in milliseconds, and takes 0 for no bound at all.
pub(super) fn millis(bound: Duration) -> u128 {
    bound.as_millis().clamp(1, i32::MAX.unsigned_abs().into())
}

/// How long to pause after this many tries: those who queued behind the last one get their turn. At random by half, so
/// that runners of many databases do not come back at the same moment.
pub(super) fn pause_after(tries: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << tries.clamp(1, 10).saturating_sub(1)).min(LONGEST_PAUSE);
    let chance = u32::from(u16::from_be_bytes(Random.bytes()));
    pause / 2 + pause.saturating_mul(chance) / (u32::from(u16::MAX) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        for (tries, least, most) in [(1, 50, 150), (2, 100, 300), (9, 1_000, 3_000), (u32::MAX, 1_000, 3_000)] {
            let pause = pause_after(tries).as_millis();
            assert!((least..=most).contains(&pause), "{pause} ms after {tries} tries");
        }
    }

    #[test]
    fn no_bound_is_written_as_none() {
        let limits = Limits { lock: Duration::from_micros(3), statement: Duration::MAX, ..Limits::default() };
        let settings = limits.settings();
        assert!(settings.starts_with("SET LOCAL lock_timeout = 1; SET LOCAL statement_timeout = 2147483647; "));
        let limits = Limits { statement: Duration::from_secs(2), ..Limits::default() };
        for (spent, left) in [(500, 1_500), (2_000, 1), (9_000, 1)] {
            let bound = limits.of_a_statement_after(Duration::from_millis(spent));
            assert_eq!(bound, format!("SET LOCAL statement_timeout = {left}"));
        }
    }
}
