//! Each replica records that it is alive, how many connections it may open, and a digest of the tenants that it caches.
//!
//! The preflight of servers adds up the connections. `fsck` compares the digests, because it can read only the cache of
//! its own replica.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    control::replicas::{self, Replica},
    error::{Error, Result},
    operations::{Context, schema::publish},
};

/// The time between two heartbeats. A replica without one for a minute counts as gone.
const INTERVAL: Duration = Duration::from_secs(5);

/// After the start: how often to check whether the tenants have been read into the cache.
const READING: Duration = Duration::from_millis(100);

/// Records heartbeats until `stop`, and then that this replica is gone. `pool_size` is the most connections that this
/// replica opens to one tenant's database. `migrates` says whether it migrates tenants in rollouts. `oldest` is the oldest
/// version of the product's stream that it can serve.
pub async fn run(ctx: Context, pool_size: u32, migrates: bool, oldest: i32, stop: CancellationToken) {
    // Before the tenants are read, a digest of the cache would mean nothing.
    while !ctx.tenancy.is_ready() {
        if stop.run_until_cancelled(tokio::time::sleep(READING)).await.is_none() {
            return;
        }
    }
    let carried = match publish::embedded(&ctx) {
        Ok(schema) => schema.versions(),
        Err(error) => return tracing::error!(error = error.chain(), "this replica's migrations cannot be read"),
    };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (registry_revision, digest) = ctx.tenancy.remembered();
        let replica = Replica {
            name: ctx.replica.clone(),
            versions: carried,
            oldest,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            pool_size: i32::try_from(pool_size).unwrap_or(i32::MAX),
            migrates,
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
