//! What is done for audit logs meanwhile: they are chained some seconds after something was written, and what is older than
//! the installation keeps is taken away.
//!
//! A replica remembers for which tenants it has written events. What it forgets when it stops is chained with the tenant's
//! next event, or the next time that somebody verifies the log. A tenant that is not active is left alone.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Event, chain, source::Source, store};
use crate::{
    control::{
        audit::{self as platform_log, Filter},
        tenants::{Tenant, TenantState},
    },
    error::Result,
    identity::{Identity, require_people_schema},
    types::{AuditEventId, TenantId},
};

/// Between two looks at what was written.
const PAUSE: Duration = Duration::from_secs(2);
/// For how many tenants a replica remembers that it has written something.
const MOST_TENANTS: usize = 10_000;
/// How many tenants' logs are chained at once: each takes a connection of its tenant's for a moment.
const AT_ONCE: usize = 4;
/// How many batches one look makes, or takes away, of one log at most.
const MOST_BATCHES: usize = 20;
/// Between two looks for events of a tenant that are too old.
const BETWEEN_AGEING: Duration = Duration::from_hours(1);

/// The tenants whose logs have events that are not chained yet, as far as this replica knows.
pub(in crate::identity) struct Unchained {
    /// Noted since the last look.
    fresh: Mutex<BTreeSet<TenantId>>,
    /// Noted before the last look: what was written has been committed meanwhile.
    settled: Mutex<BTreeSet<TenantId>>,
    /// The newest event of the platform's own log when that was last chained.
    platform: Mutex<Option<AuditEventId>>,
    /// Those whose events were looked at for their age a while ago.
    aged: moka::sync::Cache<TenantId, ()>,
}

impl Unchained {
    pub(in crate::identity) fn new() -> Self {
        let aged = moka::sync::Cache::builder().max_capacity(100_000).time_to_live(BETWEEN_AGEING).build();
        Self { fresh: Mutex::default(), settled: Mutex::default(), platform: Mutex::default(), aged }
    }

    /// Something was written, or will be when its transaction commits.
    pub(in crate::identity) fn note(&self, tenant: TenantId) {
        let mut tenants = held(&self.fresh);
        if tenants.len() < MOST_TENANTS {
            tenants.insert(tenant);
        }
    }

    /// Those that were noted before the last call.
    fn take(&self) -> BTreeSet<TenantId> {
        let fresh = std::mem::take(&mut *held(&self.fresh));
        std::mem::replace(&mut *held(&self.settled), fresh)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Goes on until `stop`.
pub async fn tend(ctx: Arc<Identity>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
        let mut due = ctx.unchained.take().into_iter().peekable();
        while due.peek().is_some() {
            let mut some = Vec::with_capacity(AT_ONCE);
            for tenant in due.by_ref().take(AT_ONCE) {
                some.push(tend_tenant(&ctx, tenant));
            }
            if stop.run_until_cancelled(join_all(some)).await.is_none() {
                return;
            }
        }
        if let Some(Err(error)) = stop.run_until_cancelled(tend_platform(&ctx)).await {
            tracing::debug!(error = error.chain(), "the platform's audit log is not chained yet");
        }
    }
}

async fn tend_tenant(ctx: &Identity, id: TenantId) {
    if let Err(error) = ctx.tenancy.visit(id, try_tend(ctx, id)).await {
        tracing::debug!(error = error.chain(), tenant.id = %id, "an audit log is not chained yet");
        if error.is_transient() {
            ctx.unchained.note(id);
        }
    }
}

async fn try_tend(ctx: &Identity, id: TenantId) -> Result<()> {
    let Some(tenant) = ctx.tenancy.by_id(id).await?.filter(|tenant| matches!(tenant.state, TenantState::Active)) else {
        return Ok(());
    };
    // One that a rollout has not reached yet is met again when something happens there.
    if require_people_schema(&tenant).is_err() {
        return Ok(());
    }
    extend(ctx, Source::Tenant(&tenant)).await?;
    age(ctx, &tenant).await
}

/// Operators' work is in the control database, whoever of the replicas has written it.
async fn tend_platform(ctx: &Identity) -> Result<()> {
    let Some(platform) = ctx.tenancy.known_platform() else { return Ok(()) };
    if require_people_schema(&platform).is_err() {
        return Ok(());
    }
    let newest = platform_log::page(&mut *ctx.db.acquire().await?, &Filter::default(), None, 1).await?;
    let newest = newest.first().map(|event| event.id);
    if *held(&ctx.unchained.platform) == newest {
        return Ok(());
    }
    extend(ctx, Source::Platform(&platform)).await?;
    *held(&ctx.unchained.platform) = newest;
    Ok(())
}

async fn extend(ctx: &Identity, source: Source<'_>) -> Result<()> {
    for _ in 0..MOST_BATCHES {
        if chain::extend(ctx, source).await? == 0 {
            return Ok(());
        }
    }
    ctx.unchained.note(source.tenant().id);
    Ok(())
}

/// Takes away the batches whose events are all too old, and says so in the log.
async fn age(ctx: &Identity, tenant: &Tenant) -> Result<()> {
    let Some(days) = ctx.audit_days else { return Ok(()) };
    if ctx.unchained.aged.contains_key(&tenant.id) {
        return Ok(());
    }
    ctx.unchained.aged.insert(tenant.id, ());
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let mut gone = 0;
    for _ in 0..MOST_BATCHES {
        match store::forget_batch(&txn, days).await? {
            0 => break,
            events => gone += events,
        }
    }
    if gone == 0 {
        return Ok(());
    }
    let details = json!({ "events": gone, "older_than_days": days });
    let event = Event { actor: "system", action: "audit.aged", target: None, details };
    store::add_own(&txn, AuditEventId::generate(&ctx.clock, ctx.random), &event).await?;
    txn.commit().await?;
    tracing::info!(tenant.id = %tenant.id, events = gone, "old audit events were taken away");
    ctx.unchained.note(tenant.id);
    Ok(())
}
