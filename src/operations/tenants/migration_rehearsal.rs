//! `tenant.rehearse`: runs the migrations that a tenant lacks on a copy of its database, and records what each statement
//! did: locks, how long, how many rows, which tables were written anew. The tenant serves meanwhile, and nothing of it
//! changes.
//!
//! The copy is a scratch database on the tenant's server, made as the rehearsal of an archive makes it. It is dropped
//! whatever happened: by the last step, by the undoing, and by the janitor if the operation is gone. A statement that
//! fails is a result: the operation succeeds, and the record tells.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    change::{Change, refuse},
    clone::COPY_REFUSALS,
    transfer::{self, Reading, Site},
};
use crate::{
    control::{audit::Origin, migration_files, operations, rehearsals, tenants::TenantState},
    error::{Error, FieldError, Result},
    faults::crash_point,
    migrations::{self, Limits},
    operations::{
        Context,
        engine::{
            kind::{Kind, RESTORING, kind},
            run::Run,
        },
        schema::{ROLES, publish},
    },
    servers::{BUILDER_PREFIX, TransferLogin, scratch_name},
    types::{OperationId, SchemaVersions, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.rehearse", Unwind, {
    record => nothing,
    run_files within RESTORING => drop_copy,
    drop_copy => nothing,
}, refusals COPY_REFUSALS);

/// The operation's input.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    /// The version of the product's stream that the copy is taken to.
    product: i32,
}

/// Queues a rehearsal up to `target` of the product's stream, or the newest version; finds the one to the same version
/// that is under way.
///
/// # Errors
/// `not_found`; `validation_failed` on `target_version`; `tenant_state_conflict`, `operation_in_progress` (a rehearsal
/// to another version among them),
/// `dump_tools_missing`, `dump_tools_unfit` (409); `tenant_gone` (410).
pub async fn start(ctx: &Context, tenant: TenantId, target: Option<i32>, origin: &Origin) -> Result<OperationId> {
    transfer::check_tools(ctx, tenant).await?;
    let mut change = Change::begin(ctx, tenant, origin).await?;
    match change.tenant.state {
        TenantState::Active | TenantState::Suspended => {}
        state => return Err(refuse(state, "only an active or suspended tenant has a database to copy")),
    }
    let live = change.under_way(&KIND).await?;
    let newest = migration_files::newest_versions(change.txn()).await?.product;
    let product = target.unwrap_or(newest);
    if !(0..=newest).contains(&product) {
        let message = format!("must be a published version of the product's stream: up to {newest}");
        return Err(FieldError::new("target_version", "unknown_version", message).into());
    }
    if let Some(live) = live {
        return same_target(change.txn(), live, product).await;
    }
    let id = change.queue(&KIND, &Input { product }).await?;
    let recorded = change.record("tenant.rehearse", &json!({ "operation_id": id, "schema_version": product })).await?;
    crash_point!("tenant.rehearse.before_commit", tenant);
    recorded.commit().await?;
    crash_point!("tenant.rehearse.after_commit", tenant);
    Ok(id)
}

/// The rehearsal that is under way, if it goes to this version: what another one shows is not what was asked for.
async fn same_target(txn: &mut PgConnection, live: OperationId, product: i32) -> Result<OperationId> {
    let found = operations::get(txn, live).await?.ok_or_else(|| Error::defect("an operation under way is gone"))?;
    let input: Input = serde_json::from_value(found.input).map_err(Error::internal)?;
    if input.product == product { Ok(live) } else { Err(operations::in_progress()) }
}

/// Makes the copy, and runs the files on it. An attempt that was cut off leaves a copy in which some were run: the next
/// one begins with another copy.
async fn run_files(run: &Run) -> Result<()> {
    let (input, from): (Input, _) = (run.input()?, run.tenant().await?.versions);
    copy(run).await?;
    let schema = publish::newest(&run.ctx.memory, &mut *run.ctx.db.acquire().await?).await?;
    let schema = schema.schema().up_to(SchemaVersions { product: input.product, ..schema.schema().versions() });
    let (site, database) = (Site::of(run), scratch_name(run.database()));
    let login = run.admin.ensure_builder(&builder(run)).await?;
    let mut session = site.enter(&database, &login).await?;
    let onlooker = site.enter(&database, &login).await?;
    let tried = migrations::rehearse_tenant(&mut session, &onlooker, &schema, &ROLES, &Limits::default()).await;
    session.close().await;
    onlooker.close().await;
    let statements = serde_json::to_value(tried?).map_err(Error::internal)?;
    let mut txn = run.begin().await?;
    let versions = (from, schema.versions());
    rehearsals::put_in_txn(&mut txn, run.tenant_id(), run.operation.id, versions, &statements).await?;
    Ok(txn.commit().await?)
}

/// A scratch database with all rows of the tenant's.
async fn copy(run: &Run) -> Result<()> {
    let site = Site::of(run);
    run.admin.make_scratch(run.database()).await?;
    let Reading { dump, moment, .. } = site.read(&[]).await?;
    let restored = site.restore(TransferLogin::Rehearse(run.database()), dump).await;
    moment.close().await;
    site.end_reading().await?;
    restored?.close().await;
    run.admin.drop_transfer_login(TransferLogin::Rehearse(run.database())).await
}

/// Drops the copy, and all logins that were made for it.
async fn drop_copy(run: &Run) -> Result<()> {
    run.admin.drop_scratch(run.database()).await?;
    run.admin.drop_transfer_login(TransferLogin::Rehearse(run.database())).await?;
    Site::of(run).end_reading().await?;
    run.admin.drop_builder(&builder(run)).await
}

/// The name of the login that runs the files.
fn builder(run: &Run) -> String {
    format!("{BUILDER_PREFIX}{}", run.tenant_id().uuid().simple())
}
