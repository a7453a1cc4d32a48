//! What Redis holds of tenants: found by the beginning of their keys, and deleted.
//!
//! For the end of a tenant and for `fsck`, and for nothing that a tenant's request waits for: all keys are walked
//! through. Without an
//! answer it fails, since whoever asks has to know; what counts attempts goes on without Redis instead.

use std::{collections::BTreeSet, time::Duration};

use fred::interfaces::KeysInterface;

use super::Redis;
use crate::{
    error::{Error, Result},
    types::TenantId,
};

/// How many keys Redis looks at in one command: some hundred microseconds' worth.
const PAGE: u32 = 1_000;
/// The longest walk: some million keys.
const WALK: Duration = Duration::from_secs(30);

/// What all keys of a tenant begin with.
pub(super) fn prefix(tenant: TenantId) -> String {
    format!("fh:{tenant}:")
}

impl Redis {
    /// All keys of the tenant. Those that are made meanwhile may be missing.
    ///
    /// # Errors
    /// `redis_unavailable` when Redis does not answer, or has more keys than can be looked through in time.
    pub async fn keys_of(&self, tenant: TenantId) -> Result<Vec<String>> {
        // An id holds no character that a pattern gives a meaning to.
        let walk = self.walk(format!("{}*", prefix(tenant)));
        tokio::time::timeout(WALK, walk).await.unwrap_or_else(|elapsed| Err(away(elapsed.into())))
    }

    /// Whose keys there are: the ids of tenants as they stand in keys.
    ///
    /// # Errors
    /// `redis_unavailable` when Redis does not answer, or has more keys than can be looked through `within` this time.
    pub async fn owners(&self, within: Duration) -> Result<BTreeSet<String>> {
        let walk = tokio::time::timeout(within, self.walk("fh:*".to_owned()));
        let keys = walk.await.unwrap_or_else(|elapsed| Err(away(elapsed.into())))?;
        Ok(keys.iter().filter_map(|key| key.split(':').nth(1)).map(str::to_owned).collect())
    }

    /// Deletes these keys; those that are gone already are no error.
    ///
    /// # Errors
    /// `redis_unavailable`.
    pub async fn delete(&self, keys: Vec<String>) -> Result<()> {
        for keys in keys.chunks(PAGE as usize) {
            let asked = self.client().unlink::<i64, _>(keys.to_vec()).await;
            asked.map_err(|error| away(anyhow::Error::msg(error.to_string())))?;
        }
        Ok(())
    }

    async fn walk(&self, pattern: String) -> Result<Vec<String>> {
        let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let asked = self.client().scan_page(cursor, pattern.clone(), Some(PAGE), None).await;
            let (next, keys): (String, Vec<String>) =
                asked.map_err(|error: fred::error::Error| away(anyhow::Error::msg(error.to_string())))?;
            found.extend(keys);
            if next == "0" {
                // The same key may be told twice.
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
            cursor = next;
        }
    }
}

fn away(cause: anyhow::Error) -> Error {
    Error::unavailable("redis_unavailable", "Redis does not answer", cause)
}
