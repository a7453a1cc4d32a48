//! Operators act as somebody of a tenant, for a while and for a reason.
//!
//! A visit is a row of the control database, and one access token that names the user and the operator (the claim `act`
//! of RFC 8693). There is no refresh token: it ends with the token, after fifteen minutes at most. It ends earlier when an
//! operator ends it, and when the one who acts is deactivated or loses the right. The row is read whenever the token is
//! verified, and whoever ends a visit raises the tenant's epoch, so that every replica verifies it again.
//!
//! A visitor sees what the user sees, and does what the user may do for the product. They change nothing about people: no
//! credential, key, role, invitation or setting. They have no session, so that nothing of the user's own is theirs.
//! Whatever they do is in the tenant's audit log under both names, and the visit itself in both logs.
//!
//! A visit must never outlast its reason: nothing here prolongs one.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::{
    Actor, Caller, Client, Identity, Principal,
    audit::{self, Event},
    people::{self, Kind, Known},
    permissions::{is_withheld_from_visitors, right},
    require_people_schema, sessions,
    tokens::{self, Proof},
    verdicts::Verdict,
};
use crate::{
    control::{
        audit::{Origin, record_in_txn},
        tenants::{Tenant, raise_epoch},
        visits::{self as rows, Ended},
    },
    error::{Error, FieldError, Result},
    tenancy::{self, TenantTxn},
    types::{AuditEventId, Right, RoleName, SchemaVersions, TenantId, UserId, VisitId},
};

/// How long a visit lasts at most, and unless something else is asked for.
pub const LONGEST: Duration = Duration::from_mins(15);
/// How long it lasts at least.
pub const SHORTEST: Duration = Duration::from_mins(1);

/// As whom an operator acts.
#[derive(Debug)]
pub enum Whom {
    /// This user.
    User(UserId),
    /// The user who has had an account with this role for longest.
    Role(RoleName),
}

/// A visit that an operator asks for.
#[derive(Debug)]
pub struct NewVisit {
    /// As whom.
    pub whom: Whom,
    /// Why. The tenant's administrators read it.
    pub reason: String,
    /// For how long.
    pub lifetime: Duration,
}

/// A visit that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Its id.
    pub id: VisitId,
    /// What it is made with: sent to the tenant's own address.
    pub access_token: SecretString,
    /// As whom.
    pub user: UserId,
    /// The role that they have.
    pub role: String,
}

/// Begins a visit to `tenant`. The caller is an operator who has the right to.
///
/// # Errors
/// `session_required`; `insufficient_user_authentication`; those of a tenant that is not served; `unknown_user` on `user_id`,
/// or `unknown_role` on `role`.
pub async fn begin(ctx: &Identity, caller: Caller<'_>, tenant: &Tenant, new: &NewVisit) -> Result<Begun> {
    tenancy::gate(tenant, SchemaVersions { freehold: 0, product: 0 })?;
    require_people_schema(tenant)?;
    ctx.issuer.prepare(tenant).await?;
    require_proof(ctx, caller).await?;
    let (operator, id) = (caller.principal.user(), VisitId::generate(&ctx.clock, ctx.random));
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let Known { user, role } = find_in_txn(&txn, &new.whom).await?;
    drop(txn);
    drop(connection);
    let row = rows::New { id, tenant: tenant.id, operator, user: user.id, reason: &new.reason, lifetime: new.lifetime };
    let seconds = new.lifetime.as_secs();
    let details = json!({ "tenant": tenant.id, "user": user.id, "reason": new.reason, "seconds": seconds });
    let mut txn = ctx.db.begin().await?;
    rows::begin_in_txn(&mut txn, &row).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    record_in_txn(&mut txn, event, &origin(caller), ("visit.began", &id.to_string()), &details).await?;
    txn.commit().await?;
    // No token is handed out for a visit that the tenant's log does not have.
    let details = json!({ "reason": new.reason, "role": role.name, "seconds": seconds });
    record_tenant(ctx, (tenant.id, caller.client), ("visit.began", id), (operator, user.id), details).await?;
    let access_token = ctx.issuer.issue_visit(tenant, (id, operator), (user.id, &role.name), new.lifetime).await?;
    Ok(Begun { id, access_token, user: user.id, role: role.name })
}

async fn require_proof(ctx: &Identity, caller: Caller<'_>) -> Result<()> {
    caller.principal.session()?;
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    sessions::require_proof_in_txn(&txn, caller.principal).await
}

async fn find_in_txn(txn: &TenantTxn<'_>, whom: &Whom) -> Result<Known> {
    let unknown_user = || FieldError::new("user_id", "unknown_user", "must be an active person of the tenant");
    let unknown_role =
        || FieldError::new("role", "unknown_role", "must be a role that an active person of the tenant has");
    let user = match whom {
        Whom::User(user) => *user,
        Whom::Role(role) => people::longest_with(txn, role.as_str()).await?.ok_or_else(unknown_role)?,
    };
    let known = people::lock(txn, user).await?.filter(|known| known.user.active && known.user.kind == Kind::Person);
    known.ok_or_else(|| unknown_user().into())
}

/// Ends a visit, whoever began it.
///
/// # Errors
/// `not_found` when it is not open.
pub async fn end(ctx: &Identity, caller: Caller<'_>, id: VisitId) -> Result<()> {
    end_because(ctx, caller, id, "visit.ended").await?.map(drop).ok_or_else(|| Error::not_found("visit"))
}

/// Ends all visits of an operator who may not act as others any more.
pub(super) async fn end_of_operator(ctx: &Identity, caller: Caller<'_>, operator: UserId) -> Result<()> {
    let visits = rows::of_operator(&mut *ctx.db.acquire().await?, operator).await?;
    for id in visits {
        end_because(ctx, caller, id, "operator.changed").await?;
    }
    Ok(())
}

async fn end_because(ctx: &Identity, caller: Caller<'_>, id: VisitId, because: &'static str) -> Result<Option<Ended>> {
    let mut txn = ctx.db.begin().await?;
    let Some(ended) = rows::end_in_txn(&mut txn, id, because).await? else { return Ok(None) };
    let details = json!({ "tenant": ended.tenant, "user": ended.user, "because": because });
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    record_in_txn(&mut txn, event, &origin(caller), ("visit.ended", &id.to_string()), &details).await?;
    let epoch = raise_epoch(&mut txn, ended.tenant).await?;
    txn.commit().await?;
    ctx.verdicts.raise(ended.tenant, epoch);
    let (who, details) = ((ended.operator, ended.user), json!({ "because": because }));
    if let Err(error) = record_tenant(ctx, (ended.tenant, caller.client), ("visit.ended", id), who, details).await {
        tracing::warn!(error = error.chain(), tenant.id = %ended.tenant, "a visit has ended, and the tenant's log has only its beginning");
    }
    Ok(Some(ended))
}

/// The visitor whose token proves this.
///
/// # Errors
/// `invalid_token` when the visit is over, or the operator may not make it any more.
pub(super) async fn verify(ctx: &Identity, tenant: &Tenant, proof: &Proof, operator: UserId) -> Result<Verdict> {
    let visit = VisitId::from_uuid(proof.session.uuid());
    let is_open = rows::is_open(&mut *ctx.db.acquire().await?, (visit, tenant.id), (operator, proof.user)).await?;
    if !is_open || !may_visit(ctx, operator).await? {
        return Err(tokens::invalid());
    }
    let known = people::known(&ctx.tenancy.connect(tenant.id).await?, proof.user).await?;
    let known = known.filter(|known| known.user.active).ok_or_else(tokens::invalid)?;
    let granted =
        known.role.permissions(ctx, tenant).into_iter().filter(|one| !is_withheld_from_visitors(*one)).collect();
    let actor = Actor::Visitor { user: proof.user, visit, operator };
    Ok(Verdict::new(Principal::new(actor, tenant.id, known.role.name, granted), proof.expires))
}

/// Whether the operator is active, and has the right.
async fn may_visit(ctx: &Identity, operator: UserId) -> Result<bool> {
    let platform = ctx.tenancy.platform().await?;
    let known = people::known(&ctx.tenancy.connect(platform.id).await?, operator).await?;
    let Some(known) = known.filter(|known| known.user.active) else { return Ok(false) };
    Ok(known.role.permissions(ctx, &platform).contains(&right::TenantsVisit::PERMISSION))
}

/// How the caller came, for the platform's own log.
fn origin(caller: Caller<'_>) -> Origin {
    Origin {
        actor: caller.principal.id_text(),
        ip: Some(caller.client.ip),
        user_agent: caller.client.user_agent.clone(),
        request_id: caller.client.request_id.clone(),
    }
}

async fn record_tenant(
    ctx: &Identity,
    (tenant, client): (TenantId, &Client),
    (action, id): (&'static str, VisitId),
    (operator, user): (UserId, UserId),
    details: serde_json::Value,
) -> Result<()> {
    let actor = Actor::Visitor { user, visit: id, operator }.id_text();
    let event = Event { actor: &actor, action, target: Some(id.to_string()), details };
    audit::write(ctx, &ctx.tenancy.connect(tenant).await?, client, &event).await
}
