//! Signs a user in with email address and password.
//!
//! All refusals have the same response and the same cost: one query, one hash, one audit event. It does not matter
//! whether the address is unknown or malformed, the user is inactive or has no password, or the password is wrong. The
//! attempt is counted before all that. No database connection is held while the password is hashed.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::open_in_txn;
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity,
        audit::{self, ANONYMOUS, Event},
        credentials,
        people::{self, Account},
        tokens::Tokens,
    },
    limits::Reservation,
    types::{Email, UserId},
};

/// A request to sign in.
#[derive(Debug)]
pub struct Login {
    /// The email address as it was submitted: a malformed one costs as much as an unknown one. It is a `SecretString`
    /// because it is personal data, which must not be logged.
    pub email: SecretString,
    /// The password as it was submitted.
    pub password: SecretString,
}

/// The result of a request to sign in.
#[derive(Debug)]
pub enum LoginOutcome {
    /// The user is signed in.
    SignedIn(Tokens),
    /// The user is refused.
    Refused(Refusal),
}

/// Why a sign-in was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The email address, the user or the password is wrong.
    InvalidCredentials,
    /// Everything is right, but the email address is not verified.
    EmailNotVerified,
}

impl Refusal {
    /// The code in responses, audit events and metrics.
    fn code(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "invalid_credentials",
            Self::EmailNotVerified => "email_not_verified",
        }
    }
}

impl LoginOutcome {
    /// Converts the outcome to the response.
    ///
    /// # Errors
    /// `invalid_credentials`; `email_not_verified`, but only if the password was right.
    pub fn into_result(self) -> Result<Tokens> {
        let refusal = match self {
            Self::SignedIn(tokens) => return Ok(tokens),
            Self::Refused(refusal) => refusal,
        };
        let detail = match refusal {
            Refusal::InvalidCredentials => "the e-mail address or the password is wrong",
            Refusal::EmailNotVerified => "the e-mail address has to be verified first",
        };
        Err(Error::Unauthenticated { code: refusal.code(), detail })
    }
}

/// Signs a user in.
///
/// # Errors
/// `too_many_attempts`; `hashing_busy`.
pub async fn login(ctx: &Identity, tenant: &Tenant, request: &Login, client: &Client) -> Result<LoginOutcome> {
    let reservation = ctx.attempts.reserve(tenant.id, request.email.expose_secret(), client.ip).await?;
    let outcome = sign_in(ctx, tenant, request, client).await;
    settle(reservation, &outcome).await;
    let result = match &outcome {
        Ok(LoginOutcome::SignedIn(_)) => "ok",
        Ok(LoginOutcome::Refused(refusal)) => refusal.code(),
        Err(error) => error.code(),
    };
    metrics::counter!("freehold_logins_total", "result" => result).increment(1);
    outcome
}

/// Keeps the attempt counted if the password was wrong. Releases it if the sign-in succeeded, or failed for another
/// reason.
async fn settle(reservation: Reservation, outcome: &Result<LoginOutcome>) {
    match outcome {
        Ok(LoginOutcome::Refused(Refusal::InvalidCredentials)) => drop(reservation),
        Ok(LoginOutcome::SignedIn(_) | LoginOutcome::Refused(Refusal::EmailNotVerified)) => {
            reservation.succeeded().await;
        }
        Err(_) => reservation.withdraw().await,
    }
}

async fn sign_in(ctx: &Identity, tenant: &Tenant, request: &Login, client: &Client) -> Result<LoginOutcome> {
    ctx.issuer.prepare(tenant).await?;
    let email = request.email.expose_secret().trim().parse::<Email>().ok();
    let mut account = people::account(&ctx.tenancy.connect(tenant.id).await?, email.as_ref()).await?;
    let hash = account.as_mut().and_then(|account| account.password_hash.take());
    let is_right = ctx.hasher.verify(&request.password, hash, credentials::REQUEST).await?;
    let refusal = match judge(account.as_ref(), is_right) {
        Ok(user) => match admit(ctx, tenant, user, client).await? {
            Some(tokens) => return Ok(LoginOutcome::SignedIn(tokens)),
            None => Refusal::InvalidCredentials,
        },
        Err(refusal) => refusal,
    };
    refuse(ctx, tenant, account.map(|account| account.user), client, refusal).await
}

/// The user who may sign in, or the refusal.
fn judge(account: Option<&Account>, is_right: bool) -> Result<UserId, Refusal> {
    match account {
        Some(account) if is_right && account.is_active && account.is_verified => Ok(account.user),
        Some(account) if is_right && account.is_active => Err(Refusal::EmailNotVerified),
        _ => Err(Refusal::InvalidCredentials),
    }
}

/// Opens the session. `None` when the user was deactivated in the meantime.
async fn admit(ctx: &Identity, tenant: &Tenant, user: UserId, client: &Client) -> Result<Option<Tokens>> {
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let Some(grant) = open_in_txn(ctx, &txn, user, client).await? else { return Ok(None) };
    let (actor, target) = (user.to_string(), Some(grant.session.to_string()));
    let event = Event { actor: &actor, action: "login.succeeded", target, details: json!({}) };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await?;
    drop(connection);
    ctx.issuer.issue(tenant, grant).await.map(Some)
}

async fn refuse(
    ctx: &Identity,
    tenant: &Tenant,
    user: Option<UserId>,
    client: &Client,
    refusal: Refusal,
) -> Result<LoginOutcome> {
    let (target, details) = (user.map(|user| user.to_string()), json!({ "reason": refusal.code() }));
    let event = Event { actor: ANONYMOUS, action: "login.failed", target, details };
    audit::write(ctx, &ctx.tenancy.connect(tenant.id).await?, client, &event).await?;
    Ok(LoginOutcome::Refused(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Random};

    #[test]
    fn only_the_right_password_of_an_active_account_says_more_than_no() {
        let user = UserId::generate(&Clock::default(), Random);
        for is_right in [false, true] {
            for (is_active, is_verified) in [(false, false), (false, true), (true, false), (true, true)] {
                let account = Account { user, is_active, is_verified, password_hash: None };
                let expected = match (is_right && is_active, is_verified) {
                    (true, true) => Ok(user),
                    (true, false) => Err(Refusal::EmailNotVerified),
                    (false, _) => Err(Refusal::InvalidCredentials),
                };
                assert_eq!(judge(Some(&account), is_right), expected, "{is_right} {is_active} {is_verified}");
            }
            assert_eq!(judge(None, is_right), Err(Refusal::InvalidCredentials));
        }
    }
}
