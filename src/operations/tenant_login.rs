//! A tenant's own login, for checks that look through its eyes. Never for its data: that is [`crate::tenancy`]'s door.

use tokio_postgres::error::SqlState;

use super::Context;
use crate::{
    control::secrets::{self, Purpose},
    error::Result,
    servers::{Credentials, ServerAddress, is_sqlstate},
    types::TenantId,
};

/// The tenant's role with the password that its server takes: while one is being replaced that may be either.
pub(super) async fn credentials(ctx: &Context, address: &ServerAddress, tenant: TenantId) -> Result<Credentials> {
    let role = tenant.db_name().to_string();
    let (present, next) = {
        let mut connection = ctx.db.acquire().await?;
        let (keys, owner) = (&ctx.keys, tenant.uuid());
        let present = secrets::require(&mut connection, keys, owner, Purpose::TenantDatabasePassword).await?;
        (present, secrets::get(&mut connection, keys, owner, Purpose::NextTenantDatabasePassword).await?)
    };
    let present = Credentials { role: role.clone(), password: present };
    let Some(next) = next else { return Ok(present) };
    let config = ctx.connector.config(address, &role, &present, &ctx.session_name("login"));
    match ctx.connector.open(&config).await? {
        Ok(session) => {
            session.close().await;
            Ok(present)
        }
        Err(error) if is_sqlstate(&error, &SqlState::INVALID_PASSWORD) => Ok(Credentials { role, password: next }),
        Err(error) => Err(error.into()),
    }
}
