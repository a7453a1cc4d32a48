//! The rehearsal of a restore: it tries whether an archive can be restored while the original still exists.
//!
//! The archive is restored into a scratch database on the tenant's server, by the function that restores a tenant
//! ([`restoring`](super::restoring)) and with a login of the same rights. The result is compared with the original: the
//! schema object by object, and the number of rows of each table. If they differ, the archiving is undone at once and
//! the tenant serves again.
//!
//! Besides the codes of [`restoring`](super::restoring) there is `foreign_objects`: an object in the database belongs to
//! another role than `freehold_owner`, and a restore would lose that.

use tokio::io::AsyncRead;
use tokio_postgres::Client;

use super::{
    contents::Contents,
    restoring::{NAMED, compare},
    transfer::Site,
};
use crate::{
    error::{Error, Result, first_of},
    migrations::Schema,
    servers::{OWNER_ROLE, TransferLogin},
};

/// Codes of errors that a retry cannot fix: somebody has to change the database first.
pub(super) const REFUSALS: [&str; 4] = ["foreign_objects", "not_restorable", "restore_differs", "unreadable_objects"];

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
            first_of(&foreign, NAMED)
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
        compare(&Vec::from_iter(original.changes(&restored)), &contents, expected)
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
        self.admin.make_scratch(self.database).await?;
        let mut session = self.restore(TransferLogin::Rehearse(self.database), dump).await?;
        let read = async { Ok::<_, Error>((Schema::of(&mut session).await?, Contents::of(&session).await?)) };
        let read = read.await;
        session.close().await;
        read
    }
}

async fn foreign(session: &Client) -> Result<Vec<String>> {
    let rows = session.query(FOREIGN, &[&OWNER_ROLE]).await?;
    Ok(rows.iter().map(|row| row.try_get("object")).collect::<Result<_, _>>()?)
}
