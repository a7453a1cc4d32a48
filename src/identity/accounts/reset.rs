//! Somebody has forgotten their password, and chooses another one by the link that is mailed to them.
//!
//! The link proves the address too: the first proof voids what was there before. An account that has proven its address keeps
//! its second factor, which the next sign-in asks for.

use secrecy::SecretString;

use super::{count_address, count_token, hash_nothing, record, settle, tell_replicas};
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{
        Client, Identity, credentials,
        first_proof::void_in_txn,
        invitations,
        links::{self, Notice, Purpose},
        people,
        roles::lock_roster_in_txn,
        sessions, steps,
    },
    mail::Words,
    types::Email,
};

/// Mails a link to choose another password, if the address has an account.
///
/// # Errors
/// `too_many_attempts`; `hashing_busy`.
pub async fn forgot(ctx: &Identity, tenant: &Tenant, email: &Email, client: &Client) -> Result<()> {
    links::require_links(tenant)?;
    count_address(ctx, tenant, ("reset", email), client).await?;
    hash_nothing(ctx, email).await?;
    let token = SecretString::from(ctx.random.token());
    links::queue(ctx, tenant, (email, &token), (Words::PasswordReset, Purpose::PasswordReset), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let standing = people::standing(&txn, email).await?;
    // Who was invited and has not accepted is nobody yet: the invitation is what opens the account.
    let account = standing.as_ref().filter(|one| one.may_enter && (one.is_proven || one.is_used));
    if links::may_mail_in_txn(&txn, email, Purpose::PasswordReset).await?
        && let Some(account) = account
    {
        let new = links::New::about(account.user, Purpose::PasswordReset, email, client);
        links::issue_in_txn(&txn, &token, &new).await?;
    }
    record(ctx, &txn, ("password.reset_requested", standing.map(|standing| standing.user)), client).await?;
    txn.commit().await
}

/// Chooses another password. All sessions end.
///
/// # Errors
/// `invalid_link` (422); those of the password policy on `password`; `too_many_attempts`; `hashing_busy`.
pub async fn reset(
    ctx: &Identity,
    tenant: &Tenant,
    (token, password): (&SecretString, &SecretString),
    client: &Client,
) -> Result<()> {
    links::require_links(tenant)?;
    let reservation = count_token(ctx, tenant, token, client).await?;
    settle(ctx, reservation, replace(ctx, tenant, (token, password), client).await).await
}

async fn replace(
    ctx: &Identity,
    tenant: &Tenant,
    (token, password): (&SecretString, &SecretString),
    client: &Client,
) -> Result<()> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let found = links::find(&connection, token, Purpose::PasswordReset).await?;
    drop(connection);
    let whose = found.as_ref().and_then(|found| Some((found.user?, found.email.as_str())));
    let chosen = credentials::choose_if_known(ctx, tenant, whose, ("password", password)).await?;
    let (Some((user, email)), Some(chosen)) = (whose, chosen) else { return Err(links::not_open()) };
    let notice = links::announce(ctx, tenant, (email, Words::PasswordChanged), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let account = people::lock_account_in_txn(&txn, user).await?.filter(|account| account.email == email);
    let link = links::take_in_txn(&txn, token, Purpose::PasswordReset).await?;
    let (Some(account), Some(_)) = (account, link) else { return Err(links::not_open()) };
    let address: Email = account.email.parse().map_err(crate::error::Error::internal)?;
    let standing = people::standing(&txn, &address).await?.filter(|one| one.may_enter).ok_or_else(links::not_open)?;
    if !standing.is_proven {
        void_in_txn(&txn, user).await?;
        invitations::revoke_made_by_in_txn(&txn, user).await?;
        people::prove(&txn, user, None).await?;
    }
    credentials::set_in_txn(ctx, &txn, user, &chosen).await?;
    sessions::end_in_txn(&txn, user, None, "password.reset").await?;
    steps::end_in_txn(&txn, user).await?;
    links::end_in_txn(&txn, user).await?;
    Notice::confirm_in_txn(notice.as_ref(), &txn, user).await?;
    record(ctx, &txn, ("password.reset", Some(user)), client).await?;
    txn.commit().await?;
    drop(connection);
    tell_replicas(ctx, tenant).await;
    Ok(())
}
