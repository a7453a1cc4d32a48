//! Signing out: of one session, or of all.
//!
//! The session ends in the tenant's database first, then the epoch rises: nobody who looks again finds it alive.
//! When the second step fails the answer is an error, and asking again is safe.

use serde_json::json;

use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{Client, Identity, Inner, Principal, audit::Event},
    tenancy::Statements,
    types::SessionId,
};

/// Of one session, or of all.
const END: &str = "UPDATE freehold.sessions SET revoked_at = now(), revoked_because = $3
    WHERE user_id = $1 AND ($2::uuid IS NULL OR id = $2) AND revoked_at IS NULL";

impl Identity {
    /// Ends the session that the principal's token belongs to.
    ///
    /// # Errors
    /// `session_required` for API keys.
    pub async fn logout(&self, tenant: &Tenant, principal: &Principal, client: &Client) -> Result<()> {
        let session = principal.session()?;
        self.inner.end_sessions(tenant, principal, client, Some(session)).await
    }

    /// Ends all of the principal's sessions.
    ///
    /// # Errors
    /// `session_required` for API keys.
    pub async fn logout_all(&self, tenant: &Tenant, principal: &Principal, client: &Client) -> Result<()> {
        principal.session()?;
        self.inner.end_sessions(tenant, principal, client, None).await
    }
}

impl Inner {
    async fn end_sessions(
        &self,
        tenant: &Tenant,
        principal: &Principal,
        client: &Client,
        session: Option<SessionId>,
    ) -> Result<()> {
        let action = if session.is_some() { "logout" } else { "logout.all" };
        let mut connection = self.tenancy.connect(tenant.id).await?;
        let txn = connection.begin().await?;
        let ended = txn.run(END, &[&principal.user().uuid(), &session.map(SessionId::uuid), &action]).await?;
        let (actor, target) = (principal.id_text(), session.map(|session| session.to_string()));
        let event = Event { actor: &actor, action, target, details: json!({ "sessions": ended }) };
        self.audit(&txn, client, &event).await?;
        txn.commit().await?;
        drop(connection);
        self.forget(tenant.id).await
    }
}
