//! What a step works with: the operation, and a session on the tenant's server that holds the tenant's lock.
//!
//! A replica may lose its lease while it is paused, and go on later. Two things stop it then: the session, which
//! another replica has ended, and the control database, which refuses its claim ([`Run::begin`]).

use serde::Deserialize;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    control::{
        Keeper,
        operation_claims::{self, Claim},
        operations::Operation,
        servers::{self, Server},
        tenants::{self, Tenant},
    },
    error::{Error, Result},
    operations::{Context, context::Access},
    servers::ServerAdmin,
    types::{DbName, ServerId, TenantId},
};

/// What a step works with.
pub(in crate::operations) struct Run {
    pub(in crate::operations) ctx: Context,
    pub(in crate::operations) operation: Operation,
    /// The server that the tenant's database is on, or will be on.
    pub(in crate::operations) server: Server,
    pub(in crate::operations) access: Access,
    /// A session on that server. It holds the tenant's lock until it is closed.
    pub(in crate::operations) admin: ServerAdmin,
}

impl Run {
    /// The tenant that the operation changes.
    pub(in crate::operations) const fn tenant_id(&self) -> TenantId {
        self.operation.tenant_id
    }

    /// The name of its database and of its role.
    pub(in crate::operations) fn database(&self) -> DbName {
        self.tenant_id().db_name()
    }

    /// The tenant as it is now.
    pub(in crate::operations) async fn tenant(&self) -> Result<Tenant> {
        let found = tenants::get(&mut *self.ctx.db.acquire().await?, self.tenant_id()).await?;
        found.ok_or_else(|| Error::defect("the operation's tenant is not in the control database"))
    }

    /// The operation's input, deserialized.
    pub(in crate::operations) fn input<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.operation.input.clone()).map_err(Error::internal)
    }

    /// Begins a transaction in the control database that locks the operation's claim. A step and its undo write to the
    /// control database only in such a transaction: a replica that has lost its claim must not write over the work of
    /// the replica that holds it now.
    ///
    /// # Errors
    /// `claim_lost` when another replica holds the operation by now.
    pub(in crate::operations) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        let mut txn = self.ctx.db.begin().await?;
        if operation_claims::keep_in_txn(&mut txn, self.claim()).await? { Ok(txn) } else { Err(claim_lost()) }
    }

    /// The claim under which this replica works on the operation.
    pub(in crate::operations) const fn claim(&self) -> Claim {
        Claim { id: self.operation.id, generation: self.operation.generation }
    }

    /// Opens an administrative session, or reuses an idle one, and takes the tenant's lock in it.
    pub(super) async fn open(ctx: &Context, operation: &Operation, records: &mut Keeper) -> Result<Self> {
        let (server, access) = {
            let mut connection = records.connection().await?;
            let server = home(&mut connection, operation).await?;
            let access = ctx.access(&mut connection, &server).await?;
            (server, access)
        };
        let (access, admin) = hold(ctx, operation, (&server, access), operation.tenant_id).await?;
        Ok(Self { ctx: ctx.clone(), operation: operation.clone(), server, access, admin })
    }

    /// Opens a session for another tenant that the operation reads or changes, on that tenant's server and with that
    /// tenant's lock.
    pub(in crate::operations) async fn hold(&self, tenant: TenantId) -> Result<(Access, ServerAdmin)> {
        let (server, access) = {
            let mut connection = self.ctx.db.acquire().await?;
            let server = servers::home_of(&mut connection, tenant).await?.ok_or_else(homeless)?;
            let access = self.ctx.access(&mut connection, &server).await?;
            (server, access)
        };
        hold(&self.ctx, &self.operation, (&server, access), tenant).await
    }

    /// Keeps the session for the next operation. Called when this one has ended.
    pub(super) async fn close(self) {
        let name = self.ctx.session_name("idle");
        self.ctx.memory.sessions().keep(self.server.id, self.admin, &name).await;
    }
}

/// The error of a step that tried to write after its claim was lost.
pub(in crate::operations) fn claim_lost() -> Error {
    Error::unavailable("claim_lost", "another replica is at work on the operation", None)
}

async fn hold(
    ctx: &Context,
    operation: &Operation,
    (server, access): (&Server, Access),
    tenant: TenantId,
) -> Result<(Access, ServerAdmin)> {
    let (access, admin) = administer(ctx, operation, (server, access)).await?;
    // The replica that held this operation before has lost its lease. If that replica was paused, its session is idle
    // and still holds the tenant's lock. Ending the session frees the lock, and stops the replica from doing anything
    // more there. A session that is running a statement is not ended: the lock is waited for.
    let ended =
        if operation.generation > 1 { admin.end_idle_sessions(&format!(":{}:", operation.id)).await? } else { 0 };
    if ended > 0 {
        tracing::warn!(sessions = ended, "ended the sessions of a replica that lost this operation");
    }
    if !admin.lock_tenant(tenant, ctx.settings.pace.tenant_lock).await? {
        return Err(Error::unavailable("tenant_locked", "another session is at work on this tenant", None));
    }
    Ok((access, admin))
}

/// An idle session to the server, or a new one. While a password is being replaced the session is always new, because
/// opening it settles which of the two passwords is valid.
async fn administer(
    ctx: &Context,
    operation: &Operation,
    (server, access): (&Server, Access),
) -> Result<(Access, ServerAdmin)> {
    let purpose = format!("{}:{}", operation.id, operation.generation);
    if !access.is_unsettled()
        && let Some(left) = ctx.memory.sessions().take(server.id, &ctx.session_name(&purpose)).await
    {
        return Ok((access, left));
    }
    ctx.administer(server, &purpose).await
}

/// The part of the input that names a server: operations about a database without a tenant have it.
#[derive(Deserialize)]
struct Place {
    server_id: Option<ServerId>,
}

/// The server of the operation: the one that its input names, or else the tenant's.
async fn home(connection: &mut PgConnection, operation: &Operation) -> Result<Server> {
    let place: Place = serde_json::from_value(operation.input.clone()).map_err(Error::internal)?;
    let server = match place.server_id {
        Some(server) => servers::get(connection, server).await?,
        None => servers::home_of(connection, operation.tenant_id).await?,
    };
    server.ok_or_else(homeless)
}

fn homeless() -> Error {
    Error::defect("the operation's tenant or its server is not in the control database")
}
