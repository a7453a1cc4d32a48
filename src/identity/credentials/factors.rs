//! Second factors: an authenticator app, and the recovery codes for the day that it is lost.
//!
//! A seed is stored sealed with the tenant's key, for its own row: moved to another user's, it does not open. It begins
//! as `new` and counts once its owner has shown a code of it. Each step is accepted once, by one conditional UPDATE, on
//! whichever replica. A recovery code has 80 random bits, of which a digest is stored; it is used once, by one DELETE.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::{
    store,
    totp::{Seed, base32, is_code},
};
use crate::{
    control::sealed::SealedTenant,
    error::{Error, Result},
    identity::Identity,
    tenancy::{Statements, TenantTxn},
    types::{CredentialId, UserId},
};

/// How many recovery codes somebody is given.
const RECOVERY_CODES: u8 = 10;
/// Letters and digits in a group of a recovery code; there are four groups.
const GROUP: usize = 4;

/// The handle of the app that counts, and of one that is being set up.
const ACTIVE: &str = "";
const NEW: &str = "new";

/// Stores a new seed, which does not count yet, in place of one that never did.
pub(in crate::identity) async fn begin_totp_in_txn(
    ctx: &Identity,
    (key, txn): (&SealedTenant, &TenantTxn<'_>),
    user: UserId,
) -> Result<Seed> {
    let seed = Seed::generate(ctx.random);
    let id = CredentialId::generate(&ctx.clock, ctx.random);
    let sealed = BASE64_STANDARD.encode(key.seal(&ctx.key_ring, &purpose(id), seed.bytes())?);
    store::begin_totp(txn, (id, user), &sealed).await?;
    Ok(seed)
}

/// Makes the new seed count, if this is a code of it; it takes the place of the one that counted before. The code is
/// used up.
pub(in crate::identity) async fn confirm_totp_in_txn(
    ctx: &Identity,
    (key, txn): (&SealedTenant, &TenantTxn<'_>),
    user: UserId,
    code: &SecretString,
) -> Result<bool> {
    let Some(step) = step_of(ctx, (key, txn), (user, NEW), code).await? else { return Ok(false) };
    store::forget_devices(txn, user).await?;
    store::activate_totp(txn, user, step).await
}

/// Whether this is a code of the user's app that was not used before, or an unused recovery code. It is used up.
pub(in crate::identity) async fn accept_code_in_txn(
    ctx: &Identity,
    (key, txn): (&SealedTenant, &TenantTxn<'_>),
    user: UserId,
    code: &SecretString,
) -> Result<bool> {
    let text = code.expose_secret().trim();
    if !is_code(text) {
        return store::use_recovery_code(txn, user, &recovery_digest(text)).await;
    }
    match step_of(ctx, (key, txn), (user, ACTIVE), code).await? {
        Some(step) => store::use_step(txn, user, step).await,
        None => Ok(false),
    }
}

/// Gives a user new recovery codes in place of all earlier ones.
pub(in crate::identity) async fn replace_recovery_codes_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
) -> Result<Vec<SecretString>> {
    let codes: Vec<_> = (0..RECOVERY_CODES).map(|_| recovery_code(&ctx.random.bytes::<10>())).collect();
    let rows = codes.iter().map(|code| {
        let id = CredentialId::generate(&ctx.clock, ctx.random).uuid();
        (id, recovery_digest(code.expose_secret()))
    });
    let (ids, digests): (Vec<_>, Vec<_>) = rows.unzip();
    store::replace_recovery_codes(txn, user, (&ids, &digests)).await?;
    Ok(codes)
}

/// Takes a user's second factor away, with all that belongs to it. Whether there was one.
pub(in crate::identity) async fn remove_factor_in_txn(txn: &TenantTxn<'_>, user: UserId) -> Result<bool> {
    store::remove_factor(txn, user).await
}

/// The same if it was set up at that time or later.
pub(in crate::identity) async fn remove_factor_since_in_txn(
    txn: &TenantTxn<'_>,
    user: UserId,
    since: DateTime<Utc>,
) -> Result<()> {
    if store::has_factor_since(txn, user, since).await? {
        store::remove_factor(txn, user).await?;
    }
    Ok(())
}

/// Seals all seeds anew: those that `from` has sealed, with the key of `to`. Those that `to` opens are left alone, so
/// that it can be repeated. Devices that are trusted there are not trusted here.
pub(in crate::identity) async fn reseal(
    ctx: &Identity,
    statements: &impl Statements,
    (from, to): (&SealedTenant, &SealedTenant),
) -> Result<()> {
    for (id, sealed) in store::seeds(statements).await? {
        let bytes = decode(&sealed)?;
        if to.open(&ctx.key_ring, &purpose(id), &bytes).is_ok() {
            continue;
        }
        let seed = from.open(&ctx.key_ring, &purpose(id), &bytes)?;
        let anew = BASE64_STANDARD.encode(to.seal(&ctx.key_ring, &purpose(id), seed.expose_secret())?);
        store::replace_seed(statements, id, (&sealed, &anew)).await?;
    }
    store::forget_all_devices(statements).await
}

/// The step whose code this is, by the seed with this handle.
async fn step_of(
    ctx: &Identity,
    (key, txn): (&SealedTenant, &TenantTxn<'_>),
    (user, handle): (UserId, &str),
    code: &SecretString,
) -> Result<Option<i64>> {
    let Some((id, sealed)) = store::seed(txn, user, handle).await? else { return Ok(None) };
    let seed = Seed::of(key.open(&ctx.key_ring, &purpose(id), &decode(&sealed)?)?);
    Ok(seed.step_of(code.expose_secret().trim(), ctx.clock.unix_seconds()))
}

fn decode(sealed: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD.decode(sealed).map_err(Error::internal)
}

fn purpose(id: CredentialId) -> String {
    format!("totp:{id}")
}

/// Four groups of four letters and digits, in lower case.
fn recovery_code(bytes: &[u8; 10]) -> SecretString {
    let text = base32(bytes).to_ascii_lowercase();
    let groups: Vec<_> = (0..text.len()).step_by(GROUP).filter_map(|at| text.get(at..at + GROUP)).collect();
    groups.join("-").into()
}

/// What is stored of a recovery code. How it is written does not matter: people copy it by hand.
fn recovery_digest(code: &str) -> String {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    hex_digest(&plain)
}

pub(super) fn hex_digest(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_code_is_known_however_it_is_written() {
        let code = recovery_code(&[0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let text = code.expose_secret();
        assert_eq!((text.len(), text.matches('-').count()), (19, 3), "{text}");
        assert!(!is_code(text));
        let written = text.replace('-', " ").to_uppercase();
        assert_eq!(recovery_digest(&written), recovery_digest(text));
        assert_ne!(recovery_digest(&text.replace('7', "2")), recovery_digest("aaaa-aaaa-aaaa-aaaa"));
        assert_eq!(recovery_digest(text).len(), 64);
    }
}
