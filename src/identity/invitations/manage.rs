//! Makes invitations, lists them, sends them again, and revokes them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::store;
use crate::{
    error::{Error, FieldError, Result},
    identity::{
        Caller, Identity, Made, audit,
        roles::{self, lock_roster_in_txn, require_role_within},
        tokens::token_hash,
    },
    tenancy::{TenantTxn, idempotency::once},
    types::{Email, Idempotency, InvitationId, RoleName, TenantId},
};

/// How long an invitation can be accepted at most.
const LONGEST: TimeDelta = TimeDelta::days(30);

/// Somebody to be invited.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// Their address.
    pub email: Email,
    /// The role that they get.
    #[schema(inline)]
    pub role: RoleName,
    /// Until when it can be accepted: 30 days from now at the latest. Unless it is there, as long as the installation says.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What has become of an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = InvitationState)]
pub enum State {
    /// It can be accepted.
    Open,
    /// It was accepted.
    Accepted,
    /// It was revoked.
    Revoked,
    /// Its time is over; it can be sent again.
    Expired,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// An invitation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Who is invited.
    pub email: String,
    /// The role that they get.
    pub role: String,
    /// Who invited them: `usr_…`, or `system` for a tenant's first administrator.
    pub invited_by: String,
    /// What has become of it.
    pub state: State,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
    /// When it was accepted.
    pub accepted_at: Option<DateTime<Utc>>,
}

/// Which invitations are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of this state.
    pub state: Option<State>,
    /// Only those for this address.
    pub email: Option<Email>,
}

/// Invites somebody. The secret is in the answer, once, for whoever passes it on.
///
/// # Errors
/// `unknown_role` on `role`; `invalid_range` on `expires_at`; `exceeds_own_rights`; `invitation_exists` (409).
pub async fn create(
    ctx: &Identity,
    caller: Caller<'_>,
    new: &NewInvitation,
    lifetime: Duration,
    idempotency: Option<&Idempotency>,
) -> Result<Made> {
    let expires_at = expiry(ctx, new.expires_at, lifetime)?;
    let (id, token) = (InvitationId::generate(&ctx.clock, ctx.random), SecretString::from(ctx.random.token()));
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let made = once(&mut connection, idempotency, id.uuid(), async |txn| {
        lock_roster_in_txn(txn).await?;
        let name = require_grantable_in_txn(ctx, txn, caller, new.role.as_str()).await?;
        let inviter = caller.principal.user().to_string();
        let row =
            store::New { id, email: &new.email, role: &name, token_hash: token_hash(&token), inviter, expires_at };
        let invitation = store::add(txn, &row).await?.ok_or_else(taken)?;
        let details = json!({ "role": name, "expires_at": expires_at });
        audit::record(ctx, txn, caller, ("invitation.created", id.to_string()), details).await?;
        Made::new(id.to_string(), None, &invitation)
    })
    .await?;
    Ok(made.with_secret(&id.to_string(), token))
}

/// The name of the role, which the caller may give.
async fn require_grantable_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    caller: Caller<'_>,
    role: &str,
) -> Result<String> {
    let unknown = || FieldError::new("role", "unknown_role", "must be a role that GET /v1/roles lists");
    let role = roles::named(txn, role).await?.ok_or_else(unknown)?;
    require_role_within(ctx, caller, &role)?;
    Ok(role.name)
}

fn expiry(ctx: &Identity, wanted: Option<DateTime<Utc>>, lifetime: Duration) -> Result<DateTime<Utc>> {
    let now = ctx.clock.now();
    let at = wanted.unwrap_or(now + TimeDelta::from_std(lifetime).map_err(Error::internal)?);
    if at > now && at <= now + LONGEST {
        return Ok(at);
    }
    Err(FieldError::new("expires_at", "invalid_range", "must be within the next 30 days").into())
}

/// One page of invitations, the newest first.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn list(
    ctx: &Identity,
    tenant: TenantId,
    filter: &Filter,
    after: Option<InvitationId>,
    limit: i64,
) -> Result<Vec<Invitation>> {
    store::page(&ctx.tenancy.connect(tenant).await?, filter, after, limit).await
}

/// One of them.
///
/// # Errors
/// `not_found`.
pub async fn get(ctx: &Identity, tenant: TenantId, id: InvitationId) -> Result<Invitation> {
    store::get(&ctx.tenancy.connect(tenant).await?, id).await?.ok_or_else(missing)
}

/// Gives an open or expired invitation another secret and another time. The secret before is void.
///
/// # Errors
/// `not_found`; `invitation_ended`, `invitation_exists` (409); `exceeds_own_rights`.
pub async fn resend(
    ctx: &Identity,
    caller: Caller<'_>,
    id: InvitationId,
    lifetime: Duration,
) -> Result<(Invitation, SecretString)> {
    let (token, expires_at) = (SecretString::from(ctx.random.token()), expiry(ctx, None, lifetime)?);
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let present = store::get(&txn, id).await?.ok_or_else(missing)?;
    if matches!(present.state, State::Accepted | State::Revoked) {
        return Err(ended());
    }
    require_grantable_in_txn(ctx, &txn, caller, &present.role).await?;
    let inviter = caller.principal.user().to_string();
    let renewed = store::renew(&txn, id, &token_hash(&token), (&inviter, expires_at)).await?.ok_or_else(taken)?;
    let details = json!({ "expires_at": expires_at });
    audit::record(ctx, &txn, caller, ("invitation.resent", id.to_string()), details).await?;
    txn.commit().await?;
    Ok((renewed, token))
}

/// Revokes an invitation. Does nothing to one that is revoked already.
///
/// # Errors
/// `not_found`; `invitation_ended` (409) when it was accepted.
pub async fn revoke(ctx: &Identity, caller: Caller<'_>, id: InvitationId) -> Result<()> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    match store::get(&txn, id).await?.ok_or_else(missing)?.state {
        State::Revoked => return Ok(()),
        State::Accepted => return Err(ended()),
        State::Open | State::Expired => {}
    }
    store::revoke(&txn, id).await?;
    audit::record(ctx, &txn, caller, ("invitation.revoked", id.to_string()), json!({})).await?;
    txn.commit().await
}

fn taken() -> Error {
    Error::conflict("invitation_exists", "this address has an open invitation: send that again")
}

fn missing() -> Error {
    Error::not_found("invitation")
}

fn ended() -> Error {
    Error::conflict("invitation_ended", "this invitation was accepted or revoked")
}
