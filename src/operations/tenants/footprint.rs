//! What a tenant takes on its server: what a deletion would destroy, and what an erasure has destroyed. Read-only.

use crate::{
    error::{Error, Result, Severity},
    identity::people,
    operations::Context,
    servers::ServerAdmin,
    tenancy::LOGIN_DENIED,
    types::TenantId,
};

/// What a tenant has on its server.
#[derive(Clone, Copy, Debug)]
pub(in crate::operations) struct Stock {
    /// The size of its database, if it has one.
    pub(in crate::operations) bytes: Option<i64>,
    /// Whether it has a role.
    pub(in crate::operations) has_role: bool,
    /// The people in its database; none where that could not be read.
    pub(in crate::operations) users: Option<i64>,
}

/// Looks at the tenant's server.
///
/// # Errors
/// The server is away. A database that is there and cannot be read is none: a broken tenant can be erased too.
pub(in crate::operations) async fn take(ctx: &Context, admin: &ServerAdmin, tenant: TenantId) -> Result<Stock> {
    let name = tenant.db_name();
    let bytes = match admin.database_size(name).await {
        Err(Error::NotFound { .. }) => None,
        measured => Some(measured?),
    };
    let has_role = admin.has_role(name).await?;
    let users = if bytes.is_some() && has_role { count_users(ctx, tenant).await? } else { None };
    Ok(Stock { bytes, has_role, users })
}

async fn count_users(ctx: &Context, tenant: TenantId) -> Result<Option<i64>> {
    match people::count(&ctx.identity, tenant).await {
        // One whose role may not log in is no server that will be back.
        Err(error) if error.severity() == Severity::Defect || error.code() == LOGIN_DENIED.0 => {
            tracing::warn!(error = error.chain(), tenant.id = %tenant, "the tenant's users cannot be counted");
            Ok(None)
        }
        counted => counted.map(Some),
    }
}
