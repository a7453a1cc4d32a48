//! Accepting an invitation: the invited person chooses a password and has an account.
//!
//! An invitation proves that its bearer reads the mail of its address, so the address counts as verified. It never
//! touches an account that has a password already.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{Client, Identity, Inner, audit::Event, check_password_policy, credentials, sessions::token_hash};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    tenancy::{Statements, TenantTxn},
    types::{DisplayName, InvitationId, UserId},
};

const OPEN: &str = "SELECT email FROM freehold.invitations
    WHERE token_hash = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()";

const ACCEPT: &str = "UPDATE freehold.invitations SET accepted_at = now()
    WHERE token_hash = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()
    RETURNING id, email, role";

/// Somebody without a password may be there already: a tenant's first administrator is.
const JOIN: &str = "INSERT INTO freehold.users AS u (id, email, name, role, email_verified_at)
    VALUES ($1, $2, coalesce($3, split_part($2, '@', 1)), $4, now())
    ON CONFLICT (email) DO UPDATE
        SET name = coalesce($3, u.name), role = excluded.role, email_verified_at = now(), updated_at = now(),
            version = u.version + 1
        WHERE u.active AND NOT EXISTS (SELECT FROM freehold.credentials c WHERE c.user_id = u.id)
    RETURNING id";

const SET_PASSWORD: &str = "INSERT INTO freehold.credentials (user_id, password_hash) VALUES ($1, $2)";

impl Identity {
    /// Accepts an invitation with the password (and name) that the invited person chose.
    ///
    /// # Errors
    /// The policy's on `password`; `invalid_invitation` (422) for one that is unknown, used, revoked or expired;
    /// `user_exists` (409) when the address has an account with a password.
    pub async fn accept_invitation(
        &self,
        tenant: &Tenant,
        (token, password): (&SecretString, &SecretString),
        name: Option<&DisplayName>,
        client: &Client,
    ) -> Result<()> {
        let inner = &self.inner;
        // Before the password is judged and hashed: strangers cause neither.
        let email = inner.invited(tenant, token).await?;
        let local_part = email.split('@').next().unwrap_or_default();
        check_password_policy(password.expose_secret(), &[tenant.slug.as_str(), &tenant.name, local_part])?;
        let hash = inner.hasher.hash(password, credentials::REQUEST).await?;
        inner.accept(tenant, token, (name, &hash), client).await
    }
}

impl Inner {
    async fn invited(&self, tenant: &Tenant, token: &SecretString) -> Result<String> {
        let connection = self.tenancy.connect(tenant.id).await?;
        let row = connection.row(OPEN, &[&token_hash(token)]).await?;
        Ok(row.ok_or_else(invalid)?.get("email"))
    }

    async fn accept(
        &self,
        tenant: &Tenant,
        token: &SecretString,
        (name, hash): (Option<&DisplayName>, &str),
        client: &Client,
    ) -> Result<()> {
        let mut connection = self.tenancy.connect(tenant.id).await?;
        let txn = connection.begin().await?;
        let row = txn.row(ACCEPT, &[&token_hash(token)]).await?.ok_or_else(invalid)?;
        let (email, role): (&str, &str) = (row.get("email"), row.get("role"));
        let user = self.join_in_txn(&txn, (email, role), name).await?;
        txn.run(SET_PASSWORD, &[&user.uuid(), &hash]).await?;
        let (actor, target) = (user.to_string(), Some(InvitationId::from_uuid(row.get("id")).to_string()));
        let event = Event { actor: &actor, action: "invitation.accepted", target, details: json!({ "role": role }) };
        self.audit(&txn, client, &event).await?;
        txn.commit().await
    }

    async fn join_in_txn(
        &self,
        txn: &TenantTxn<'_>,
        (email, role): (&str, &str),
        name: Option<&DisplayName>,
    ) -> Result<UserId> {
        let id = UserId::generate(&self.clock, self.random);
        let name = name.map(DisplayName::as_str);
        let row = txn.row(JOIN, &[&id.uuid(), &email, &name, &role]).await?;
        let exists = || Error::conflict("user_exists", "there is an account with this address already");
        Ok(UserId::from_uuid(row.ok_or_else(exists)?.get("id")))
    }
}

fn invalid() -> Error {
    let detail = "the invitation is unknown, used, withdrawn or expired".to_owned();
    Error::Unprocessable { code: "invalid_invitation", detail }
}
