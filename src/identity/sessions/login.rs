//! Signing in with e-mail address and password.
//!
//! Every refusal looks and costs the same, whether the address is unknown, malformed, inactive or without a
//! password, or the password is wrong: one look-up, one hash, one line in the audit log. The attempt is counted
//! before any of it. No connection is held while the password is hashed.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::Tokens;
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity, Inner,
        audit::{ANONYMOUS, Event},
        credentials,
    },
    limits::Reservation,
    tenancy::Statements,
    types::{Email, UserId},
};

/// A request to sign in.
#[derive(Debug)]
pub struct Login {
    /// As it was submitted: nonsense costs the same as an unknown address. Personal, so it is a secret here.
    pub email: SecretString,
    /// As it was submitted.
    pub password: SecretString,
}

/// What is known about the account of an address.
struct Account {
    user: UserId,
    may_sign_in: bool,
    is_verified: bool,
    password_hash: Option<String>,
}

impl Identity {
    /// Signs somebody in.
    ///
    /// # Errors
    /// `invalid_credentials`; `email_not_verified`, but only to those who know the password;
    /// `too_many_attempts`; `hashing_busy`.
    pub async fn login(&self, tenant: &Tenant, request: &Login, client: &Client) -> Result<Tokens> {
        let inner = &self.inner;
        let reservation = inner.attempts.reserve(tenant.id, request.email.expose_secret(), client.ip).await?;
        let outcome = inner.sign_in(tenant, request, client).await;
        settle(reservation, &outcome).await;
        let result = outcome.as_ref().map_or_else(Error::code, |_| "ok");
        metrics::counter!("freehold_logins_total", "result" => result).increment(1);
        outcome
    }
}

/// A wrong password stays counted. What is no answer about the password is not held against anybody.
async fn settle(reservation: Reservation, outcome: &Result<Tokens>) {
    match outcome {
        Err(Error::Unauthenticated { code: "invalid_credentials", .. }) => drop(reservation),
        Ok(_) | Err(Error::Unauthenticated { .. }) => reservation.succeeded().await,
        Err(_) => reservation.withdraw().await,
    }
}

impl Inner {
    async fn sign_in(&self, tenant: &Tenant, request: &Login, client: &Client) -> Result<Tokens> {
        // Read first: without a key there is nothing to hand out, and no session is left behind.
        self.keys.of(tenant).await?;
        let mut account = self.account(tenant, request).await?;
        let hash = account.as_mut().and_then(|account| account.password_hash.take());
        let is_right = self.hasher.verify(&request.password, hash, credentials::REQUEST).await?;
        match account {
            Some(account) if is_right && account.may_sign_in && account.is_verified => {
                self.admit(tenant, account.user, client).await
            }
            Some(account) if is_right && account.may_sign_in => {
                self.refuse(tenant, Some(account.user), client, email_not_verified()).await
            }
            account => self.refuse(tenant, account.map(|account| account.user), client, invalid_credentials()).await,
        }
    }

    async fn account(&self, tenant: &Tenant, request: &Login) -> Result<Option<Account>> {
        let sql = "SELECT u.id, u.active, c.password_hash,
                          u.email_verified_at IS NOT NULL OR EXISTS (
                              SELECT FROM freehold.settings WHERE name = 'require_verified_email' AND value = 'false'
                          ) AS verified
                   FROM freehold.users u LEFT JOIN freehold.credentials c ON c.user_id = u.id WHERE u.email = $1";
        let email = request.email.expose_secret().trim().parse::<Email>().ok();
        let connection = self.tenancy.connect(tenant.id).await?;
        let row = connection.row(sql, &[&email.as_ref().map(Email::as_str)]).await?;
        Ok(row.map(|row| Account {
            user: UserId::from_uuid(row.get("id")),
            may_sign_in: row.get("active"),
            is_verified: row.get("verified"),
            // Of somebody who may not sign in too, so that the refusal takes as long.
            password_hash: row.get("password_hash"),
        }))
    }

    async fn admit(&self, tenant: &Tenant, user: UserId, client: &Client) -> Result<Tokens> {
        let mut connection = self.tenancy.connect(tenant.id).await?;
        let txn = connection.begin().await?;
        let session = self.open_session_in_txn(&txn, user, client).await?.ok_or_else(invalid_credentials)?;
        let (actor, target) = (user.to_string(), Some(session.id.to_string()));
        let event = Event { actor: &actor, action: "login.succeeded", target, details: json!({}) };
        self.audit(&txn, client, &event).await?;
        txn.commit().await?;
        drop(connection);
        self.issue(tenant, session).await
    }

    async fn refuse(&self, tenant: &Tenant, user: Option<UserId>, client: &Client, why: Error) -> Result<Tokens> {
        let target = user.map(|user| user.to_string());
        let details = json!({ "reason": why.code() });
        let event = Event { actor: ANONYMOUS, action: "login.failed", target, details };
        let connection = self.tenancy.connect(tenant.id).await?;
        self.audit(&connection, client, &event).await?;
        Err(why)
    }
}

fn invalid_credentials() -> Error {
    let detail = "the e-mail address or the password is wrong";
    Error::Unauthenticated { code: "invalid_credentials", detail }
}

fn email_not_verified() -> Error {
    let detail = "the e-mail address has to be verified first";
    Error::Unauthenticated { code: "email_not_verified", detail }
}
