//! A cache of all tenants' encrypted secrets and all servers' addresses. With it a replica can log in to any tenant's
//! database while the control database is unavailable, even for the first time.
//!
//! The cache is filled page by page after the registry, and follows the revisions of the tenants' rows. A caller that
//! knows a newer revision than the cached one, or whose login fails, makes the vault read the tenant again. Concurrent
//! callers for the same tenant wait for one read. The cache has a limit, the `capacity` of [`Vault::new`]: tenants
//! beyond it are read whenever they are needed. The vault never decrypts a secret, and never stores a decrypted one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use moka::future::Cache;
use tokio_util::sync::CancellationToken;

use crate::{
    control::{
        ControlDb, bounded,
        sealed::{self, SealedTenant},
        servers, tenants,
    },
    error::{Error, Result},
    servers::ServerAddress,
    types::{ServerId, TenantId},
};

/// How often to look for changes.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);
/// How many tenants are read at once, and how long that may take.
const PAGE: i64 = 1_000;
const PAGE_ANSWER: Duration = Duration::from_secs(5);
/// How long a request waits for one tenant's secrets: less than a new connection may take.
const ANSWER: Duration = Duration::from_secs(1);
/// How many revisions each check goes back, because a transaction gets its revision before it commits.
const REVISION_OVERLAP: i64 = 1_000;

/// Tenants' encrypted secrets, and servers' addresses.
pub(super) struct Vault {
    db: ControlDb,
    capacity: usize,
    kept: RwLock<Kept>,
    /// The reads that are running. Concurrent callers for the same tenant wait for the same read.
    reading: Cache<TenantId, Arc<SealedTenant>>,
}

#[derive(Default)]
struct Kept {
    tenants: HashMap<TenantId, Arc<SealedTenant>>,
    addresses: HashMap<ServerId, ServerAddress>,
    revision: i64,
    /// When the control database last failed to answer.
    failed: Option<Instant>,
}

impl Kept {
    fn put(&mut self, sealed: Arc<SealedTenant>, capacity: usize) {
        let held = self.tenants.get(&sealed.id).map(|held| held.revision);
        let has_room = held.is_some() || self.tenants.len() < capacity;
        if has_room && held.is_none_or(|revision| revision <= sealed.revision) {
            self.tenants.insert(sealed.id, sealed);
        }
    }
}

impl Vault {
    /// Keeps the secrets of at most `capacity` tenants.
    pub(super) fn new(db: ControlDb, capacity: usize) -> Self {
        let reading = Cache::builder().max_capacity(PAGE.unsigned_abs()).time_to_live(ANSWER).build();
        Self { db, capacity, kept: RwLock::default(), reading }
    }

    /// The tenant's secrets as of `revision` of its row or a later one. While the control database is unavailable they
    /// may be older.
    pub(super) async fn of(&self, tenant: TenantId, revision: i64) -> Result<Arc<SealedTenant>> {
        let (held, is_away) = self.read(|kept| {
            let is_away = kept.failed.is_some_and(|failed| failed.elapsed() < SYNC_INTERVAL);
            (kept.tenants.get(&tenant).cloned(), is_away)
        });
        match held {
            // While the control database is unavailable, not every request waits for the timeout.
            Some(held) if held.revision >= revision || is_away => Ok(held),
            held => match (Box::pin(self.anew(tenant)).await, held) {
                (Err(error), Some(held)) if error.is_transient() => Ok(held),
                (read, _) => read,
            },
        }
    }

    /// The tenant's secrets, from a read of the control database that ends after this call began.
    pub(super) async fn anew(&self, tenant: TenantId) -> Result<Arc<SealedTenant>> {
        let reading = Box::pin(bounded(ANSWER, self.fetch(tenant)));
        let read = self.reading.try_get_with(tenant, reading).await.map_err(Error::shared);
        self.reading.invalidate(&tenant).await;
        let failed = read.as_ref().is_err_and(Error::is_transient).then(Instant::now);
        self.write(|kept| kept.failed = failed);
        read
    }

    /// The server's address.
    pub(super) async fn address(&self, server: ServerId) -> Result<ServerAddress> {
        let held = || self.read(|kept| kept.addresses.get(&server).cloned());
        if let Some(address) = held() {
            return Ok(address);
        }
        self.read_addresses().await?;
        held().ok_or_else(|| Error::defect(format!("{server} is not in the control database")))
    }

    /// Keeps the cache up to date until `cancel`.
    pub(super) async fn follow(self: Arc<Self>, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(SYNC_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let outcome = cancel.run_until_cancelled(Box::pin(self.synchronise())).await;
            if let Some(Err(error)) = outcome {
                tracing::warn!(error = error.chain(), "tenants' sealed secrets could not be followed");
            }
        }
    }

    async fn synchronise(&self) -> Result<()> {
        bounded(PAGE_ANSWER, self.read_addresses()).await?;
        let mut after = self.read(|kept| kept.revision - REVISION_OVERLAP);
        while let Some(last) = bounded(PAGE_ANSWER, self.read_page(after)).await? {
            after = last;
        }
        Ok(())
    }

    async fn read_addresses(&self) -> Result<()> {
        let servers = servers::list(&mut *self.db.acquire().await?).await?;
        let addresses = servers.into_iter().map(|server| Ok((server.id, address(server)?)));
        let addresses = addresses.collect::<Result<HashMap<_, _>>>()?;
        self.write(|kept| kept.addresses = addresses);
        Ok(())
    }

    /// Reads the next page of tenants with a revision above `after`. Returns the last one's revision, unless it was the
    /// last page.
    async fn read_page(&self, after: i64) -> Result<Option<i64>> {
        let mut connection = self.db.acquire().await?;
        let page = tenants::revisions_after(&mut connection, after, PAGE).await?;
        let changed = self.read(|kept| {
            let has_room = kept.tenants.len() < self.capacity;
            let is_changed = |(id, revision): &&(TenantId, i64)| match kept.tenants.get(id) {
                Some(held) => held.revision < *revision,
                None => has_room,
            };
            page.iter().filter(is_changed).map(|(id, _)| *id).collect::<Vec<_>>()
        });
        let read = if changed.is_empty() { Vec::new() } else { sealed::read(&mut connection, &changed).await? };
        let last = page.last().map(|(_, revision)| *revision);
        self.write(|kept| {
            let alive: HashSet<_> = read.iter().map(|sealed| sealed.id).collect();
            for gone in changed.iter().filter(|id| !alive.contains(*id)) {
                kept.tenants.remove(gone);
            }
            for sealed in read {
                kept.put(Arc::new(sealed), self.capacity);
            }
            kept.revision = kept.revision.max(last.unwrap_or_default());
        });
        Ok(last.filter(|_| i64::try_from(page.len()) == Ok(PAGE)))
    }

    async fn fetch(&self, tenant: TenantId) -> Result<Arc<SealedTenant>> {
        let mut connection = self.db.acquire().await?;
        let found = sealed::read(&mut connection, &[tenant]).await?.pop();
        let sealed = Arc::new(found.ok_or_else(|| Error::defect(format!("{tenant} has no secrets")))?);
        self.write(|kept| kept.put(sealed.clone(), self.capacity));
        Ok(sealed)
    }

    // A poisoned lock is used all the same, as in the registry: reading again repairs a partial change.
    fn read<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.kept.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.kept.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn address(server: servers::Server) -> Result<ServerAddress> {
    let tls = server.tls.parse().map_err(|invalid: crate::types::Invalid| Error::internal(invalid))?;
    Ok(ServerAddress { host: server.host, port: server.port, tls })
}
