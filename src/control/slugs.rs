//! Table `slugs`: who holds which slug, now, formerly or as a tombstone.
//!
//! One row a slug, so no two tenants ever hold the same. A row that has expired binds nobody: whoever asks for the
//! slug next gets it, whether or not the janitor has come by.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    types::{Slug, TenantId},
};

/// Gives the slug to the tenant, as the one it has now. Somebody else's is a conflict, its own former one is not.
pub async fn take_in_txn(txn: &mut PgConnection, slug: &Slug, tenant: TenantId) -> Result<()> {
    let done = sqlx::query!(
        "INSERT INTO slugs AS held (slug, tenant_id) VALUES ($1, $2)
         ON CONFLICT (slug) DO UPDATE SET tenant_id = excluded.tenant_id, expires_at = NULL
         WHERE held.expires_at <= now() OR held.tenant_id = excluded.tenant_id",
        slug.as_str(),
        tenant.uuid()
    )
    .execute(txn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(taken()) }
}

/// What whoever asks for somebody else's slug is told.
pub(super) fn taken() -> Error {
    Error::conflict("slug_taken", "another tenant has this slug, or had it until recently")
}

/// Keeps the slug that the tenant has now from others until `until`, and no longer.
pub async fn expire_in_txn(txn: &mut PgConnection, tenant: TenantId, until: DateTime<Utc>) -> Result<()> {
    sqlx::query!("UPDATE slugs SET expires_at = $2 WHERE tenant_id = $1 AND expires_at IS NULL", tenant.uuid(), until)
        .execute(txn)
        .await?;
    Ok(())
}

/// Frees every slug that the tenant holds.
pub async fn release_in_txn(txn: &mut PgConnection, tenant: TenantId) -> Result<()> {
    sqlx::query!("DELETE FROM slugs WHERE tenant_id = $1", tenant.uuid()).execute(txn).await?;
    Ok(())
}

/// Slugs that are held for nobody: as the present one of a tenant that has another or is deleted, or for longer than
/// they were to be; and the slugs of tenants for which nothing is held.
pub async fn leaks(connection: &mut PgConnection) -> Result<Vec<String>> {
    let query = sqlx::query_scalar!(
        r#"SELECT s.slug AS "slug!" FROM slugs s JOIN tenants t ON t.id = s.tenant_id
            WHERE (s.expires_at IS NULL AND (t.state = 'deleted' OR t.slug <> s.slug))
               OR s.expires_at < now() - interval '1 day'
           UNION ALL
           SELECT t.slug FROM tenants t
            WHERE t.state <> 'deleted'
              AND NOT EXISTS (SELECT FROM slugs s WHERE s.tenant_id = t.id AND s.slug = t.slug AND s.expires_at IS NULL)
           ORDER BY 1"#
    );
    Ok(query.fetch_all(connection).await?)
}
