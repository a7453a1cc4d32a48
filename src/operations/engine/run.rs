//! What a step works with: the operation, and a session on the tenant's server that holds the tenant's lock.
//!
//! A replica that lost its lease and wakes up late is refused by the server that it would change, and by the control
//! database ([`Run::begin`]).

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
    /// Where the tenant lives, or will.
    pub(in crate::operations) server: Server,
    pub(in crate::operations) access: Access,
    /// Holds the tenant's lock for as long as it lives.
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

    /// The operation's input, typed.
    pub(in crate::operations) fn input<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.operation.input.clone()).map_err(Error::internal)
    }

    /// A transaction in the control database that the operation's claim is kept for. Whatever a step or its undoing
    /// writes there it writes in one: a replica that wakes up late must not take for its own what another one has done.
    ///
    /// # Errors
    /// `claim_lost` when another replica holds the operation by now.
    pub(in crate::operations) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        let mut txn = self.ctx.db.begin().await?;
        if operation_claims::keep_in_txn(&mut txn, self.claim()).await? { Ok(txn) } else { Err(claim_lost()) }
    }

    /// What it is claimed with.
    pub(in crate::operations) const fn claim(&self) -> Claim {
        Claim { id: self.operation.id, generation: self.operation.generation }
    }

    /// Opens an administrative session, or takes one that an earlier operation has left, and takes the tenant's lock on
    /// it.
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

    /// The same for another tenant that the operation works with: on its own server, under its own lock.
    pub(in crate::operations) async fn hold(&self, tenant: TenantId) -> Result<(Access, ServerAdmin)> {
        let (server, access) = {
            let mut connection = self.ctx.db.acquire().await?;
            let server = servers::home_of(&mut connection, tenant).await?.ok_or_else(homeless)?;
            let access = self.ctx.access(&mut connection, &server).await?;
            (server, access)
        };
        hold(&self.ctx, &self.operation, (&server, access), tenant).await
    }

    /// The operation has ended: its session is left to the next one.
    pub(super) async fn close(self) {
        let name = self.ctx.session_name("idle");
        self.ctx.memory.sessions().keep(self.server.id, self.admin, &name).await;
    }
}

/// What a step fails with that would have written under a lost claim.
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
    // Whoever held this operation before has lost its lease. If it was stopped its session sits idle on the lock:
    // ending the session frees it, and makes sure that nothing more is done there. One at work is waited for.
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

/// A session that was left on the server, or a new one: which it has to be while a password is being replaced, since
/// that settles which one is the present.
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

/// What an operation about something that is no tenant says of itself.
#[derive(Deserialize)]
struct Place {
    server_id: Option<ServerId>,
}

/// Where the tenant lives, or will: before there is a tenant, and after, the operation's input says it.
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
