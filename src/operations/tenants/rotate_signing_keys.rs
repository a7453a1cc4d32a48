//! Another signing key for a tenant: at an operator's wish, or because the present one has come of age.
//!
//! One transaction. The new key is published at once and signs [`PUBLISHED_BEFORE`] later, when every replica has it;
//! the one before signs until then, and verifies until whatever it signed has expired. Where a key has leaked all
//! earlier ones are destroyed instead, and the new one signs at once: everybody at the tenant gets new access tokens
//! with their refresh tokens, which are no business of these keys.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::rotate_credentials::check_state;
use crate::{
    control::{
        audit::{self, Origin},
        data_keys, signing_keys, tenants,
    },
    error::{Error, Result},
    faults::crash_point,
    identity::tokens,
    operations::Context,
    types::{AuditEventId, KeyId, TenantId},
};

/// How long before it signs a key is published. Longer than a change takes to reach every replica: NOTIFY does within
/// a round trip, and a listener that was lost is back within a second and reads everything anew.
const PUBLISHED_BEFORE: Duration = Duration::from_secs(5);
/// How many keys of a tenant verify at once. Each is in every answer with the tenant's public keys.
const MOST_KEYS: i64 = 20;
/// When a rotation that was refused as one too many may be asked for again.
const TOO_FREQUENT: Duration = Duration::from_mins(1);
/// Between two looks for keys that have come of age, and how many are replaced at once.
const AGE_INTERVAL: Duration = Duration::from_hours(1);
const AGE_BATCH: i64 = 100;

/// A key that is about to sign.
#[derive(Debug)]
pub struct Rotated {
    /// The `kid` of the tokens that it will sign.
    pub key: KeyId,
    /// From when on it signs.
    pub signs_from: DateTime<Utc>,
}

/// What becomes of the keys before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// They verify until what they signed has expired.
    Expire,
    /// They verify nothing any more, from now on.
    Revoke,
}

/// Gives the tenant another signing key.
///
/// # Errors
/// `not_found`, `tenant_gone`; `tenant_state_conflict` and `rotation_too_frequent` (409).
pub async fn rotate(ctx: &Context, tenant: TenantId, previous: Previous, origin: &Origin) -> Result<Rotated> {
    let mut txn = ctx.db.begin().await?;
    hold(&mut txn, tenant).await?;
    let rotated = replace(ctx, &mut txn, tenant, previous).await?;
    let details = serde_json::json!({ "key_id": rotated.key, "revoke_previous": previous == Previous::Revoke });
    record(ctx, &mut txn, tenant, origin, &details).await?;
    // A revocation ends what was verified by the keys before, which is remembered under the epoch.
    let epoch = match previous {
        Previous::Revoke => Some(tenants::raise_epoch(&mut txn, tenant).await?),
        Previous::Expire => None,
    };
    tenants::touch_in_txn(&mut txn, tenant).await?;
    crash_point!("tenant.rotate_signing_keys.before_commit", tenant);
    txn.commit().await?;
    crash_point!("tenant.rotate_signing_keys.after_commit", tenant);
    if let Some(epoch) = epoch {
        tokens::heed_keys(&ctx.identity, tenant, epoch).await;
    }
    Ok(rotated)
}

/// Replaces keys that sign for longer than `age`, and destroys those that verify nothing any more, until `stop`. Every
/// replica does it: a key that another one has just replaced is left alone.
pub async fn keep_young(ctx: Context, age: Option<Duration>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(AGE_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let outcome = stop.run_until_cancelled(Box::pin(replace_old(&ctx, age))).await;
        if let Some(Err(error)) = outcome {
            tracing::warn!(error = error.chain(), "old signing keys could not be replaced");
        }
    }
}

/// One look for keys that are older than `age`. A tenant whose key cannot be replaced keeps it, and no other back.
///
/// # Errors
/// The control database is away.
pub async fn replace_old(ctx: &Context, age: Option<Duration>) -> Result<()> {
    signing_keys::purge(&mut *ctx.db.acquire().await?).await?;
    let Some(age) = age else { return Ok(()) };
    let origin = ctx.origin();
    let mut after = None;
    loop {
        let old = signing_keys::older_than(&mut *ctx.db.acquire().await?, age, after, AGE_BATCH).await?;
        if old.is_empty() {
            return Ok(());
        }
        for &(_, tenant) in &old {
            match replace_if_old(ctx, tenant, age, &origin).await {
                Err(error @ Error::Unavailable { .. }) => return Err(error),
                Err(error) => {
                    let error = error.chain();
                    tracing::error!(tenant.id = %tenant, error, "an old signing key could not be replaced");
                }
                Ok(()) => {}
            }
        }
        after = old.last().copied();
    }
}

async fn replace_if_old(ctx: &Context, tenant: TenantId, age: Duration, origin: &Origin) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    tenants::lock_in_txn(&mut txn, tenant).await?;
    if !signing_keys::is_older(&mut txn, age, tenant).await? {
        return Ok(txn.rollback().await?);
    }
    let rotated = replace(ctx, &mut txn, tenant, Previous::Expire).await?;
    record(ctx, &mut txn, tenant, origin, &serde_json::json!({ "key_id": rotated.key })).await?;
    tenants::touch_in_txn(&mut txn, tenant).await?;
    Ok(txn.commit().await?)
}

async fn hold(txn: &mut PgConnection, tenant: TenantId) -> Result<()> {
    let found = tenants::lock_in_txn(txn, tenant).await?;
    check_state(&found.ok_or_else(|| Error::not_found("tenant"))?)
}

async fn replace(ctx: &Context, txn: &mut PgConnection, tenant: TenantId, previous: Previous) -> Result<Rotated> {
    let after = match previous {
        Previous::Expire => {
            if signing_keys::count(txn, tenant).await? >= MOST_KEYS {
                return Err(too_frequent());
            }
            signing_keys::retire_in_txn(txn, tenant, PUBLISHED_BEFORE).await?;
            PUBLISHED_BEFORE
        }
        Previous::Revoke => {
            signing_keys::revoke_in_txn(txn, tenant).await?;
            Duration::ZERO
        }
    };
    let data_key = data_keys::get(txn, &ctx.keys, tenant.uuid()).await?;
    let key = KeyId::generate(&ctx.clock, ctx.random);
    let new = tokens::make_signing_key(key)?;
    let signs_from = signing_keys::insert_in_txn(txn, &data_key, (tenant, after), &new).await?;
    Ok(Rotated { key, signs_from })
}

async fn record(
    ctx: &Context,
    txn: &mut PgConnection,
    tenant: TenantId,
    origin: &Origin,
    details: &serde_json::Value,
) -> Result<()> {
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let action = ("tenant.rotate_signing_keys", &*tenant.to_string());
    audit::record_in_txn(txn, event, origin, action, details).await
}

fn too_frequent() -> Error {
    let detail =
        format!("{MOST_KEYS} keys of the tenant verify already; the oldest stops half an hour after its last use");
    Error::Conflict { code: "rotation_too_frequent", detail, retry_after: Some(TOO_FREQUENT) }
}
