//! Sessions: a sign-in, its refresh tokens, and the tokens that are handed out for it.
//!
//! A refresh token is 256 random bits or derived from such; only its digest is stored. A session ends when it is
//! revoked, when it was not used for the configured time, and in any case after ninety days. All by the clock of
//! the tenant's database.

mod login;
mod logout;
mod refresh;

use std::{fmt, time::Duration};

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
pub use login::Login;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{
    Client, Inner,
    tokens::{self, Claims},
};
use crate::{
    control::tenants::Tenant,
    error::Result,
    tenancy::{Statements, TenantTxn},
    types::{SessionId, UserId},
};

/// What somebody who signed in is given.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct Tokens {
    /// Sent as `Authorization: Bearer …` with every request.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// How long the access token lives, in seconds.
    pub expires_in: u64,
    /// Exchanged, once, for the next pair of tokens.
    pub refresh_token: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens([redacted])")
    }
}

/// A session with the refresh token that is handed out for it.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) role: String,
    pub(super) refresh_token: SecretString,
}

/// What is stored of a token with 256 bits of entropy: nobody can find it again by trying.
pub(super) fn token_hash(token: &SecretString) -> Vec<u8> {
    digest(&SHA256, token.expose_secret().as_bytes()).as_ref().to_vec()
}

/// The refresh token that follows `token`. Whoever holds the session's key and `token` can derive it again.
pub(super) fn successor(rotation_key: &[u8], token: &SecretString) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, rotation_key);
    let tag = hmac::sign(&key, token.expose_secret().as_bytes());
    SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

impl Inner {
    /// Opens a session for a user. `None` when the user is not there or not active any more.
    pub(super) async fn open_session_in_txn(
        &self,
        txn: &TenantTxn<'_>,
        user: UserId,
        client: &Client,
    ) -> Result<Option<Session>> {
        let sql = "WITH opened AS (
                       INSERT INTO freehold.sessions (id, user_id, rotation_key, ip, user_agent, expires_at)
                       SELECT $1, u.id, $3, $4, $5, now() + least(make_interval(secs => $6), interval '90 days')
                       FROM freehold.users u WHERE u.id = $2 AND u.active
                       RETURNING id, user_id, expires_at),
                   issued AS (
                       INSERT INTO freehold.refresh_tokens (token_hash, session_id, expires_at)
                       SELECT $7, id, expires_at FROM opened)
                   SELECT u.role FROM freehold.users u JOIN opened o ON o.user_id = u.id";
        let id = SessionId::generate(&self.clock, self.random);
        let rotation_key = self.random.bytes::<32>();
        let refresh_token = SecretString::from(self.random.token());
        let (ip, agent, idle) = (client.ip.to_canonical(), client.agent(), seconds(self.session_idle));
        let (rotation_key, hash) = (rotation_key.as_slice(), token_hash(&refresh_token));
        let row = txn.row(sql, &[&id.uuid(), &user.uuid(), &rotation_key, &ip, &agent, &idle, &hash]).await?;
        Ok(row.map(|row| Session { id, user, role: row.get("role"), refresh_token }))
    }

    /// Makes the tokens for a session.
    pub(super) async fn issue(&self, tenant: &Tenant, session: Session) -> Result<Tokens> {
        let keys = self.keys.of(tenant).await?;
        let (kid, key) = keys.signer()?;
        let now = self.clock.unix_seconds();
        let claims = Claims {
            iss: self.issuer(tenant),
            aud: tenant.id,
            sub: session.user,
            tid: tenant.id,
            sid: session.id,
            role: session.role,
            epoch: tenant.epoch,
            exp: now + tokens::LIFETIME.as_secs().cast_signed(),
            iat: now,
            nbf: now,
            jti: self.random.token(),
        };
        Ok(Tokens {
            access_token: tokens::sign(kid, key, &claims)?,
            token_type: "Bearer",
            expires_in: tokens::LIFETIME.as_secs(),
            refresh_token: session.refresh_token.expose_secret().to_owned(),
        })
    }
}

/// As `make_interval` takes it.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_successor_a_session() {
        let token = SecretString::from("token");
        let again = successor(&[1; 32], &token);
        assert_eq!(successor(&[1; 32], &token).expose_secret(), again.expose_secret());
        assert_ne!(successor(&[2; 32], &token).expose_secret(), again.expose_secret());
        assert_ne!(successor(&[1; 32], &again).expose_secret(), again.expose_secret());
        assert_eq!(again.expose_secret().len(), 43);
    }

    #[test]
    fn tokens_are_not_printed() {
        let tokens = Tokens {
            access_token: "marker".into(),
            token_type: "Bearer",
            expires_in: 600,
            refresh_token: "marker".into(),
        };
        assert!(!format!("{tokens:?}").contains("marker"));
    }
}
