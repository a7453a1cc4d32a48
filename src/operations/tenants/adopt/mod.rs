//! `tenant.adopt`: makes a database that is there already a tenant's. This is how a running product moves in.
//!
//! What is in it must be what the product's migrations make, up to some version ([`look`]). The database gets the name
//! of a tenant's and Freehold's owner; what is in it changes hands, with the rights that a provisioned database has;
//! Freehold's stream is applied, and the product's files are recorded without being run. No row is read or written.
//!
//! | step | what it does | its undoing |
//! |---|---|---|
//! | `take_database` | looks under the tenant's lock, renames the database, takes it from everybody else | the name, the owner, the rights |
//! | `hand_over` | looks again, now that nobody can enter; owners and rights, in one transaction | owners and rights, in one transaction; Freehold's schema goes |
//! | `create_role` | the tenant's login | drops it |
//! | `take_in` | Freehold's stream, the product's history, the proof | refuses if people are in it; else what `hand_over` does for it |
//! | `grant_access`, `create_first_admin`, `activate` | as provisioning | |
//!
//! What makes everything what it was is recorded before it is changed (`control::adoptions`). Until `activate` begins,
//! the database can be given back as it was. See docs/decisions.

mod look;
mod steps;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

pub use look::{Look, Verdict};
use steps::{activate, give_back, hand_back, hand_over, refuse_used, take_database, take_in};

use super::provision::{
    self, Admin, Started,
    first_admin::{self, create_first_admin},
    forget,
};
use crate::{
    control::{
        audit::{self, Origin},
        servers::{self, Server},
        tenants::{self, NewTenant, Tenant},
    },
    error::{FieldError, Result},
    faults::crash_point,
    operations::{
        Context,
        engine::{
            kind::{Kind, LONG, kind},
            queue,
        },
        fleet::{
            placement::{self, Wishes},
            provisioning_steps::{create_role, discard_role, grant_access, make_keys_in_txn},
        },
    },
    types::{AuditEventId, DisplayName, Idempotency, OperationId, SchemaVersions, Slug, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.adopt", Unwind, {
    record => forget,
    take_database => give_back,
    hand_over => hand_back,
    create_role => discard_role,
    take_in within LONG => refuse_used,
    grant_access => nothing,
    create_first_admin => nothing,
    activate => never,
}, refusals REFUSALS);

/// Codes of errors that a retry cannot fix: somebody has to change something first.
const REFUSALS: [&str; 5] =
    ["adoption_conflict", "database_in_use", "database_taken", "owner_out_of_reach", "schema_drift"];

/// Which database an operator means.
#[derive(Debug)]
pub struct Subject {
    /// The name of its server.
    pub server: String,
    /// Its name there.
    pub database: String,
    /// The version of the product's stream that it has. By default what its history says; the newest without one.
    pub version: Option<i32>,
}

/// What an operator asks for.
#[derive(Debug)]
pub struct Request {
    /// The tenant's public name.
    pub slug: Slug,
    /// Its name for people.
    pub name: DisplayName,
    /// The name of its plan.
    pub plan: String,
    /// The database.
    pub subject: Subject,
    /// Its first administrator.
    pub admin: Option<Admin>,
}

/// The operation's input.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    /// What the database was called.
    database: String,
    /// With the versions that it has in the end.
    #[serde(flatten)]
    first: first_admin::Input,
}

/// Says whether a database can become a tenant's. Changes nothing in it.
///
/// # Errors
/// `validation_failed` on `server`, `database` or `version`. Whatever else keeps it from being judged is a verdict.
pub async fn judge(ctx: &Context, subject: &Subject) -> Result<Look> {
    let server = server(ctx, &subject.server).await?;
    look::judge(ctx, &server, subject).await
}

/// Starts the adoption of a database, or finds the one that an earlier request with the same key has started.
///
/// # Errors
/// `adoption_conflict`, `schema_drift`, `slug_taken`, `no_server_available` (409); `validation_failed` on `server`,
/// `database`, `version`, `plan` or `admin.password`; `idempotency_key_reused` (422).
pub async fn start(
    ctx: &Context,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Started> {
    provision::check_password(request.admin.as_ref(), (&request.slug, &request.name))?;
    if let Some(earlier) = earlier(ctx, idempotency).await? {
        return Ok(earlier);
    }
    let server = server(ctx, &request.subject.server).await?;
    let look = look::at(ctx, &server, &request.subject).await?;
    look.refuse()?;
    for _ in 0..placement::ATTEMPTS {
        if let Some(started) = record(ctx, request, look.versions, (origin, idempotency)).await? {
            return Ok(started);
        }
    }
    Err(placement::overtaken())
}

async fn server(ctx: &Context, name: &str) -> Result<Server> {
    let servers = servers::list(&mut *ctx.db.acquire().await?).await?;
    let unknown = || FieldError::new("server", "unknown_server", "there is no such server that takes tenants");
    Ok(servers.into_iter().find(|server| server.name == name && !server.is_platform).ok_or_else(unknown)?)
}

/// What an earlier request with this key has started: the database that it adopts is not to be found any more.
async fn earlier(ctx: &Context, idempotency: Option<&Idempotency>) -> Result<Option<Started>> {
    let mut txn = ctx.db.begin().await?;
    let unused = TenantId::generate(&ctx.clock, ctx.random);
    let earlier = provision::claim_in_txn(ctx, &mut txn, idempotency, unused).await?;
    txn.rollback().await?;
    Ok(earlier)
}

/// `None` when the server became full in the meantime: then nothing is recorded.
async fn record(
    ctx: &Context,
    request: &Request,
    versions: SchemaVersions,
    (origin, idempotency): (&Origin, Option<&Idempotency>),
) -> Result<Option<Started>> {
    let id = TenantId::generate(&ctx.clock, ctx.random);
    let mut txn = ctx.db.begin().await?;
    if let Some(earlier) = provision::claim_in_txn(ctx, &mut txn, idempotency, id).await? {
        return Ok(Some(earlier));
    }
    let labels = std::collections::BTreeMap::new();
    let wishes = Wishes { server: Some(&request.subject.server), region: None, labels: &labels };
    let new = NewTenant {
        id,
        slug: request.slug.clone(),
        name: request.name.clone(),
        is_platform: false,
        plan: request.plan.clone(),
        server_id: placement::choose_in_txn(&mut txn, wishes).await?,
        versions: None,
        is_settling: false,
    };
    let tenant = tenants::insert_in_txn(&mut txn, &new).await?;
    let key = make_keys_in_txn(ctx, &mut txn, id).await?;
    let invitation = match &request.admin {
        Some(admin) => first_admin::keep_in_txn(ctx, &mut txn, (&key, id), admin).await?,
        None => None,
    };
    let operation = queue_in_txn(ctx, &mut txn, (request, &tenant), versions, origin).await?;
    crash_point!("tenant.adopt.before_commit", id);
    if !servers::commit_placed(txn).await? {
        return Ok(None);
    }
    crash_point!("tenant.adopt.after_commit", id);
    tracing::info!(tenant.id = %id, operation.id = %operation, "a database is being adopted");
    Ok(Some(Started { tenant, operation, invitation }))
}

async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    (request, tenant): (&Request, &Tenant),
    versions: SchemaVersions,
    origin: &Origin,
) -> Result<OperationId> {
    let first = first_admin::Input::new(request.admin.as_ref(), versions)?;
    let input = Input { database: request.subject.database.clone(), first };
    let id = queue::queue_in_txn(ctx, txn, tenant.id, (&KIND, &input), origin).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let details = json!({
        "slug": tenant.slug, "plan": tenant.plan, "server": request.subject.server, "database": input.database,
        "schema_version": versions.product, "operation_id": id,
    });
    audit::record_in_txn(txn, event, origin, ("tenant.adopt", &tenant.id.to_string()), &details).await?;
    Ok(id)
}
