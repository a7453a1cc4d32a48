//! `-- freehold:no-transaction`: one statement that PostgreSQL refuses within a transaction, `CREATE INDEX CONCURRENTLY`
//! above all.
//!
//! The statement and its row in the history are not one. So before it begins, a note says so: the comment on the history
//! table, which no schema is compared by. A runner that finds the note finishes what was begun: an index that is whole
//! was made by the earlier try and is recorded; one that is not is dropped first. The row and the end of the note are
//! one transaction again.

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::{
    failure,
    limits::millis,
    session::{Session, Stop},
    statement::Alone,
    transaction::Change,
};
use crate::error::Result;

/// What a cut-off REINDEX leaves.
const LEFT_BY_REINDEX: &str = r"_cc(new|old)\d*$";

/// What is there of the index that a file makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Whole,
}

impl Session<'_> {
    /// Runs and records a file outside a transaction. Locks are waited for: none that the statement needs keeps rows
    /// from being read or written.
    pub(super) async fn carry_out_alone(&self, change: &Change<'_>, note: &str) -> Result<u32> {
        let statement = Alone::of(change.sql).map_err(|reason| failure::refused(&change.label, reason))?;
        let started = Instant::now();
        let done = self.alone(change, &statement, note).await;
        if let Err(Stop::Postgres(error)) = &done
            && error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
        {
            return Err(failure::locked_out(&change.label, 1, started.elapsed()));
        }
        done.map_err(|stop| match stop {
            Stop::Postgres(error) => failure::failed(change, &error, started.elapsed(), self.limits.outside),
            Stop::Error(error) => error,
        })?;
        // In a transaction of its own, which waits for its lock as every file does.
        let record = Change {
            label: change.label.clone(),
            schema: change.schema,
            sql: "",
            record: format!("{}; COMMENT ON TABLE {} IS NULL", change.record, change.history),
            history: change.history.clone(),
        };
        self.carry_out(&record).await
    }

    async fn alone(&self, change: &Change<'_>, statement: &Alone, note: &str) -> Result<(), Stop> {
        self.enter(change.schema).await?;
        let has_begun = self.note(change).await?.as_deref() == Some(note);
        let found = self.clear_away(statement).await?;
        if has_begun && found == Found::Whole {
            tracing::info!(migrations.file = change.label, "the index was made by an earlier try");
            return Ok(());
        }
        // What is there and was made by nobody who left a note is not this file's: PostgreSQL decides, by IF NOT EXISTS.
        if found == Found::Nothing && !has_begun {
            self.write_note(change, note).await?;
        }
        // A statement of its own by the protocol, and so one at most.
        let done = self.client.execute(change.sql, &[]).await;
        match done {
            Err(error) if has_begun && *statement == Alone::DropIndex && is_gone(&error) => Ok(()),
            Err(error) => {
                // Nobody needs what is not whole, and every write to the table has to keep it up.
                if let Err(Stop::Postgres(error)) = self.clear_away(statement).await {
                    tracing::warn!(%error, "what a failed statement has left is not dropped yet");
                }
                Err(error.into())
            }
            Ok(_) => Ok(()),
        }
    }

    /// The session as the owner, outside a transaction.
    async fn enter(&self, schema: &str) -> Result<(), Stop> {
        self.clean().await?;
        let sql = format!(
            "{} SET search_path = {schema}; SET lock_timeout = {}; SET statement_timeout = {}",
            self.become_owner().replace("SET LOCAL", "SET"),
            millis(self.limits.lock_budget),
            millis(self.limits.outside),
        );
        Ok(self.client.batch_execute(&sql).await?)
    }

    async fn note(&self, change: &Change<'_>) -> Result<Option<String>, Stop> {
        let sql = "SELECT pg_catalog.obj_description(pg_catalog.to_regclass($1), 'pg_class')";
        Ok(self.client.query_one(sql, &[&change.history]).await?.try_get(0)?)
    }

    async fn write_note(&self, change: &Change<'_>, note: &str) -> Result<(), Stop> {
        Ok(self.client.batch_execute(&format!("COMMENT ON TABLE {} IS '{note}'", change.history)).await?)
    }

    /// Drops what an earlier try has left half-made, and tells what is there of the index that the statement makes.
    async fn clear_away(&self, statement: &Alone) -> Result<Found, Stop> {
        let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), i.indisvalid
                     FROM pg_catalog.pg_index i
                     JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                    WHERE c.relkind = 'i' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')";
        let rows = match statement {
            Alone::CreateIndex { name, table } => {
                let sql = format!("{sql} AND c.relname = $1 AND i.indrelid = pg_catalog.to_regclass($2)");
                self.client.query(&sql, &[name, table]).await?
            }
            Alone::Reindex => {
                let sql = format!("{sql} AND NOT i.indisvalid AND c.relname ~ $1");
                self.client.query(&sql, &[&LEFT_BY_REINDEX]).await?
            }
            Alone::DropIndex | Alone::Maintenance => Vec::new(),
        };
        let mut found = Found::Nothing;
        for row in rows {
            if row.try_get(1)? {
                found = Found::Whole;
                continue;
            }
            let index: String = row.try_get(0)?;
            tracing::info!(index, "dropping an index that an earlier try has left half-made");
            self.client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await?;
        }
        Ok(found)
    }
}

fn is_gone(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_OBJECT)
}

/// What the note says.
pub(super) fn note(version: i32, checksum: u64) -> String {
    format!("freehold: V{version} {checksum} has begun")
}
