//! Exchanging a refresh token for the next pair of tokens.
//!
//! A token is spent by one conditional UPDATE. A second use within ten seconds, while its successor is unused, is
//! a client that asked twice: it gets the same successor. Any other second use means that two parties hold the
//! token, and the whole session ends.

use secrecy::SecretString;
use serde_json::json;

use super::{Session, Tokens, seconds, successor, token_hash};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity, Inner,
        audit::{ANONYMOUS, Event},
    },
    tenancy::Statements,
    types::{SessionId, UserId},
};

/// Spends the token, if it is unspent and its session alive.
const SPEND: &str = "UPDATE freehold.refresh_tokens t SET used_at = now()
    FROM freehold.sessions s JOIN freehold.users u ON u.id = s.user_id
    WHERE t.token_hash = $1 AND t.used_at IS NULL AND t.expires_at > now()
      AND s.id = t.session_id AND s.revoked_at IS NULL AND s.expires_at > now() AND u.active
    RETURNING s.id, s.user_id, s.rotation_key, u.role";

/// Prolongs the session and stores the successor.
const FOLLOW: &str = "WITH prolonged AS (
        UPDATE freehold.sessions SET last_used_at = now(),
            expires_at = least(now() + make_interval(secs => $3), created_at + interval '90 days')
        WHERE id = $2 RETURNING id, expires_at)
    INSERT INTO freehold.refresh_tokens (token_hash, session_id, expires_at) SELECT $1, id, expires_at FROM prolonged";

/// A spent token whose session is alive.
const SPENT: &str = "SELECT s.id, s.user_id, s.rotation_key, u.role,
        t.used_at > now() - interval '10 seconds' AS just_now
    FROM freehold.refresh_tokens t
    JOIN freehold.sessions s ON s.id = t.session_id JOIN freehold.users u ON u.id = s.user_id
    WHERE t.token_hash = $1 AND t.used_at IS NOT NULL
      AND s.revoked_at IS NULL AND s.expires_at > now() AND u.active";

const IS_UNUSED: &str = "SELECT FROM freehold.refresh_tokens WHERE token_hash = $1 AND used_at IS NULL";

const REVOKE: &str = "UPDATE freehold.sessions SET revoked_at = now(), revoked_because = 'refresh_token_reused'
    WHERE id = $1 AND revoked_at IS NULL";

impl Identity {
    /// Exchanges a refresh token.
    ///
    /// # Errors
    /// `invalid_refresh_token` for one that is unknown, expired or of a session that has ended; and for one that
    /// was used before, which ends its session.
    pub async fn refresh(&self, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<Tokens> {
        let inner = &self.inner;
        // Read first: without a key there is nothing to hand out, and the token must not be spent.
        inner.keys.of(tenant).await?;
        let session = match inner.rotate(tenant, token).await? {
            Some(session) => session,
            None => inner.rotated_before(tenant, token, client).await?,
        };
        inner.issue(tenant, session).await
    }
}

impl Inner {
    async fn rotate(&self, tenant: &Tenant, token: &SecretString) -> Result<Option<Session>> {
        let mut connection = self.tenancy.connect(tenant.id).await?;
        let txn = connection.begin().await?;
        let Some(row) = txn.row(SPEND, &[&token_hash(token)]).await? else { return Ok(None) };
        let session = following(&row, token);
        let (hash, idle) = (token_hash(&session.refresh_token), seconds(self.session_idle));
        txn.run(FOLLOW, &[&hash, &session.id.uuid(), &idle]).await?;
        txn.commit().await?;
        Ok(Some(session))
    }

    async fn rotated_before(&self, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<Session> {
        let connection = self.tenancy.connect(tenant.id).await?;
        let row = connection.row(SPENT, &[&token_hash(token)]).await?.ok_or_else(invalid)?;
        let session = following(&row, token);
        if row.get("just_now") && connection.row(IS_UNUSED, &[&token_hash(&session.refresh_token)]).await?.is_some() {
            return Ok(session);
        }
        drop(connection);
        self.end_family(tenant, session.id, client).await?;
        Err(invalid())
    }

    async fn end_family(&self, tenant: &Tenant, session: SessionId, client: &Client) -> Result<()> {
        let mut connection = self.tenancy.connect(tenant.id).await?;
        let txn = connection.begin().await?;
        if txn.run(REVOKE, &[&session.uuid()]).await? == 0 {
            return Ok(());
        }
        let target = Some(session.to_string());
        let event = Event { actor: ANONYMOUS, action: "refresh_token.reused", target, details: json!({}) };
        self.audit(&txn, client, &event).await?;
        txn.commit().await?;
        drop(connection);
        metrics::counter!("freehold_refresh_token_reuse_total").increment(1);
        // If this fails, access tokens that were verified just before are remembered for some seconds longer.
        self.forget(tenant.id).await
    }
}

/// The session of a spent token, with the token that follows.
fn following(row: &tokio_postgres::Row, token: &SecretString) -> Session {
    Session {
        id: SessionId::from_uuid(row.get("id")),
        user: UserId::from_uuid(row.get("user_id")),
        role: row.get("role"),
        refresh_token: successor(row.get("rotation_key"), token),
    }
}

fn invalid() -> Error {
    Error::Unauthenticated { code: "invalid_refresh_token", detail: "the refresh token is not valid, or not any more" }
}
