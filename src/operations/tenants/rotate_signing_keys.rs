//! Gives a tenant a new signing key for access tokens: when an operator asks for it, or when the present key is too
//! old.
//!
//! A rotation is one transaction. The new key is published at once. It begins to sign after [`PUBLISHED_BEFORE`], when
//! every replica has it. The previous key signs until then, and verifies until all tokens that it signed have expired.
//!
//! After a leak the previous keys are revoked instead, and the new key signs at once. Access tokens are then invalid,
//! and clients get new ones with their refresh tokens, which are not signed with these keys.

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
    jobs::schedule::{Next, Schedule},
    operations::Context,
    types::{AuditEventId, KeyId, TenantId},
};

/// How long a key is published before it begins to sign. This is longer than a change takes to reach every replica: a
/// NOTIFY arrives within a round trip, and a listener that lost its connection reconnects within a second and reads
/// everything again.
const PUBLISHED_BEFORE: Duration = Duration::from_secs(5);
/// How many keys of a tenant may verify at the same time. Every response with the tenant's public keys lists them all.
const MOST_KEYS: i64 = 20;
/// The `Retry-After` of a rotation that was refused because there are too many keys.
const TOO_FREQUENT: Duration = Duration::from_mins(1);
/// How often old keys are looked for, and how many are read at once.
const AGE_INTERVAL: Duration = Duration::from_hours(1);
const AGE_BATCH: i64 = 100;

/// The new key of a rotation.
#[derive(Debug)]
pub struct Rotated {
    /// The `kid` of the tokens that it will sign.
    pub key: KeyId,
    /// From when on it signs.
    pub signs_from: DateTime<Utc>,
}

/// What happens to the previous keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// They verify until the tokens that they signed have expired.
    Expire,
    /// They verify nothing from now on.
    Revoke,
}

/// Gives the tenant a new signing key.
///
/// # Errors
/// `not_found`, `tenant_gone`; `tenant_state_conflict` and `rotation_too_frequent` (409).
pub async fn rotate(ctx: &Context, tenant: TenantId, previous: Previous, origin: &Origin) -> Result<Rotated> {
    let mut txn = ctx.db.begin().await?;
    hold(&mut txn, tenant).await?;
    let rotated = replace(ctx, &mut txn, tenant, previous).await?;
    let details = serde_json::json!({ "key_id": rotated.key, "revoke_previous": previous == Previous::Revoke });
    record(ctx, &mut txn, tenant, origin, &details).await?;
    // Replicas cache which tokens they have verified, by epoch. A new epoch discards the tokens of the revoked keys.
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

/// Replaces keys that have signed for longer than `age`, and deletes keys that no longer verify anything: of all
/// replicas one does so when it is time. It skips a key that an operator has just replaced.
#[must_use]
pub fn keep_young(ctx: &Context, age: Option<Duration>) -> Schedule {
    let ctx = ctx.clone();
    let run = move |stop: CancellationToken| {
        let ctx = ctx.clone();
        async move { stop.run_until_cancelled(replace_old(&ctx, age)).await.unwrap_or(Ok(())).map(|()| Next::Usual) }
    };
    Schedule::new("signing_keys", AGE_INTERVAL, run).eager()
}

/// Replaces the keys that are older than `age`, once. If the key of one tenant cannot be replaced, the other tenants'
/// keys are replaced all the same.
///
/// # Errors
/// The control database is unavailable.
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
