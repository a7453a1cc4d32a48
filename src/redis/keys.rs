//! Scans for keys and deletes them. Tenants' requests never wait for this. If Redis does not answer, these functions
//! return an error, because their callers need the result.

use std::time::Duration;

use fred::interfaces::KeysInterface;

use super::{Redis, connection::away};
use crate::error::Result;

/// How many keys one command scans. It takes Redis some hundred microseconds.
const PAGE: u32 = 1_000;

impl Redis {
    /// All keys that match the pattern. Keys that are created during the scan may be missing.
    ///
    /// # Errors
    /// `redis_unavailable` when Redis does not answer, or has more keys than can be scanned `within` this time.
    pub async fn keys_like(&self, pattern: String, within: Duration) -> Result<Vec<String>> {
        tokio::time::timeout(within, self.walk(pattern)).await.unwrap_or_else(|elapsed| Err(away(elapsed.into())))
    }

    /// Deletes these keys. A key that does not exist is no error.
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
                // A scan may return the same key twice.
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
            cursor = next;
        }
    }
}
