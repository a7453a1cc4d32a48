//! Pools: one a tenant, made when it is first needed, logged in as the tenant's own role.
//!
//! Every wait is bounded: for a free connection, for a new one, for the check of a used one. A connection that
//! nobody used for a while is closed; a pool that nobody used for longer is forgotten. How a connection is made, and
//! under which password, is [`super::login`]'s.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{Pool, PoolError, TimeoutType},
};
use moka::future::Cache;
use tokio_util::sync::CancellationToken;

use super::{
    TenantConn,
    login::{Door, Login},
};
use crate::{
    error::{Error, Result},
    types::TenantId,
};

/// How long a request waits for a connection to come free (promises.md §2).
const CHECKOUT: Duration = Duration::from_secs(1);
/// How long a new connection may take, and how long the check of a used one (promises.md §2).
const CONNECT: Duration = Duration::from_secs(2);
/// A pool that nobody asked for this long is forgotten.
const FORGET: Duration = Duration::from_hours(1);
/// How many tenants' pools one replica holds at once.
const CAPACITY: u64 = 10_000;
/// Between two looks for idle connections.
const REAP_INTERVAL: Duration = Duration::from_secs(5);

/// How connections are pooled.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The most connections that this replica holds to one tenant's database.
    pub max_size: usize,
    /// A connection that nobody used for this long is closed.
    pub idle: Duration,
    /// Of how many tenants the sealed secrets are kept in memory, half a kilobyte each.
    pub secrets_kept: usize,
    /// `freehold:<replica>`: shown in `pg_stat_activity` and in PostgreSQL's log.
    pub application_name: String,
}

pub(super) struct Pools {
    door: Arc<Door>,
    settings: PoolSettings,
    by_tenant: Cache<TenantId, Pool<Login>>,
    waits: metrics::Histogram,
}

impl Pools {
    pub(super) fn new(door: Arc<Door>, settings: PoolSettings) -> Self {
        let by_tenant = Cache::builder()
            .max_capacity(CAPACITY)
            .time_to_idle(FORGET)
            .eviction_listener(|_, pool: Pool<Login>, _| pool.close())
            .build();
        let waits = metrics::histogram!("freehold_pool_checkout_duration_seconds");
        Self { door, settings, by_tenant, waits }
    }

    pub(super) async fn checkout(&self, tenant: TenantId) -> Result<TenantConn> {
        let pool = match self.by_tenant.get(&tenant).await {
            Some(pool) => pool,
            None => self.by_tenant.try_get_with(tenant, async { self.open(tenant) }).await.map_err(Error::shared)?,
        };
        let started = Instant::now();
        let object = pool.get().await;
        self.waits.record(started.elapsed());
        match object {
            Ok(object) => Ok(TenantConn::new(object, tenant)),
            Err(error) => Err(Self::refuse(error)),
        }
    }

    /// Closes idle connections until `cancel`.
    pub(super) async fn reap(self: Arc<Self>, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(REAP_INTERVAL);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            self.by_tenant.run_pending_tasks().await;
            for (_, pool) in &self.by_tenant {
                pool.retain(|_, metrics| metrics.last_used() < self.settings.idle);
            }
        }
    }

    /// Writes how many pools and connections there are to the metrics.
    pub(super) fn record_gauges(&self) {
        let (mut pools, mut connections, mut idle, mut waiting) = (0_u32, 0, 0, 0);
        for (_, pool) in &self.by_tenant {
            let status = pool.status();
            pools += 1;
            connections += status.size;
            idle += status.available;
            waiting += status.waiting;
        }
        let gauge = |name: &'static str, value: usize| {
            metrics::gauge!(name).set(f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
        };
        metrics::gauge!("freehold_pools").set(f64::from(pools));
        gauge("freehold_pool_connections", connections);
        gauge("freehold_pool_connections_idle", idle);
        gauge("freehold_pool_waiting", waiting);
    }

    /// Makes the tenant's pool; connects nowhere yet.
    fn open(&self, tenant: TenantId) -> Result<Pool<Login>> {
        Pool::builder(Login::new(tenant, Arc::clone(&self.door)))
            .max_size(self.settings.max_size)
            .wait_timeout(Some(CHECKOUT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(Error::internal)
    }

    fn refuse(error: PoolError<Error>) -> Error {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                metrics::counter!("freehold_pool_checkout_timeouts_total").increment(1);
                Error::unavailable("tenant_database_busy", "all connections to this tenant's database are in use", None)
            }
            PoolError::Timeout(_) | PoolError::Closed => unavailable("a connection was not ready in time"),
            PoolError::Backend(error) => error,
            other => Error::internal(other),
        }
    }
}

fn unavailable(why: &'static str) -> Error {
    let detail = "this tenant's database cannot be reached";
    Error::unavailable("tenant_database_unavailable", detail, anyhow::Error::msg(why))
}
