//! What people do about their own accounts: register, prove an address, choose another password when they have forgotten
//! theirs, change their address, take a change back, leave.
//!
//! Whoever comes without a session names an address, or shows the token of a link. An address gets the same answer and
//! costs the same work whether it has an account or not: what is true is told by mail, to the address itself. So the answer
//! comes first, and nothing of it depends on what the mail says. Requests are counted for the address and for where they
//! come from, before anything is looked up, and an address gets three mails of a kind within an hour.
//!
//! A registration is no user: it becomes one when its address is proven. Only where a tenant lets people in without that
//! is the user there at once. docs/decisions/0040 says what the first proof of an address voids, and which password is left.
//!
//! # What must never happen
//! * Somebody who cannot read the mail of an address gets into the account of whoever can.
//! * A response, or the time that it takes, shows whether an address is known.
//! * A mail goes to an address that is not the account's, except to ask whether it shall be.

mod address;
mod not_me;
mod own;
mod register;
mod reset;
mod verify;

pub use address::{change as change_email, confirm as confirm_email, undo as undo_email};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
pub use not_me::not_me;
pub use own::{leave, rename};
pub use register::{Registration, register};
pub use reset::{forgot, reset};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
pub use verify::{resend, verify};

use super::{
    Client, Identity,
    audit::{self, ANONYMOUS, Event},
    credentials,
    guesses::{self, Reservation},
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    tenancy::{Statements, TenantTxn},
    types::{Email, UserId},
};

/// Counts that somebody asks for a mail to an address. How many mails an address gets is bounded apart.
///
/// # Errors
/// `too_many_attempts`.
async fn count_address(ctx: &Identity, tenant: &Tenant, (what, email): (&str, &Email), client: &Client) -> Result<()> {
    guesses::count_mail(ctx, tenant, &format!("{what} {email}"), client).await
}

/// Counts that somebody shows a token, until [`settle`] knows what came of it.
///
/// # Errors
/// `too_many_attempts`.
async fn count_token(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<Reservation> {
    let digest = digest(&SHA256, token.expose_secret().as_bytes());
    let name = format!("link {}", BASE64_URL_SAFE_NO_PAD.encode(digest.as_ref()));
    guesses::reserve_token(ctx, tenant, &name, client).await
}

/// A token that was none stays counted.
async fn settle<T>(ctx: &Identity, reservation: Reservation, outcome: Result<T>) -> Result<T> {
    match &outcome {
        Ok(_) => reservation.succeeded(ctx).await,
        Err(Error::Unprocessable { .. }) => drop(reservation),
        Err(_) => reservation.withdraw(ctx).await,
    }
    outcome
}

/// The work of one hash: so what else differs between two addresses is lost in it.
///
/// # Errors
/// `hashing_busy`.
async fn hash_nothing(ctx: &Identity, email: &Email) -> Result<()> {
    let text = SecretString::from(email.as_str());
    ctx.hasher.verify(&text, None, credentials::REQUEST).await.map(drop)
}

/// Tells all replicas that what they have verified of the tenant's people may have ended. The change is made already: a
/// task goes on telling those that cannot be told now.
async fn tell_replicas(ctx: &Identity, tenant: &Tenant) {
    if let Err(error) = ctx.verdicts.forget(tenant.id).await {
        tracing::warn!(error = error.chain(), tenant.id = %tenant.id, "access has ended, and not all replicas are told yet");
    }
}

/// Writes an event of somebody who has not signed in.
async fn record(
    ctx: &Identity,
    statements: &impl Statements,
    (action, user): (&'static str, Option<UserId>),
    client: &Client,
) -> Result<()> {
    record_with(ctx, statements, (action, user, json!({})), client).await
}

async fn record_with(
    ctx: &Identity,
    statements: &impl Statements,
    (action, user, details): (&'static str, Option<UserId>, Value),
    client: &Client,
) -> Result<()> {
    let event = Event { actor: ANONYMOUS, action, target: user.map(|user| user.to_string()), details };
    audit::write(ctx, statements, client, &event).await
}

/// Makes an account such that nobody gets in before a new password was chosen by a link. A second factor that was set up
/// since then may be an intruder's; an older one is the owner's.
async fn lock_out_in_txn(
    txn: &TenantTxn<'_>,
    user: UserId,
    (because, since): (&'static str, DateTime<Utc>),
) -> Result<()> {
    super::administration::end_access_in_txn(txn, user, because).await?;
    credentials::remove_factor_since_in_txn(txn, user, since).await?;
    credentials::forget_devices_in_txn(txn, user).await?;
    credentials::retire_password_in_txn(txn, user).await?;
    super::links::end_in_txn(txn, user).await
}
