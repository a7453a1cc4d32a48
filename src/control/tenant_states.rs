//! Table `tenants`, as those write it who change what a tenant is called or which state it is in.
//!
//! Whoever does holds the row ([`super::tenants::lock_in_txn`]) and has judged its state: the functions here write and
//! judge nothing. Every change of state raises the epoch, so that what replicas cached about sessions dies with it.

use std::time::Duration;

use sqlx::PgConnection;

use super::{errors::constraint, slugs};
use crate::{
    error::{FieldError, Result},
    types::{SchemaVersions, Slug, TenantId},
};

/// The advisory lock under which deletions are counted: `deletion` in ASCII. Replicas of all releases must agree.
const DELETIONS: i64 = 0x6465_6c65_7469_6f6e;

/// Refuses the tenant to everybody, or changes the reason why it is refused.
pub async fn suspend_in_txn(txn: &mut PgConnection, id: TenantId, reason: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE tenants SET state = 'suspended', suspended_at = coalesce(suspended_at, now()), suspension_reason = $2,
                            epoch = epoch + 1
         WHERE id = $1",
        id.uuid(),
        reason
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Opens a suspended tenant again.
pub async fn resume_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<()> {
    sqlx::query!(
        "UPDATE tenants SET state = 'active', suspended_at = NULL, suspension_reason = NULL, epoch = epoch + 1
         WHERE id = $1",
        id.uuid()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Takes the tenant out of use while its database becomes an archive, and afterwards.
pub async fn archive_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<()> {
    sqlx::query!("UPDATE tenants SET state = 'archived', epoch = epoch + 1 WHERE id = $1", id.uuid())
        .execute(txn)
        .await?;
    Ok(())
}

/// Makes an archived tenant active again, or suspended if it was that, with the versions that its database has.
/// Touches no row when it is so already.
pub async fn wake_in_txn(txn: &mut PgConnection, id: TenantId, versions: Option<SchemaVersions>) -> Result<()> {
    sqlx::query!(
        "UPDATE tenants
         SET state = CASE WHEN suspension_reason IS NULL THEN 'active' ELSE 'suspended' END,
             freehold_version = coalesce($2, freehold_version), schema_version = coalesce($3, schema_version),
             epoch = epoch + 1
         WHERE id = $1 AND state = 'archived'",
        id.uuid(),
        versions.map(|versions| versions.freehold),
        versions.map(|versions| versions.product)
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Writes what is not part of its state. An unknown plan is an error on its field.
pub async fn describe_in_txn(
    txn: &mut PgConnection,
    id: TenantId,
    name: &str,
    plan: &str,
    labels: &serde_json::Value,
) -> Result<()> {
    sqlx::query!("UPDATE tenants SET name = $2, plan = $3, labels = $4 WHERE id = $1", id.uuid(), name, plan, labels)
        .execute(txn)
        .await
        .map(drop)
        .map_err(|error| match constraint(&error) {
            Some("tenants_plan_fkey") => FieldError::new("plan", "unknown_plan", "there is no such plan").into(),
            _ => error.into(),
        })
}

/// Pins the product's schema of the tenant to a version, or lets it go.
pub async fn pin_in_txn(txn: &mut PgConnection, id: TenantId, version: Option<i32>) -> Result<()> {
    sqlx::query!("UPDATE tenants SET pinned_version = $2 WHERE id = $1", id.uuid(), version).execute(txn).await?;
    Ok(())
}

/// Gives the tenant another slug. The one that it has stays its own for `redirect`, and leads to the new one. A
/// slug that somebody else holds is a conflict.
pub async fn rename_in_txn(txn: &mut PgConnection, id: TenantId, slug: &Slug, redirect: Duration) -> Result<()> {
    // Asked before anything is written: two tenants that want each other's slug would else wait for each other.
    slugs::check_free(txn, slug, id).await?;
    sqlx::query!("UPDATE tenants SET slug = $2 WHERE id = $1", id.uuid(), slug.as_str())
        .execute(&mut *txn)
        .await
        .map_err(|error| match constraint(&error) {
            Some("tenants_slug_key") => slugs::taken(),
            _ => error.into(),
        })?;
    slugs::expire_in_txn(txn, id, redirect).await?;
    slugs::take_in_txn(txn, slug, id).await
}

/// Admits one more deletion, or says how long to wait until there are less than `most` within an hour again.
/// Tenants count, not requests: a deletion that is repeated, or taken back, counts once. Others that ask wait for
/// the end of the transaction.
pub async fn admit_deletion_in_txn(txn: &mut PgConnection, id: TenantId, most: u32) -> Result<Option<Duration>> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", DELETIONS).execute(&mut *txn).await?;
    let query = sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM delete_requested_at + interval '1 hour' - now())::float8 AS "seconds!"
         FROM tenants
         WHERE delete_requested_at > now() - interval '1 hour' AND id <> $1
         ORDER BY delete_requested_at DESC OFFSET $2 LIMIT 1"#,
        id.uuid(),
        i64::from(most) - 1
    );
    // For a transaction that has waited, it is still the time when it began: before those that it has waited for.
    Ok(query.fetch_optional(txn).await?.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0))))
}

/// Begins the tenant's deletion, or changes when it ends: it will be erased after `grace`.
pub async fn delete_in_txn(txn: &mut PgConnection, id: TenantId, by: &str, grace: Duration) -> Result<()> {
    sqlx::query!(
        "UPDATE tenants
         SET state_before_deletion = CASE state WHEN 'deleting' THEN state_before_deletion ELSE state END,
             state = 'deleting', delete_requested_by = $2, delete_requested_at = now(),
             erase_after = now() + make_interval(secs => $3), epoch = epoch + 1
         WHERE id = $1",
        id.uuid(),
        by,
        grace.as_secs_f64()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Gives a tenant whose erasure was called off its grace time back.
pub async fn postpone_erasure_in_txn(txn: &mut PgConnection, id: TenantId, grace: Duration) -> Result<()> {
    sqlx::query!(
        "UPDATE tenants SET erase_after = now() + make_interval(secs => $2) WHERE id = $1 AND state = 'deleting'",
        id.uuid(),
        grace.as_secs_f64()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Notes that the deletion is taken back as soon as what its erasure has done is undone.
pub async fn regret_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<()> {
    sqlx::query!("UPDATE tenants SET erase_after = NULL WHERE id = $1 AND state = 'deleting'", id.uuid())
        .execute(txn)
        .await?;
    Ok(())
}

/// Makes a tenant that is being deleted what it was before.
pub async fn undelete_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<()> {
    sqlx::query!(
        "UPDATE tenants
         SET state = state_before_deletion, state_before_deletion = NULL, erase_after = NULL, epoch = epoch + 1
         WHERE id = $1 AND state = 'deleting'",
        id.uuid()
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// Who asked for the tenant's deletion last, and when.
pub async fn deletion_request(
    connection: &mut PgConnection,
    id: TenantId,
) -> Result<Option<(String, chrono::DateTime<chrono::Utc>)>> {
    let row = sqlx::query!("SELECT delete_requested_by, delete_requested_at FROM tenants WHERE id = $1", id.uuid())
        .fetch_optional(connection)
        .await?;
    Ok(row.and_then(|row| row.delete_requested_by.zip(row.delete_requested_at)))
}

/// The next tenant whose grace time has passed and that nobody works on or reads, locked until the transaction ends.
pub async fn lock_due_in_txn(txn: &mut PgConnection) -> Result<Option<TenantId>> {
    let query = sqlx::query_scalar!(
        "SELECT id FROM tenants t
         WHERE state = 'deleting' AND erase_after <= now()
           AND NOT EXISTS (SELECT FROM operations o
                           WHERE o.tenant_id = t.id AND o.state IN ('queued', 'running', 'blocked'))
           AND NOT EXISTS (SELECT FROM operations o
                           WHERE o.source_id = t.id AND o.state IN ('queued', 'running', 'blocked'))
         ORDER BY erase_after LIMIT 1 FOR UPDATE OF t SKIP LOCKED"
    );
    Ok(query.fetch_optional(txn).await?.map(TenantId::from_uuid))
}

/// The next tenant whose deletion was to be taken back when nobody worked on its erasure any more, locked until the
/// transaction ends: the wish came after the erasure had been called off.
pub async fn lock_regretted_in_txn(txn: &mut PgConnection) -> Result<Option<TenantId>> {
    let query = sqlx::query_scalar!(
        "SELECT id FROM tenants t
         WHERE state = 'deleting' AND erase_after IS NULL
           AND NOT EXISTS (SELECT FROM operations o
                           WHERE o.tenant_id = t.id AND o.state IN ('queued', 'running', 'blocked'))
         LIMIT 1 FOR UPDATE OF t SKIP LOCKED"
    );
    Ok(query.fetch_optional(txn).await?.map(TenantId::from_uuid))
}

/// Locks the tenant until the transaction ends if it is a tombstone that nobody has worked on for `time`; false
/// otherwise.
pub async fn lock_tombstone_in_txn(txn: &mut PgConnection, id: TenantId, time: Duration) -> Result<bool> {
    let query = sqlx::query_scalar!(
        "SELECT id FROM tenants t
         WHERE id = $1 AND state = 'deleted' AND updated_at < now() - make_interval(secs => $2)
           AND NOT EXISTS (SELECT FROM operations o
                           WHERE o.tenant_id = t.id
                             AND (o.finished_at IS NULL OR o.finished_at > now() - make_interval(secs => $2)))
         FOR UPDATE OF t SKIP LOCKED",
        id.uuid(),
        time.as_secs_f64()
    );
    Ok(query.fetch_optional(txn).await?.is_some())
}
