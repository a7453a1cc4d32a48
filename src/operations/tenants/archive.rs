//! `tenant.archive`: moves a tenant's database into an encrypted archive, and removes everything of it from its server.
//!
//! The transaction that queues the archiving also closes the tenant to requests ([`start`]). Its login is denied and
//! its sessions are ended before the dump begins, so the archive holds every write that was ever acknowledged. The
//! archive is read back, decrypted, restored into a scratch database and compared ([`rehearsal`](super::rehearsal)).
//! Only then the database is dropped.
//!
//! Until then all of it can be undone. It is undone when the archive cannot be restored, after another permanent error,
//! or when a server or the store stays unavailable. A tenant must not stay locked out only because the store is down.

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

/// How long a login may take from PostgreSQL's check of the role's rights until its session is visible. PostgreSQL does
/// not wait for the client in between.
const ENTERING: Duration = Duration::from_millis(100);

/// The operation's input. It is empty: the tenant says everything.
#[derive(Debug, Serialize, Deserialize)]
struct Input {}

/// Archives a tenant, and refuses its requests from now on. Changes nothing if the tenant is archived already or is
/// being archived.
///
/// # Errors
/// `not_found`; `tenant_state_conflict`, `operation_in_progress` (409); `archives_not_configured`,
/// `dump_tools_missing`, `dump_tools_unfit` (409), before the tenant is closed; `tenant_gone` (410).
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

/// Puts the tenant back into its former state. Only then deletes what this operation has written to the store: if the
/// store is unavailable, the tenant's users can work while the deletion waits.
async fn reopen(run: &Run) -> Result<()> {
    let mut txn = run.begin().await?;
    tenant_states::wake_in_txn(&mut txn, run.tenant_id(), None).await?;
    txn.commit().await?;
    run.ctx.tenancy.refresh(run.tenant_id()).await;
    discard(run).await
}

/// Denies the login and ends the sessions, so that nothing more is written. It also ends the requests that a replica
/// let in before it heard of the archiving.
async fn shut_out(run: &Run) -> Result<()> {
    run.admin.deny_login(run.database()).await?;
    run.admin.terminate_sessions(run.database()).await?;
    // A login that passed its check just before the denial is visible only a moment later.
    tokio::time::sleep(ENTERING).await;
    run.admin.terminate_sessions(run.database()).await?;
    // The changes of a prepared transaction are not in the dump, and could be committed after it.
    run.admin.check_droppable(run.database()).await
}

async fn let_in(run: &Run) -> Result<()> {
    run.admin.allow_login(run.database()).await
}

/// Keeps an archive that an earlier attempt has completed. Discards one that it has not completed, and begins another
/// archive. The earlier attempt may only be paused, so two attempts must never write to the same object.
async fn dump(run: &Run) -> Result<()> {
    let ctx = &run.ctx;
    if made(run).await?.is_some() {
        return stop_reading(run).await;
    }
    discard(run).await?;
    // Checked first: the rehearsal would find the same error, but only after the dump.
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

/// Reads the archive to its end, and checks that it lists every table.
async fn check(run: &Run) -> Result<()> {
    let archive = made(run).await?.ok_or_else(|| Error::defect("the operation has made no archive"))?;
    let plain = archive_store::open(&run.ctx, &archive).await?;
    let listed = Site::of(run).programs().await?.contents(plain).await?;
    match archive_store::contents_of(&archive)?.missing_in(&listed) {
        None => Ok(()),
        Some(table) => Err(Error::defect(format!("the archive holds no rows of the table {table}"))),
    }
}

/// The last check before the original is dropped: the archive restores to the same database.
async fn rehearse(run: &Run) -> Result<()> {
    let archive = made(run).await?.ok_or_else(|| Error::defect("the operation has made no archive"))?;
    let dump = archive_store::open(&run.ctx, &archive).await?;
    Site::of(run).rehearse(dump, &archive_store::contents_of(&archive)?).await
}

async fn end_rehearsal(run: &Run) -> Result<()> {
    Site::of(run).end_rehearsal().await
}

/// Deletes the older archives.
async fn prune(run: &Run) -> Result<()> {
    let archive = made(run).await?.ok_or_else(|| Error::defect("the operation has made no archive"))?;
    archive_store::clear(run, Some(archive.id)).await
}
