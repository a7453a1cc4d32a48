//! The session in which one database is migrated: its lock, its settings, its transactions.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::{
    limits::{Limits, pause_after},
    outcome::Progress,
};
use crate::{
    error::{Error, Result},
    migrations::{Roles, default_privileges},
    types::SchemaVersions,
};

/// The advisory lock of a database under migration: `freehold` in ASCII. Replicas of all releases must agree.
pub(in crate::migrations) const LOCK: i64 = 0x6672_6565_686f_6c64;

/// Takes away whatever a file has left in the session, and what the session was given before. `DISCARD ALL` would also
/// give back the lock, and forget the statements that the driver has prepared. What PostgreSQL has counted of the rows
/// that were written is passed on, so that the next transaction's count is its own.
const CLEAN: &str = "
    CLOSE ALL;
    RESET SESSION AUTHORIZATION;
    RESET ROLE;
    RESET ALL;
    UNLISTEN *;
    DISCARD TEMP;
    DISCARD SEQUENCES;
    DO $$
    DECLARE prepared pg_catalog.text;
    BEGIN
        FOR prepared IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql LOOP
            EXECUTE pg_catalog.format('DEALLOCATE %I', prepared);
        END LOOP;
    END
    $$;
    SELECT pg_catalog.pg_stat_force_next_flush()";

/// A dedicated session that holds the database's lock.
pub(super) struct Session<'a> {
    pub(super) client: &'a mut Client,
    pub(super) limits: &'a Limits,
    pub(super) progress: &'a watch::Sender<Progress>,
    /// What a tenant's database has by now. The control database has one stream only and none of these.
    pub(super) versions: SchemaVersions,
    /// The names of the owner and of the tenants' role, quoted. None for the control database.
    roles: Option<(String, String)>,
}

impl<'a> Session<'a> {
    /// Takes the lock.
    pub(super) async fn begin(
        client: &'a mut Client,
        roles: Option<&Roles>,
        limits: &'a Limits,
        progress: &'a watch::Sender<Progress>,
    ) -> Result<Self> {
        client.batch_execute(CLEAN).await?;
        lock(client, limits.runner).await?;
        let roles = match roles {
            Some(roles) => {
                let sql = "SELECT pg_catalog.quote_ident($1), pg_catalog.quote_ident($2)";
                let row = client.query_one(sql, &[&roles.owner, &roles.tenant]).await?;
                Some((row.try_get(0)?, row.try_get(1)?))
            }
            None => None,
        };
        Ok(Self { client, limits, progress, versions: SchemaVersions::default(), roles })
    }

    /// Gives the lock back, and leaves the session with the settings that it was opened with.
    pub(super) async fn end(self) -> Result<()> {
        self.client.batch_execute(CLEAN).await?;
        self.client.execute("SELECT pg_catalog.pg_advisory_unlock($1)", &[&LOCK]).await?;
        Ok(())
    }

    /// Leaves nothing of what files have set.
    pub(super) async fn clean(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(CLEAN).await
    }

    /// Whether this is a tenant's database, or a template of one.
    pub(super) const fn is_tenants(&self) -> bool {
        self.roles.is_some()
    }

    /// What gives the tenant its rights on whatever a file makes.
    pub(super) fn defaults(&self) -> String {
        let roles = self.roles.as_ref();
        roles.map(|(owner, tenant)| format!("{};", default_privileges(owner, tenant))).unwrap_or_default()
    }

    /// What begins a file's transaction, with these statements. What the file makes without naming a schema is made in
    /// `schema`. Answers with the transaction's id.
    pub(super) async fn open(&self, schema: &str, statements: &str) -> Result<String, Stop> {
        self.clean().await?;
        // The lock of the session might have been given back by a file before.
        let sql = format!(
            "START TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE; {} {} {statements}
             SET LOCAL search_path = {schema};
             SELECT pg_catalog.pg_try_advisory_xact_lock({LOCK}) AS locked,
                    pg_catalog.pg_current_xact_id()::pg_catalog.text AS transaction",
            self.limits.settings(),
            self.become_owner()
        );
        let row = self.row(&sql).await?;
        if row.try_get("locked")? != Some("t") {
            return Err(Stop::Error(locked()));
        }
        row.try_get("transaction")?.map(str::to_owned).ok_or_else(|| Error::defect("a transaction has no id").into())
    }

    /// The statements after which the session is as it was before the file, but for the transaction and its bounds. No
    /// temporary table of the file's passes for one of the catalogue.
    pub(super) fn put_back(&self) -> String {
        format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; {} {} SET LOCAL search_path = pg_catalog, pg_temp",
            self.limits.settings(),
            self.become_owner()
        )
    }

    pub(super) fn become_owner(&self) -> String {
        self.roles.as_ref().map(|(owner, _)| format!("SET LOCAL ROLE {owner};")).unwrap_or_default()
    }

    /// Runs `sql`, which needs no more than the owner's rights, in a transaction of its own.
    pub(super) async fn as_owner(&self, sql: &str) -> Result<()> {
        let sql = format!("START TRANSACTION; {} {} {sql}; COMMIT", self.limits.settings(), self.become_owner());
        let done = self.client.batch_execute(&sql).await;
        if done.is_err() {
            self.roll_back().await;
        }
        Ok(done?)
    }

    /// The last row that these statements answer with.
    pub(super) async fn row(&self, sql: &str) -> Result<SimpleQueryRow, Stop> {
        let answers = self.client.simple_query(sql).await?;
        let rows = answers.into_iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.last().ok_or_else(|| Error::defect("a statement has answered with no row").into())
    }

    /// Ends a transaction that did not go well. A session that is gone has none.
    pub(super) async fn roll_back(&self) {
        if let Err(error) = self.client.batch_execute("ROLLBACK").await {
            tracing::debug!(%error, "no answer to ROLLBACK");
        }
    }
}

/// What stops a transaction.
pub(super) enum Stop {
    /// PostgreSQL's answer.
    Postgres(tokio_postgres::Error),
    /// All else.
    Error(Error),
}

impl From<tokio_postgres::Error> for Stop {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn locked() -> Error {
    Error::unavailable("migration_locked", "another migration of this database is running", None)
}

/// Never waits inside `pg_advisory_lock()`: a waiter holds a snapshot, and deadlocks with CREATE INDEX CONCURRENTLY.
async fn lock(client: &Client, wait: Duration) -> Result<()> {
    let (deadline, mut tries) = (Instant::now() + wait, 0);
    while !client.query_one("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&LOCK]).await?.try_get(0)? {
        tries += 1;
        let pause = pause_after(tries).min(Duration::from_millis(500));
        if Instant::now() + pause > deadline {
            return Err(locked());
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
