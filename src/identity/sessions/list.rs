//! A user sees where they are signed in, and ends one session.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use super::{require_version, store};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity, Principal,
        audit::{self, Event},
    },
    types::SessionId,
};

/// A session of the caller.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The address that it was begun from.
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    pub ip: Option<IpAddr>,
    /// The program that it was begun with, as that calls itself.
    pub user_agent: Option<String>,
    /// When the user signed in.
    pub created_at: DateTime<Utc>,
    /// When it was last used, within ten minutes.
    pub last_used_at: DateTime<Utc>,
    /// When it ends unless it is used.
    pub expires_at: DateTime<Utc>,
    /// Whether it is the one that asks.
    pub is_current: bool,
}

/// The caller's sessions that have not ended, the one that was used last first.
///
/// # Errors
/// `session_required` for API keys.
pub async fn list(ctx: &Identity, tenant: &Tenant, principal: &Principal) -> Result<Vec<Session>> {
    let current = principal.session()?;
    let mut sessions = store::list(&ctx.tenancy.connect(tenant.id).await?, principal.user()).await?;
    for session in &mut sessions {
        session.is_current = session.id == current;
    }
    Ok(sessions)
}

/// Ends one of the caller's sessions. Its tokens are worth nothing from then on, on every replica.
///
/// # Errors
/// `session_required` for API keys; `not_found` when the caller has no such session, or it has ended.
pub async fn revoke(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
    session: SessionId,
) -> Result<()> {
    require_version(tenant)?;
    principal.session()?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    if store::end(&txn, principal.user(), Some(session), "revoked").await? == 0 {
        return Err(Error::not_found("session"));
    }
    let (actor, target) = (principal.id_text(), Some(session.to_string()));
    let event = Event { actor: &actor, action: "session.revoked", target, details: json!({}) };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(tenant.id).await
}
