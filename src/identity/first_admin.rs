//! A tenant's first administrator: made by the operation that makes the tenant, before anybody can ask for them.
//!
//! Everything here can be repeated: an operation runs a step again when it does not know whether it was done.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::{Identity, Inner, hashing, permissions::OWNER, sessions::token_hash};
use crate::{
    error::{Error, Result},
    tenancy::{Statements, TenantTxn},
    types::{DisplayName, Email, InvitationId, TenantId, UserId},
};

/// How the first administrator gets in.
#[derive(Clone, Debug)]
pub enum FirstAdmin {
    /// With a password that the operator has set. The operator answers for the address.
    Password(SecretString),
    /// With an invitation that the operator hands on.
    Invitation {
        /// What the invited person presents.
        token: SecretString,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
}

const FIND_OWNER: &str = "SELECT id FROM users WHERE email = $1 AND role = $2";

const OTHERS: &str = "SELECT EXISTS (SELECT FROM users WHERE email <> $1)";

const FIND: &str = "SELECT u.id FROM users u JOIN credentials c ON c.user_id = u.id WHERE u.email = $1";

const ADD: &str = "INSERT INTO users (id, email, name, role, email_verified_at)
    VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN now() END) ON CONFLICT (email) DO NOTHING";

const SET_PASSWORD: &str =
    "INSERT INTO credentials (user_id, password_hash) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING";

const INVITE: &str = "INSERT INTO invitations (id, email, role, token_hash, invited_by, expires_at)
    VALUES ($1, $2, $3, $4, 'system', $5) ON CONFLICT (token_hash) DO NOTHING";

impl Identity {
    /// Sees to it that the tenant has this first administrator, with the role `owner`. The tenant's state does not
    /// matter. The password is taken as it is: whoever accepted it has judged it.
    ///
    /// # Errors
    /// `hashing_busy` after half a minute without a turn; `database_used` (409) when there are other people already.
    pub async fn ensure_first_admin(
        &self,
        tenant: TenantId,
        (email, name): (&Email, &DisplayName),
        how: &FirstAdmin,
    ) -> Result<UserId> {
        let inner = &self.inner;
        match how {
            FirstAdmin::Invitation { token, expires_at } => {
                inner.invite_admin(tenant, (email, name), (token, *expires_at)).await
            }
            FirstAdmin::Password(password) => {
                if let Some(user) = inner.user_with_password(tenant, email).await? {
                    return Ok(user);
                }
                let hash = inner.hasher.hash(password, hashing::BACKGROUND).await?;
                inner.add_admin(tenant, (email, name), &hash).await
            }
        }
    }

    /// Whether [`ensure_first_admin`](Self::ensure_first_admin) has made this one. What it makes, it makes in one
    /// transaction.
    ///
    /// # Errors
    /// The tenant's database is away.
    pub async fn has_first_admin(&self, tenant: TenantId, email: &Email) -> Result<bool> {
        let connection = self.inner.tenancy.connect(tenant).await?;
        Ok(connection.row(FIND_OWNER, &[&email.as_str(), &OWNER]).await?.is_some())
    }
}

impl Inner {
    async fn user_with_password(&self, tenant: TenantId, email: &Email) -> Result<Option<UserId>> {
        let connection = self.tenancy.connect(tenant).await?;
        let row = connection.row(FIND, &[&email.as_str()]).await?;
        Ok(row.map(|row| UserId::from_uuid(row.get("id"))))
    }

    async fn add_admin(&self, tenant: TenantId, who: (&Email, &DisplayName), hash: &str) -> Result<UserId> {
        let mut connection = self.tenancy.connect(tenant).await?;
        let txn = connection.begin().await?;
        let user = self.add_owner_in_txn(&txn, who, true).await?;
        txn.run(SET_PASSWORD, &[&user.uuid(), &hash]).await?;
        txn.commit().await?;
        Ok(user)
    }

    async fn invite_admin(
        &self,
        tenant: TenantId,
        who: (&Email, &DisplayName),
        (token, expires_at): (&SecretString, DateTime<Utc>),
    ) -> Result<UserId> {
        let mut connection = self.tenancy.connect(tenant).await?;
        let txn = connection.begin().await?;
        let user = self.add_owner_in_txn(&txn, who, false).await?;
        let id = InvitationId::generate(&self.clock, self.random);
        let hash = token_hash(token);
        txn.run(INVITE, &[&id.uuid(), &who.0.as_str(), &OWNER, &hash, &expires_at]).await?;
        txn.commit().await?;
        Ok(user)
    }

    async fn add_owner_in_txn(
        &self,
        txn: &TenantTxn<'_>,
        (email, name): (&Email, &DisplayName),
        is_verified: bool,
    ) -> Result<UserId> {
        // A control database from a backup may take a customer's database for a new one.
        let others = txn.row(OTHERS, &[&email.as_str()]).await?;
        if others.is_some_and(|row| row.get(0)) {
            let detail = "the database that a new tenant was to get holds people already: find out whose it is";
            return Err(Error::conflict("database_used", detail));
        }
        let id = UserId::generate(&self.clock, self.random);
        txn.run(ADD, &[&id.uuid(), &email.as_str(), &name.as_str(), &OWNER, &is_verified]).await?;
        let row = txn.row("SELECT id FROM users WHERE email = $1", &[&email.as_str()]).await?;
        let row = row.ok_or_else(|| Error::defect("the first administrator is not there"))?;
        Ok(UserId::from_uuid(row.get("id")))
    }
}
