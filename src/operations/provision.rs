//! `tenant.provision`: from a request to a tenant that serves.
//!
//! [`start`] writes one transaction: the tenant, its keys and secrets, the operation and the idempotency key.
//! From then on the tenant will exist, whatever is killed. The steps make the role and the database (created
//! closed, taken from PUBLIC, opened last) and the first administrator, and open the gate. Each looks before it
//! acts and adopts what is already there, so each can be repeated.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::{
    Context,
    attempt::Run,
    kind::{Kind, kind},
    publish, template,
};
use crate::{
    control::{
        audit::{self, Origin},
        data_keys, idempotency,
        operations::{self, NewOperation},
        plans,
        sealing::DataKey,
        secrets::{self, Purpose},
        servers, slugs,
        tenants::{self, NewTenant, Tenant},
    },
    error::{Error, FieldError, Result},
    faults::crash_point,
    identity::{self, FirstAdmin},
    tenancy::Statements,
    types::{AuditEventId, DisplayName, Email, OperationId, ServerId, Slug, TenantId},
};

pub(super) const KIND: Kind = kind!("tenant.provision", Block, {
    record => forget,
    build_template => nothing,
    create_role => drop_role,
    create_database => drop_database,
    restrict_database => nothing,
    open_database => nothing,
    create_first_admin => nothing,
    activate => never,
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
    /// Where it shall live.
    pub placement: Placement,
    /// Its first administrator; without one, nobody can sign in until somebody is invited.
    pub admin: Option<Admin>,
}

/// Where a tenant shall live.
#[derive(Debug)]
pub enum Placement {
    /// On the server with the fewest tenants, of this name and in this region if given.
    Customer {
        /// The server's name.
        server: Option<String>,
        /// The server's region.
        region: Option<String>,
    },
    /// The platform tenant, on the platform server.
    Platform(ServerId),
}

/// A tenant's first administrator.
#[derive(Debug)]
pub struct Admin {
    /// Their address.
    pub email: Email,
    /// Their name; the local part of the address stands in for it.
    pub name: Option<DisplayName>,
    /// With a password they can sign in at once; without one they are invited.
    pub password: Option<SecretString>,
}

/// A tenant that is, or will be.
#[derive(Debug)]
pub struct Started {
    /// The tenant as it is now.
    pub tenant: Tenant,
    /// The operation that makes it.
    pub operation: OperationId,
    /// The first administrator's invitation, when no password was given.
    pub invitation: Option<Invitation>,
}

/// An invitation that is told once, to whoever made the tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    token: String,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

impl Invitation {
    /// The secret that accepts it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// The operation's input, as the control database holds it. Never secret.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    admin: Option<InputAdmin>,
}

#[derive(Debug, Serialize, Deserialize)]
struct InputAdmin {
    email: Email,
    name: DisplayName,
}

impl InputAdmin {
    fn new(admin: &Admin) -> Result<Self> {
        let local_part = admin.email.as_str().split('@').next().unwrap_or_default();
        let name = admin.name.clone().map_or_else(|| local_part.parse(), Ok).map_err(Error::internal)?;
        Ok(Self { email: admin.email.clone(), name })
    }
}

/// Starts the provisioning of a tenant, or finds the one that an earlier request with the same key has started.
///
/// # Errors
/// `slug_taken`, `no_server_available` (409); `validation_failed` on `plan`, `server`, `region` or
/// `admin.password`; `idempotency_key_reused` (422).
pub async fn start(
    ctx: &Context,
    request: Request,
    origin: &Origin,
    idempotency: Option<&idempotency::Request<'_>>,
) -> Result<Started> {
    check_password(&request)?;
    let id = TenantId::generate(&ctx.clock, ctx.random);
    let mut txn = ctx.db.begin().await?;
    if let Some(idempotency) = idempotency
        && let Some(earlier) = idempotency::claim_in_txn(&mut txn, &ctx.keys, idempotency, id.uuid()).await?
    {
        return find(ctx, &mut txn, TenantId::from_uuid(earlier)).await;
    }
    let tenant = insert_tenant_in_txn(&mut txn, id, &request).await?;
    let data_key = data_keys::create_in_txn(&mut txn, &ctx.keys, id.uuid(), ctx.random).await?;
    identity::provision_signing_key_in_txn(&mut txn, &data_key, id, &ctx.clock, ctx.random).await?;
    let password = SecretString::from(ctx.random.token());
    secrets::put(&mut txn, &data_key, id.uuid(), Purpose::TenantDatabasePassword, &password).await?;
    let invitation = match &request.admin {
        Some(admin) => keep_first_admin_in_txn(ctx, &mut txn, &data_key, id, admin).await?,
        None => None,
    };
    let operation = queue_in_txn(ctx, &mut txn, &tenant, request.admin.as_ref(), origin).await?;
    crash_point!("tenant.provision.before_commit", id);
    txn.commit().await?;
    crash_point!("tenant.provision.after_commit", id);
    tracing::info!(tenant.id = %id, operation.id = %operation, "a tenant will be provisioned");
    Ok(Started { tenant, operation, invitation })
}

fn check_password(request: &Request) -> Result<()> {
    let Some(Admin { email, password: Some(password), .. }) = &request.admin else { return Ok(()) };
    let local_part = email.as_str().split('@').next().unwrap_or_default();
    let about = [request.slug.as_str(), request.name.as_str(), local_part];
    identity::check_password_policy(password.expose_secret(), &about)
        .map_err(|error| FieldError { field: "admin.password".to_owned(), ..error }.into())
}

async fn insert_tenant_in_txn(txn: &mut PgConnection, id: TenantId, request: &Request) -> Result<Tenant> {
    if !plans::exists(txn, &request.plan).await? {
        return Err(FieldError::new("plan", "unknown_plan", "there is no such plan").into());
    }
    let server_id = match &request.placement {
        Placement::Platform(server) => *server,
        Placement::Customer { server, region } => place_in_txn(txn, server.as_deref(), region.as_deref()).await?,
    };
    let new = NewTenant {
        id,
        slug: request.slug.clone(),
        name: request.name.clone(),
        is_platform: matches!(request.placement, Placement::Platform(_)),
        plan: request.plan.clone(),
        server_id,
    };
    tenants::insert_in_txn(txn, &new).await
}

async fn place_in_txn(txn: &mut PgConnection, server: Option<&str>, region: Option<&str>) -> Result<ServerId> {
    if let Some(id) = servers::place_in_txn(txn, server, region).await? {
        return Ok(id);
    }
    Err(match (server, region) {
        (Some(_), _) => {
            FieldError::new("server", "unknown_server", "there is no such server that takes tenants").into()
        }
        (None, Some(_)) => FieldError::new("region", "unknown_region", "no server of this region takes tenants").into(),
        (None, None) => Error::conflict("no_server_available", "no server takes tenants; register one first"),
    })
}

/// Seals what the operation needs to make the first administrator: a password is hashed there, not here, so
/// that a burst of requests never waits for hashes. See docs/decisions.
async fn keep_first_admin_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    key: &DataKey,
    id: TenantId,
    admin: &Admin,
) -> Result<Option<Invitation>> {
    if let Some(password) = &admin.password {
        secrets::put(txn, key, id.uuid(), Purpose::FirstAdminPassword, password).await?;
        return Ok(None);
    }
    let lifetime = TimeDelta::from_std(ctx.invitation).map_err(Error::internal)?;
    let invitation = Invitation { token: ctx.random.token(), expires_at: ctx.clock.now() + lifetime };
    let text = SecretString::from(serde_json::to_string(&invitation).map_err(Error::internal)?);
    secrets::put(txn, key, id.uuid(), Purpose::FirstAdminInvitation, &text).await?;
    Ok(Some(invitation))
}

async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    tenant: &Tenant,
    admin: Option<&Admin>,
    origin: &Origin,
) -> Result<OperationId> {
    let id = OperationId::generate(&ctx.clock, ctx.random);
    let input = Input { admin: admin.map(InputAdmin::new).transpose()? };
    let new = NewOperation {
        id,
        kind: KIND.name,
        tenant_id: tenant.id,
        input: serde_json::to_value(&input).map_err(Error::internal)?,
        requested_by: &origin.actor,
        steps: &KIND.step_names(),
        done: 1,
    };
    operations::insert_in_txn(txn, &new).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let details = serde_json::json!({ "slug": tenant.slug, "plan": tenant.plan, "operation_id": id });
    audit::record_in_txn(txn, event, origin, ("tenant.create", &tenant.id.to_string()), &details).await?;
    Ok(id)
}

/// What an earlier request has started, with the same invitation that it was told.
async fn find(ctx: &Context, connection: &mut PgConnection, id: TenantId) -> Result<Started> {
    let missing = || Error::defect("an idempotency key refers to a tenant that is not there");
    let tenant = tenants::get(connection, id).await?.ok_or_else(missing)?;
    let operation = operations::provisioning_of(connection, id).await?.ok_or_else(missing)?;
    let kept = secrets::get(connection, &ctx.keys, id.uuid(), Purpose::FirstAdminInvitation).await?;
    let invitation =
        kept.map(|text| serde_json::from_str(text.expose_secret())).transpose().map_err(Error::internal)?;
    Ok(Started { tenant, operation, invitation })
}

/// Nobody has ever used the tenant: its slug is free at once, and its secrets are destroyed.
async fn forget(run: &Run) -> Result<()> {
    let mut txn = run.ctx.db.begin().await?;
    tenants::bury_in_txn(&mut txn, run.tenant_id()).await?;
    slugs::release_in_txn(&mut txn, run.tenant_id()).await?;
    data_keys::destroy_in_txn(&mut txn, run.tenant_id().uuid()).await?;
    Ok(txn.commit().await?)
}

async fn build_template(run: &Run) -> Result<()> {
    template_name(run).await.map(drop)
}

async fn template_name(run: &Run) -> Result<String> {
    let set = publish::current(&run.ctx.db).await?;
    let access = &run.access;
    template::ensure(&run.ctx, &run.admin, &access.address, &access.credentials, &set).await
}

async fn create_role(run: &Run) -> Result<()> {
    let password = {
        let mut connection = run.ctx.db.acquire().await?;
        let purpose = Purpose::TenantDatabasePassword;
        secrets::require(&mut connection, &run.ctx.keys, run.tenant_id().uuid(), purpose).await?
    };
    run.admin.ensure_tenant_role(run.database(), &password).await
}

async fn drop_role(run: &Run) -> Result<()> {
    run.admin.drop_tenant_role(run.database()).await
}

async fn create_database(run: &Run) -> Result<()> {
    run.admin.ensure_database(run.database(), &template_name(run).await?).await
}

async fn drop_database(run: &Run) -> Result<()> {
    run.admin.drop_database(run.database()).await
}

async fn restrict_database(run: &Run) -> Result<()> {
    run.admin.restrict_database(run.database()).await
}

async fn open_database(run: &Run) -> Result<()> {
    run.admin.open_database(run.database()).await
}

async fn create_first_admin(run: &Run) -> Result<()> {
    let (ctx, id) = (&run.ctx, run.tenant_id());
    let input: Input = run.input()?;
    let how = {
        let mut connection = ctx.db.acquire().await?;
        let password = secrets::get(&mut connection, &ctx.keys, id.uuid(), Purpose::FirstAdminPassword).await?;
        let kept = secrets::get(&mut connection, &ctx.keys, id.uuid(), Purpose::FirstAdminInvitation).await?;
        first_admin(password, kept)?
    };
    // Without a secret an earlier attempt has made the administrator and only failed to record it.
    if let (Some(admin), Some(how)) = (input.admin, how) {
        ctx.identity.ensure_first_admin(id, (&admin.email, &admin.name), &how).await?;
        let mut connection = ctx.db.acquire().await?;
        secrets::delete(&mut connection, id.uuid(), Purpose::FirstAdminPassword).await?;
    }
    Ok(())
}

fn first_admin(password: Option<SecretString>, invitation: Option<SecretString>) -> Result<Option<FirstAdmin>> {
    if let Some(password) = password {
        return Ok(Some(FirstAdmin::Password(password)));
    }
    let Some(text) = invitation else { return Ok(None) };
    let Invitation { token, expires_at } = serde_json::from_str(text.expose_secret()).map_err(Error::internal)?;
    Ok(Some(FirstAdmin::Invitation { token: token.into(), expires_at }))
}

/// Opens the gate, with the version that the database really has: the template may have been of an older set
/// than the newest.
async fn activate(run: &Run) -> Result<()> {
    let tenant = run.ctx.tenancy.connect(run.tenant_id()).await?;
    let row = tenant.row("SELECT max(version)::int4 AS version FROM refinery_schema_history", &[]).await?;
    drop(tenant);
    let version = row.and_then(|row| row.get::<_, Option<i32>>("version")).unwrap_or_default();
    tenants::activate(&mut *run.ctx.db.acquire().await?, run.tenant_id(), version).await
}
