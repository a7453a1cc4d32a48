//! `tenant.provision`: makes a new tenant.
//!
//! [`start`] writes one transaction: the tenant, its keys and secrets, the operation and the idempotency key. Once it
//! is committed the operation goes on, even if this replica is killed. If a warm database is ready, the tenant gets it,
//! and serves requests as soon as its first administrator exists. Otherwise the steps create a database first. The last
//! step, `activate`, lets requests in. Until it begins, the operation can be undone. Each step keeps what already
//! exists, so each can be repeated.

pub(super) mod first_admin;

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use tokio::time::Instant;

pub use first_admin::Invitation;
use first_admin::{Input, create_first_admin};

use crate::{
    control::{
        adoptions,
        audit::{self, Origin},
        data_keys, idempotency, migration_files,
        operations::{self, NewOperation},
        secrets::{self, Purpose},
        servers, slugs,
        tenants::{self, NewTenant, Tenant},
        warm_databases::{self, Claimed},
    },
    error::{Error, FieldError, Result},
    faults::crash_point,
    identity::credentials,
    migrations::{SELECT_VERSIONS, applied_versions},
    operations::{
        Context,
        engine::{
            kind::{Kind, kind},
            run::{Run, claim_lost},
        },
        fleet::{
            placement::{self, Wishes},
            provisioning_steps::{
                Bound, build_template, create_database, create_role, discard_role, discard_unused, grant_access,
                make_keys_in_txn,
            },
            warm,
        },
    },
    tenancy::Statements,
    types::{AuditEventId, DisplayName, Email, Idempotency, OperationId, SchemaVersions, ServerId, Slug, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.provision", Block, {
    record => forget,
    build_template => nothing,
    create_role => discard_role,
    create_database => discard_database,
    grant_access => nothing,
    create_first_admin => nothing,
    activate => never,
}, formerly {
    restrict_database => grant_access,
    open_database => grant_access,
});

/// What an operator asks for.
#[derive(Debug)]
pub struct Request {
    /// The tenant's public name.
    pub slug: Slug,
    /// Its name for people.
    pub name: DisplayName,
    /// The name of its plan.
    pub plan: String,
    /// Which server its database goes to.
    pub placement: Placement,
    /// Its first administrator. Without one, nobody can sign in until an operator invites somebody.
    pub admin: Option<Admin>,
}

/// Which server a tenant's database goes to.
#[derive(Debug)]
pub enum Placement {
    /// The least full server that has this name, this region and these labels, as far as they are given.
    Customer {
        /// The server's name.
        server: Option<String>,
        /// The server's region.
        region: Option<String>,
        /// Labels that the server must have. It may have others too.
        labels: BTreeMap<String, String>,
    },
    /// The platform server, for the platform tenant.
    Platform(ServerId),
}

/// A tenant's first administrator.
#[derive(Debug)]
pub struct Admin {
    /// Their email address.
    pub email: Email,
    /// Their name; by default the local part of the address.
    pub name: Option<DisplayName>,
    /// With a password they can sign in at once; without one they are invited.
    pub password: Option<SecretString>,
}

/// The result of a request for a new tenant.
#[derive(Debug)]
pub struct Started {
    /// The tenant as it is now.
    pub tenant: Tenant,
    /// The operation that provisions it.
    pub operation: OperationId,
    /// The first administrator's invitation, when no password was given.
    pub invitation: Option<Invitation>,
}

/// Starts the provisioning of a tenant, or finds the one that an earlier request with the same key has started.
///
/// # Errors
/// `slug_taken`, `no_server_available` (409); `validation_failed` on `plan`, `server`, `region` or
/// `admin.password`; `idempotency_key_reused` (422).
pub async fn start(
    ctx: &Context,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Started> {
    check_password(request.admin.as_ref(), (&request.slug, &request.name))?;
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
    let began = Instant::now();
    let mut txn = ctx.db.begin().await?;
    let fresh = TenantId::generate(&ctx.clock, ctx.random);
    if let Some(earlier) = claim_in_txn(ctx, &mut txn, idempotency, fresh).await? {
        return Ok(Some(earlier));
    }
    let place = place_in_txn(&mut txn, &request.placement).await?;
    let id = place.warm.as_ref().map_or(fresh, |warm| warm.id);
    if let (Some(idempotency), Some(_)) = (idempotency, &place.warm) {
        idempotency::settle_in_txn(&mut txn, idempotency, id.uuid()).await?;
    }
    let tenant = tenants::insert_in_txn(&mut txn, &new_tenant(request, id, &place)).await?;
    let invitation = keys_in_txn(ctx, &mut txn, id, request.admin.as_ref(), place.warm.as_ref()).await?;
    let input = Input::new(request.admin.as_ref(), place.newest)?;
    let is_warm = place.warm.is_some();
    let operation = queue_in_txn(ctx, &mut txn, (&tenant, is_warm), &input, origin).await?;
    crash_point!("tenant.provision.before_commit", id);
    if !servers::commit_placed(txn).await? {
        return Ok(None);
    }
    crash_point!("tenant.provision.after_commit", id);
    if let Placement::Customer { .. } = request.placement {
        warm::count(is_warm, began.elapsed());
    }
    tracing::info!(tenant.id = %id, operation.id = %operation, tenant.warm = is_warm, "a tenant is recorded");
    Ok(Some(Started { tenant, operation, invitation }))
}

/// Refuses a weak password for the first administrator of a tenant with this slug and this name.
pub(super) fn check_password(admin: Option<&Admin>, (slug, name): (&Slug, &DisplayName)) -> Result<()> {
    let Some(Admin { email, password: Some(password), .. }) = admin else { return Ok(()) };
    let local_part = email.as_str().split('@').next().unwrap_or_default();
    let about = [slug.as_str(), name.as_str(), local_part];
    credentials::check_password_policy(password.expose_secret(), &about)
        .map_err(|error| FieldError { field: "admin.password".to_owned(), ..error }.into())
}

/// The server of a tenant, and its database there.
struct Place {
    server: ServerId,
    /// The newest published migrations. The database has them already, or will be created with them.
    newest: SchemaVersions,
    /// The warm database that the tenant gets, if one is ready.
    warm: Option<Claimed>,
}

async fn place_in_txn(txn: &mut PgConnection, placement: &Placement) -> Result<Place> {
    let wishes = match placement {
        Placement::Platform(server) => {
            let newest = migration_files::newest_versions(txn).await?;
            return Ok(Place { server: *server, newest, warm: None });
        }
        Placement::Customer { server, region, labels } => {
            Wishes { server: server.as_deref(), region: region.as_deref(), labels }
        }
    };
    let server = placement::choose_in_txn(txn, wishes).await?;
    let (newest, warm) = warm_databases::claim_in_txn(txn, server).await?;
    Ok(Place { server, newest, warm })
}

fn new_tenant(request: &Request, id: TenantId, place: &Place) -> NewTenant {
    NewTenant {
        id,
        slug: request.slug.clone(),
        name: request.name.clone(),
        is_platform: matches!(request.placement, Placement::Platform(_)),
        plan: request.plan.clone(),
        server_id: place.server,
        versions: place.warm.is_some().then_some(place.newest),
        is_settling: place.warm.is_some() && request.admin.is_some(),
    }
}

/// Makes the tenant's keys, unless a warm database has them already. Stores the secret from which the first
/// administrator is made.
async fn keys_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    id: TenantId,
    admin: Option<&Admin>,
    warm: Option<&Claimed>,
) -> Result<Option<Invitation>> {
    let data_key = match (warm, admin) {
        (Some(_), None) => return Ok(None),
        (Some(warm), Some(_)) => ctx.keys.unwrap(id.uuid(), &warm.key)?,
        (None, _) => make_keys_in_txn(ctx, txn, id).await?,
    };
    match admin {
        Some(admin) => first_admin::keep_in_txn(ctx, txn, (&data_key, id), admin).await,
        None => Ok(None),
    }
}

/// Whether a step is recorded as done from the beginning, because there is nothing to do. A warm database exists
/// already, and not every tenant gets an administrator.
fn is_done(step: &str, is_warm: bool, input: &Input) -> bool {
    match step {
        "record" => true,
        "create_first_admin" => input.admin.is_none(),
        "activate" => is_warm && input.admin.is_none(),
        _ => is_warm,
    }
}

async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    (tenant, is_warm): (&Tenant, bool),
    input: &Input,
    origin: &Origin,
) -> Result<OperationId> {
    let id = OperationId::generate(&ctx.clock, ctx.random);
    let new = NewOperation {
        id,
        kind: KIND.name,
        tenant_id: tenant.id,
        input: serde_json::to_value(input).map_err(Error::internal)?,
        requested_by: &origin.actor,
        steps: &KIND.new_steps(|step| is_done(step, is_warm, input)),
    };
    operations::insert_in_txn(txn, &new).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let details = serde_json::json!({ "slug": tenant.slug, "plan": tenant.plan, "operation_id": id, "warm": is_warm });
    audit::record_in_txn(txn, event, origin, ("tenant.create", &tenant.id.to_string()), &details).await?;
    Ok(id)
}

/// Claims the request's idempotency key for the tenant that this transaction is about to insert. If an earlier request
/// has claimed the key, returns what that request started.
pub(in crate::operations) async fn claim_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    idempotency: Option<&Idempotency>,
    id: TenantId,
) -> Result<Option<Started>> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    match idempotency::claim_in_txn(txn, &ctx.keys, idempotency, id.uuid()).await? {
        Some(earlier) => find(ctx, txn, TenantId::from_uuid(earlier)).await.map(Some),
        None => Ok(None),
    }
}

/// What an earlier request started, with the invitation that it was given.
async fn find(ctx: &Context, connection: &mut PgConnection, id: TenantId) -> Result<Started> {
    let missing = || Error::defect("an idempotency key refers to a tenant that is not there");
    let tenant = tenants::get(connection, id).await?.ok_or_else(missing)?;
    let operation = operations::provisioning_of(connection, id).await?.ok_or_else(missing)?;
    let kept = secrets::get(connection, &ctx.keys, id.uuid(), Purpose::FirstAdminInvitation).await?;
    let invitation =
        kept.map(|text| serde_json::from_str(text.expose_secret())).transpose().map_err(Error::internal)?;
    Ok(Started { tenant, operation, invitation })
}

/// Drops the tenant's database, whether it was created for the tenant or was a warm one. Refuses if the database turns
/// out to belong to somebody else.
async fn discard_database(run: &Run) -> Result<()> {
    let input: Input = run.input()?;
    discard_unused(run, input.admin.as_ref().map(|admin| &admin.email)).await
}

/// Removes a tenant that nobody has used. Its slug is free at once, and its secrets are destroyed. A new request may
/// use the same idempotency key again.
pub(in crate::operations) async fn forget(run: &Run) -> Result<()> {
    let mut txn = run.begin().await?;
    tenants::bury_in_txn(&mut txn, run.tenant_id()).await?;
    slugs::release_in_txn(&mut txn, run.tenant_id()).await?;
    data_keys::destroy_in_txn(&mut txn, run.tenant_id().uuid()).await?;
    operations::scrub_in_txn(&mut txn, run.tenant_id()).await?;
    adoptions::forget(&mut txn, run.tenant_id()).await?;
    idempotency::forget_in_txn(&mut txn, run.tenant_id().uuid()).await?;
    Ok(txn.commit().await?)
}

/// Lets requests in. Before this step nobody could write to the tenant, so the operation could be undone. From here on
/// the database may hold its users' data.
pub(in crate::operations) async fn activate(run: &Run) -> Result<()> {
    let versions = match run.input()? {
        Bound { versions: Some(versions) } => versions,
        Bound { versions: None } => versions_of_database(run).await?,
    };
    let mut connection = run.ctx.db.acquire_for_change().await?;
    if tenants::open(&mut connection, run.claim(), versions).await? { Ok(()) } else { Err(claim_lost()) }
}

/// The versions that the tenant's database itself records.
async fn versions_of_database(run: &Run) -> Result<SchemaVersions> {
    let tenant = run.ctx.tenancy.connect(run.tenant_id()).await?;
    let row = tenant.row(SELECT_VERSIONS, &[]).await?;
    applied_versions(&row.ok_or_else(|| Error::defect("a database does not tell its versions"))?)
}
