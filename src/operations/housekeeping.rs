//! What has to be forgotten in time: idempotency keys, and the secrets that answers were made from.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::control::{ControlDb, idempotency};

const INTERVAL: Duration = Duration::from_hours(1);

/// Tidies up every hour until `stop`. Every replica does it: repeating it changes nothing.
pub async fn run(db: ControlDb, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let purged = async { idempotency::purge(&mut *db.acquire().await?).await };
        if let Err(error) = purged.await {
            tracing::warn!(error = error.chain(), "old idempotency keys could not be purged");
        }
    }
}
