//! Each replica says that it is alive, how many connections it may hold, and which tenants it remembers.
//!
//! The pre-flight of servers counts the connections. `fsck` compares the memories: it can look into that of its own replica
//! only.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    control::replicas::{self, Replica},
    error::{Error, Result},
    operations::Context,
};

/// Between two beats; whoever is silent for a minute counts as gone.
const INTERVAL: Duration = Duration::from_secs(5);

/// Between two looks whether the tenants are read, at the beginning.
const READING: Duration = Duration::from_millis(100);

/// Beats until `stop`, and says that this replica is gone then. `pool_size` is the most connections that it opens to
/// one tenant's database.
pub async fn run(ctx: Context, pool_size: u32, stop: CancellationToken) {
    // What it remembers before it has read the tenants says nothing.
    while !ctx.tenancy.is_ready() {
        if stop.run_until_cancelled(tokio::time::sleep(READING)).await.is_none() {
            return;
        }
    }
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (registry_revision, digest) = ctx.tenancy.remembered();
        let replica = Replica {
            name: ctx.replica.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            pool_size: i32::try_from(pool_size).unwrap_or(i32::MAX),
            registry_revision,
            registry_digest: digest.to_string(),
        };
        note(async { replicas::announce(&mut *ctx.db.acquire().await?, &replica).await }.await);
    }
    note(async { replicas::withdraw(&mut *ctx.db.acquire().await?, &ctx.replica).await }.await);
}

fn note(said: Result<()>) {
    if let Err(error) = Result::<_, Error>::from(said) {
        tracing::debug!(error = error.chain(), "the other replicas could not be told of this one");
    }
}
