//! The cache of verified tokens, and how it is invalidated on all replicas.
//!
//! A verdict is the result of verifying a token. It is cached for at most thirty seconds, under the digest of tenant,
//! epoch and token. Code that takes a right away then increments the tenant's epoch, which changes the cache keys on
//! every replica. So nothing has to be found and removed. The cache stores digests, and no tokens.
//!
//! While the control database is away no epoch can be incremented. This replica then forgets the tenant's verdicts all
//! the same, and tries on until the other replicas' verdicts have expired by themselves.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use moka::future::Cache;

use super::Principal;
use crate::{
    control::{
        ControlDb,
        tenants::{self, Tenant},
    },
    error::{Error, Result},
    types::TenantId,
};

/// How long a verdict is cached at most.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Between two tries to increment an epoch.
const PAUSE: Duration = Duration::from_millis(250);
/// How many verdicts one replica caches.
const CAPACITY: u64 = 100_000;
/// For how many tenants a replica stores the epoch that it has incremented itself.
const RAISED_CAPACITY: u64 = 10_000;

/// The principal of a token, and until when the token is valid (seconds since the Unix epoch).
#[derive(Clone)]
pub(super) struct Verdict {
    pub(super) principal: Arc<Principal>,
    pub(super) expires: i64,
}

impl Verdict {
    pub(super) fn new(principal: Principal, expires: i64) -> Self {
        Self { principal: Arc::new(principal), expires }
    }
}

/// What this replica knows of a tenant's verdicts beyond what the registry has read.
#[derive(Clone, Copy, Default)]
struct Raised {
    /// The newest epoch that this replica has incremented itself.
    epoch: i64,
    /// How often it was asked to forget all verdicts.
    forgotten: u64,
}

/// The verdicts that this replica has cached.
pub(super) struct Verdicts {
    db: ControlDb,
    held: Cache<[u8; 32], Verdict>,
    raised: moka::sync::Cache<TenantId, Raised>,
}

impl Verdicts {
    pub(super) fn new(db: ControlDb) -> Self {
        let held = Cache::builder().max_capacity(CAPACITY).time_to_live(REMEMBERED).build();
        Self { db, held, raised: moka::sync::Cache::new(RAISED_CAPACITY) }
    }

    /// The cached verdict about a token, or else the result of `verify`. Concurrent requests with the same token share
    /// one call. As for other tokens, but the verdict holds only for the client address: the token may be restricted to
    /// addresses.
    pub(super) async fn get_or<V>(
        &self,
        tenant: &Tenant,
        (bearer, bound_to): (&str, Option<IpAddr>),
        verify: impl FnOnce() -> V,
    ) -> Result<Verdict>
    where
        V: Future<Output = Result<Verdict>> + Send,
    {
        let key = self.key(tenant, bearer, bound_to);
        if let Some(verdict) = self.held.get(&key).await {
            return Ok(verdict);
        }
        // Boxed: rare, and large.
        let verify = Box::pin(verify());
        Box::pin(self.held.try_get_with(key, verify)).await.map_err(Error::shared)
    }

    /// Invalidates all verdicts of the tenant: on this replica at once, on the others when the notification arrives.
    ///
    /// # Errors
    /// The control database's. The verdicts of this replica are invalid all the same, and a task of its own goes on
    /// trying to tell the others.
    pub(super) async fn forget(&self, tenant: TenantId) -> Result<()> {
        self.change(tenant, |raised| Raised { forgotten: raised.forgotten + 1, ..raised });
        let told = raise_epoch(&self.db, tenant).await;
        if told.is_err() {
            tokio::spawn(keep_telling(self.db.clone(), tenant));
        }
        self.raise(tenant, told?);
        Ok(())
    }

    /// Invalidates the tenant's verdicts of earlier epochs on this replica, before the registry has read the new epoch.
    pub(super) fn raise(&self, tenant: TenantId, epoch: i64) {
        self.change(tenant, |raised| Raised { epoch: raised.epoch.max(epoch), ..raised });
    }

    fn change(&self, tenant: TenantId, change: impl FnOnce(Raised) -> Raised) {
        let known = |held: Option<moka::Entry<TenantId, Raised>>| held.map(moka::Entry::into_value).unwrap_or_default();
        self.raised.entry(tenant).and_upsert_with(|held| change(known(held)));
    }

    fn key(&self, tenant: &Tenant, bearer: &str, bound_to: Option<IpAddr>) -> [u8; 32] {
        let Raised { epoch, forgotten } = self.raised.get(&tenant.id).unwrap_or_default();
        let mut context = Context::new(&SHA256);
        context.update(tenant.id.uuid().as_bytes());
        context.update(&epoch.max(tenant.epoch).to_be_bytes());
        context.update(&forgotten.to_be_bytes());
        if let Some(ip) = bound_to {
            context.update(ip.to_canonical().to_string().as_bytes());
            context.update(b"\0");
        }
        context.update(bearer.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }
}

async fn raise_epoch(db: &ControlDb, tenant: TenantId) -> Result<i64> {
    tenants::raise_epoch(&mut *db.acquire().await?, tenant).await
}

/// Increments the tenant's epoch as soon as that is possible. In vain only when the other replicas' verdicts of before
/// have expired meanwhile.
async fn keep_telling(db: ControlDb, tenant: TenantId) {
    let told = async {
        while let Err(error) = raise_epoch(&db, tenant).await {
            tracing::debug!(error = error.chain(), tenant.id = %tenant, "the other replicas are not told yet");
            tokio::time::sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(REMEMBERED, told).await.is_err() {
        tracing::warn!(tenant.id = %tenant, "other replicas were not told to verify tokens again before they did so anyway");
    }
}
