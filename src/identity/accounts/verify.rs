//! Somebody proves an address, by the link that was mailed to it.
//!
//! A link of a registration makes its user, with the password of that registration and no other. It is the newest one of the
//! address: an earlier one is void. If somebody else wanted the address as well, the user gets no password, and a link to
//! choose one instead of the welcome.

use secrecy::SecretString;
use serde_json::json;

use super::{count_address, count_token, hash_nothing, record, record_with, settle, tell_replicas};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity, credentials,
        first_proof::void_in_txn,
        invitations,
        links::{self, Purpose, Taken},
        people,
        roles::lock_roster_in_txn,
        settings::Decisions,
    },
    mail::Words,
    tenancy::TenantTxn,
    types::{Email, UserId},
};

/// Mails the link again that proves an address, if there is anything to prove.
///
/// # Errors
/// `too_many_attempts`; `hashing_busy`.
pub async fn resend(ctx: &Identity, tenant: &Tenant, email: &Email, client: &Client) -> Result<()> {
    links::require_links(tenant)?;
    count_address(ctx, tenant, ("verify", email), client).await?;
    hash_nothing(ctx, email).await?;
    let token = SecretString::from(ctx.random.token());
    links::queue(ctx, tenant, (email, &token), (Words::Verification, Purpose::Verification), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let standing = people::standing(&txn, email).await?;
    if links::may_mail_in_txn(&txn, email, Purpose::Verification).await? {
        let unproven = standing.as_ref().filter(|one| one.may_enter && !one.is_proven && one.is_used);
        let pending = match &standing {
            Some(_) if unproven.is_none() => None,
            _ => links::newest_registration(&txn, email).await?,
        };
        match (&pending, unproven) {
            (Some(pending), _) => links::issue_in_txn(&txn, &token, &again(pending, email, client)).await?,
            (None, Some(account)) => {
                let new = links::New::about(account.user, Purpose::Verification, email, client);
                links::issue_in_txn(&txn, &token, &new).await?;
            }
            (None, None) => {}
        }
    }
    record(ctx, &txn, ("verification.requested", standing.map(|standing| standing.user)), client).await?;
    txn.commit().await
}

/// The same registration, by another link. Whoever asks for that has not registered.
fn again<'a>(pending: &'a Taken, email: &'a Email, client: &Client) -> links::New<'a> {
    links::New {
        purpose: Purpose::Verification,
        user: pending.user,
        email,
        password_hash: pending.password_hash.as_deref(),
        name: pending.name.as_deref(),
        ip: pending.ip.unwrap_or_else(|| client.ip.to_canonical()),
        is_in_use: false,
        session: None,
    }
}

/// Proves an address.
///
/// # Errors
/// `invalid_link` (422); `registration_closed` (403) when nobody registers any more; `too_many_attempts`.
pub async fn verify(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    links::require_links(tenant)?;
    let reservation = count_token(ctx, tenant, token, client).await?;
    settle(ctx, reservation, prove(ctx, tenant, token, client).await).await
}

async fn prove(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    let found = links::find(&ctx.tenancy.connect(tenant.id).await?, token, Purpose::Verification).await?;
    let found = found.ok_or_else(links::not_open)?;
    // What was stored is an address.
    let email: Email = found.email.parse().map_err(Error::internal)?;
    let keeps_password = found.password_hash.is_some() && !found.is_contested;
    let (words, purpose) =
        if keeps_password { (Words::Welcome, Purpose::NotMe) } else { (Words::PasswordReset, Purpose::PasswordReset) };
    let next = SecretString::from(ctx.random.token());
    links::queue(ctx, tenant, (&email, &next), (words, purpose), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let link = links::take_in_txn(&txn, token, Purpose::Verification).await?.ok_or_else(links::not_open)?;
    let (user, is_new) = user_in_txn(ctx, &txn, (&link, &email)).await?;
    // Somebody else has wanted to register since the link was looked up.
    if keeps_password && link.is_contested {
        return Err(links::not_open());
    }
    if let Some(hash) = link.password_hash.filter(|_| keeps_password) {
        credentials::add_first_password_in_txn(ctx, &txn, user, &hash).await?;
    }
    links::issue_in_txn(&txn, &next, &links::New::about(user, purpose, &email, client)).await?;
    if is_new {
        record(ctx, &txn, ("user.registered", Some(user)), client).await?;
    }
    let details = json!({ "keeps_password": keeps_password });
    record_with(ctx, &txn, ("email.verified", Some(user), details), client).await?;
    txn.commit().await?;
    drop(connection);
    if !is_new {
        tell_replicas(ctx, tenant).await;
    }
    Ok(())
}

/// The user whose address is proven: a new one, or one who has not proven it before and now has nothing that is older than
/// the proof. Whether it is a new one.
async fn user_in_txn(ctx: &Identity, txn: &TenantTxn<'_>, (taken, email): (&Taken, &Email)) -> Result<(UserId, bool)> {
    let name = taken.name.as_deref();
    let Some(standing) = people::standing(txn, email).await? else {
        if taken.user.is_some() {
            return Err(links::not_open());
        }
        let (decisions, _) = Decisions::read(txn).await?;
        decisions.require_registration(email)?;
        let id = UserId::generate(&ctx.clock, ctx.random);
        if !people::register(txn, id, (email, name), true).await? {
            return Err(links::not_open());
        }
        return Ok((id, true));
    };
    let user = standing.user;
    people::lock_account_in_txn(txn, user).await?;
    // As it is now that nobody else changes it.
    let standing = people::standing(txn, email).await?.filter(|now| now.user == user);
    let is_unproven = standing.is_some_and(|now| now.may_enter && !now.is_proven && now.is_used);
    if !is_unproven || taken.user.is_some_and(|of| of != user) {
        return Err(links::not_open());
    }
    void_in_txn(txn, user).await?;
    invitations::revoke_made_by_in_txn(txn, user).await?;
    people::prove(txn, user, name).await?;
    Ok((user, false))
}
