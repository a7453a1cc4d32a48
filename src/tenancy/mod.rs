//! From a request to its tenant's database: who is meant, may it be served, and the one door to its data.
//!
//! [`resolve`] reads a tenant's name from a request, the [`Registry`] knows every tenant in memory, [`gate()`]
//! refuses those that cannot be served, and [`Tenancy::connect`] hands out a [`TenantConn`]: the only way to a
//! tenant's data, which cannot be made outside this module and belongs to one tenant. Nothing here ever holds
//! an administrative credential: pools log in as the tenant's own role, with what the vault keeps sealed.

mod conn;
mod digest;
mod gate;
pub mod idempotency;
mod login;
mod pools;
mod proof;
mod registry;
pub mod resolve;
mod session;
mod statement;
mod vault;

use std::{sync::Arc, time::Duration};

pub use conn::{Param, Statements, TenantConn, TenantTxn};
pub use digest::RegistryDigest;
pub use gate::gate;
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

/// How long requests wait for a tenant's first administrator to be made.
const SETTLING: Duration = Duration::from_secs(5);

/// Every tenant, and the doors to their data. Clones share both.
#[derive(Clone)]
pub struct Tenancy {
    registry: Arc<Registry>,
    vault: Arc<Vault>,
    pools: Arc<pools::Pools>,
}

impl Tenancy {
    /// Knows nothing yet: [`Tenancy::spawn`] fills it and keeps it true.
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
        };
        Self { registry, vault, pools: Arc::new(pools::Pools::new(Arc::new(door), settings)) }
    }

    /// Starts what keeps the registry true and closes idle connections.
    pub fn spawn(&self, signals: &Signals, background: &Background) {
        let (registry, signals) = (self.registry.clone(), signals.clone());
        background.keep("registry", move |stop| registry.clone().follow(signals.subscribe(), stop));
        let (vault, pools) = (self.vault.clone(), self.pools.clone());
        background.keep("vault", move |stop| vault.clone().follow(stop));
        background.keep("pools", move |stop| pools.clone().reap(stop));
    }

    /// The customer's tenant that holds this slug: the one that has it, or had it until recently. The platform tenant
    /// is not among them.
    ///
    /// # Errors
    /// `tenant_not_found`; `registry_unavailable` while that cannot be known.
    pub async fn by_slug(&self, slug: &Slug) -> Result<Arc<Tenant>> {
        self.registry.by_slug(slug).await
    }

    /// As [`Self::by_slug`], of the tenants that this replica knows: asks nobody and waits for nothing.
    #[must_use]
    pub fn known(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        self.registry.known(slug).filter(|tenant| !tenant.is_platform)
    }

    /// The platform tenant, if this replica knows it: asks nobody and waits for nothing.
    #[must_use]
    pub fn known_platform(&self) -> Option<Arc<Tenant>> {
        self.registry.known_platform()
    }

    /// The tenant once its first administrator has been made, which takes a fraction of a second after the tenant
    /// was made from a warm database. Other tenants are answered with at once.
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

    /// The plan that the tenant is on, as this replica knows it: a change is here within a round trip.
    ///
    /// # Errors
    /// A defect: the plan cannot be read.
    pub fn plan(&self, tenant: &Tenant) -> Result<Arc<Plan>> {
        self.registry.plan_of(tenant)
    }

    /// The tenant with this id, the platform tenant included.
    pub async fn by_id(&self, id: TenantId) -> Result<Option<Arc<Tenant>>> {
        self.registry.by_id(id).await
    }

    /// Reads the tenant again: what this replica has just changed holds here before anybody is told of it. Should
    /// that fail, the signal and the look for changes behind it do the same a little later.
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

    /// Whether the registry has been filled and is fresh enough to serve from.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.registry.is_fresh()
    }

    /// A connection to the tenant's database, logged in as its own role. Does not judge its state: see [`gate()`].
    ///
    /// # Errors
    /// `tenant_database_unavailable` when there is none within the bounds of promises.md §2.
    pub async fn connect(&self, tenant: TenantId) -> Result<TenantConn> {
        self.pools.checkout(tenant).await
    }

    /// The tenant's secrets, still sealed, as of this `revision` of its row or later; older ones while the control
    /// database is away.
    pub async fn sealed(&self, tenant: TenantId, revision: i64) -> Result<Arc<SealedTenant>> {
        self.vault.of(tenant, revision).await
    }

    /// The tenant's secrets, still sealed, as they are in the control database now.
    pub async fn sealed_anew(&self, tenant: TenantId) -> Result<Arc<SealedTenant>> {
        self.vault.anew(tenant).await
    }

    /// The newest revision of a tenant that this replica has seen, and the digest of all that it remembers.
    #[must_use]
    pub fn remembered(&self) -> (i64, RegistryDigest) {
        self.registry.remembered()
    }

    /// Writes how many tenants, pools and connections there are to the metrics.
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
