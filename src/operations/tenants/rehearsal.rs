//! The rehearsal of a restore: whether an archive can be woken is tried while the original is still there.
//!
//! The archive is restored into a scratch database on the tenant's server, by the login that would restore it, with the
//! same program and arguments. What comes out is held against the original: its schema object by object, and the rows of
//! each table. What cannot be brought back ends the archiving at once, and the tenant is let in again.
//!
//! | code | what was found |
//! |---|---|
//! | `foreign_objects` | something in the database does not belong to `freehold_owner`, and would not after a restore |
//! | `not_restorable` | PostgreSQL refuses something that the archive holds |
//! | `restore_differs` | the restored database is not what the original is |
//!
//! Each names objects of PostgreSQL's catalogue, and never a value out of a row.

use tokio::io::AsyncRead;
use tokio_postgres::Client;

use super::{contents::Contents, transfer::Site};
use crate::{
    error::{Error, Result},
    migrations::Schema,
    servers::{OWNER_ROLE, TransferLogin, dump, quote_ident, scratch_name},
};

/// What no repetition mends, until somebody has changed the database.
pub(super) const REFUSALS: [&str; 3] = ["foreign_objects", "not_restorable", "restore_differs"];

/// How many objects an error names.
const NAMED: usize = 5;

/// What belongs to other roles. PostgreSQL notes no owner where that is the superuser that the cluster was made with: what
/// such a one has made is restored as the owner's, and differs.
const FOREIGN: &str = "
    SELECT pg_describe_object(d.classid, d.objid, 0) || ' of ' || pg_get_userbyid(d.refobjid) AS object
      FROM pg_shdepend d
     WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND d.deptype = 'o'
       AND d.refclassid = 'pg_authid'::regclass
       AND pg_get_userbyid(d.refobjid) NOT IN ($1, 'pg_database_owner')
     ORDER BY 1";

impl Site<'_> {
    /// Whether everything in the database belongs to its owner. The tenant's role and superusers can make what does not:
    /// default privileges, large objects, publications.
    ///
    /// # Errors
    /// `foreign_objects` (409).
    pub(super) async fn check_owners(&self) -> Result<()> {
        let login = self.admin.ensure_transfer_login(TransferLogin::Dump(self.database)).await?;
        let session = self.enter(&self.database.to_string(), &login).await?;
        let foreign = foreign(&session).await;
        session.close().await;
        let foreign = foreign?;
        if foreign.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "the database holds what does not belong to {OWNER_ROLE} and would be lost: {}; drop it, or give it to \
             {OWNER_ROLE}",
            some(&foreign)
        );
        Err(Error::conflict("foreign_objects", detail))
    }

    /// Restores the archive that `dump` yields into a scratch database, holds that against the original, and drops it.
    ///
    /// # Errors
    /// Those of this module; what `dump` ended with; the server is away.
    pub(super) async fn rehearse(&self, dump: impl AsyncRead + Send + Unpin, expected: &Contents) -> Result<()> {
        let original = self.schema().await?;
        let (restored, contents) = self.restore_scratch(dump).await?;
        self.end_rehearsal().await?;
        let objects = original.differences(&restored);
        let rows = contents.difference(expected);
        if objects.is_empty() && rows.is_none() {
            return Ok(());
        }
        let objects = if objects.is_empty() { String::new() } else { format!("; it differs in {}", some(&objects)) };
        let rows = rows.map(|rows| format!("; it holds {rows}")).unwrap_or_default();
        let detail = format!("the archive does not become the same database again{objects}{rows}");
        Err(Error::conflict("restore_differs", detail))
    }

    /// Takes away the scratch database and its login, whether the rehearsal went well or not.
    pub(super) async fn end_rehearsal(&self) -> Result<()> {
        self.admin.drop_scratch(self.database).await?;
        self.admin.drop_transfer_login(TransferLogin::Rehearse(self.database)).await
    }

    async fn schema(&self) -> Result<Schema> {
        let login = self.admin.ensure_transfer_login(TransferLogin::Dump(self.database)).await?;
        let mut session = self.enter(&self.database.to_string(), &login).await?;
        let schema = Schema::of(&mut session).await;
        session.close().await;
        self.end_reading().await?;
        schema
    }

    async fn restore_scratch(&self, dump: impl AsyncRead + Send + Unpin) -> Result<(Schema, Contents)> {
        let (name, programs) = (scratch_name(self.database), self.programs().await?);
        self.admin.make_scratch(self.database).await?;
        let login = self.admin.ensure_transfer_login(TransferLogin::Rehearse(self.database)).await?;
        programs.restore(&self.target(&name, &login), dump).await.map_err(refused)?;
        let mut session = self.enter(&name, &login).await?;
        session.batch_execute(&format!("SET ROLE {}", quote_ident(OWNER_ROLE)?)).await?;
        let read = async { Ok::<_, Error>((Schema::of(&mut session).await?, Contents::of(&session).await?)) };
        let read = read.await;
        session.close().await;
        read
    }
}

/// Names what PostgreSQL refused. Its own words may hold values out of rows: they are in the log alone.
fn refused(error: Error) -> Error {
    let Some(object) = dump::refused_object(&error) else { return error };
    let detail = format!(
        "the archive cannot be restored on this server: PostgreSQL refuses {object}; Freehold's log has its reason"
    );
    tracing::warn!(error = error.chain(), "an archive cannot be restored");
    Error::conflict("not_restorable", detail)
}

async fn foreign(session: &Client) -> Result<Vec<String>> {
    let rows = session.query(FOREIGN, &[&OWNER_ROLE]).await?;
    Ok(rows.iter().map(|row| row.try_get("object")).collect::<Result<_, _>>()?)
}

/// The first of them, and how many more there are.
fn some(objects: &[impl AsRef<str>]) -> String {
    let named: Vec<_> = objects.iter().take(NAMED).map(AsRef::as_ref).collect();
    match objects.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
