//! Table `rehearsals`: what the last rehearsal of migrations on a copy of a tenant's database has shown.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    error::Result,
    types::{OperationId, SchemaVersions, TenantId},
};

/// A rehearsal.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The operation that it was.
    pub operation: OperationId,
    /// The versions that the tenant had.
    pub from: SchemaVersions,
    /// Those that its copy was taken to.
    pub to: SchemaVersions,
    /// What each statement did.
    pub statements: serde_json::Value,
    /// When that was recorded.
    pub rehearsed_at: DateTime<Utc>,
}

/// Replaces what is recorded of the tenant.
pub async fn put_in_txn(
    txn: &mut PgConnection,
    tenant: TenantId,
    operation: OperationId,
    (from, to): (SchemaVersions, SchemaVersions),
    statements: &serde_json::Value,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO rehearsals (tenant_id, operation_id, from_freehold, from_product, to_freehold, to_product, statements)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant_id) DO UPDATE
         SET operation_id = excluded.operation_id, from_freehold = excluded.from_freehold,
             from_product = excluded.from_product, to_freehold = excluded.to_freehold,
             to_product = excluded.to_product, statements = excluded.statements, rehearsed_at = now()",
        tenant.uuid(),
        operation.uuid(),
        from.freehold,
        from.product,
        to.freehold,
        to.product,
        statements
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Empties what is recorded of a tenant that is erased: what PostgreSQL said of a statement may tell of its rows.
pub async fn empty_in_txn(txn: &mut PgConnection, tenant: TenantId) -> Result<()> {
    let Some(Rehearsal { operation, from, to, .. }) = get(txn, tenant).await? else { return Ok(()) };
    put_in_txn(txn, tenant, operation, (from, to), &serde_json::Value::Array(Vec::new())).await
}

/// The last rehearsal on a copy of the tenant.
pub async fn get(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<Rehearsal>> {
    let row = sqlx::query!(
        "SELECT operation_id, from_freehold, from_product, to_freehold, to_product, statements, rehearsed_at
         FROM rehearsals WHERE tenant_id = $1",
        tenant.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Rehearsal {
        operation: OperationId::from_uuid(row.operation_id),
        from: SchemaVersions { freehold: row.from_freehold, product: row.from_product },
        to: SchemaVersions { freehold: row.to_freehold, product: row.to_product },
        statements: row.statements,
        rehearsed_at: row.rehearsed_at,
    }))
}
