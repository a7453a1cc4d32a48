//! Devices: those that signed in before are known, and some of them are trusted to show no code for a while.
//!
//! A device shows a random token, of which a digest is stored. It is known for ninety days after its last sign-in, and it
//! is its user's alone. All of a user's devices are forgotten when something changes of what they sign in with.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{factors::hex_digest, store};
use crate::{
    error::Result,
    identity::Identity,
    tenancy::TenantTxn,
    types::{CredentialId, UserId},
};

/// How long a device is known after it was last used.
const KNOWN: Duration = Duration::from_hours(90 * 24);
/// How long it is trusted.
const TRUSTED: Duration = Duration::from_hours(30 * 24);
/// How many devices of one user are known: the oldest is forgotten for another one.
const MOST_KNOWN: i64 = 50;

/// What is stored of what a device shows.
pub(in crate::identity) fn device_digest(token: &SecretString) -> String {
    hex_digest(token.expose_secret())
}

/// Knows a device from now on, in place of the one that was shown; what it has to show.
pub(in crate::identity) async fn know_device_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
    (shown, is_trusted): (Option<&SecretString>, bool),
) -> Result<SecretString> {
    if let Some(shown) = shown {
        store::forget_device(txn, user, &device_digest(shown)).await?;
    }
    let (token, id) = (SecretString::from(ctx.random.token()), CredentialId::generate(&ctx.clock, ctx.random));
    let trusted = is_trusted.then_some(TRUSTED);
    store::make_room_for_device(txn, user, MOST_KNOWN).await?;
    store::know_device(txn, (id, user), &device_digest(&token), (KNOWN, trusted)).await?;
    Ok(token)
}

/// Whether this is what a device shows that is known. It is known for longer from now on.
pub(in crate::identity) async fn is_known_in_txn(
    txn: &TenantTxn<'_>,
    user: UserId,
    token: &SecretString,
) -> Result<bool> {
    store::is_known(txn, user, &device_digest(token), KNOWN).await
}

/// Trusts a device from now on, in a database that knows no devices otherwise: what it has to show.
pub(in crate::identity) async fn trust_device_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
) -> Result<SecretString> {
    let (token, id) = (SecretString::from(ctx.random.token()), CredentialId::generate(&ctx.clock, ctx.random));
    store::trust_device(txn, (id, user), &device_digest(&token), TRUSTED).await?;
    Ok(token)
}

/// Whether this is what a device shows that the user trusts.
pub(in crate::identity) async fn is_trusted_in_txn(
    txn: &TenantTxn<'_>,
    user: UserId,
    token: &SecretString,
) -> Result<bool> {
    store::is_trusted(txn, user, &device_digest(token)).await
}

/// The digests of what all devices of a user show.
pub(in crate::identity) async fn devices_in_txn(txn: &TenantTxn<'_>, user: UserId) -> Result<Vec<String>> {
    store::devices(txn, user).await
}

/// Forgets all devices of a user; how many there were.
pub(in crate::identity) async fn forget_devices_in_txn(txn: &TenantTxn<'_>, user: UserId) -> Result<u64> {
    store::forget_devices(txn, user).await
}
