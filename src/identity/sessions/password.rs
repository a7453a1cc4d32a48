//! A user who is signed in changes their password. All their other sessions end, and sign-ins that wait for a step. They
//! are told by mail.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    proof::{is_same, verify_own_password},
    require_version, store,
};
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{
        Client, Identity, Principal,
        audit::{self, Event},
        credentials,
        links::{self, Notice},
        people, steps, tokens,
    },
    mail::Words,
};

/// Where the new password is sent.
const FIELD: &str = "new_password";

/// A request to change one's password.
#[derive(Debug)]
pub struct PasswordChange {
    /// The present one.
    pub current: SecretString,
    /// The one from now on.
    pub new: SecretString,
}

/// Changes the caller's password. API keys stay valid.
///
/// # Errors
/// `session_required` for API keys; `too_many_attempts`; `hashing_busy`; `wrong_password` on `current_password`; those
/// of the tenant's policy on `new_password`.
pub async fn change_password(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
    change: &PasswordChange,
) -> Result<()> {
    require_version(tenant)?;
    let session = principal.session()?;
    let (account, reservation) =
        verify_own_password(ctx, tenant, (principal, client), ("current_password", &change.current)).await?;
    reservation.withdraw(ctx).await;
    if change.new.expose_secret() == change.current.expose_secret() {
        return Err(credentials::used_before(FIELD));
    }
    let chosen = credentials::choose(ctx, tenant, (account.user, &account.email), (FIELD, &change.new)).await?;
    let notice = links::announce(ctx, tenant, (&account.email, Words::PasswordChanged), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let now = people::lock_account_in_txn(&txn, account.user).await?;
    if !now.is_some_and(|now| is_same(&now, &account)) || !store::prove(&txn, session).await? {
        return Err(tokens::invalid());
    }
    credentials::replace_in_txn(ctx, &txn, account.user, &chosen).await?;
    let ended = store::end_others(&txn, account.user, session, "password_changed").await?;
    steps::end_in_txn(&txn, account.user).await?;
    Notice::confirm_in_txn(notice.as_ref(), &txn, account.user).await?;
    let (actor, target) = (principal.id_text(), Some(account.user.to_string()));
    let event = Event { actor: &actor, action: "password.changed", target, details: json!({ "sessions": ended }) };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(tenant.id).await
}
