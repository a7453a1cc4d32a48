//! Table `adoptions`: what makes a database that was adopted what it was before.

use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    types::TenantId,
};

/// What was recorded of a database before it was changed.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// PostgreSQL's number of the role that owned it.
    pub owner_oid: u32,
    /// That role's name.
    pub owner: String,
    /// The statements about the database as a whole.
    pub outside: serde_json::Value,
    /// The statements about what is in it; none while nothing in it has been changed.
    pub inside: Option<serde_json::Value>,
}

/// Records what makes the database as a whole what it was. Replaces what an attempt before has recorded.
pub async fn put_in_txn(
    txn: &mut PgConnection,
    tenant: TenantId,
    (owner_oid, owner): (u32, &str),
    outside: &serde_json::Value,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO adoptions (tenant_id, owner_oid, owner, outside) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id) DO UPDATE
         SET owner_oid = excluded.owner_oid, owner = excluded.owner, outside = excluded.outside, inside = NULL,
             recorded_at = now()",
        tenant.uuid(),
        i64::from(owner_oid),
        owner,
        outside
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Records what makes that which is in the database what it was.
pub async fn put_inside_in_txn(txn: &mut PgConnection, tenant: TenantId, inside: &serde_json::Value) -> Result<()> {
    let query = sqlx::query!("UPDATE adoptions SET inside = $2 WHERE tenant_id = $1", tenant.uuid(), inside);
    match query.execute(txn).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::defect("an adoption is not recorded")),
    }
}

/// Forgets what makes the tenant's database what it was, with the names of roles that are in it.
pub async fn forget(connection: &mut PgConnection, tenant: TenantId) -> Result<()> {
    sqlx::query!("DELETE FROM adoptions WHERE tenant_id = $1", tenant.uuid()).execute(connection).await?;
    Ok(())
}

/// What is recorded of the tenant's database.
pub async fn get(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<Adoption>> {
    let query =
        sqlx::query!("SELECT owner_oid, owner, outside, inside FROM adoptions WHERE tenant_id = $1", tenant.uuid());
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    let owner_oid = u32::try_from(row.owner_oid).map_err(Error::internal)?;
    Ok(Some(Adoption { owner_oid, owner: row.owner, outside: row.outside, inside: row.inside }))
}
