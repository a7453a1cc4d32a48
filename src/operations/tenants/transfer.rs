//! How a tenant's database leaves a server as a dump, and how one becomes a database.
//!
//! For either, a login of its own is let into the one database, and dropped when the transfer is done. A killed
//! attempt leaves it behind for the next one, which gives it another password. Whoever calls holds the tenant's lock.

use tokio::io::AsyncRead;

use super::contents::Contents;
use crate::{
    control::{servers, tenants},
    error::{Error, Result},
    operations::{Context, context::Access, engine::run::Run},
    servers::{
        Connection, Credentials, OWNER_ROLE, ServerAdmin, ServerVersion, TransferLogin,
        dump::{Dump, DumpPrograms, Selection, Target},
        quote_ident,
    },
    types::{DbName, TableName, TenantId},
};

/// Names are looked up where migrations and tenants look them up: a function that an index or a constraint calls finds
/// what it found when it was made. A backend whose client is gone notices, also in a long statement.
const SETTINGS: &str = "SET search_path = public; SET client_connection_check_interval = '1s'";
const HOLD: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One tenant's database, or where it will be.
pub(in crate::operations) struct Site<'a> {
    pub(in crate::operations) ctx: &'a Context,
    /// Holds the tenant's lock.
    pub(in crate::operations) admin: &'a ServerAdmin,
    pub(in crate::operations) access: &'a Access,
    pub(in crate::operations) database: DbName,
}

/// A database as it is at one moment.
pub(in crate::operations) struct Reading {
    /// Its dump, under way.
    pub(in crate::operations) dump: Dump,
    /// What it holds.
    pub(in crate::operations) contents: Contents,
    /// Holds the moment: to be kept for as long as the dump is read.
    pub(in crate::operations) moment: Connection,
}

impl<'a> Site<'a> {
    /// The tenant's database on its server, or where that will be.
    pub(in crate::operations) fn of(run: &'a Run) -> Self {
        Self { ctx: &run.ctx, admin: &run.admin, access: &run.access, database: run.database() }
    }

    /// Begins to read the database, but for the rows of `without_rows`, while others write to it.
    ///
    /// # Errors
    /// `dump_tools_missing`, `dump_tools_unfit`; the server is away.
    pub(in crate::operations) async fn read(&self, without_rows: &[TableName]) -> Result<Reading> {
        let programs = self.programs().await?;
        let login = self.admin.ensure_transfer_login(TransferLogin::Dump(self.database)).await?;
        let session = self.enter(&self.database.to_string(), &login).await?;
        session.batch_execute(HOLD).await?;
        let snapshot: String = session.query_one("SELECT pg_export_snapshot()", &[]).await?.try_get(0)?;
        let contents = Contents::of(&session).await?.without_rows(without_rows);
        let selection = Selection { snapshot: Some(&snapshot), without_rows };
        let dump = programs.dump(&self.target(&self.database.to_string(), &login), &selection).await?;
        Ok(Reading { dump, contents, moment: session })
    }

    /// Drops the login for reading, whether that went well or not.
    pub(in crate::operations) async fn end_reading(&self) -> Result<()> {
        self.admin.drop_transfer_login(TransferLogin::Dump(self.database)).await
    }

    /// Makes the database out of a dump, in place of what an earlier attempt has left: a restore that had committed
    /// when its attempt died cannot be told from half of one. Nobody but the login that fills it is let in yet.
    ///
    /// # Errors
    /// What `dump` ended with; as [`read`](Self::read); internal when it does not hold what `expected` says.
    pub(in crate::operations) async fn fill(
        &self,
        dump: impl AsyncRead + Send + Unpin,
        expected: &Contents,
    ) -> Result<()> {
        let name = self.database.to_string();
        let programs = self.programs().await?;
        self.admin.drop_database(self.database).await?;
        self.admin.ensure_empty_database(&name).await?;
        let login = self.admin.ensure_transfer_login(TransferLogin::Restore(self.database)).await?;
        programs.restore(&self.target(&name, &login), dump).await?;
        let session = self.enter(&name, &login).await?;
        // Without statistics the first queries would be planned as if all tables were empty.
        session.batch_execute(&format!("SET ROLE {}", quote_ident(OWNER_ROLE)?)).await?;
        session.batch_execute("ANALYZE").await?;
        let contents = Contents::of(&session).await?;
        session.close().await;
        self.admin.drop_transfer_login(TransferLogin::Restore(self.database)).await?;
        contents.compare(expected)
    }

    /// Takes away the database that was being filled, and the login that filled it.
    pub(in crate::operations) async fn empty(&self) -> Result<()> {
        self.admin.discard_database(self.database).await?;
        self.admin.drop_transfer_login(TransferLogin::Restore(self.database)).await
    }

    /// The programs that fit the server.
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

/// Whether this replica has what it takes to dump and restore the tenant's database: asked before anybody is shut out.
/// The version of the tenant's server.
///
/// # Errors
/// `not_found`; `archives_not_configured`, `dump_tools_missing`, `dump_tools_unfit` (409).
pub(in crate::operations) async fn check_means(ctx: &Context, tenant: TenantId) -> Result<ServerVersion> {
    ctx.archives()?;
    check_tools(ctx, tenant).await
}

/// The same without an archive store.
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

/// Whether a dump of a server of the version `from` can be restored on one of the version `to`.
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
