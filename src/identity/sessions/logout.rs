//! Signs a user out of one session, or of all.
//!
//! First the session is ended in the tenant's database. Then the epoch is incremented, so that replicas verify its
//! tokens again and find it ended. If the second step fails, this replica verifies them again all the same and goes on
//! telling the others; the response is an error, and the client can safely retry.

use serde_json::json;

use super::store;
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{
        Client, Identity, Principal,
        audit::{self, Event},
    },
    types::SessionId,
};

/// Ends the session that the principal's token belongs to.
///
/// # Errors
/// `session_required` for API keys.
pub async fn logout(ctx: &Identity, tenant: &Tenant, principal: &Principal, client: &Client) -> Result<()> {
    let session = principal.session()?;
    end(ctx, tenant, principal, client, Some(session)).await
}

/// Ends all of the principal's sessions.
///
/// # Errors
/// `session_required` for API keys.
pub async fn logout_all(ctx: &Identity, tenant: &Tenant, principal: &Principal, client: &Client) -> Result<()> {
    principal.session()?;
    end(ctx, tenant, principal, client, None).await
}

async fn end(
    ctx: &Identity,
    tenant: &Tenant,
    principal: &Principal,
    client: &Client,
    session: Option<SessionId>,
) -> Result<()> {
    let action = if session.is_some() { "logout" } else { "logout.all" };
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let ended = store::end(&txn, principal.user(), session, action).await?;
    let (actor, target) = (principal.id_text(), session.map(|session| session.to_string()));
    let event = Event { actor: &actor, action, target, details: json!({ "sessions": ended }) };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(tenant.id).await
}
