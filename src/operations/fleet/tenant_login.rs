//! Logs in as a tenant's own role, for checks of what the tenant can do. Only [`crate::tenancy`] logs in for a tenant's
//! data.

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
/// How often the passwords are read for one login. A rotation may end between the read and the login.
pub(in crate::operations) const READINGS: usize = 3;

/// Opens a session of the tenant's role in its own database. Returns it with the credentials that PostgreSQL accepted:
/// while a password is being rotated, either one may be valid. `purpose` is the last part of the `application_name`.
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

/// The credentials that PostgreSQL accepts for the tenant's role.
pub(in crate::operations) async fn credentials(
    ctx: &Context,
    address: &ServerAddress,
    tenant: TenantId,
) -> Result<Credentials> {
    let (credentials, session) = open(ctx, address, tenant, "login").await?;
    session.close().await;
    Ok(credentials)
}
