//! An account gets another address: asked for by its owner, confirmed by a link to the new address, and taken back by a link
//! to the former one.
//!
//! The new address is the account's only when somebody who reads its mail has confirmed it. Then every session ends, and
//! every link that was mailed to the former address, but for the one that takes the change back: that one gives the former
//! address its account again, and leaves nothing to whoever has changed it: no session, device, key, password or app, and
//! nothing that takes this back in turn. What was asked for ends with the session that asked.

use secrecy::SecretString;

use super::{count_address, count_token, hash_nothing, lock_out_in_txn, record, settle, tell_replicas};
use crate::{
    control::tenants::Tenant,
    error::{Error, FieldError, Result},
    identity::{
        Caller, Client, Identity, audit,
        links::{self, Notice, Purpose},
        people,
        roles::lock_roster_in_txn,
        sessions, steps, tokens,
    },
    mail::Words,
    types::Email,
};

/// Mails a link to the address that the caller wants. An address that has an account is told so instead.
///
/// # Errors
/// `session_required` for API keys; `insufficient_user_authentication`; `same_address` on `email`; `too_many_attempts`;
/// `hashing_busy`.
pub async fn change(ctx: &Identity, caller: Caller<'_>, email: &Email) -> Result<()> {
    let (tenant, client, user) = (caller.tenant, caller.client, caller.principal.user());
    links::require_links(tenant)?;
    let session = caller.principal.session()?;
    count_address(ctx, tenant, ("change", email), client).await?;
    hash_nothing(ctx, email).await?;
    let standing = people::standing(&ctx.tenancy.connect(tenant.id).await?, email).await?;
    let (words, purpose) = match &standing {
        Some(other) if other.may_enter && other.is_proven => (Words::EmailTaken, Purpose::EmailTaken),
        _ => (Words::EmailChange, Purpose::EmailChange),
    };
    let token = SecretString::from(ctx.random.token());
    links::queue(ctx, tenant, (email, &token), (words, purpose), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let account = people::lock_account_in_txn(&txn, user).await?.ok_or_else(tokens::invalid)?;
    sessions::require_proof_in_txn(&txn, caller.principal).await?;
    if account.email == email.as_str() {
        return Err(FieldError::new("email", "same_address", "is your address already").into());
    }
    if links::may_mail_in_txn(&txn, email, purpose).await? {
        let whose = match &standing {
            None => Some(user),
            Some(other) => Some(other.user).filter(|_| words == Words::EmailTaken),
        };
        if let Some(whose) = whose {
            let new = links::New { session: Some(session), ..links::New::about(whose, purpose, email, client) };
            links::issue_in_txn(&txn, &token, &new).await?;
        }
    }
    let event = ("email.change_requested", user.to_string());
    audit::record(ctx, &txn, caller, event, serde_json::json!({ "session": session })).await?;
    txn.commit().await
}

/// Gives the account its new address. All its sessions end.
///
/// # Errors
/// `invalid_link` (422); `email_in_use` (409); `too_many_attempts`.
pub async fn confirm(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    links::require_links(tenant)?;
    let reservation = count_token(ctx, tenant, token, client).await?;
    settle(ctx, reservation, readdress(ctx, tenant, token, client).await).await
}

async fn readdress(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let found = links::find(&connection, token, Purpose::EmailChange).await?.ok_or_else(links::not_open)?;
    let user = found.user.ok_or_else(links::not_open)?;
    let before = people::account_of(&connection, user).await?.ok_or_else(links::not_open)?;
    let former: Email = before.email.parse().map_err(Error::internal)?;
    let standing = people::standing(&connection, &former).await?;
    drop(connection);
    let email: Email = found.email.parse().map_err(Error::internal)?;
    // Whoever has an address that was never proven need not be who has the account.
    let notice = if standing.is_some_and(|standing| standing.is_proven) {
        links::announce(ctx, tenant, (&before.email, Words::EmailChanged), client).await?
    } else {
        None
    };
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let now = people::lock_account_in_txn(&txn, user).await?;
    let is_same = now.is_some_and(|now| now.is_active && now.email == before.email);
    let link = links::take_in_txn(&txn, token, Purpose::EmailChange).await?;
    let Some(session) = link.filter(|_| is_same).and_then(|link| link.session) else { return Err(links::not_open()) };
    // Whoever has signed out everywhere, or chosen another password, has taken back what others asked for.
    if !sessions::is_alive_in_txn(&txn, session).await? {
        return Err(links::not_open());
    }
    if !people::readdress(&txn, user, &email).await? {
        return Err(in_use());
    }
    sessions::end_in_txn(&txn, user, None, "email.changed").await?;
    steps::end_in_txn(&txn, user).await?;
    links::end_in_txn(&txn, user).await?;
    Notice::confirm_in_txn(notice.as_ref(), &txn, user).await?;
    record(ctx, &txn, ("email.changed", Some(user)), client).await?;
    txn.commit().await?;
    drop(connection);
    tell_replicas(ctx, tenant).await;
    Ok(())
}

/// Gives the account its former address back, and mails a link to it to choose a new password. Nobody gets in before.
///
/// # Errors
/// `invalid_link` (422); `email_in_use` (409); `too_many_attempts`.
pub async fn undo(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    links::require_links(tenant)?;
    let reservation = count_token(ctx, tenant, token, client).await?;
    settle(ctx, reservation, take_back(ctx, tenant, token, client).await).await
}

async fn take_back(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<()> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let found = links::find(&connection, token, Purpose::EmailUndo).await?.ok_or_else(links::not_open)?;
    drop(connection);
    let user = found.user.ok_or_else(links::not_open)?;
    let email: Email = found.email.parse().map_err(Error::internal)?;
    let next = SecretString::from(ctx.random.token());
    links::queue(ctx, tenant, (&email, &next), (Words::PasswordReset, Purpose::PasswordReset), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let account = people::lock_account_in_txn(&txn, user).await?.filter(|account| account.is_active);
    let link = links::take_in_txn(&txn, token, Purpose::EmailUndo).await?;
    let (Some(_), Some(link)) = (account, link) else { return Err(links::not_open()) };
    if !people::readdress(&txn, user, &email).await? {
        return Err(in_use());
    }
    lock_out_in_txn(&txn, user, ("email.change_undone", link.created_at)).await?;
    links::end_later_in_txn(&txn, user, (link.created_at, &email)).await?;
    links::issue_in_txn(&txn, &next, &links::New::about(user, Purpose::PasswordReset, &email, client)).await?;
    record(ctx, &txn, ("email.change_undone", Some(user)), client).await?;
    txn.commit().await?;
    drop(connection);
    tell_replicas(ctx, tenant).await;
    Ok(())
}

fn in_use() -> Error {
    Error::conflict("email_in_use", "somebody else has this address meanwhile")
}
