//! `tenant.clone`: makes a new tenant with the rows of another one, the source. The source serves requests meanwhile.
//!
//! A dump of one snapshot of the source is streamed into the new tenant's database, and is stored nowhere in between.
//! Some tables are copied without their rows ([`Context::left_behind`]): those that give access to the source, and
//! those that record what people did there. The source's people can sign in at the clone with their passwords; their
//! sessions, tokens and keys are worth nothing there. Second factors are sealed anew. See docs/decisions.
//!
//! No other operation changes the source while it is copied: such an operation is refused, and the clone holds the
//! source's lock on its server. An operator can still suspend the source, or begin its deletion, at any time.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    change::refuse,
    provision::{self, Started, activate, forget},
    transfer::{self, Reading, Site, check_versions},
};
use crate::{
    control::{
        audit::{self, Origin},
        operations, servers,
        tenants::{self, NewTenant, Tenant, TenantState},
    },
    error::{Error, Result},
    faults::crash_point,
    identity::factors,
    operations::{
        Context,
        engine::{
            kind::{Kind, LONG, kind},
            queue,
            run::Run,
        },
        fleet::{
            placement,
            provisioning_steps::{create_role, discard_role, make_keys_in_txn, restrict_database},
        },
    },
    servers::ServerVersion,
    types::{AuditEventId, DisplayName, Idempotency, OperationId, ServerId, Slug, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.clone", Unwind, {
    record => forget,
    create_role => discard_role,
    copy_database within LONG => discard_database,
    restrict_database => nothing,
    seal_factors => nothing,
    activate => never,
}, refusals COPY_REFUSALS);

/// Codes of errors that a retry cannot fix: those of a restore, and that of the dump.
pub(super) const COPY_REFUSALS: [&str; 3] = ["not_restorable", "restore_differs", "unreadable_objects"];

/// What an operator asks for.
#[derive(Debug)]
pub struct Request {
    /// The tenant whose rows the new one gets.
    pub source: TenantId,
    /// The new tenant's public name.
    pub slug: Slug,
    /// Its name for people.
    pub name: DisplayName,
}

/// The operation's input.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    source: TenantId,
}

/// Starts the cloning of a tenant, or finds the one that an earlier request with the same key has started.
///
/// # Errors
/// `not_found`; `tenant_state_conflict`, `operation_in_progress`, `slug_taken`, `no_server_available`,
/// `server_too_old`, `dump_tools_missing`, `dump_tools_unfit` (409); `tenant_gone` (410); `idempotency_key_reused`
/// (422).
pub async fn start(
    ctx: &Context,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Started> {
    transfer::check_tools(ctx, request.source).await?;
    for _ in 0..placement::ATTEMPTS {
        if let Some(started) = record(ctx, request, origin, idempotency).await? {
            return Ok(started);
        }
    }
    Err(placement::overtaken())
}

/// `None` when the chosen server became full in the meantime: then nothing is recorded.
async fn record(
    ctx: &Context,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Started>> {
    let id = TenantId::generate(&ctx.clock, ctx.random);
    let mut txn = ctx.db.begin().await?;
    if let Some(earlier) = provision::claim_in_txn(ctx, &mut txn, idempotency, id).await? {
        return Ok(Some(earlier));
    }
    let source = lock_source_in_txn(&mut txn, request.source).await?;
    let new = NewTenant {
        id,
        slug: request.slug.clone(),
        name: request.name.clone(),
        is_platform: false,
        plan: source.plan.clone(),
        server_id: place_in_txn(&mut txn, &source).await?,
        versions: None,
        is_settling: false,
    };
    let tenant = tenants::insert_in_txn(&mut txn, &new).await?;
    make_keys_in_txn(ctx, &mut txn, id).await?;
    let operation = queue_in_txn(ctx, &mut txn, &source, &tenant, origin).await?;
    crash_point!("tenant.clone.before_commit", request.source);
    if !servers::commit_placed(txn).await? {
        return Ok(None);
    }
    crash_point!("tenant.clone.after_commit", request.source);
    tracing::info!(tenant.id = %id, operation.id = %operation, source.id = %source.id, "a tenant is being cloned");
    Ok(Some(Started { tenant, operation, invitation: None }))
}

/// Locks the source's row until the operation is recorded. Every change of the source checks for such an operation.
async fn lock_source_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<Tenant> {
    let found = tenants::lock_in_txn(txn, id).await?.filter(|tenant| !tenant.is_platform);
    let source = found.ok_or_else(|| Error::not_found("tenant"))?;
    match source.state {
        TenantState::Active | TenantState::Suspended => {}
        state => return Err(refuse(state, "only an active or suspended tenant can be cloned")),
    }
    match operations::lock_live_in_txn(txn, id).await? {
        None => Ok(source),
        Some(_) => Err(operations::in_progress()),
    }
}

/// Chooses the server: the source's own, or one in the same region.
async fn place_in_txn(txn: &mut PgConnection, source: &Tenant) -> Result<ServerId> {
    let missing = || Error::defect("a tenant's server is not in the control database");
    let home = servers::get(txn, source.server_id).await?.ok_or_else(missing)?;
    let id = placement::choose_beside_in_txn(txn, &home).await?;
    let server = servers::get(txn, id).await?.ok_or_else(missing)?;
    check_versions(ServerVersion(home.version_num), ServerVersion(server.version_num))?;
    Ok(id)
}

async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    source: &Tenant,
    tenant: &Tenant,
    origin: &Origin,
) -> Result<OperationId> {
    let input = Input { source: source.id };
    let id = queue::queue_in_txn(ctx, txn, tenant.id, (&KIND, &input), origin).await?;
    operations::read_from_in_txn(txn, id, source.id).await?;
    for (target, details) in [
        (tenant.id, json!({ "slug": tenant.slug, "plan": tenant.plan, "source_id": source.id, "operation_id": id })),
        (source.id, json!({ "clone_id": tenant.id, "operation_id": id })),
    ] {
        let event = AuditEventId::generate(&ctx.clock, ctx.random);
        audit::record_in_txn(txn, event, origin, ("tenant.clone", &target.to_string()), &details).await?;
    }
    Ok(id)
}

/// Dumps one snapshot of the source, and restores it as the new database.
async fn copy_database(run: &Run) -> Result<()> {
    let input: Input = run.input()?;
    let (access, admin) = run.hold(input.source).await?;
    check_versions(admin.version(), run.admin.version())?;
    let source = Site { ctx: &run.ctx, admin: &admin, access: &access, database: input.source.db_name() };
    let Reading { dump, contents, moment } = source.read(&run.ctx.left_behind).await?;
    let filled = Site::of(run).fill(dump, &contents).await;
    moment.close().await;
    let ended = source.end_reading().await;
    filled?;
    ended
}

/// The copied second factors are sealed with the source's key: seals them with the clone's own. So people sign in at the
/// clone with what they sign in with at the source.
async fn seal_factors(run: &Run) -> Result<()> {
    let input: Input = run.input()?;
    factors::reseal(&run.ctx.identity, input.source, run.tenant_id()).await
}

/// Drops the new database, and the login on the source's server that a killed attempt may have left.
async fn discard_database(run: &Run) -> Result<()> {
    Site::of(run).empty().await?;
    let input: Input = run.input()?;
    let (access, admin) = run.hold(input.source).await?;
    Site { ctx: &run.ctx, admin: &admin, access: &access, database: input.source.db_name() }.end_reading().await
}
