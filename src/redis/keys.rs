//! Keys, walked through and deleted: for what nobody's request waits for. Without an answer these fail, since whoever
//! asks has to know.

use std::time::Duration;

use fred::interfaces::KeysInterface;

use super::{Redis, connection::away};
use crate::error::Result;

/// How many keys Redis looks at in one command: some hundred microseconds' worth.
const PAGE: u32 = 1_000;

impl Redis {
    /// All keys that match the pattern. Those that are made meanwhile may be missing.
    ///
    /// # Errors
    /// `redis_unavailable` when Redis does not answer, or has more keys than can be looked through `within` this time.
    pub async fn keys_like(&self, pattern: String, within: Duration) -> Result<Vec<String>> {
        tokio::time::timeout(within, self.walk(pattern)).await.unwrap_or_else(|elapsed| Err(away(elapsed.into())))
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
