//! A tenant's first administrator: made by the operation that makes the tenant, before anybody can ask for them.
//!
//! Everything here can be repeated: an operation runs a step again when it does not know whether it was done.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::{Identity, Inner, credentials, permissions::OWNER, sessions::token_hash};
use crate::{
    error::{Error, Result},
    tenancy::{Param, Statements},
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

const FIND_OWNER: &str = "SELECT id FROM freehold.users WHERE email = $1 AND role = $2";

const FIND: &str = "SELECT u.id FROM freehold.users u JOIN freehold.credentials c ON c.user_id = u.id
    WHERE u.email = $1";

/// Adds them, unless they are there, and what lets them in; where there is anybody else, nothing. Says whether there
/// is. One statement, and so one transaction: tenants wait for this one.
macro_rules! add {
    ($verified_at:literal, $entry:literal) => {
        concat!(
            "WITH others AS (SELECT FROM freehold.users WHERE email <> $2 LIMIT 1), added AS (
                 INSERT INTO freehold.users (id, email, name, role, email_verified_at)
                 SELECT $1::uuid, $2, $3, $4, ",
            $verified_at,
            " WHERE NOT EXISTS (SELECT FROM others)
                 ON CONFLICT (email) DO NOTHING RETURNING id
             ), entry AS (",
            $entry,
            ")
             SELECT EXISTS (SELECT FROM others)"
        )
    };
}

const ADD_WITH_PASSWORD: &str = add!(
    "now()",
    "INSERT INTO freehold.credentials (user_id, password_hash)
     SELECT id, $5::text FROM (SELECT id FROM added UNION ALL SELECT id FROM freehold.users WHERE email = $2) AS admin
     WHERE NOT EXISTS (SELECT FROM others) ON CONFLICT (user_id) DO NOTHING"
);

const ADD_AND_INVITE: &str = add!(
    "NULL::timestamptz",
    "INSERT INTO freehold.invitations (id, email, role, token_hash, invited_by, expires_at)
     SELECT $5::uuid, $2, $4, $6::bytea, 'system', $7::timestamptz
     WHERE NOT EXISTS (SELECT FROM others) ON CONFLICT (token_hash) DO NOTHING"
);

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
    ) -> Result<()> {
        let inner = &self.inner;
        match how {
            FirstAdmin::Invitation { token, expires_at } => {
                inner.invite_admin(tenant, (email, name), (token, *expires_at)).await
            }
            FirstAdmin::Password(password) => {
                if inner.has_password(tenant, email).await? {
                    return Ok(());
                }
                let hash = inner.hasher.hash(password, credentials::BACKGROUND).await?;
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
    async fn has_password(&self, tenant: TenantId, email: &Email) -> Result<bool> {
        let connection = self.tenancy.connect(tenant).await?;
        Ok(connection.row(FIND, &[&email.as_str()]).await?.is_some())
    }

    async fn add_admin(&self, tenant: TenantId, (email, name): (&Email, &DisplayName), hash: &str) -> Result<()> {
        let id = UserId::generate(&self.clock, self.random).uuid();
        let params: [Param<'_>; 5] = [&id, &email.as_str(), &name.as_str(), &OWNER, &hash];
        self.add(tenant, ADD_WITH_PASSWORD, &params).await
    }

    async fn invite_admin(
        &self,
        tenant: TenantId,
        (email, name): (&Email, &DisplayName),
        (token, expires_at): (&SecretString, DateTime<Utc>),
    ) -> Result<()> {
        let id = UserId::generate(&self.clock, self.random).uuid();
        let invitation = InvitationId::generate(&self.clock, self.random).uuid();
        let hash = token_hash(token);
        let params: [Param<'_>; 7] = [&id, &email.as_str(), &name.as_str(), &OWNER, &invitation, &hash, &expires_at];
        self.add(tenant, ADD_AND_INVITE, &params).await
    }

    async fn add(&self, tenant: TenantId, sql: &'static str, params: &[Param<'_>]) -> Result<()> {
        let others = self.tenancy.connect(tenant).await?.row(sql, params).await?;
        // A control database from a backup may take a customer's database for a new one.
        if others.is_some_and(|row| row.get(0)) {
            let detail = "the database that a new tenant was to get holds people already: find out whose it is";
            return Err(Error::conflict("database_used", detail));
        }
        Ok(())
    }
}
