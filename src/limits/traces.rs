//! Finds tenants' keys in Redis by their prefix.
//!
//! Only the erasure of a tenant and `fsck` use this. A tenant's request never does, because it scans all keys. If Redis
//! does not answer, these functions return an error, because their callers need the result.

use std::{collections::BTreeSet, time::Duration};

use crate::{error::Result, redis::Redis, types::TenantId};

/// The time limit of a scan: enough for some million keys.
const WALK: Duration = Duration::from_secs(30);

/// The prefix of all keys of a tenant.
pub(super) fn prefix(tenant: TenantId) -> String {
    format!("fh:{tenant}:")
}

/// All keys of the tenant. Keys that are created during the scan may be missing.
///
/// # Errors
/// `redis_unavailable` when Redis does not answer, or has more keys than can be looked through in time.
pub async fn keys_of(redis: &Redis, tenant: TenantId) -> Result<Vec<String>> {
    // An id has no character with a special meaning in a pattern.
    redis.keys_like(format!("{}*", prefix(tenant)), WALK).await
}

/// The ids of all tenants that have keys, as they are written in the keys.
///
/// # Errors
/// `redis_unavailable` when Redis does not answer, or has more keys than can be looked through `within` this time.
pub async fn owners(redis: &Redis, within: Duration) -> Result<BTreeSet<String>> {
    let keys = redis.keys_like("fh:*".to_owned(), within).await?;
    Ok(keys.iter().filter_map(|key| key.split(':').nth(1)).map(str::to_owned).collect())
}
