//! Sets onto one database: one onto the control database, both streams onto a tenant's.
//!
//! The connection is dedicated: its lock and settings end with it, so a caller that gives up half-way drops the
//! connection, never returns it to a pool. Two that start at once are put in a row by the lock; the second finds
//! nothing to do.

use std::time::Duration;

use refinery_core::{Migration, Runner};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::{
    MigrationSet, TenantSchema,
    history::{self, History},
};
use crate::{
    error::{Error, Result},
    types::{SchemaVersions, Stream},
};

/// The advisory lock of a database under migration: `freehold` in ASCII. Replicas of all releases must agree.
const LOCK: i64 = 0x6672_6565_686f_6c64;
/// How long to wait for another runner.
const LOCK_WAIT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(250);
/// A migration gives up rather than have the tenant's reads queue behind it, but may work for a while once it has
/// its locks.
const SETTINGS: &str = "SET lock_timeout = '2s'; SET statement_timeout = '10min'";
const RESET: &str = "RESET ROLE; RESET lock_timeout; RESET statement_timeout; RESET search_path";

/// Where the control database has its tables, and its history.
const CONTROL_SCHEMA: &str = "public";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The versions applied now, in order.
    pub applied: Vec<i32>,
    /// The database's version afterwards; above the set's where a newer program was here.
    pub version: i32,
}

/// Applies what the control database lacks of its set, one transaction a migration.
///
/// # Errors
/// `migration_locked` when another runner keeps the lock for 60 s; `Unavailable` when a lock or the server is
/// not to be had, with what was applied so far kept; internal when the history disagrees with the set or a
/// migration fails.
pub async fn apply_control(client: &mut Client, set: &MigrationSet) -> Result<Report> {
    begin(client).await?;
    let applied = apply_set(client, set, CONTROL_SCHEMA).await;
    end(client, applied).await
}

/// Applies what a tenant's database lacks of both streams, as `owner`, who has the schemas already: Freehold's own
/// first, since a product's tables may refer to its. The versions afterwards.
///
/// # Errors
/// As [`apply_control`].
pub async fn apply_tenant(client: &mut Client, schema: &TenantSchema, owner: &str) -> Result<SchemaVersions> {
    begin(client).await?;
    let applied = apply_streams(client, schema, owner).await;
    end(client, applied).await
}

async fn apply_streams(client: &mut Client, schema: &TenantSchema, owner: &str) -> Result<SchemaVersions> {
    let freehold = apply_as(client, schema, Stream::Freehold, owner).await?;
    let product = apply_as(client, schema, Stream::Product, owner).await?;
    Ok(SchemaVersions { freehold: freehold.version, product: product.version })
}

async fn apply_as(client: &mut Client, schema: &TenantSchema, stream: Stream, owner: &str) -> Result<Report> {
    // SET ROLE as a function, so that the name is a value and not a part of the statement.
    client.execute("SELECT set_config('role', $1, false)", &[&owner]).await?;
    apply_set(client, schema.stream(stream), stream.schema()).await
}

async fn begin(client: &Client) -> Result<()> {
    client.batch_execute(SETTINGS).await?;
    lock(client).await
}

async fn end<T>(client: &Client, applied: Result<T>) -> Result<T> {
    let reset = client.batch_execute(RESET).await;
    let unlocked = client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await;
    let report = applied?;
    reset?;
    unlocked?;
    Ok(report)
}

/// Never waits inside `pg_advisory_lock()`: a waiter holds a snapshot, and deadlocks with CREATE INDEX CONCURRENTLY.
async fn lock(client: &Client) -> Result<()> {
    let deadline = Instant::now() + LOCK_WAIT;
    while !client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?.try_get(0)? {
        if Instant::now() + PAUSE > deadline {
            return Err(Error::unavailable("migration_locked", "another migration of this database is running", None));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// What the files make without naming a schema is made in `schema`, and so is their history.
async fn apply_set(client: &mut Client, set: &MigrationSet, schema: &str) -> Result<Report> {
    client.execute("SELECT set_config('search_path', $1, false)", &[&schema]).await?;
    let (migrations, table) = (set.to_refinery()?, history::table(schema));
    let history = History::read(client, &table, &migrations).await?;
    if history.exists && history.version >= set.version() {
        return Ok(Report { applied: Vec::new(), version: history.version });
    }
    let applied = run(client, &migrations, &table).await?;
    tracing::info!(
        migrations.schema = schema,
        migrations.from = history.version,
        migrations.to = set.version(),
        "migrations applied"
    );
    Ok(Report { applied, version: set.version() })
}

async fn run(client: &mut Client, migrations: &[Migration], table: &str) -> Result<Vec<i32>> {
    let mut runner = Runner::new(migrations).set_abort_divergent(true).set_abort_missing(false);
    runner.set_migration_table_name(table);
    let report = runner.run_async(client).await.map_err(|error| failure(&error))?;
    Ok(report.applied_migrations().iter().map(Migration::version).collect())
}

/// refinery's error with PostgreSQL's answer judged as everywhere else (`servers::errors`): busy is not broken.
fn failure(error: &refinery_core::Error) -> Error {
    let refinery_core::error::Kind::Connection(what, cause) = error.kind() else {
        return Error::defect(error.to_string());
    };
    let Some(cause) = cause.downcast_ref::<tokio_postgres::Error>() else {
        return Error::defect(format!("{what}: {cause}"));
    };
    match Error::from(cause) {
        Error::Internal(cause) => Error::Internal(cause.context(what.clone())),
        Error::Unavailable { code, detail, retry_after, source } => {
            let source = source.map(|cause| cause.context(what.clone()));
            Error::Unavailable { code, detail, retry_after, source }
        }
        Error::Damaged { code, detail, source } => {
            Error::Damaged { code, detail, source: source.context(what.clone()) }
        }
        other => other,
    }
}
