//! A password that somebody chooses: judged by the tenant's policy, compared with those before, hashed, and stored.
//!
//! All that takes long happens before a transaction begins: [`choose`] makes a [`Chosen`], which
//! [`replace_in_txn`] stores.

use secrecy::{ExposeSecret, SecretString};

use super::{Policy, REQUEST, hashing::is_current, store};
use crate::{
    control::tenants::Tenant,
    error::{Error, FieldError, Result},
    identity::{Identity, settings::Decisions},
    tenancy::TenantTxn,
    types::{CredentialId, UserId},
};

/// A new password, hashed.
pub(in crate::identity) struct Chosen {
    hash: String,
    /// How many former passwords are kept.
    kept: u8,
}

/// Judges and hashes the password that a user has chosen, whose email address is `email`. `field` is where it was sent.
///
/// # Errors
/// Those of the policy, and `password_used_before`, on `field`; `hashing_busy`.
pub(in crate::identity) async fn choose(
    ctx: &Identity,
    tenant: &Tenant,
    (user, email): (UserId, &str),
    (field, password): (&'static str, &SecretString),
) -> Result<Chosen> {
    let kept = judge(ctx, tenant, (user, email), (field, password)).await?;
    Ok(Chosen { hash: ctx.hasher.hash(password, REQUEST).await?, kept })
}

/// The same where `whose` may be nobody, which must not show: a refusal costs one hash, whatever its reason is.
///
/// # Errors
/// As for [`choose`].
pub(in crate::identity) async fn choose_if_known(
    ctx: &Identity,
    tenant: &Tenant,
    whose: Option<(UserId, &str)>,
    (field, password): (&'static str, &SecretString),
) -> Result<Option<Chosen>> {
    let hash = ctx.hasher.hash(password, REQUEST).await?;
    let Some(whose) = whose else { return Ok(None) };
    let kept = judge(ctx, tenant, whose, (field, password)).await?;
    Ok(Some(Chosen { hash, kept }))
}

/// Judges a password that a user has chosen; how many former ones are kept.
async fn judge(
    ctx: &Identity,
    tenant: &Tenant,
    (user, email): (UserId, &str),
    (field, password): (&'static str, &SecretString),
) -> Result<u8> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let (decisions, _) = Decisions::read(&connection).await?;
    let former = match decisions.password_history {
        0 => Vec::new(),
        most => store::former_passwords(&connection, user, most).await?,
    };
    drop(connection);
    require_policy(ctx, tenant, (&decisions, email), (field, password))?;
    for hash in former {
        if ctx.hasher.verify(password, Some(hash), REQUEST).await? {
            return Err(used_before(field));
        }
    }
    Ok(decisions.password_history)
}

/// Judges a password by what the tenant has decided, without those before.
///
/// # Errors
/// Those of the policy, on `field`.
pub(in crate::identity) fn require_policy(
    ctx: &Identity,
    tenant: &Tenant,
    (decisions, email): (&Decisions, &str),
    (field, password): (&'static str, &SecretString),
) -> Result<()> {
    let local_part = email.split('@').next().unwrap_or_default();
    let about = [tenant.slug.as_str(), &tenant.name, local_part, &ctx.product];
    let named = |error: FieldError| FieldError { field: field.to_owned(), ..error };
    Ok(Policy::of(decisions).check(password.expose_secret(), &about).map_err(named)?)
}

/// Refuses a password that its owner has, or had lately.
pub(in crate::identity) fn used_before(field: &'static str) -> Error {
    FieldError::new(field, "password_used_before", "must be another one than those that you had before").into()
}

/// Replaces a user's password, and trusts no device any more. The caller ends what was proved with the old one.
///
/// # Errors
/// An internal error when the user has no password.
pub(in crate::identity) async fn replace_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
    chosen: &Chosen,
) -> Result<()> {
    if try_replace_in_txn(ctx, txn, user, chosen).await? {
        return Ok(());
    }
    Err(Error::defect("a password that was verified is gone"))
}

/// Gives a user this password in place of the one that they have, if they have one, and trusts no device any more. The
/// caller ends what was proved before.
///
/// # Errors
/// The tenant's database is unavailable.
pub(in crate::identity) async fn set_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
    chosen: &Chosen,
) -> Result<()> {
    if try_replace_in_txn(ctx, txn, user, chosen).await? {
        return Ok(());
    }
    store::insert_password(txn, CredentialId::generate(&ctx.clock, ctx.random), user, &chosen.hash).await
}

/// False when the user has no password.
async fn try_replace_in_txn(ctx: &Identity, txn: &TenantTxn<'_>, user: UserId, chosen: &Chosen) -> Result<bool> {
    let id = CredentialId::generate(&ctx.clock, ctx.random);
    store::forget_devices(txn, user).await?;
    store::replace_password(txn, (id, user), &chosen.hash, chosen.kept).await
}

/// The same password under today's parameters, if the stored hash has others. `None` also when nobody has the time: then
/// the next sign-in does it.
pub(in crate::identity) async fn hash_anew(ctx: &Identity, password: &SecretString, hash: &str) -> Option<String> {
    if is_current(hash) {
        return None;
    }
    ctx.hasher.hash(password, REQUEST).await.ok()
}

/// Stores another hash of the password that `old` is one of.
pub(in crate::identity) async fn store_anew_in_txn(
    txn: &TenantTxn<'_>,
    user: UserId,
    (old, new): (&str, &str),
) -> Result<()> {
    store::rehash_password(txn, user, old, new).await
}
