//! Access tokens and refresh tokens of signed-in users.
//!
//! The two are issued together. An access token is a JWT that names the user. It is signed with the tenant's own key,
//! is valid for minutes, and is not stored. A refresh token is a random value. It can be exchanged once for the next
//! pair, and its digest is stored. The refresh tokens of a session are its family. If one is used again after its
//! successor was used, or an access token that was issued with it, the session is ended. So an access token's name
//! begins with the digest of the refresh token that it was issued with.
//!
//! The signing keys are in the control database, encrypted, and decrypted in memory. They are rotated. An old key
//! verifies as long as a token that it signed can be valid.
//!
//! This module must never store or log a token in plain text. It must never take the algorithm or a permission from a
//! token, nor spend a refresh token before it has a key to sign the next access token with.

mod access;
mod keys;
mod opaque;
mod store;

use std::{fmt, sync::Arc, time::Duration};

pub(super) use access::{claimed_tenant, invalid};
pub use keys::make_signing_key;
pub(super) use opaque::{successor, token_hash};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
pub(super) use store::{
    TABLE, confirm, has_arrived_nowhere, issue, left_join_unconfirmed, purge, spend, spent, was_issued,
};

use self::{
    access::{Act, Claims},
    keys::Keys,
};
use super::Identity;
use crate::{
    control::{sealing::KeyRing, tenants::Tenant},
    error::Result,
    tenancy::Tenancy,
    types::{Clock, Random, SessionId, Slug, TenantId, UserId, VisitId},
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

/// What tokens are made for: a session, whose it is, and the refresh token that was stored for it.
pub(super) struct Grant {
    pub(super) session: SessionId,
    pub(super) user: UserId,
    pub(super) role: String,
    pub(super) refresh_token: SecretString,
}

/// What an access token proves: who signed in, in which session, and until when (seconds since the Unix epoch).
pub(super) struct Proof {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    /// The digest of the refresh token that it was issued with. None for a token of an earlier release.
    pub(super) issued_with: Option<Vec<u8>>,
    pub(super) expires: i64,
    /// The operator who acts as the user. The session is a visit then.
    pub(super) operator: Option<UserId>,
}

/// What a tenant's address is, without a trailing slash: the issuer of its tokens.
pub type Address = Arc<dyn Fn(&Slug) -> String + Send + Sync>;

/// Makes and verifies the access tokens of every tenant.
pub(super) struct Issuer {
    keys: Keys,
    address: Address,
    clock: Clock,
    random: Random,
}

impl Issuer {
    pub(super) fn new(
        tenancy: Tenancy,
        ring: Arc<KeyRing>,
        address: Address,
        (clock, random): (Clock, Random),
    ) -> Self {
        Self { keys: Keys::new(tenancy, ring), address, clock, random }
    }

    /// Sees to it that the tenant's keys are at hand. Asked before anything is spent or stored for tokens: without a
    /// key there are none to hand out.
    pub(super) async fn prepare(&self, tenant: &Tenant) -> Result<()> {
        self.keys.of(tenant).await.map(drop)
    }

    /// Makes the tokens.
    pub(super) async fn issue(&self, tenant: &Tenant, grant: Grant) -> Result<Tokens> {
        let keys = self.keys.of(tenant).await?;
        let (kid, key) = keys.signer()?;
        let now = self.clock.unix_seconds();
        let claims = Claims {
            iss: (self.address)(&tenant.slug),
            aud: tenant.id,
            sub: grant.user,
            tid: tenant.id,
            sid: grant.session,
            role: grant.role,
            epoch: tenant.epoch,
            exp: now + access::LIFETIME.as_secs().cast_signed(),
            iat: now,
            nbf: now,
            jti: access::name(&token_hash(&grant.refresh_token), self.random),
            act: None,
        };
        Ok(Tokens {
            access_token: access::sign(kid, key, &claims)?,
            token_type: "Bearer",
            expires_in: access::LIFETIME.as_secs(),
            refresh_token: grant.refresh_token.expose_secret().to_owned(),
        })
    }

    /// Makes the token of a visit, with which an operator acts as a user who has this role.
    pub(super) async fn issue_visit(
        &self,
        tenant: &Tenant,
        (visit, operator): (VisitId, UserId),
        (user, role): (UserId, &str),
        lifetime: Duration,
    ) -> Result<SecretString> {
        let keys = self.keys.of(tenant).await?;
        let (kid, key) = keys.signer()?;
        let now = self.clock.unix_seconds();
        let claims = Claims {
            iss: (self.address)(&tenant.slug),
            aud: tenant.id,
            sub: user,
            tid: tenant.id,
            sid: SessionId::from_uuid(visit.uuid()),
            role: role.to_owned(),
            epoch: tenant.epoch,
            exp: now + lifetime.as_secs().cast_signed(),
            iat: now,
            nbf: now,
            jti: self.random.token(),
            act: Some(Act { sub: operator }),
        };
        Ok(access::sign(kid, key, &claims)?.into())
    }

    /// What a token proves that is one of the tenant's, and valid now.
    ///
    /// # Errors
    /// `invalid_token`.
    pub(super) async fn verify(&self, tenant: &Tenant, token: &str) -> Result<Proof> {
        let kid = access::key_id(token)?;
        let keys = self.keys.with(tenant, kid).await?;
        let key = keys.verifier(kid).ok_or_else(invalid)?;
        // Those from before a tenant was renamed are as good as ever.
        let slugs = tenant.reserved_slugs.iter().chain([&tenant.slug]);
        let issuers: Vec<_> = slugs.map(|slug| (self.address)(slug)).collect();
        let claims = access::verify(token, key, tenant.id, &issuers, self.clock.unix_seconds())?;
        let issued_with = access::issued_with(&claims);
        let operator = claims.act.map(|act| act.sub);
        Ok(Proof { user: claims.sub, session: claims.sid, issued_with, expires: claims.exp, operator })
    }
}

/// The tenant's public keys as a JSON Web Key Set (RFC 7517, RFC 8037): all that verify, or will.
///
/// # Errors
/// The keys cannot be read.
pub async fn key_set(ctx: &Identity, tenant: &Tenant) -> Result<Value> {
    Ok(ctx.issuer.keys.of(tenant).await?.public())
}

/// Makes this replica go by keys that were just changed, and by the epoch that was raised with them, before it is told.
/// The others are told by NOTIFY, and so is this one when the keys cannot be read at the moment.
pub async fn heed_keys(ctx: &Identity, tenant: TenantId, epoch: i64) {
    if let Err(error) = ctx.issuer.keys.renew(tenant).await {
        tracing::warn!(error = error.chain(), tenant.id = %tenant, "changed keys will be read a little later");
    }
    ctx.verdicts.raise(tenant, epoch);
}

#[cfg(test)]
mod tests {
    use super::*;

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
