//! All tenants and their plans, in memory. A request is resolved without a query to the control database.
//!
//! The registry is filled once, and then follows notifications. A notification names a tenant, whose row is read again,
//! or says that plans have changed, which are then all read again. In case a notification is lost, rows with newer
//! revisions are read every few seconds. After a lost connection everything is read again.
//!
//! A tenant that is not in memory may have been created a moment ago by another replica. So the control database is
//! asked, and a negative answer is cached for a second. While the control database is unavailable, tenants in memory
//! are served for [`STALENESS`], and then refused. Others are refused at once, because it is unknown whether they
//! exist.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use moka::sync::Cache;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::RegistryDigest;
use crate::{
    control::{
        ControlDb, bounded,
        listener::{Signal, Subscription},
        plans::{self, Plan},
        tenants::{self, Tenant, TenantState},
    },
    error::{Error, Result},
    types::{SchemaVersions, Slug, TenantId},
};

/// How long the registry is used while the control database is unavailable (promises.md §2).
const STALENESS: Duration = Duration::from_mins(15);
/// How often to look for changes without a notification.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// How long the control database may take to answer, even when all tenants are read.
const ANSWER: Duration = Duration::from_secs(20);
/// The pause between attempts to fill an empty registry.
const FILL_PAUSE: Duration = Duration::from_millis(250);
/// How many revisions each check goes back. A transaction gets its revision before it commits, so a lower revision can
/// become visible after a higher one was read.
const REVISION_OVERLAP: i64 = 1_000;
/// How long unknown slugs are cached, and how many.
const UNKNOWN_TTL: Duration = Duration::from_secs(1);
const UNKNOWN_CAPACITY: u64 = 10_000;
/// How often a tenant that is being provisioned is read again at most.
const DOUBT_TTL: Duration = Duration::from_millis(50);

/// All tenants, in memory.
pub struct Registry {
    db: ControlDb,
    known: RwLock<Known>,
    unknown: Cache<Slug, ()>,
    doubted: Cache<TenantId, ()>,
    /// Wakes the tasks that wait for a tenant to change.
    changed: Notify,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<TenantId, Arc<Tenant>>,
    by_slug: HashMap<Slug, TenantId>,
    platform: Option<TenantId>,
    plans: HashMap<String, Arc<Plan>>,
    revision: i64,
    digest: RegistryDigest,
    /// When the control database last answered; `None` until the registry is filled.
    contact: Option<Instant>,
}

impl Known {
    fn put(&mut self, tenant: Tenant) {
        self.revision = self.revision.max(tenant.revision);
        if self.by_id.get(&tenant.id).is_some_and(|held| held.revision >= tenant.revision) {
            return;
        }
        if let Some(held) = self.by_id.get(&tenant.id) {
            self.digest.remove(held.id, held.revision);
        }
        self.digest.add(tenant.id, tenant.revision);
        if tenant.is_platform {
            self.platform = Some(tenant.id);
        }
        self.forget_slugs(tenant.id);
        // A tombstone has its slug for display only. Reserved slugs are stored elsewhere.
        if tenant.state != TenantState::Deleted {
            self.by_slug.insert(tenant.slug.clone(), tenant.id);
        }
        for slug in &tenant.reserved_slugs {
            // If another tenant has this slug as its own, that is more recent than this tenant's former slug.
            let is_anothers = self.by_slug.get(slug).and_then(|id| self.by_id.get(id)).is_some_and(|t| t.slug == *slug);
            if !is_anothers {
                self.by_slug.insert(slug.clone(), tenant.id);
            }
        }
        self.by_id.insert(tenant.id, Arc::new(tenant));
    }

    fn forget_slugs(&mut self, id: TenantId) {
        let Some(held) = self.by_id.get(&id) else { return };
        for slug in held.reserved_slugs.iter().chain([&held.slug]) {
            if self.by_slug.get(slug) == Some(&id) {
                self.by_slug.remove(slug);
            }
        }
    }

    fn put_plans(&mut self, plans: Vec<Plan>) {
        self.plans = plans.into_iter().map(|plan| (plan.name.clone(), Arc::new(plan))).collect();
    }

    fn is_fresh(&self) -> bool {
        self.contact.is_some_and(|contact| contact.elapsed() < STALENESS)
    }
}

impl Registry {
    pub(super) fn new(db: ControlDb) -> Self {
        let unknown = Cache::builder().max_capacity(UNKNOWN_CAPACITY).time_to_live(UNKNOWN_TTL).build();
        let doubted = Cache::builder().max_capacity(UNKNOWN_CAPACITY).time_to_live(DOUBT_TTL).build();
        Self { db, known: RwLock::default(), unknown, doubted, changed: Notify::new() }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.read(Known::is_fresh)
    }

    /// The plan that the tenant is on.
    pub(super) fn plan_of(&self, tenant: &Tenant) -> Result<Arc<Plan>> {
        let found = self.read(|known| known.plans.get(&tenant.plan).cloned());
        found.ok_or_else(|| Error::defect(format!("the plan {} is not known here", tenant.plan)))
    }

    /// The revision of the tenant's row in memory; 0 if the tenant is not in memory.
    pub(super) fn revision_of(&self, id: TenantId) -> i64 {
        self.read(|known| known.by_id.get(&id).map_or(0, |tenant| tenant.revision))
    }

    /// The versions of the tenant's schema, if the tenant is in memory.
    pub(super) fn versions_of(&self, id: TenantId) -> Option<SchemaVersions> {
        self.read(|known| known.by_id.get(&id).map(|tenant| tenant.versions))
    }

    /// The newest revision that was read, and the digest of all tenants.
    pub(super) fn remembered(&self) -> (i64, RegistryDigest) {
        self.read(|known| (known.revision, known.digest))
    }

    pub(super) fn record_gauges(&self) {
        let count = self.read(|known| u32::try_from(known.by_id.len()).unwrap_or(u32::MAX));
        metrics::gauge!("freehold_tenants_known").set(f64::from(count));
    }

    /// The tenant with this slug in memory, if the registry is fresh.
    pub(super) fn known(&self, slug: &Slug) -> Option<Arc<Tenant>> {
        self.read(|known| {
            let tenant = known.by_slug.get(slug).and_then(|id| known.by_id.get(id)).cloned();
            tenant.filter(|_| known.is_fresh())
        })
    }

    pub(super) fn known_platform(&self) -> Option<Arc<Tenant>> {
        self.read(|known| {
            let tenant = known.platform.and_then(|id| known.by_id.get(&id)).cloned();
            tenant.filter(|_| known.is_fresh())
        })
    }

    pub(super) async fn by_slug(&self, slug: &Slug) -> Result<Arc<Tenant>> {
        let found = match self.known(slug) {
            Some(tenant) => Some(tenant),
            None => self.ask(slug).await?,
        };
        let found = match found {
            Some(tenant) if tenant.state == TenantState::Provisioning => Some(self.doubt(tenant).await),
            found => found,
        };
        let found = found.filter(|tenant| !tenant.is_platform);
        found.ok_or_else(|| Error::NotFound { code: "tenant_not_found", detail: "there is no such tenant".to_owned() })
    }

    pub(super) async fn by_id(&self, id: TenantId) -> Result<Option<Arc<Tenant>>> {
        if let Some(tenant) = self.read(|known| known.by_id.get(&id).cloned().filter(|_| known.is_fresh())) {
            return Ok(Some(tenant));
        }
        self.refresh(id).await.map_err(unavailable)
    }

    pub(super) async fn platform(&self) -> Result<Arc<Tenant>> {
        if let Some(tenant) = self.known_platform() {
            return Ok(tenant);
        }
        let found = async { tenants::platform(&mut *self.db.acquire().await?).await };
        let found = found.await.map_err(unavailable)?;
        let detail = "Freehold has no operators yet; run `freehold bootstrap`";
        let found = found.ok_or_else(|| Error::unavailable("not_bootstrapped", detail, None))?;
        self.hold(found).await.map_err(unavailable)
    }

    /// Reads a tenant again if it is being provisioned in memory. It may be active by now, and a client that another
    /// replica has told so must not be refused. Reads are limited by a cache, since anybody can send requests.
    async fn doubt(&self, held: Arc<Tenant>) -> Arc<Tenant> {
        if !self.doubted.entry(held.id).or_insert(()).is_fresh() {
            return held;
        }
        match self.refresh(held.id).await {
            Ok(found) => found.unwrap_or(held),
            Err(error) => {
                tracing::debug!(error = error.chain(), "a tenant in the making could not be looked up");
                held
            }
        }
    }

    /// Waits until `wanted` is true of the tenant, or `at_most` has passed. Returns the tenant as it is then.
    pub(super) async fn when(
        &self,
        id: TenantId,
        wanted: impl Fn(&Tenant) -> bool,
        at_most: Duration,
    ) -> Result<Option<Arc<Tenant>>> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no notification is missed.
            changed.as_mut().enable();
            let tenant = self.by_id(id).await?;
            if tenant.as_ref().is_none_or(|tenant| wanted(tenant)) {
                return Ok(tenant);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(tenant);
            }
        }
    }

    /// Keeps the registry up to date until `cancel`.
    pub(super) async fn follow(self: Arc<Self>, mut signals: Subscription, cancel: CancellationToken) {
        let following = async {
            while let Err(error) = bounded(ANSWER, self.fill()).await {
                tracing::warn!(error = error.chain(), "the tenant registry cannot be filled yet");
                tokio::time::sleep(FILL_PAUSE).await;
            }
            let mut ticks = tokio::time::interval(SYNC_INTERVAL);
            loop {
                let outcome = tokio::select! {
                    signal = signals.next() => bounded(ANSWER, self.heed(signal)).await,
                    _ = ticks.tick() => bounded(ANSWER, self.synchronise()).await,
                };
                if let Err(error) = outcome {
                    tracing::warn!(error = error.chain(), "the tenant registry could not follow a change");
                }
            }
        };
        cancel.run_until_cancelled(Box::pin(following)).await;
    }

    async fn heed(&self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Tenant(id) => self.refresh(id).await.map(drop),
            Signal::Plans => self.read_plans().await,
            Signal::Lost => self.fill().await,
            Signal::OperationQueued
            | Signal::OperationStepped(_)
            | Signal::OperationSettled(_)
            | Signal::RolloutChanged
            | Signal::RolloutProgressed
            | Signal::JobQueued
            | Signal::ScheduleWoken => Ok(()),
        }
    }

    async fn fill(&self) -> Result<()> {
        let count = self.read_changes(0).await?;
        tracing::debug!(tenants = count, "the tenant registry is filled");
        Ok(())
    }

    async fn synchronise(&self) -> Result<()> {
        let since = self.read(|known| known.revision - REVISION_OVERLAP);
        self.read_changes(since).await.map(drop)
    }

    async fn read_changes(&self, since: i64) -> Result<usize> {
        let mut connection = self.db.acquire().await?;
        let changed = tenants::changed_since(&mut connection, since).await?;
        // Plans are read after the tenants, so that the plan of every tenant is among them.
        let plans = plans::readable(&mut connection).await?;
        let count = changed.len();
        self.write(|known| {
            known.put_plans(plans);
            for tenant in changed {
                known.put(tenant);
            }
            known.contact = Some(Instant::now());
        });
        Ok(count)
    }

    async fn read_plans(&self) -> Result<()> {
        let plans = plans::readable(&mut *self.db.acquire().await?).await?;
        self.write(|known| known.put_plans(plans));
        Ok(())
    }

    pub(super) async fn refresh(&self, id: TenantId) -> Result<Option<Arc<Tenant>>> {
        match tenants::get(&mut *self.db.acquire().await?, id).await? {
            Some(tenant) => self.hold(tenant).await.map(Some),
            None => Ok(None),
        }
    }

    /// Asks the control database for a tenant that is not in memory.
    async fn ask(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        if !self.is_fresh() {
            return Err(not_known());
        }
        if self.unknown.contains_key(slug) {
            return Ok(None);
        }
        let found = async { tenants::by_slug(&mut *self.db.acquire().await?, slug).await };
        let found = found.await.map_err(unavailable)?;
        let Some(tenant) = found else {
            self.unknown.insert(slug.clone(), ());
            return Ok(None);
        };
        self.hold(tenant).await.map(Some).map_err(unavailable)
    }

    /// Stores a tenant that was just read. Reads its plan too, if the plan is so new that it is not in memory.
    async fn hold(&self, tenant: Tenant) -> Result<Arc<Tenant>> {
        if !self.read(|known| known.plans.contains_key(&tenant.plan)) {
            let plans = plans::readable(&mut *self.db.acquire().await?).await?;
            self.write(|known| {
                for plan in plans {
                    // A plan in memory is as new as this one, or newer: only `follow` replaces it.
                    known.plans.entry(plan.name.clone()).or_insert_with(|| Arc::new(plan));
                }
            });
        }
        let id = tenant.id;
        let fallback = Arc::new(tenant.clone());
        self.write(|known| known.put(tenant));
        Ok(self.read(|known| known.by_id.get(&id).cloned()).unwrap_or(fallback))
    }

    // A poisoned lock is used all the same. `put` is the only change, and reading a row again repairs a partial one.
    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }
}

/// The error when the control database is unavailable, and it is unknown whether the tenant exists.
fn unavailable(error: Error) -> Error {
    match error {
        Error::Unavailable { source, .. } => Error::unavailable(NOT_KNOWN.0, NOT_KNOWN.1, source),
        other => other,
    }
}

/// The error when the registry is not filled yet, or is too old.
fn not_known() -> Error {
    Error::unavailable(NOT_KNOWN.0, NOT_KNOWN.1, None)
}

const NOT_KNOWN: (&str, &str) =
    ("registry_unavailable", "tenants cannot be looked up at the moment; try again shortly");
