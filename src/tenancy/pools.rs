//! Connection pools. Each tenant has one, which is created at first use and logs in as the tenant's own role.
//!
//! Every wait has a time limit: for a free connection, for a new one, for the check of a used one. An idle connection
//! is closed after a while, and an idle pool is dropped after a longer time. [`super::login`] opens the connections.

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

/// How long a request waits for a free connection (promises.md §2).
const CHECKOUT: Duration = Duration::from_secs(1);
/// How long it may take to open a connection, and to check a used one (promises.md §2).
const CONNECT: Duration = Duration::from_secs(2);
/// A pool that is not used for this long is dropped.
const FORGET: Duration = Duration::from_hours(1);
/// How many pools a replica has at most.
const CAPACITY: u64 = 10_000;
/// How often idle connections are looked for.
const REAP_INTERVAL: Duration = Duration::from_secs(5);

/// How connections are pooled.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The most connections that this replica opens to one tenant's database.
    pub max_size: usize,
    /// A connection that is idle for this long is closed.
    pub idle: Duration,
    /// For how many tenants the encrypted secrets are cached. Each takes half a kilobyte.
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
        if let Some(versions) = self.door.registry.versions_of(tenant) {
            pool.manager().heed(versions);
        }
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

    /// Whether there are connections to the tenant's database.
    pub(super) async fn has_any(&self, tenant: TenantId) -> bool {
        self.by_tenant.get(&tenant).await.is_some_and(|pool| pool.status().size > 0)
    }

    /// Closes the connections to the tenant's database that nobody is using.
    pub(super) async fn close_idle(&self, tenant: TenantId) {
        if let Some(pool) = self.by_tenant.get(&tenant).await {
            pool.retain(|_, _| false);
        }
    }

    /// Whether requests wait for a connection to the tenant's database.
    pub(super) fn has_waiting(&self, tenant: TenantId) -> bool {
        self.by_tenant.iter().any(|(id, pool)| *id == tenant && pool.status().waiting > 0)
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

    /// Creates the tenant's pool. Opens no connection yet.
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
