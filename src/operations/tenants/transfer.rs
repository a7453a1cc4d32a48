//! Dumps a tenant's database, and restores a dump as a database.
//!
//! Each transfer has a login of its own, which can connect to that one database. The login is dropped after the
//! transfer. If an attempt is killed, its login remains, and the next attempt gives it a new password. The caller holds
//! the tenant's lock.

use tokio::io::AsyncRead;
use tokio_postgres::Client;

use super::{contents::Contents, restoring};
use crate::{
    control::{servers, tenants},
    error::{Error, Result, first_of},
    migrations,
    operations::{Context, context::Access, engine::run::Run},
    servers::{
        Connection, Credentials, OWNER_ROLE, ServerAdmin, ServerVersion, TransferLogin,
        dump::{Dump, DumpPrograms, Selection, Target},
        quote_ident,
    },
    types::{DbName, TableName, TenantId},
};

/// `search_path` is the one that migrations and tenants have: a function of an index or a constraint must find the same
/// objects as when it was created. The interval makes a backend notice a lost client during a long statement too.
const SETTINGS: &str = "SET search_path = public; SET client_connection_check_interval = '1s'";
const HOLD: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A tenant's database on its server. The database may not exist yet.
pub(in crate::operations) struct Site<'a> {
    pub(in crate::operations) ctx: &'a Context,
    /// The session that holds the tenant's lock.
    pub(in crate::operations) admin: &'a ServerAdmin,
    pub(in crate::operations) access: &'a Access,
    pub(in crate::operations) database: DbName,
}

/// A dump of one snapshot of a database.
pub(in crate::operations) struct Reading {
    /// The running dump.
    pub(in crate::operations) dump: Dump,
    /// The versions and row counts in the snapshot.
    pub(in crate::operations) contents: Contents,
    /// The session that exports the snapshot. It must stay open until the dump is read.
    pub(in crate::operations) moment: Connection,
}

impl<'a> Site<'a> {
    /// The database of the operation's tenant.
    pub(in crate::operations) fn of(run: &'a Run) -> Self {
        Self { ctx: &run.ctx, admin: &run.admin, access: &run.access, database: run.database() }
    }

    /// Begins to dump the database, without the rows of the tables `without_rows`. Others may write to it meanwhile.
    ///
    /// # Errors
    /// `unreadable_objects`, `dump_tools_missing`, `dump_tools_unfit` (409); the server is unavailable.
    pub(in crate::operations) async fn read(&self, without_rows: &[TableName]) -> Result<Reading> {
        let programs = self.programs().await?;
        let login = self.admin.ensure_transfer_login(TransferLogin::Dump(self.database)).await?;
        let session = self.enter(&self.database.to_string(), &login).await?;
        session.batch_execute(&format!("SET ROLE {}; SET row_security = off", quote_ident(OWNER_ROLE)?)).await?;
        check_readable(&session).await?;
        session.batch_execute(HOLD).await?;
        let snapshot: String = session.query_one("SELECT pg_export_snapshot()", &[]).await?.try_get(0)?;
        let contents = Contents::of(&session).await?.without_rows(without_rows);
        let selection = Selection { snapshot: Some(&snapshot), without_rows };
        let dump = programs.dump(&self.target(&self.database.to_string(), &login), &selection).await?;
        Ok(Reading { dump, contents, moment: session })
    }

    /// Drops the login of the dump, whether the dump succeeded or not.
    pub(in crate::operations) async fn end_reading(&self) -> Result<()> {
        self.admin.drop_transfer_login(TransferLogin::Dump(self.database)).await
    }

    /// Creates the database from a dump. A database that an earlier attempt has left is dropped first, because nothing
    /// shows whether it is complete. Only the login that restores the dump can connect to the new database.
    ///
    /// # Errors
    /// An error of `dump`; those of [`read`](Self::read); `not_restorable`; `restore_differs` when the database does
    /// not match `expected`.
    pub(in crate::operations) async fn fill(
        &self,
        dump: impl AsyncRead + Send + Unpin,
        expected: &Contents,
    ) -> Result<()> {
        let name = self.database.to_string();
        self.admin.drop_database(self.database).await?;
        self.admin.ensure_empty_database(&name).await?;
        let session = self.restore(TransferLogin::Restore(self.database), dump).await?;
        let contents = Contents::of(&session).await?;
        session.close().await;
        self.admin.drop_transfer_login(TransferLogin::Restore(self.database)).await?;
        restoring::compare(&[], &contents, expected)
    }

    /// Undoes [`fill`](Self::fill): drops the database and the login.
    pub(in crate::operations) async fn empty(&self) -> Result<()> {
        self.admin.discard_database(self.database).await?;
        self.admin.drop_transfer_login(TransferLogin::Restore(self.database)).await
    }

    /// The dump programs that match the server's version.
    pub(in crate::operations) async fn programs(&self) -> Result<DumpPrograms> {
        self.ctx.dump_tools.for_server(self.admin.version()).await
    }

    pub(super) async fn enter(&self, database: &str, login: &Credentials) -> Result<Connection> {
        let (connector, name) = (&self.ctx.connector, self.admin.application_name());
        let session = connector.connect(&self.access.address, database, login, name).await?;
        session.batch_execute(SETTINGS).await?;
        Ok(session)
    }

    pub(super) fn target<'t>(&'t self, database: &'t str, credentials: &'t Credentials) -> Target<'t> {
        let application_name = self.admin.application_name();
        Target { address: &self.access.address, database, credentials, application_name }
    }
}

/// Checks that the owner can read all of the database.
///
/// # Errors
/// `unreadable_objects` (409).
async fn check_readable(session: &Client) -> Result<()> {
    let unreadable = migrations::unreadable(session, OWNER_ROLE).await?;
    if unreadable.is_empty() {
        return Ok(());
    }
    let detail =
        format!("a dump would lack what {OWNER_ROLE} cannot read: {}", first_of(&unreadable, restoring::NAMED));
    Err(Error::conflict("unreadable_objects", detail))
}

/// Checks that this replica has an archive store and the programs to dump and restore the tenant's database. Callers
/// check before they close the tenant. Returns the version of the tenant's server.
///
/// # Errors
/// `not_found`; `archives_not_configured`, `dump_tools_missing`, `dump_tools_unfit` (409).
pub(in crate::operations) async fn check_means(ctx: &Context, tenant: TenantId) -> Result<ServerVersion> {
    ctx.archives()?;
    check_tools(ctx, tenant).await
}

/// As [`check_means`], but needs no archive store.
pub(in crate::operations) async fn check_tools(ctx: &Context, tenant: TenantId) -> Result<ServerVersion> {
    let version = {
        let missing = || Error::not_found("tenant");
        let mut connection = ctx.db.acquire().await?;
        let tenant = tenants::get(&mut connection, tenant).await?.ok_or_else(missing)?;
        let server = servers::get(&mut connection, tenant.server_id).await?.ok_or_else(missing)?;
        ServerVersion(server.version_num)
    };
    ctx.dump_tools.for_server(version).await?;
    Ok(version)
}

/// Checks that a dump from a server of version `from` can be restored on a server of version `to`.
///
/// # Errors
/// `server_too_old` (409).
pub(in crate::operations) fn check_versions(from: ServerVersion, to: ServerVersion) -> Result<()> {
    if to.major() >= from.major() {
        return Ok(());
    }
    let detail = format!(
        "the database is of PostgreSQL {}, and its server runs {}: a dump can only be restored on the same release or \
         a newer one",
        from.major(),
        to.major()
    );
    Err(Error::conflict("server_too_old", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_goes_to_the_same_release_or_a_newer_one() {
        let (older, newer) = (ServerVersion(150_018), ServerVersion(180_001));
        assert!(check_versions(older, newer).is_ok());
        assert!(check_versions(ServerVersion(150_018), ServerVersion(150_004)).is_ok());
        assert_eq!(check_versions(newer, older).unwrap_err().code(), "server_too_old");
    }
}
