//! `-- freehold:batched`: one statement, again and again until it touches no row, each time in a transaction of its own.
//!
//! `$1` is how many rows it may touch at once. The number follows the time that a batch takes. Between two batches the
//! run looks whether somebody else needs the table, and waits. A run that is cut off has done what it has done: the next
//! one goes on. The last batch, which touches no row, and the row in the history are one transaction.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Statement, types::Type};

use super::{
    Wait, failure,
    limits::pause_after,
    session::{Session, Stop},
    statement::changes_rows,
    transaction::Change,
};
use crate::error::{Error, Result};

const QUIET: &str = include_str!("quiet.sql");
/// The tables that this transaction has written to.
const WRITTEN: &str = "
    SELECT coalesce(array_agg(DISTINCT l.relation), '{}') AS tables
      FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
     WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
       AND c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace";

/// The size of the first batch.
const FIRST: i64 = 500;
/// The largest one.
const LARGEST: i64 = 100_000;
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(500);
/// How many files of WAL may wait to be archived: half a gibibyte.
const ARCHIVE_LAG: i64 = 32;

/// What a batch came to.
enum Batch {
    /// It touched so many rows of these tables.
    Touched(u64, Vec<u32>),
    /// It touched none, and the file is recorded.
    Done,
}

impl Session<'_> {
    /// Runs the file to its end and records it. Answers how often a batch did not get a lock.
    pub(super) async fn carry_out_batched(&self, change: &Change<'_>) -> Result<u32> {
        let refuse = |reason| failure::refused(&change.label, reason);
        if !changes_rows(change.sql) {
            return Err(refuse("a batched file holds one UPDATE, DELETE, INSERT or MERGE"));
        }
        let statement = self.prepare(change).await?;
        if statement.params() != [Type::INT8] {
            return Err(refuse("a batched statement takes the size of a batch as its only parameter, as in LIMIT $1"));
        }
        let (began, mut size, mut retries, mut rows) = (Instant::now(), FIRST, 0, 0);
        loop {
            let started = Instant::now();
            let (batch, tries) = self.batch_patiently(change, &statement, size).await?;
            retries += tries;
            let Batch::Touched(touched, tables) = batch else { return Ok(retries) };
            size = next_size(size, touched, started.elapsed(), self.limits.batch);
            rows += touched;
            self.progress.send_modify(|progress| progress.rows = rows);
            if began.elapsed() > self.limits.batches {
                return Err(unfinished(&change.label, rows));
            }
            self.wait_until_quiet(&tables).await?;
        }
    }

    async fn prepare(&self, change: &Change<'_>) -> Result<Statement> {
        let prepared = async {
            self.open(change.schema, "").await?;
            Ok::<_, Stop>(self.client.prepare(change.sql).await?)
        };
        let prepared = prepared.await;
        self.roll_back().await;
        prepared.map_err(|stop| match stop {
            Stop::Postgres(error) => failure::failed(change, &error, Duration::ZERO, Duration::MAX),
            Stop::Error(error) => error,
        })
    }

    async fn batch_patiently(&self, change: &Change<'_>, statement: &Statement, size: i64) -> Result<(Batch, u32)> {
        let (deadline, mut tries) = (Instant::now() + self.limits.lock_budget, 0);
        loop {
            let started = Instant::now();
            let stop = match self.batch(change, statement, size).await {
                Ok(batch) => return Ok((batch, tries)),
                Err(stop) => stop,
            };
            self.roll_back().await;
            self.judge(change, stop, started.elapsed())?;
            tries += 1;
            let pause = pause_after(tries);
            if Instant::now() + pause > deadline {
                return Err(failure::locked_out(&change.label, tries, self.limits.lock_budget));
            }
            self.pause(pause).await;
        }
    }

    async fn batch(&self, change: &Change<'_>, statement: &Statement, size: i64) -> Result<Batch, Stop> {
        let transaction = self.open(change.schema, "").await?;
        let touched = self.client.execute(statement, &[&size]).await?;
        self.examine(change, &transaction).await?;
        if touched == 0 {
            self.client.batch_execute(&format!("{}; COMMIT", change.record)).await?;
            return Ok(Batch::Done);
        }
        let tables = self.client.query_one(WRITTEN, &[]).await?.try_get(0)?;
        self.client.batch_execute("COMMIT").await?;
        Ok(Batch::Touched(touched, tables))
    }

    /// Waits while VACUUM works on the tables, while sessions wait for them or requests for connections, and while WAL is
    /// archived too slowly.
    /// After a bound it goes on: there may be no better time.
    async fn wait_until_quiet(&self, tables: &[u32]) -> Result<()> {
        self.clean().await?;
        let deadline = Instant::now() + self.limits.quiet;
        while let Some(reason) = self.disturbed(tables).await? {
            self.progress.send_modify(|progress| progress.wait = Some(reason));
            if Instant::now() + LOOK > deadline {
                tracing::warn!(reason = ?reason, "a batched migration goes on, having waited long enough");
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.progress.send_modify(|progress| progress.wait = None);
        Ok(())
    }

    async fn disturbed(&self, tables: &[u32]) -> Result<Option<Wait>> {
        if self.limits.crowd.is_waiting() {
            return Ok(Some(Wait::Connections));
        }
        let row = self.client.query_one(QUIET, &[&tables, &ARCHIVE_LAG]).await?;
        for (column, reason) in [("sessions", Wait::Sessions), ("vacuum", Wait::Vacuum), ("archiving", Wait::Archiving)]
        {
            if row.try_get::<_, Option<bool>>(column)? == Some(true) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }
}

fn unfinished(label: &str, rows: u64) -> Error {
    let detail = format!("{label}: it is not done yet; it has touched {rows} rows, and goes on from there");
    Error::Conflict { code: "migration_unfinished", detail, retry_after: Some(Duration::from_mins(1)) }
}

/// The size of the batch after one of `size` that took `elapsed` where `goal` was meant: at most twice as large, at
/// least half as large. One that was not filled says nothing for a larger one.
fn next_size(size: i64, touched: u64, elapsed: Duration, goal: Duration) -> i64 {
    let by_time = i128::from(size) * nanos(goal) / nanos(elapsed);
    let largest = if touched < size.unsigned_abs() { size } else { size * 2 };
    i64::try_from(by_time).unwrap_or(i64::MAX).clamp(size / 2, largest).clamp(1, LARGEST)
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_the_time() {
        let goal = Duration::from_millis(200);
        for (size, touched, millis, next) in [
            (500, 500, 100, 1_000),
            (500, 500, 10, 1_000),
            (500, 500, 250, 400),
            (500, 500, 5_000, 250),
            (500, 20, 10, 500),
            (1, 1, 9_000, 1),
            (LARGEST, LARGEST.unsigned_abs(), 10, LARGEST),
        ] {
            assert_eq!(
                next_size(size, touched, Duration::from_millis(millis), goal),
                next,
                "{size} {touched} {millis}"
            );
        }
    }
}
