//! Holding what was claimed for as long as the work takes.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Pace;
use crate::error::Result;

/// Renews a lease, and returns when it is lost: `renew` says that it is somebody else's, or it could not be renewed for
/// its whole length.
pub(super) async fn until_lost<F>(pace: &Pace, renew: impl Fn(Duration) -> F + Send + Sync)
where
    F: Future<Output = Result<bool>> + Send,
{
    let mut renewed = Instant::now();
    while renewed.elapsed() < pace.lease {
        sleep(pace.renewal).await;
        let asked = Instant::now();
        match timeout(pace.lease.saturating_sub(renewed.elapsed()), renew(pace.lease)).await {
            Ok(Ok(true)) => renewed = asked,
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::warn!(error = error.chain(), "a lease could not be renewed"),
            Err(_) => tracing::warn!("the control database did not answer while a lease was to be renewed"),
        }
    }
}
