//! What a tenant has on its server: a database, a role and users. A deletion shows it beforehand, and the certificate
//! of an erasure records it. Read-only.

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
    /// How many users its database has; `None` if it could not be read.
    pub(in crate::operations) users: Option<i64>,
}

/// Queries the tenant's server.
///
/// # Errors
/// The server is unavailable. A database that exists and cannot be read is no error: a broken tenant can be erased too.
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
        // A denied login is permanent, unlike a server that is unavailable: waiting does not help.
        Err(error) if error.severity() == Severity::Defect || error.code() == LOGIN_DENIED.0 => {
            tracing::warn!(error = error.chain(), tenant.id = %tenant, "the tenant's users cannot be counted");
            Ok(None)
        }
        counted => counted.map(Some),
    }
}
