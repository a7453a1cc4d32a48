//! What was verified lately, and how everybody is made to look again.
//!
//! A verdict is remembered under the digest of tenant, epoch and token, for at most thirty seconds. Whoever takes a
//! right away raises the tenant's epoch afterwards, which is another key in every replica: nothing has to be found and
//! removed. Only digests are kept.

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

/// How long a verdict is remembered, whatever else happens.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many verdicts one replica remembers.
const CAPACITY: u64 = 100_000;
/// For how many tenants a replica remembers the epoch that it raised itself.
const RAISED_CAPACITY: u64 = 10_000;

/// Who a token belongs to, and until when (seconds since the Unix epoch).
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

/// What this replica has verified lately.
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

    /// What is remembered of a token, or what `verify` says of it. Requests with the same token wait for one look-up.
    /// The verdict about a token that may be bound to addresses holds for the one that it came from.
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

    /// Makes every replica look again at who may do what in the tenant; this one at once, the others when the
    /// notification reaches them.
    pub(super) async fn forget(&self, tenant: TenantId) -> Result<()> {
        let mut connection = self.db.acquire().await?;
        let epoch = tenants::raise_epoch(&mut connection, tenant).await?;
        self.raise(tenant, epoch);
        Ok(())
    }

    /// Forgets what was verified for the tenant under earlier epochs, before the registry has heard of the new one.
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
