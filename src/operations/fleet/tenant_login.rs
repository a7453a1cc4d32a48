//! A tenant's own login, for checks that look through its eyes. Never for its data: that is [`crate::tenancy`]'s door.

use tokio_postgres::error::SqlState;

use crate::{
    control::secrets::{self, Purpose},
    error::Result,
    operations::Context,
    servers::{Connection, Credentials, ServerAddress, is_sqlstate, login_refused},
    types::TenantId,
};

const PRESENT: Purpose = Purpose::TenantDatabasePassword;
const NEXT: Purpose = Purpose::NextTenantDatabasePassword;
/// How often the passwords are read for one login. The first reading may have been under way when a rotation ended.
pub(in crate::operations) const READINGS: usize = 3;

/// A session of the tenant's role in its own database, and the login with which PostgreSQL let it in: while a password
/// is being replaced either may be the one. `purpose` ends the session's name, as of administrative ones.
pub(in crate::operations) async fn open(
    ctx: &Context,
    address: &ServerAddress,
    tenant: TenantId,
    purpose: &str,
) -> Result<(Credentials, Connection)> {
    let role = tenant.db_name().to_string();
    let name = ctx.session_name(purpose);
    for _ in 0..READINGS {
        let (present, next) = {
            let mut connection = ctx.db.acquire().await?;
            secrets::require_pair(&mut connection, &ctx.keys, tenant.uuid(), (NEXT, PRESENT)).await?
        };
        for password in [present].into_iter().chain(next) {
            let credentials = Credentials { role: role.clone(), password };
            let config = ctx.connector.config(address, &role, &credentials, &name);
            match ctx.connector.open(&config).await? {
                Ok(session) => return Ok((credentials, session)),
                Err(error) if is_sqlstate(&error, &SqlState::INVALID_PASSWORD) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Err(login_refused(tenant))
}

/// The login alone.
pub(in crate::operations) async fn credentials(
    ctx: &Context,
    address: &ServerAddress,
    tenant: TenantId,
) -> Result<Credentials> {
    let (credentials, session) = open(ctx, address, tenant, "login").await?;
    session.close().await;
    Ok(credentials)
}
