//! `tenant.archive`: a tenant's database becomes an encrypted archive, and its server has nothing of it any more.
//!
//! The tenant is refused from the transaction that asks for its archiving ([`start`]). Its login is denied and its sessions
//! are ended before the dump begins, so the archive holds every write that was ever acknowledged. The archive is read back,
//! decrypted, restored into a scratch database and compared ([`rehearsal`](super::rehearsal)). Only then the database goes.
//!
//! Until then all of it can be undone. It is undone when the archive could not be woken, when another reason stays, or when
//! what is needed stays away: a tenant must not be shut out for want of a store.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    archive_store,
    change::{Change, Progress, refuse},
    rehearsal::REFUSALS,
    transfer::{self, Reading, Site},
};
use crate::{
    archives as objects,
    control::{
        archives::{self, Archive},
        audit::Origin,
        tenant_states,
        tenants::TenantState,
    },
    error::{Error, Result},
    faults::crash_point,
    operations::{
        Context,
        engine::{
            kind::{Kind, LONG, RESTORING, kind},
            run::Run,
        },
        fleet::provisioning_steps::{drop_database, drop_role},
    },
    types::TenantId,
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.archive", Unwind, {
    record => reopen,
    shut_out => let_in,
    dump within LONG => stop_reading,
    check within LONG => nothing,
    rehearse within RESTORING => end_rehearsal,
    drop_database => never,
    drop_role => never,
    prune => never,
}, refusals REFUSALS);

/// From the look at a role's rights until its session is seen: PostgreSQL does that without waiting for the client.
const ENTERING: Duration = Duration::from_millis(100);

/// The operation's input: there is nothing to say beyond which tenant it is.
#[derive(Debug, Serialize, Deserialize)]
struct Input {}

/// Archives a tenant: it is refused from now on. Of one that is archived, or being archived, nothing is changed.
///
/// # Errors
/// `not_found`; `tenant_state_conflict`, `operation_in_progress` (409); `archives_not_configured`,
/// `dump_tools_missing`, `dump_tools_unfit` (409), before anybody is shut out; `tenant_gone` (410).
pub async fn start(ctx: &Context, id: TenantId, origin: &Origin) -> Result<Progress> {
    transfer::check_means(ctx, id).await?;
    let mut change = Change::begin(ctx, id, origin).await?;
    if let Some(operation) = change.under_way(&KIND).await? {
        return Ok(Progress { tenant: change.leave().await?, operation: Some(operation) });
    }
    match change.tenant.state {
        TenantState::Active | TenantState::Suspended => {}
        TenantState::Archived => return Ok(Progress { tenant: change.leave().await?, operation: None }),
        state => return Err(refuse(state, "only an active or suspended tenant can be archived")),
    }
    let operation = change.queue(&KIND, &Input {}).await?;
    tenant_states::archive_in_txn(change.txn(), id).await?;
    let change = change.record("tenant.archive", &json!({ "operation_id": operation })).await?;
    crash_point!("tenant.archive.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.archive.after_commit", id);
    Ok(Progress { tenant, operation: Some(operation) })
}

/// The tenant is again what it was. What lies in the store goes after that, however long the store stays away: nobody
/// is shut out meanwhile.
async fn reopen(run: &Run) -> Result<()> {
    let mut txn = run.begin().await?;
    tenant_states::wake_in_txn(&mut txn, run.tenant_id(), None).await?;
    txn.commit().await?;
    run.ctx.tenancy.refresh(run.tenant_id()).await;
    discard(run).await
}

/// From here on nothing is written any more: what a replica had let in before it heard of the archiving has ended.
async fn shut_out(run: &Run) -> Result<()> {
    run.admin.deny_login(run.database()).await?;
    run.admin.terminate_sessions(run.database()).await?;
    // Whoever was let in at the very moment is not to be seen until its session has begun.
    tokio::time::sleep(ENTERING).await;
    run.admin.terminate_sessions(run.database()).await?;
    // What a prepared transaction holds is not in a dump, and may be committed after it.
    run.admin.check_droppable(run.database()).await
}

async fn let_in(run: &Run) -> Result<()> {
    run.admin.allow_login(run.database()).await
}

/// What an earlier attempt has completed is adopted; what it has not is thrown away, and another archive begun: the
/// other attempt may only have been stopped, and nobody writes to an object of somebody else's.
async fn dump(run: &Run) -> Result<()> {
    let ctx = &run.ctx;
    if made(run).await?.is_some() {
        return stop_reading(run).await;
    }
    discard(run).await?;
    // Said before the hours that it takes to find the same at the end.
    Site::of(run).check_owners().await?;
    let Reading { dump, contents, moment } = Site::of(run).read(&[]).await?;
    let draft = archive_store::announce(run, &contents).await?;
    let written = objects::write(ctx.archives()?, &draft.key, draft.name, dump).await?;
    moment.close().await;
    let bytes = i64::try_from(written.bytes_stored).map_err(Error::internal)?;
    let archive = draft.name.archive;
    if !archives::complete(&mut *ctx.db.acquire().await?, run.claim(), archive, bytes, &written.sha256).await? {
        ctx.archives()?.delete(draft.name).await?;
        return Err(Error::defect("a later attempt has begun another archive"));
    }
    tracing::info!(archive.id = %archive, archive.bytes = bytes, "a tenant's database is in the archive store");
    stop_reading(run).await
}

/// The archive that this operation has completed.
async fn made(run: &Run) -> Result<Option<Archive>> {
    let found = archive_store::newest(&mut *run.ctx.db.acquire().await?, run.tenant_id()).await?;
    Ok(found.filter(|archive| archive.operation_id == run.operation.id))
}

/// Deletes what this operation has written so far.
async fn discard(run: &Run) -> Result<()> {
    let known = archives::list(&mut *run.ctx.db.acquire().await?, run.tenant_id()).await?;
    for archive in known.iter().filter(|archive| archive.operation_id == run.operation.id) {
        archive_store::discard(run, archive).await?;
    }
    Ok(())
}

async fn stop_reading(run: &Run) -> Result<()> {
    Site::of(run).end_reading().await
}

/// The archive is read to its end and lists every table.
async fn check(run: &Run) -> Result<()> {
    let archive = made(run).await?.ok_or_else(|| Error::defect("the operation has made no archive"))?;
    let plain = archive_store::open(&run.ctx, &archive).await?;
    let listed = Site::of(run).programs().await?.contents(plain).await?;
    match archive_store::contents_of(&archive)?.missing_in(&listed) {
        None => Ok(()),
        Some(table) => Err(Error::defect(format!("the archive holds no rows of the table {table}"))),
    }
}

/// The last look before the original goes: what the archive becomes is the same.
async fn rehearse(run: &Run) -> Result<()> {
    let archive = made(run).await?.ok_or_else(|| Error::defect("the operation has made no archive"))?;
    let dump = archive_store::open(&run.ctx, &archive).await?;
    Site::of(run).rehearse(dump, &archive_store::contents_of(&archive)?).await
}

async fn end_rehearsal(run: &Run) -> Result<()> {
    Site::of(run).end_rehearsal().await
}

/// Older archives have served their time.
async fn prune(run: &Run) -> Result<()> {
    let archive = made(run).await?.ok_or_else(|| Error::defect("the operation has made no archive"))?;
    archive_store::clear(run, Some(archive.id)).await
}
