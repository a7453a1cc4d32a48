//! A user sets a second factor up, replaces it, and takes it away.
//!
//! The factor is an authenticator app (TOTP) with ten recovery codes. It counts once its owner has shown a code of it;
//! until then nothing has changed. Whoever sets one up or takes one away has proved lately that they are there: a
//! session that somebody else holds must neither get a factor of theirs nor lose the owner's. A tenant may require a
//! factor of everybody; who has none then sets one up in the middle of the next sign-in, with the token of that step. Its
//! owner is told by mail of each such change.
//!
//! This module must never show a seed or a code twice, and never replace a factor for a token of a sign-in.

use secrecy::SecretString;
use serde_json::json;

use super::{
    Client, Identity, Principal,
    audit::{self, ANONYMOUS, Event},
    credentials, guesses,
    links::{self, Notice},
    people,
    sessions::{self, Refusal},
    steps::{self, Purpose},
    tokens,
};
use crate::{
    control::{sealed::SealedTenant, tenants::Tenant},
    error::{Error, FieldError, Result},
    mail::Words,
    tenancy::TenantTxn,
    types::{TenantId, UserId},
};

/// What an authenticator app has to be told.
#[derive(Debug)]
pub struct Setup {
    /// The secret, as people type it.
    pub secret: SecretString,
    /// The same for a QR code.
    pub uri: SecretString,
}

/// Begins to set an authenticator app up, in place of the one that there is. Only this call returns its secret.
///
/// # Errors
/// `session_required`; `insufficient_user_authentication`.
pub async fn set_up(ctx: &Identity, tenant: &Tenant, (principal, client): (&Principal, &Client)) -> Result<Setup> {
    sessions::require_version(tenant)?;
    let key = ctx.factor_key(tenant).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    sessions::require_proof_in_txn(&txn, principal).await?;
    let actor = principal.id_text();
    let setup = begin_in_txn(ctx, (tenant, &key, &txn), principal.user(), (&actor, client)).await?;
    txn.commit().await?;
    Ok(setup)
}

/// The same in the middle of a sign-in, which the token is of.
///
/// # Errors
/// `invalid_mfa_token`; `too_many_attempts`.
pub async fn begin_enrolment(ctx: &Identity, tenant: &Tenant, token: &SecretString, client: &Client) -> Result<Setup> {
    sessions::require_version(tenant)?;
    let key = ctx.factor_key(tenant).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let Some(user) = steps::find(&txn, token, Purpose::Enrolment).await? else {
        drop(txn);
        drop(connection);
        guesses::unknown_token(ctx, tenant, client).await?;
        return Err(Refusal::InvalidStep.into());
    };
    let account = people::lock_account_in_txn(&txn, user).await?;
    account.filter(|account| account.is_active && !account.has_factor).ok_or(Refusal::InvalidStep)?;
    let setup = begin_in_txn(ctx, (tenant, &key, &txn), user, (ANONYMOUS, client)).await?;
    txn.commit().await?;
    Ok(setup)
}

async fn begin_in_txn(
    ctx: &Identity,
    (tenant, key, txn): (&Tenant, &SealedTenant, &TenantTxn<'_>),
    user: UserId,
    (actor, client): (&str, &Client),
) -> Result<Setup> {
    let account = people::account_of(txn, user).await?.ok_or_else(tokens::invalid)?;
    let seed = credentials::begin_totp_in_txn(ctx, (key, txn), user).await?;
    let event = Event { actor, action: "mfa.setup_begun", target: Some(user.to_string()), details: json!({}) };
    audit::write(ctx, txn, client, &event).await?;
    Ok(Setup { secret: seed.text(), uri: credentials::uri(&seed, &tenant.name, &account.email) })
}

/// Makes the app count whose code this is. Answers with new recovery codes, which only this call returns.
///
/// # Errors
/// `session_required`; `insufficient_user_authentication`; `too_many_attempts`; `wrong_code` on `code`.
pub async fn confirm(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
    code: &SecretString,
) -> Result<Vec<SecretString>> {
    sessions::require_version(tenant)?;
    let key = ctx.factor_key(tenant).await?;
    principal.session()?;
    let account = people::account_of(&ctx.tenancy.connect(tenant.id).await?, principal.user()).await?;
    let account = account.ok_or_else(tokens::invalid)?;
    let reservation = guesses::reserve(ctx, tenant, (&account.email, None), client).await?;
    let confirmed = async {
        let notice = links::announce(ctx, tenant, (&account.email, Words::FactorEnabled), client).await?;
        confirm_with(ctx, (&key, notice.as_ref()), (principal, client), code).await
    };
    match confirmed.await {
        Ok(None) => {
            reservation.failed(ctx, client).await;
            Err(FieldError::new("code", "wrong_code", "is no code of the app that is being set up").into())
        }
        Ok(Some(codes)) => {
            reservation.withdraw(ctx).await;
            Ok(codes)
        }
        Err(error) => {
            reservation.withdraw(ctx).await;
            Err(error)
        }
    }
}

/// None when the code is wrong.
async fn confirm_with(
    ctx: &Identity,
    (key, notice): (&SealedTenant, Option<&Notice>),
    (principal, client): (&Principal, &Client),
    code: &SecretString,
) -> Result<Option<Vec<SecretString>>> {
    let user = principal.user();
    let mut connection = ctx.tenancy.connect(key.id).await?;
    let txn = connection.begin().await?;
    people::lock_account_in_txn(&txn, user).await?;
    sessions::require_proof_in_txn(&txn, principal).await?;
    if !credentials::confirm_totp_in_txn(ctx, (key, &txn), user, code).await? {
        return Ok(None);
    }
    let codes = credentials::replace_recovery_codes_in_txn(ctx, &txn, user).await?;
    steps::end_in_txn(&txn, user).await?;
    Notice::confirm_in_txn(notice, &txn, user).await?;
    record_in_txn(ctx, &txn, (principal, client), "mfa.enabled").await?;
    txn.commit().await?;
    Ok(Some(codes))
}

/// Takes the caller's second factor away, with its recovery codes.
///
/// # Errors
/// `session_required`; `insufficient_user_authentication`; `too_many_attempts`; `wrong_password` on `password`;
/// `mfa_required_by_tenant` (409); `mfa_not_enabled` (409).
pub async fn disable(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
    password: &SecretString,
) -> Result<()> {
    sessions::require_version(tenant)?;
    principal.session()?;
    let (account, reservation) =
        sessions::verify_own_password(ctx, tenant, (principal, client), ("password", password)).await?;
    reservation.withdraw(ctx).await;
    let notice = links::announce(ctx, tenant, (&account.email, Words::FactorDisabled), client).await?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let now = people::lock_account_in_txn(&txn, account.user).await?;
    let now = now.filter(|now| now.password_hash == account.password_hash).ok_or_else(tokens::invalid)?;
    sessions::require_proof_in_txn(&txn, principal).await?;
    if now.needs_factor {
        return Err(Error::conflict("mfa_required_by_tenant", "this tenant requires a second factor of everybody"));
    }
    if !now.has_factor {
        return Err(not_enabled());
    }
    credentials::remove_factor_in_txn(&txn, account.user).await?;
    steps::end_in_txn(&txn, account.user).await?;
    Notice::confirm_in_txn(notice.as_ref(), &txn, account.user).await?;
    record_in_txn(ctx, &txn, (principal, client), "mfa.disabled").await?;
    txn.commit().await
}

/// Gives the caller new recovery codes in place of all earlier ones. Only this call returns them.
///
/// # Errors
/// `session_required`; `insufficient_user_authentication`; `mfa_not_enabled` (409).
pub async fn replace_recovery_codes(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
) -> Result<Vec<SecretString>> {
    sessions::require_version(tenant)?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let account = people::lock_account_in_txn(&txn, principal.user()).await?;
    sessions::require_proof_in_txn(&txn, principal).await?;
    if !account.is_some_and(|account| account.has_factor) {
        return Err(not_enabled());
    }
    let codes = credentials::replace_recovery_codes_in_txn(ctx, &txn, principal.user()).await?;
    record_in_txn(ctx, &txn, (principal, client), "recovery_codes.replaced").await?;
    txn.commit().await?;
    Ok(codes)
}

/// Trusts none of the caller's devices any more.
///
/// # Errors
/// `session_required`.
pub async fn forget_devices(ctx: &Identity, tenant: &Tenant, (principal, client): (&Principal, &Client)) -> Result<()> {
    sessions::require_version(tenant)?;
    principal.session()?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let forgotten = credentials::forget_devices_in_txn(&txn, principal.user()).await?;
    let (actor, target) = (principal.id_text(), Some(principal.user().to_string()));
    let details = json!({ "devices": forgotten });
    let event = Event { actor: &actor, action: "trusted_devices.forgotten", target, details };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await
}

/// Seals the second factors in a copy of a tenant's database with the key of the tenant that it is for. It can be
/// repeated.
///
/// # Errors
/// A seed that neither tenant's key opens.
pub async fn reseal(ctx: &Identity, from: TenantId, to: TenantId) -> Result<()> {
    let (from, to) = (ctx.tenancy.sealed_anew(from).await?, ctx.tenancy.sealed_anew(to).await?);
    credentials::reseal(ctx, &ctx.tenancy.connect(to.id).await?, (&from, &to)).await
}

fn not_enabled() -> Error {
    Error::conflict("mfa_not_enabled", "you have no second factor")
}

async fn record_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    (principal, client): (&Principal, &Client),
    action: &'static str,
) -> Result<()> {
    let (actor, target) = (principal.id_text(), Some(principal.user().to_string()));
    audit::write(ctx, txn, client, &Event { actor: &actor, action, target, details: json!({}) }).await
}
