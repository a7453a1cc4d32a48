//! The rehearsal of a restore: it tries whether an archive can be restored while the original still exists.
//!
//! The archive is restored into a scratch database on the tenant's server, with a login of the same rights, the same
//! program and the same arguments as a real restore. The result is compared with the original: the schema object by
//! object, and the number of rows of each table. If they differ, the archiving is undone at once and the tenant serves
//! again.
//!
//! | code | what was found |
//! |---|---|
//! | `foreign_objects` | an object in the database belongs to another role than `freehold_owner`: a restore would lose that |
//! | `not_restorable` | PostgreSQL refuses to restore an object of the archive |
//! | `restore_differs` | the restored database differs from the original |
//!
//! Each error names objects of PostgreSQL's catalog, and never a value from a row.

use tokio::io::AsyncRead;
use tokio_postgres::Client;

use super::{contents::Contents, transfer::Site};
use crate::{
    error::{Error, Result},
    migrations::Schema,
    servers::{OWNER_ROLE, TransferLogin, dump, quote_ident, scratch_name},
};

/// Codes of errors that a retry cannot fix: somebody has to change the database first.
pub(super) const REFUSALS: [&str; 3] = ["foreign_objects", "not_restorable", "restore_differs"];

/// How many objects an error names at most.
const NAMED: usize = 5;

/// The objects that belong to other roles. PostgreSQL records no ownership for the bootstrap superuser of the cluster.
/// The objects of that superuser are found later: they are restored as `freehold_owner`'s, and so they differ.
const FOREIGN: &str = "
    SELECT pg_describe_object(d.classid, d.objid, 0) || ' of ' || pg_get_userbyid(d.refobjid) AS object
      FROM pg_shdepend d
     WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND d.deptype = 'o'
       AND d.refclassid = 'pg_authid'::regclass
       AND pg_get_userbyid(d.refobjid) NOT IN ($1, 'pg_database_owner')
     ORDER BY 1";

impl Site<'_> {
    /// Checks that everything in the database belongs to its owner. The tenant's role and superusers can create objects
    /// that do not: default privileges, large objects, publications.
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

    /// Restores the archive that `dump` yields into a scratch database, compares it with the original, and drops it.
    ///
    /// # Errors
    /// Those of this module; an error of `dump`; the server is unavailable.
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

    /// Drops the scratch database and its login, whether the rehearsal succeeded or not.
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

/// Names the object that PostgreSQL refused. Its own message may contain values from rows, so only the log has it.
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

/// The first [`NAMED`] objects, and how many more there are.
fn some(objects: &[impl AsRef<str>]) -> String {
    let named: Vec<_> = objects.iter().take(NAMED).map(AsRef::as_ref).collect();
    match objects.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
