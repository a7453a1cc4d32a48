//! A user who is signed in proves again that they are there (RFC 9470).
//!
//! The proof is the password, and a code where there is a second factor. Failed proofs count as failed sign-ins do, on
//! the same account. A right password alone takes none of these counts back: otherwise who knows it could go on guessing
//! codes.

use secrecy::SecretString;
use serde_json::json;

use super::{PROOF_AGE, require_version, store};
use crate::{
    control::{sealed::SealedTenant, tenants::Tenant},
    error::{Error, FieldError, Result},
    identity::{
        Client, Identity, Principal,
        audit::{self, Event},
        credentials,
        guesses::{self, Reservation},
        people::{self, Account},
        tokens,
    },
    tenancy::TenantTxn,
    types::SessionId,
};

/// What somebody who is signed in proves themselves with.
#[derive(Debug)]
pub struct Proof {
    /// Their password.
    pub password: SecretString,
    /// A code of their authenticator app, or a recovery code, if they have a second factor.
    pub code: Option<SecretString>,
}

/// Notes that the caller's session has proved that its user is there.
///
/// # Errors
/// `session_required` for API keys; `too_many_attempts`; `hashing_busy`; `validation_failed`: `wrong_password` on
/// `password`, `required` or `wrong_code` on `code`.
pub async fn step_up(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
    proof: &Proof,
) -> Result<()> {
    require_version(tenant)?;
    let session = principal.session()?;
    let key = ctx.factor_key(tenant).await?;
    let (account, reservation) =
        verify_own_password(ctx, tenant, (principal, client), ("password", &proof.password)).await?;
    let proved = prove(ctx, (&key, session), (&account, proof.code.as_ref()), client).await;
    match &proved {
        // With everything that there is it absolves the account, as a sign-in does.
        Ok(Proved::Yes) if account.has_factor => reservation.succeeded(ctx).await,
        Ok(Proved::WrongCode) => reservation.failed(ctx, client).await,
        _ => reservation.withdraw(ctx).await,
    }
    match proved? {
        Proved::Yes => Ok(()),
        Proved::Ended => Err(tokens::invalid()),
        Proved::NoCode => Err(FieldError::new("code", "required", "a code is needed too").into()),
        Proved::WrongCode => {
            Err(FieldError::new("code", "wrong_code", "is no code of yours, or was used before").into())
        }
    }
}

/// What came of a proof whose password is right.
enum Proved {
    Yes,
    /// There is a second factor, and no code was sent.
    NoCode,
    WrongCode,
    /// The session has ended meanwhile, or the account has changed.
    Ended,
}

async fn prove(
    ctx: &Identity,
    (key, session): (&SealedTenant, SessionId),
    (account, code): (&Account, Option<&SecretString>),
    client: &Client,
) -> Result<Proved> {
    let mut connection = ctx.tenancy.connect(key.id).await?;
    let txn = connection.begin().await?;
    let now = people::lock_account_in_txn(&txn, account.user).await?;
    if !now.is_some_and(|now| is_same(&now, account)) {
        return Ok(Proved::Ended);
    }
    let is_right = match code {
        _ if !account.has_factor => true,
        None => return Ok(Proved::NoCode),
        Some(code) => credentials::accept_code_in_txn(ctx, (key, &txn), account.user, code).await?,
    };
    if !is_right {
        return Ok(Proved::WrongCode);
    }
    if !store::prove(&txn, session).await? {
        return Ok(Proved::Ended);
    }
    let (actor, target) = (account.user.to_string(), Some(session.to_string()));
    let event = Event { actor: &actor, action: "session.proved", target, details: json!({}) };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await?;
    Ok(Proved::Yes)
}

/// Whether both are of one password and one state of second factors.
pub(super) fn is_same(now: &Account, before: &Account) -> bool {
    now.is_active && now.password_hash == before.password_hash && now.has_factor == before.has_factor
}

/// The account of the caller, whose password this is. The attempt counts as failed until it is settled.
///
/// # Errors
/// `too_many_attempts`; `hashing_busy`; `wrong_password` on the field; `invalid_token` when the user is gone.
pub(in crate::identity) async fn verify_own_password(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
    (field, password): (&'static str, &SecretString),
) -> Result<(Account, Reservation)> {
    let account = people::account_of(&ctx.tenancy.connect(tenant.id).await?, principal.user()).await?;
    let account = account.ok_or_else(tokens::invalid)?;
    let reservation = guesses::reserve(ctx, tenant, (&account.email, None), client).await?;
    let verified = ctx.hasher.verify(password, account.password_hash.clone(), credentials::REQUEST).await;
    match verified {
        Ok(true) => Ok((account, reservation)),
        Ok(false) => {
            reservation.failed(ctx, client).await;
            let actor = principal.id_text();
            let target = Some(account.user.to_string());
            let event = Event { actor: &actor, action: "password.refused", target, details: json!({ "field": field }) };
            audit::write(ctx, &ctx.tenancy.connect(tenant.id).await?, client, &event).await?;
            Err(FieldError::new(field, "wrong_password", "is not your password").into())
        }
        Err(error) => {
            reservation.withdraw(ctx).await;
            Err(error)
        }
    }
}

/// Refuses a caller whose session has ended since the request began. The account is locked: whoever ends the session from
/// now on waits, and then ends what is made in the transaction.
///
/// # Errors
/// `session_required` for API keys; `invalid_token`.
pub(in crate::identity) async fn require_alive_in_txn(txn: &TenantTxn<'_>, principal: &Principal) -> Result<()> {
    if store::is_alive(txn, principal.session()?).await? { Ok(()) } else { Err(tokens::invalid()) }
}

/// Refuses a caller whose session has not proved lately that its user is there.
///
/// # Errors
/// `session_required` for API keys; `insufficient_user_authentication`.
pub(in crate::identity) async fn require_proof_in_txn(txn: &TenantTxn<'_>, principal: &Principal) -> Result<()> {
    if store::is_proved(txn, principal.session()?, PROOF_AGE).await? {
        return Ok(());
    }
    require_alive_in_txn(txn, principal).await?;
    Err(Error::StaleProof { max_age: PROOF_AGE })
}
