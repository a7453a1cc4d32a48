//! What Redis holds of tenants, found by the beginning of their keys.
//!
//! For the end of a tenant and for `fsck`, and for nothing that a tenant's request waits for: all keys are walked
//! through. Without an answer it fails, since whoever asks has to know; what counts attempts goes on without Redis
//! instead.

use std::{collections::BTreeSet, time::Duration};

use crate::{error::Result, redis::Redis, types::TenantId};

/// The longest walk: some million keys.
const WALK: Duration = Duration::from_secs(30);

/// What all keys of a tenant begin with.
pub(super) fn prefix(tenant: TenantId) -> String {
    format!("fh:{tenant}:")
}

/// All keys of the tenant. Those that are made meanwhile may be missing.
///
/// # Errors
/// `redis_unavailable` when Redis does not answer, or has more keys than can be looked through in time.
pub async fn keys_of(redis: &Redis, tenant: TenantId) -> Result<Vec<String>> {
    // An id holds no character that a pattern gives a meaning to.
    redis.keys_like(format!("{}*", prefix(tenant)), WALK).await
}

/// Whose keys there are: the ids of tenants as they stand in keys.
///
/// # Errors
/// `redis_unavailable` when Redis does not answer, or has more keys than can be looked through `within` this time.
pub async fn owners(redis: &Redis, within: Duration) -> Result<BTreeSet<String>> {
    let keys = redis.keys_like("fh:*".to_owned(), within).await?;
    Ok(keys.iter().filter_map(|key| key.split(':').nth(1)).map(str::to_owned).collect())
}
