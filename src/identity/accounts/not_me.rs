//! Somebody was told of a change to their account, and says that it was not them.
//!
//! Whoever made it knows the password, or has a session or a key. So all of these end, with an app that was set up with the
//! change or since, and the account is open to nobody
//! until its owner has chosen another password, by a link that is mailed to the account's address.

use secrecy::SecretString;

use super::{count_token, lock_out_in_txn, record, settle, tell_replicas};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity,
        links::{self, Purpose},
        people,
    },
    mail::Words,
    types::Email,
};

/// Ends all sessions, devices, API keys and the password of the account that a notice was about.
///
/// # Errors
/// `invalid_link` (422); `too_many_attempts`.
pub async fn not_me(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    links::require_links(tenant)?;
    let reservation = count_token(ctx, tenant, token, client).await?;
    settle(ctx, reservation, lock_out(ctx, tenant, token, client).await).await
}

async fn lock_out(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let found = links::find(&connection, token, Purpose::NotMe).await?;
    let (user, told) = found.and_then(|found| Some((found.user?, found.email))).ok_or_else(links::not_open)?;
    let account = people::account_of(&connection, user).await?.filter(|account| account.email == told);
    // A notice that was mailed to another address says nothing of the account as it is now.
    let account = account.ok_or_else(links::not_open)?;
    drop(connection);
    // What was stored is an address.
    let email: Email = account.email.parse().map_err(Error::internal)?;
    let next = SecretString::from(ctx.random.token());
    links::queue(ctx, tenant, (&email, &next), (Words::PasswordReset, Purpose::PasswordReset), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let now = people::lock_account_in_txn(&txn, user).await?;
    let is_same = now.is_some_and(|now| now.is_active && now.email == account.email);
    let link = links::take_in_txn(&txn, token, Purpose::NotMe).await?.filter(|_| is_same);
    let link = link.ok_or_else(links::not_open)?;
    lock_out_in_txn(&txn, user, ("not_me", link.created_at)).await?;
    links::issue_in_txn(&txn, &next, &links::New::about(user, Purpose::PasswordReset, &email, client)).await?;
    record(ctx, &txn, ("account.disowned", Some(user)), client).await?;
    txn.commit().await?;
    drop(connection);
    tell_replicas(ctx, tenant).await;
    Ok(())
}
