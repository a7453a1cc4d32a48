//! Table `slugs`: who holds which slug, now, formerly or as a tombstone.
//!
//! One row a slug, so no two tenants ever hold the same. A row that has expired binds nobody: whoever asks for the
//! slug next gets it, whether or not the janitor has come by.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    types::{Slug, TenantId},
};

/// Gives the slug to the tenant, as the one it has now. Somebody else's is a conflict, its own former one is not.
pub async fn take_in_txn(txn: &mut PgConnection, slug: &Slug, tenant: TenantId) -> Result<()> {
    if try_take_in_txn(txn, slug, tenant).await? { Ok(()) } else { Err(taken()) }
}

/// The same; false, and nothing is written, when it is somebody else's.
pub async fn try_take_in_txn(txn: &mut PgConnection, slug: &Slug, tenant: TenantId) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO slugs AS held (slug, tenant_id) VALUES ($1, $2)
         ON CONFLICT (slug) DO UPDATE SET tenant_id = excluded.tenant_id, expires_at = NULL
         WHERE held.expires_at <= now() OR held.tenant_id = excluded.tenant_id",
        slug.as_str(),
        tenant.uuid()
    )
    .execute(txn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What whoever asks for somebody else's slug is told.
pub(super) fn taken() -> Error {
    Error::conflict("slug_taken", "another tenant has this slug, or had it until recently")
}

/// Refuses a slug that another tenant holds. One that is free may be gone a moment later: [`take_in_txn`] decides.
pub(super) async fn check_free(connection: &mut PgConnection, slug: &Slug, tenant: TenantId) -> Result<()> {
    let query = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM slugs WHERE slug = $1 AND tenant_id <> $2
                            AND (expires_at IS NULL OR expires_at > now())) AS "held!""#,
        slug.as_str(),
        tenant.uuid()
    );
    if query.fetch_one(connection).await? { Err(taken()) } else { Ok(()) }
}

/// Keeps the slug that the tenant has now from others for `time`, and no longer.
pub(super) async fn expire_in_txn(txn: &mut PgConnection, tenant: TenantId, time: Duration) -> Result<()> {
    sqlx::query!(
        "UPDATE slugs SET expires_at = now() + make_interval(secs => $2) WHERE tenant_id = $1 AND expires_at IS NULL",
        tenant.uuid(),
        time.as_secs_f64()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Keeps every slug that a deleted tenant holds from others for `time` at most.
pub async fn reserve_in_txn(txn: &mut PgConnection, tenant: TenantId, time: Duration) -> Result<()> {
    sqlx::query!(
        "UPDATE slugs SET expires_at = least(expires_at, now() + make_interval(secs => $2)) WHERE tenant_id = $1",
        tenant.uuid(),
        time.as_secs_f64()
    )
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

/// The first `at_most` tenants whose slugs can be mended and that nobody has changed for `time`; or the one with this
/// id, if it is such a one: what is held for it is not what it has, or what it has is held for nobody. What it has and
/// another holds cannot be mended. Slugs change in the transaction that changes their tenant: the tenant's row says
/// since when they have been so.
pub async fn leaking(
    connection: &mut PgConnection,
    id: Option<TenantId>,
    time: Duration,
    at_most: i64,
) -> Result<Vec<TenantId>> {
    let query = sqlx::query_scalar!(
        "SELECT t.id FROM tenants t
         WHERE ($1::uuid IS NULL OR t.id = $1) AND t.updated_at < now() - make_interval(secs => $2)
           AND (EXISTS (SELECT FROM slugs s WHERE s.tenant_id = t.id AND s.expires_at IS NULL
                                              AND (t.state = 'deleted' OR s.slug <> t.slug))
                OR (t.state <> 'deleted'
                    AND NOT EXISTS (SELECT FROM slugs s
                                    WHERE s.slug = t.slug
                                      AND (s.expires_at IS NULL OR (s.tenant_id <> t.id AND s.expires_at > now())))))
         ORDER BY t.id LIMIT $3",
        id.map(TenantId::uuid),
        time.as_secs_f64(),
        at_most
    );
    Ok(query.fetch_all(connection).await?.into_iter().map(TenantId::from_uuid).collect())
}

/// Keeps what is held for the tenant as its present slug, other than `own`, from others for `time` and no longer; not
/// at all what another tenant has. Which those were.
pub async fn release_leaked_in_txn(
    txn: &mut PgConnection,
    tenant: TenantId,
    own: Option<&Slug>,
    time: Duration,
) -> Result<Vec<String>> {
    let query = sqlx::query_scalar!(
        "UPDATE slugs s
         SET expires_at = CASE WHEN EXISTS (SELECT FROM tenants t
                                            WHERE t.slug = s.slug AND t.state <> 'deleted' AND t.id <> s.tenant_id)
                               THEN now() ELSE now() + make_interval(secs => $3) END
         WHERE s.tenant_id = $1 AND s.expires_at IS NULL AND s.slug IS DISTINCT FROM $2::text
         RETURNING s.slug",
        tenant.uuid(),
        own.map(Slug::as_str),
        time.as_secs_f64()
    );
    Ok(query.fetch_all(txn).await?)
}

/// Forgets the expired slugs of `at_most` tenants, and has every replica look again at those tenants. How many there
/// were. A tenant that is being changed at the moment is left for the next time.
pub async fn purge_in_txn(txn: &mut PgConnection, at_most: i64) -> Result<u64> {
    let done = sqlx::query!(
        "WITH held AS (
             SELECT id FROM tenants WHERE id IN (SELECT tenant_id FROM slugs WHERE expires_at <= now())
             LIMIT $1 FOR UPDATE SKIP LOCKED
         ), expired AS (
             DELETE FROM slugs WHERE expires_at <= now() AND tenant_id IN (SELECT id FROM held) RETURNING tenant_id
         )
         -- Any change of a row raises its revision.
         UPDATE tenants SET revision = revision WHERE id IN (SELECT tenant_id FROM expired)",
        at_most
    )
    .execute(txn)
    .await?;
    Ok(done.rows_affected())
}
