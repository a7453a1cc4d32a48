//! How a dump becomes a database again: one function for a restore, for a clone, and for the rehearsal of an archive.
//! Because there is one only, a rehearsal cannot succeed where the restore would fail.
//!
//! | code | what was found |
//! |---|---|
//! | `not_restorable` | PostgreSQL refuses to restore an object of the dump |
//! | `restore_differs` | the restored database differs from the original |
//!
//! Each error names objects of PostgreSQL's catalog, and never a value from a row.

use tokio::io::AsyncRead;
use tokio_postgres::Client;

use super::{contents::Contents, transfer::Site};
use crate::{
    error::{Error, Result, first_of},
    servers::{Connection, OWNER_ROLE, TransferLogin, dump, quote_ident},
};

/// Codes of errors that a retry cannot fix: somebody has to change something first.
pub(super) const REFUSALS: [&str; 2] = ["not_restorable", "restore_differs"];

/// How many objects an error names at most.
pub(super) const NAMED: usize = 5;

/// Statistics make plans better and nothing else, so collecting them may not hold up the rest for long.
const ALL_TABLES: &str = "SET statement_timeout = '15min'";
const ONE_TABLE: &str = "SET statement_timeout = '1min'";
const UNBOUNDED: &str = "SET statement_timeout = 0";

/// The tables that `ANALYZE` reads, without those of PostgreSQL itself.
const TABLES: &str = "
    SELECT format('%I.%I', n.nspname, c.relname) AS quoted
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname::text, 'pg_')
     ORDER BY 1";

impl Site<'_> {
    /// Restores `dump` into the empty database of `login`, and collects the statistics of its tables. Returns a session
    /// in the new database, as its owner.
    ///
    /// # Errors
    /// `not_restorable` (409); an error of `dump`; the server is unavailable.
    pub(super) async fn restore(
        &self,
        login: TransferLogin,
        dump: impl AsyncRead + Send + Unpin,
    ) -> Result<Connection> {
        let (name, programs) = (login.database(), self.programs().await?);
        let credentials = self.admin.ensure_transfer_login(login).await?;
        programs.restore(&self.target(&name, &credentials), dump).await.map_err(refused)?;
        let session = self.enter(&name, &credentials).await?;
        session.batch_execute(&format!("SET ROLE {}", quote_ident(OWNER_ROLE)?)).await?;
        analyze(&session).await?;
        Ok(session)
    }
}

/// Names the object that PostgreSQL refused. Its own message may contain values from rows, so only the log has it.
fn refused(error: Error) -> Error {
    let Some(object) = dump::refused_object(&error) else { return error };
    let detail = format!(
        "the database cannot be restored on this server: PostgreSQL refuses {object}; Freehold's log has its reason"
    );
    tracing::warn!(error = error.chain(), "a dump cannot be restored");
    Error::conflict("not_restorable", detail)
}

/// Collects statistics, without which the first queries would be planned as if all tables were empty. PostgreSQL
/// evaluates expressions of the schema for that, which may fail on rows that it restored. The rows are there all the
/// same, so such a failure is a warning, and costs no other table its statistics.
///
/// # Errors
/// The session is lost.
async fn analyze(session: &Client) -> Result<()> {
    session.batch_execute(ALL_TABLES).await?;
    // At the first table that fails, PostgreSQL skips all later ones.
    if session.batch_execute("ANALYZE").await.is_err() {
        session.batch_execute(ONE_TABLE).await?;
        for table in session.query(TABLES, &[]).await? {
            let table: String = table.try_get("quoted")?;
            if let Err(error) = session.batch_execute(&format!("ANALYZE {table}")).await {
                let error = Error::from(error);
                tracing::warn!(table, error = error.chain(), "a restored table has no statistics");
            }
        }
    }
    Ok(session.batch_execute(UNBOUNDED).await?)
}

/// The error for a restored database that is not what was dumped: `objects` of its schema differ, or the number of rows.
pub(super) fn compare(objects: &[&str], restored: &Contents, dumped: &Contents) -> Result<()> {
    let rows = restored.difference(dumped);
    if objects.is_empty() && rows.is_none() {
        return Ok(());
    }
    let objects =
        if objects.is_empty() { String::new() } else { format!("; it differs in {}", first_of(objects, NAMED)) };
    let rows = rows.map(|rows| format!("; it holds {rows}")).unwrap_or_default();
    let detail = format!("the dump does not become the same database again{objects}{rows}");
    Err(Error::conflict("restore_differs", detail))
}
