//! The way from a request to its tenant's database.
//!
//! [`resolve`] reads the tenant's slug from a request. The [`Registry`] has every tenant in memory. [`gate()`] refuses
//! tenants that cannot be served. [`Tenancy::connect`] returns a [`TenantConn`], which is the only way to a tenant's
//! data: it belongs to one tenant, and no other module can create one.
//!
//! This module never has an administrative credential. Pools log in as the tenant's own role, with the password that
//! the vault caches in encrypted form.

mod conn;
mod digest;
mod gate;
pub mod idempotency;
mod line;
mod login;
mod pools;
mod prepared;
mod proof;
mod registry;
pub mod resolve;
mod session;
mod statement;
mod vault;

use std::{sync::Arc, time::Duration};

pub use conn::{Param, Statements, TenantConn, TenantTxn};
pub use digest::RegistryDigest;
pub use gate::{gate, reaches};
pub use line::StatementError;
pub(crate) use login::LOGIN_DENIED;
pub use pools::PoolSettings;
pub use registry::Registry;
use vault::Vault;

use crate::{
    background::Background,
    control::{ControlDb, listener::Signals, plans::Plan, sealed::SealedTenant, sealing::KeyRing, tenants::Tenant},
    error::Result,
    servers::Connector,
    types::{Slug, TenantId},
};

/// How long requests wait until a tenant's first administrator has been created.
const SETTLING: Duration = Duration::from_secs(5);

/// The registry of tenants and the pools of connections to their databases. Clones share both.
#[derive(Clone)]
pub struct Tenancy {
    registry: Arc<Registry>,
    vault: Arc<Vault>,
    pools: Arc<pools::Pools>,
}

impl Tenancy {
    /// The registry is empty at first: [`Tenancy::spawn`] fills it and keeps it up to date.
    #[must_use]
    pub fn new(db: ControlDb, keys: Arc<KeyRing>, connector: Connector, settings: PoolSettings) -> Self {
        let registry = Arc::new(Registry::new(db.clone()));
        let vault = Arc::new(Vault::new(db, settings.secrets_kept));
        let door = login::Door {
            vault: Arc::clone(&vault),
            registry: Arc::clone(&registry),
            keys,
            connector,
            application_name: settings.application_name.clone(),
            texts: Arc::default(),
        };
        Self { registry, vault, pools: Arc::new(pools::Pools::new(Arc::new(door), settings)) }
    }

    /// Starts the background tasks that keep the registry up to date and close idle connections.
    pub fn spawn(&self, signals: &Signals, background: &Background) {
        let (registry, signals) = (self.registry.clone(), signals.clone());
        background.keep("registry", move |stop| registry.clone().follow(signals.subscribe(), stop));
        let (vault, pools) = (self.vault.clone(), self.pools.clone());
        background.keep("vault", move |stop| vault.clone().follow(stop));
        background.keep("pools", move |stop| pools.clone().reap(stop));
    }

    /// The customer's tenant with this slug. A renamed tenant is found by its former slug for a time. The platform
    /// tenant is never found.
    ///
    /// # Errors
    /// `tenant_not_found`; `registry_unavailable` while the control database cannot be asked.
    pub async fn by_slug(&self, slug: &Slug) -> Result<Arc<Tenant>> {
        self.registry.by_slug(slug).await
    }

    /// As [`Self::by_slug`], but only among the tenants in this replica's memory. Does no I/O.
    #[must_use]
    pub fn known(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        self.registry.known(slug).filter(|tenant| !tenant.is_platform)
    }

    /// The platform tenant, if it is in this replica's memory. Does no I/O.
    #[must_use]
    pub fn known_platform(&self) -> Option<Arc<Tenant>> {
        self.registry.known_platform()
    }

    /// Waits until the tenant's first administrator has been created. That takes a fraction of a second after a tenant
    /// got a warm database. Returns all other tenants at once.
    ///
    /// # Errors
    /// `tenant_not_ready` when it takes longer than 5 s.
    pub async fn settled(&self, tenant: Arc<Tenant>) -> Result<Arc<Tenant>> {
        if !tenant.is_settling {
            return Ok(tenant);
        }
        let settled = self.registry.when(tenant.id, |tenant| !tenant.is_settling, SETTLING).await?;
        settled.filter(|tenant| !tenant.is_settling).ok_or_else(gate::not_ready)
    }

    /// The tenant's plan, from this replica's memory. A change arrives within a round trip.
    ///
    /// # Errors
    /// An internal error when the plan is not in memory.
    pub fn plan(&self, tenant: &Tenant) -> Result<Arc<Plan>> {
        self.registry.plan_of(tenant)
    }

    /// Whether requests of this replica wait for a connection to the tenant's database.
    #[must_use]
    pub fn has_waiting(&self, tenant: TenantId) -> bool {
        self.pools.has_waiting(tenant)
    }

    /// The tenant with this id, the platform tenant included.
    pub async fn by_id(&self, id: TenantId) -> Result<Option<Arc<Tenant>>> {
        self.registry.by_id(id).await
    }

    /// Reads the tenant again, so that this replica acts on its own change before it responds. If the read fails, the
    /// notification or the periodic check for changes updates the tenant a little later.
    pub async fn refresh(&self, id: TenantId) {
        if let Err(error) = self.registry.refresh(id).await {
            tracing::debug!(error = error.chain(), "a changed tenant will be read again later");
        }
    }

    /// The platform tenant.
    ///
    /// # Errors
    /// `not_bootstrapped` until `freehold bootstrap` has made it.
    pub async fn platform(&self) -> Result<Arc<Tenant>> {
        self.registry.platform().await
    }

    /// Whether the registry has been filled and is recent enough to serve requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.registry.is_fresh()
    }

    /// Whether this replica remembers this `revision` of the tenant or a later one: now, or before `at_most` has passed.
    ///
    /// # Errors
    /// The tenant is not in memory, and the control database is unavailable.
    pub async fn reaches(&self, tenant: TenantId, revision: i64, at_most: Duration) -> Result<bool> {
        let held = self.registry.when(tenant, |held| held.revision >= revision, at_most).await?;
        Ok(held.is_some_and(|held| held.revision >= revision))
    }

    /// A connection to the tenant's database, with the tenant's own role. Does not check the tenant's state: see
    /// [`gate()`].
    ///
    /// # Errors
    /// `tenant_database_unavailable` when no connection is ready within the time limits of promises.md §2.
    pub async fn connect(&self, tenant: TenantId) -> Result<TenantConn> {
        self.pools.checkout(tenant).await
    }

    /// Does `work` on a tenant that nobody may be using. Connections that were opened for it are closed again: of a
    /// thousand tenants that are visited so, none keeps one.
    pub async fn visit<T>(&self, tenant: TenantId, work: impl Future<Output = T>) -> T {
        let is_in_use = self.pools.has_any(tenant).await;
        let done = work.await;
        if !is_in_use {
            self.pools.close_idle(tenant).await;
        }
        done
    }

    /// The tenant's encrypted secrets, as of this `revision` of its row or a later one. While the control database is
    /// unavailable they may be older.
    pub async fn sealed(&self, tenant: TenantId, revision: i64) -> Result<Arc<SealedTenant>> {
        self.vault.of(tenant, revision).await
    }

    /// The tenant's encrypted secrets, read from the control database now.
    pub async fn sealed_anew(&self, tenant: TenantId) -> Result<Arc<SealedTenant>> {
        self.vault.anew(tenant).await
    }

    /// The newest revision of a tenant that this replica has read, and the digest of all tenants in its memory.
    #[must_use]
    pub fn remembered(&self) -> (i64, RegistryDigest) {
        self.registry.remembered()
    }

    /// Sets the metrics of how many tenants, pools and connections there are.
    pub fn record_gauges(&self) {
        self.registry.record_gauges();
        self.pools.record_gauges();
    }
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("freehold_tenants_known", "tenants in this replica's registry");
    describe_gauge!("freehold_pools", "tenants that this replica holds a pool for");
    describe_gauge!("freehold_pool_connections", "connections to tenants' databases");
    describe_gauge!("freehold_pool_connections_idle", "connections to tenants' databases that nobody is using");
    describe_gauge!("freehold_pool_waiting", "requests that wait for a connection to their tenant's database");
    describe_counter!("freehold_pool_checkout_timeouts_total", "requests that waited for a connection in vain");
    let lost = "freehold_sessions_not_reset_total";
    describe_counter!(
        lost,
        "sessions that were closed because something was left on them that only ends with a session"
    );
    let wait = "freehold_pool_checkout_duration_seconds";
    describe_histogram!(wait, Unit::Seconds, "how long requests waited for a connection, a new one's making included");
}
