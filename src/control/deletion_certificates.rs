//! Table `deletion_certificates`: what was destroyed with a tenant.
//!
//! A certificate is a draft while the erasure is under way: what is found is written down before it is destroyed,
//! so that no crash can lose it. Issued, it is never changed again, and outlives everything else of the tenant.

use sqlx::PgConnection;

use crate::{error::Result, types::TenantId};

/// Writes the draft, in place of an earlier one. Touches no issued certificate.
pub async fn draft(connection: &mut PgConnection, tenant: TenantId, certificate: &serde_json::Value) -> Result<()> {
    sqlx::query!(
        "INSERT INTO deletion_certificates AS held (tenant_id, certificate) VALUES ($1, $2)
         ON CONFLICT (tenant_id) DO UPDATE SET certificate = excluded.certificate WHERE held.issued_at IS NULL",
        tenant.uuid(),
        certificate
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The draft, while there is one.
pub async fn drafted(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<serde_json::Value>> {
    let query = sqlx::query_scalar!(
        "SELECT certificate FROM deletion_certificates WHERE tenant_id = $1 AND issued_at IS NULL",
        tenant.uuid()
    );
    Ok(query.fetch_optional(connection).await?)
}

/// Throws the draft away.
pub async fn discard(connection: &mut PgConnection, tenant: TenantId) -> Result<()> {
    sqlx::query!("DELETE FROM deletion_certificates WHERE tenant_id = $1 AND issued_at IS NULL", tenant.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// Makes the draft a certificate, in its final words.
pub async fn issue_in_txn(txn: &mut PgConnection, tenant: TenantId, certificate: &serde_json::Value) -> Result<()> {
    sqlx::query!(
        "UPDATE deletion_certificates SET certificate = $2, issued_at = now()
         WHERE tenant_id = $1 AND issued_at IS NULL",
        tenant.uuid(),
        certificate
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// The certificate, once it is issued.
pub async fn issued(connection: &mut PgConnection, tenant: TenantId) -> Result<Option<serde_json::Value>> {
    let query = sqlx::query_scalar!(
        "SELECT certificate FROM deletion_certificates WHERE tenant_id = $1 AND issued_at IS NOT NULL",
        tenant.uuid()
    );
    Ok(query.fetch_optional(connection).await?)
}
