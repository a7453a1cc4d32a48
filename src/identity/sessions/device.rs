//! The device that a sign-in comes from.
//!
//! A device that signed in before shows what it was given then. It is looked up before the attempt is counted, since it
//! decides what the attempt counts on; that says nothing of whether there is such an account.

use secrecy::SecretString;

use super::entry::{Entry, Proven};
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{Identity, credentials, guesses, people},
    tenancy::TenantTxn,
    types::Email,
};

/// The digest of what the device shows, if the account with this address knows it.
pub(super) async fn known_device(
    ctx: &Identity,
    tenant: &Tenant,
    email: &str,
    token: Option<&SecretString>,
) -> Result<Option<String>> {
    let Some(token) = token.filter(|_| guesses::are_counted(tenant)) else { return Ok(None) };
    let (digest, email) = (credentials::device_digest(token), email.trim().parse::<Email>().ok());
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let is_known = people::knows_device(&connection, email.as_ref(), &digest).await?;
    Ok(is_known.then_some(digest))
}

/// What becomes of the device of a sign-in.
pub(super) struct Remembered {
    /// What it has to show from now on, if that is anything new.
    pub(super) token: Option<SecretString>,
    /// Whether nobody has signed in with it before.
    pub(super) is_new: bool,
    /// Whether it is new, and another one was known already: then the user should hear of it.
    pub(super) is_another: bool,
}

/// Knows the device of a sign-in that has succeeded.
pub(super) async fn remember_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    (entry, proven): (&Entry<'_>, &Proven),
) -> Result<Remembered> {
    let is_trusted = proven.by_code && entry.trusts_device;
    if !entry.knows_devices {
        let token = if is_trusted { Some(credentials::trust_device_in_txn(ctx, txn, entry.user).await?) } else { None };
        return Ok(Remembered { token, is_new: false, is_another: false });
    }
    // Asked last: what was done on the way may have made it forgotten.
    let is_known = match entry.device_token {
        Some(token) => credentials::is_known_in_txn(txn, entry.user, token).await?,
        None => false,
    };
    if is_known && !is_trusted {
        return Ok(Remembered { token: None, is_new: false, is_another: false });
    }
    let is_another = !is_known && !credentials::devices_in_txn(txn, entry.user).await?.is_empty();
    let shown = (entry.device_token, is_trusted);
    let token = credentials::know_device_in_txn(ctx, txn, entry.user, shown).await?;
    Ok(Remembered { token: Some(token), is_new: !is_known, is_another })
}
