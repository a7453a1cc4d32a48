//! The cache of verified tokens, and how it is invalidated on all replicas.
//!
//! A verdict is the result of verifying a token. It is cached for at most thirty seconds, under the digest of tenant,
//! epoch and token. Code that takes a right away then increments the tenant's epoch, which changes the cache keys on
//! every replica. So nothing has to be found and removed. The cache stores digests, and no tokens.

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

/// The verdicts that this replica has cached.
pub(super) struct Verdicts {
    db: ControlDb,
    held: Cache<[u8; 32], Verdict>,
    raised: moka::sync::Cache<TenantId, i64>,
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
    pub(super) async fn forget(&self, tenant: TenantId) -> Result<()> {
        let mut connection = self.db.acquire().await?;
        let epoch = tenants::raise_epoch(&mut connection, tenant).await?;
        self.raise(tenant, epoch);
        Ok(())
    }

    /// Invalidates the tenant's verdicts of earlier epochs on this replica, before the registry has read the new epoch.
    pub(super) fn raise(&self, tenant: TenantId, epoch: i64) {
        self.raised.entry(tenant).and_upsert_with(|held| held.map_or(epoch, |held| held.into_value().max(epoch)));
    }

    fn key(&self, tenant: &Tenant, bearer: &str, bound_to: Option<IpAddr>) -> [u8; 32] {
        let epoch = self.raised.get(&tenant.id).map_or(tenant.epoch, |raised| raised.max(tenant.epoch));
        let mut context = Context::new(&SHA256);
        context.update(tenant.id.uuid().as_bytes());
        context.update(&epoch.to_be_bytes());
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
