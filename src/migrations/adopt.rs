//! Corrects the history of a database whose schema is right already: somebody has applied the files by hand, or has
//! lost rows of the history. Nothing is run again.

use refinery_core::Migration;
use tokio_postgres::Client;

use super::{TenantSchema, apply::session::LOCK, history};
use crate::{
    error::{Error, Result},
    types::Stream,
};

/// As the runner writes it.
const INSERT: &str = "(version, name, applied_on, checksum)
    SELECT $1::int4, $2, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), $3";

/// Writes into the histories, as `owner` and in one transaction, that every file of `schema` was applied. The caller has
/// compared the whole schema with that of a database to which they were. Which files the histories lacked.
///
/// # Errors
/// `migration_locked` while a runner is at work on the database; internal when a history disagrees with the set.
pub async fn adopt_history(client: &mut Client, schema: &TenantSchema, owner: &str) -> Result<Vec<(Stream, i32)>> {
    let txn = client.transaction().await?;
    if !txn.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&LOCK]).await?.try_get(0)? {
        return Err(Error::unavailable("migration_locked", "another migration of this database is running", None));
    }
    // SET ROLE as a function, so that the name is a value and not a part of the statement.
    txn.execute("SELECT set_config('role', $1, true)", &[&owner]).await?;
    let mut written = Vec::new();
    for stream in Stream::ALL {
        let table = history::table(stream.schema());
        let known = txn.query(&format!("SELECT version, name, checksum FROM {table}"), &[]).await?;
        let migrations = schema.stream(stream).to_refinery()?;
        for row in &known {
            check(&migrations, row.try_get("version")?, row.try_get("name")?, row.try_get("checksum")?)?;
        }
        let applied = known.iter().map(|row| Ok(row.try_get("version")?)).collect::<Result<Vec<i32>>>()?;
        for migration in migrations.iter().filter(|migration| !applied.contains(&migration.version())) {
            let (version, name, checksum) = (migration.version(), migration.name(), migration.checksum().to_string());
            txn.execute(&format!("INSERT INTO {table} {INSERT}"), &[&version, &name, &checksum]).await?;
            written.push((stream, version));
        }
    }
    txn.commit().await?;
    Ok(written)
}

/// A row of the history that names another file than the set does is nothing to build on.
fn check(migrations: &[Migration], version: i32, name: &str, checksum: &str) -> Result<()> {
    match migrations.iter().find(|migration| migration.version() == version) {
        Some(known) if known.name() == name && known.checksum().to_string() == checksum => Ok(()),
        _ => Err(Error::defect(format!("the schema history says V{version}, which is not of the set"))),
    }
}
