//! `tenant.erase`: destroys a tenant. Two things remain: a tombstone row, which reserves its slug for a time, and a
//! certificate.
//!
//! A transaction queues the erasure ([`queue_in_txn`]): an operator's at once, or the janitor's after the grace time.
//! The erasure can be cancelled until it begins to drop the database:
//!
//! | the tenant's deletion | the tenant after the cancel |
//! |---|---|
//! | still stands | in its grace time, which starts again |
//! | was taken back in the meantime | in its state before the deletion |
//!
//! Keys are destroyed last, in the transaction that issues the certificate. From then on nobody can read what the keys
//! encrypted, not even in a copy of an archive.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    archive_store,
    certificate::{Certificate, Database},
    footprint,
};
use crate::{
    control::{
        adoptions, archives,
        audit::{self, Origin},
        data_keys, deletion_certificates, idempotency, operations, rehearsals, signing_keys, slugs, tenant_states,
        tenants::{self, TenantState},
    },
    error::{Error, Result},
    limits::traces,
    operations::{
        Context,
        engine::{
            kind::{Kind, kind},
            queue,
            run::Run,
        },
        fleet::provisioning_steps::{drop_database, drop_role},
    },
    types::{AuditEventId, OperationId, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.erase", Block, {
    record => call_off,
    take_stock => discard_draft,
    deny_login => allow_login,
    drop_database => never,
    drop_role => never,
    purge_archives => never,
    purge_cache => never,
    bury => never,
});

/// Queues the erasure of a tenant that is being deleted.
///
/// # Errors
/// `operation_in_progress` (409).
pub(in crate::operations) async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    tenant: TenantId,
    origin: &Origin,
) -> Result<OperationId> {
    // The input is empty: the tenant says everything.
    queue::queue_in_txn(ctx, txn, tenant, (&KIND, &json!({})), origin).await
}

async fn call_off(run: &Run) -> Result<()> {
    let (id, mut txn) = (run.tenant_id(), run.begin().await?);
    let tenant = tenants::lock_in_txn(&mut txn, id).await?;
    match tenant.filter(|tenant| tenant.state == TenantState::Deleting) {
        Some(tenant) if tenant.erase_after.is_none() => tenant_states::undelete_in_txn(&mut txn, id).await?,
        Some(_) => tenant_states::postpone_erasure_in_txn(&mut txn, id, run.ctx.settings.deletion_grace).await?,
        None => {}
    }
    Ok(txn.commit().await?)
}

/// Drafts the certificate: records what will be destroyed, while it still exists.
async fn take_stock(run: &Run) -> Result<()> {
    let (id, name) = (run.tenant_id(), run.database().to_string());
    let stock = footprint::take(&run.ctx, &run.admin, id).await?;
    let tenant = run.tenant().await?;
    let mut txn = run.begin().await?;
    let request = tenant_states::deletion_request(&mut txn, id).await?;
    let (requested_by, requested_at) = request.ok_or_else(|| Error::defect("nobody asked for this erasure"))?;
    let certificate = Certificate {
        tenant_id: id,
        slug: tenant.slug.to_string(),
        requested_by,
        requested_at,
        erased_at: None,
        server: run.server.name.clone(),
        database: stock.bytes.map(|bytes| Database { name: name.clone(), bytes }),
        roles: if stock.has_role { vec![name] } else { Vec::new() },
        users: stock.users,
        data_key: data_keys::wrapped(&mut txn, id.uuid()).await?.map(Into::into),
        signing_keys: signing_keys::ids(&mut txn, id).await?,
        archives: archives::list(&mut txn, id).await?.into_iter().map(Into::into).collect(),
        cache_keys: 0,
    };
    certificate.draft(&mut txn).await?;
    Ok(txn.commit().await?)
}

async fn discard_draft(run: &Run) -> Result<()> {
    let mut txn = run.begin().await?;
    deletion_certificates::discard(&mut txn, run.tenant_id()).await?;
    Ok(txn.commit().await?)
}

async fn deny_login(run: &Run) -> Result<()> {
    run.admin.deny_login(run.database()).await
}

/// Allows the login again. An archived tenant has no database, and so nothing to allow.
async fn allow_login(run: &Run) -> Result<()> {
    match run.admin.database(&run.database().to_string()).await? {
        Some(_) => run.admin.allow_login(run.database()).await,
        None => Ok(()),
    }
}

async fn purge_archives(run: &Run) -> Result<()> {
    archive_store::clear(run, None).await
}

/// Deletes the tenant's keys in Redis. No request has been let in since the deletion, so no new keys appear. The number
/// of keys is recorded before they are deleted: if this attempt dies, the next one cannot count them any more.
async fn purge_cache(run: &Run) -> Result<()> {
    let Some(redis) = &run.ctx.redis else { return Ok(()) };
    let keys = traces::keys_of(redis, run.tenant_id()).await?;
    let mut txn = run.begin().await?;
    let mut certificate = Certificate::drafted(&mut txn, run.tenant_id()).await?;
    certificate.cache_keys = certificate.cache_keys.max(keys.len() as u64);
    certificate.draft(&mut txn).await?;
    txn.commit().await?;
    redis.delete(keys).await
}

/// Destroys the keys, leaves a tombstone, and issues the certificate.
async fn bury(run: &Run) -> Result<()> {
    let (ctx, id) = (&run.ctx, run.tenant_id());
    let mut txn = run.begin().await?;
    let tenant = tenants::lock_in_txn(&mut txn, id).await?;
    if tenant.is_none_or(|tenant| tenant.state == TenantState::Deleted) {
        return Ok(txn.rollback().await?);
    }
    let mut certificate = Certificate::drafted(&mut txn, id).await?;
    // Read again: the keys may have been wrapped again, or rotated, since the draft.
    certificate.data_key = data_keys::wrapped(&mut txn, id.uuid()).await?.map(Into::into);
    certificate.signing_keys = signing_keys::ids(&mut txn, id).await?;
    certificate.erased_at = Some(ctx.clock.now());
    certificate.issue_in_txn(&mut txn).await?;
    tenants::bury_in_txn(&mut txn, id).await?;
    slugs::reserve_in_txn(&mut txn, id, ctx.settings.slug_reservation).await?;
    data_keys::destroy_in_txn(&mut txn, id.uuid()).await?;
    operations::scrub_in_txn(&mut txn, id).await?;
    rehearsals::empty_in_txn(&mut txn, id).await?;
    adoptions::forget(&mut txn, id).await?;
    idempotency::forget_in_txn(&mut txn, id.uuid()).await?;
    record_end_in_txn(run, &mut txn).await?;
    txn.commit().await?;
    ctx.tenancy.refresh(id).await;
    tracing::info!(tenant.id = %id, "a tenant is erased");
    Ok(())
}

async fn record_end_in_txn(run: &Run, txn: &mut PgConnection) -> Result<()> {
    let ctx = &run.ctx;
    let origin = ctx.origin();
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let details = json!({ "operation_id": run.operation.id });
    audit::record_in_txn(txn, event, &origin, ("tenant.erased", &run.tenant_id().to_string()), &details).await
}
