//! `tenant.restore`: restores an archived tenant. Its database is created from the newest archive.
//!
//! The tenant stays archived and refuses requests until the last step. Until then everything can be undone. The archive
//! is kept as a backup until the tenant is archived the next time.
//!
//! Rollouts leave archived tenants out. So a tenant that wakes is migrated to the newest published versions, as far as
//! its pin allows, before it serves: the same migration, and the same proof, as in a rollout.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    archive_store,
    change::{Change, Progress, refuse},
    restoring::REFUSALS,
    transfer::{self, Site, check_versions},
};
use crate::{
    control::{
        archives::{self, Archive},
        audit::Origin,
        tenant_states,
        tenants::TenantState,
    },
    error::Result,
    faults::crash_point,
    migrations::{Limits, SELECT_VERSIONS, applied_versions},
    operations::{
        Context,
        engine::{
            kind::{Kind, LONG, RESTORING, kind},
            run::Run,
        },
        fleet::{
            provisioning_steps::{create_role, discard_role, restrict_database},
            tenant_login,
        },
        schema::{
            migrate::{self, Goal, Site as Home},
            publish,
        },
    },
    servers::{BUILDER_PREFIX, Credentials, ServerVersion},
    types::{ArchiveId, SchemaVersions, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.restore", Unwind, {
    record => nothing,
    create_role => discard_role,
    restore_database within RESTORING => discard_database,
    migrate_database within LONG => drop_migrating_login,
    restrict_database => nothing,
    activate => never,
}, refusals REFUSALS);

/// The operation's input.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    /// The archive that the tenant is restored from.
    archive: ArchiveId,
}

/// Restores an archived tenant. Changes nothing if the tenant is being restored already, or is not archived any more.
///
/// # Errors
/// `not_found`; `archive_not_found` (404); `tenant_state_conflict`, `operation_in_progress` (409);
/// `archives_not_configured`, `dump_tools_missing`, `dump_tools_unfit`, `server_too_old` (409); `tenant_gone` (410).
pub async fn start(ctx: &Context, id: TenantId, origin: &Origin) -> Result<Progress> {
    let server = transfer::check_means(ctx, id).await?;
    let mut change = Change::begin(ctx, id, origin).await?;
    if let Some(operation) = change.under_way(&KIND).await? {
        return Ok(Progress { tenant: change.leave().await?, operation: Some(operation) });
    }
    match change.tenant.state {
        TenantState::Archived => {}
        TenantState::Active | TenantState::Suspended => {
            return Ok(Progress { tenant: change.leave().await?, operation: None });
        }
        state => return Err(refuse(state, "only an archived tenant can be woken")),
    }
    let archive = archive_store::newest(change.txn(), id).await?.ok_or_else(archive_store::missing)?;
    check_versions(ServerVersion(archive.server_version), server)?;
    let operation = change.queue(&KIND, &Input { archive: archive.id }).await?;
    let change =
        change.record("tenant.restore", &json!({ "operation_id": operation, "archive_id": archive.id })).await?;
    crash_point!("tenant.restore.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.restore.after_commit", id);
    Ok(Progress { tenant, operation: Some(operation) })
}

async fn archive(run: &Run) -> Result<Archive> {
    let input: Input = run.input()?;
    archives::get(&mut *run.ctx.db.acquire().await?, input.archive).await?.ok_or_else(archive_store::missing)
}

async fn restore_database(run: &Run) -> Result<()> {
    let archive = archive(run).await?;
    check_versions(ServerVersion(archive.server_version), run.admin.version())?;
    let dump = archive_store::open(&run.ctx, &archive).await?;
    Site::of(run).fill(dump, &archive_store::contents_of(&archive)?).await
}

async fn discard_database(run: &Run) -> Result<()> {
    Site::of(run).empty().await
}

/// Takes the database to the newest published versions. Nothing is lost with it when the operation is undone: the
/// archive stays as it was.
async fn migrate_database(run: &Run) -> Result<()> {
    let login = run.admin.ensure_builder(&migrating_login(run)).await?;
    let migrated = migrate_as(run, &login).await;
    drop_migrating_login(run).await?;
    migrated
}

/// An attempt that was killed or called off leaves the login behind. The database goes with a later undo.
async fn drop_migrating_login(run: &Run) -> Result<()> {
    run.admin.drop_builder(&migrating_login(run)).await
}

fn migrating_login(run: &Run) -> String {
    format!("{BUILDER_PREFIX}{}", run.tenant_id().uuid().simple())
}

async fn migrate_as(run: &Run, login: &Credentials) -> Result<()> {
    let newest = publish::newest(&run.ctx.memory, &mut *run.ctx.db.acquire().await?).await?.schema.versions();
    let pinned = run.tenant().await?.pinned;
    let name = run.admin.application_name();
    let site = Home { address: &run.access.address, database: run.database(), login, name };
    let mut session = site.enter(&run.ctx).await?;
    let present = applied_versions(&session.query_one(SELECT_VERSIONS, &[]).await?)?;
    let wanted = SchemaVersions {
        freehold: newest.freehold.max(present.freehold),
        product: pinned.map_or(newest.product, |pinned| pinned.min(newest.product)).max(present.product),
    };
    if wanted != present {
        let goal = Goal::find(&run.ctx, (run.server.id, &run.access), &run.admin, wanted).await?;
        migrate::migrate(&mut session, &goal, &Limits::default()).await?.proof?;
        tracing::info!(tenant.versions = %wanted, "migrated a tenant that wakes");
    }
    session.close().await;
    Ok(())
}

/// Puts the tenant back into its state before the archiving: active or suspended.
async fn activate(run: &Run) -> Result<()> {
    let (_, session) = tenant_login::open(&run.ctx, &run.access.address, run.tenant_id(), "wake").await?;
    let versions = applied_versions(&session.query_one(SELECT_VERSIONS, &[]).await?)?;
    session.close().await;
    let mut txn = run.begin().await?;
    tenant_states::wake_in_txn(&mut txn, run.tenant_id(), Some(versions)).await?;
    txn.commit().await?;
    run.ctx.tenancy.refresh(run.tenant_id()).await;
    Ok(())
}
