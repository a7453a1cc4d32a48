//! Accepts an invitation for an address that has no account in use: makes the account, with the password that its owner
//! chooses.
//!
//! The secret proves that its bearer reads the mail of the address, so the address counts as verified. It is the first
//! proof: an account that somebody has made with the address and never proven is voided.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::json;

use super::{not_open, store};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    identity::{
        Client, Identity,
        audit::{self, Event},
        credentials,
        first_proof::void_in_txn,
        guesses, links,
        people::{self, Standing},
        permissions::OWNER,
        roles::lock_roster_in_txn,
        settings::Decisions,
        tokens::token_hash,
    },
    tenancy::TenantTxn,
    types::{DisplayName, Email, UserId},
};

/// The role of those who register.
const REGISTERED: &str = "member";

/// What the invited person sends.
#[derive(Debug)]
pub struct Acceptance {
    /// The invitation's secret token.
    pub token: SecretString,
    /// The password that the invited person chose.
    pub password: SecretString,
    /// The name that the invited person chose.
    pub name: Option<DisplayName>,
}

/// The result of accepting an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// The user exists now.
    Accepted(UserId),
    /// The invitation is unknown, used, revoked or expired.
    NotOpen,
    /// A user with this email address exists already.
    AccountInUse,
}

impl AcceptOutcome {
    /// Converts the outcome to the response.
    ///
    /// # Errors
    /// `invalid_invitation` (422); `user_exists` (409).
    pub fn into_result(self) -> Result<UserId> {
        match self {
            Self::Accepted(user) => Ok(user),
            Self::NotOpen => Err(not_open()),
            Self::AccountInUse => {
                let detail = "there is an account with this address already: sign in to it, and accept then";
                Err(Error::conflict("user_exists", detail))
            }
        }
    }
}

/// Accepts an invitation. A refusal costs one hash, whatever its reason is.
///
/// # Errors
/// Those of the password policy, on `password`; `too_many_attempts`; `hashing_busy`.
pub async fn accept(
    ctx: &Identity,
    tenant: &Tenant,
    acceptance: &Acceptance,
    client: &Client,
) -> Result<AcceptOutcome> {
    let name = format!("invitation {}", BASE64_URL_SAFE_NO_PAD.encode(token_hash(&acceptance.token)));
    let reservation = guesses::reserve_token(ctx, tenant, &name, client).await?;
    let outcome = open(ctx, tenant, acceptance, client).await;
    match &outcome {
        Ok(AcceptOutcome::Accepted(_)) => reservation.succeeded(ctx).await,
        // Somebody has guessed.
        Ok(AcceptOutcome::NotOpen) => drop(reservation),
        Ok(AcceptOutcome::AccountInUse) | Err(_) => reservation.withdraw(ctx).await,
    }
    outcome
}

async fn open(ctx: &Identity, tenant: &Tenant, acceptance: &Acceptance, client: &Client) -> Result<AcceptOutcome> {
    let Acceptance { token, password, .. } = acceptance;
    let hash = ctx.hasher.hash(password, credentials::REQUEST).await?;
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let Some(email) = store::open(&connection, &token_hash(token)).await? else { return Ok(AcceptOutcome::NotOpen) };
    let (decisions, _) = Decisions::read(&connection).await?;
    drop(connection);
    credentials::require_policy(ctx, tenant, (&decisions, &email), ("password", password))?;
    take(ctx, tenant, (acceptance, &hash), client).await
}

/// Ends the invitation and creates the user, in one transaction.
async fn take(
    ctx: &Identity,
    tenant: &Tenant,
    (acceptance, hash): (&Acceptance, &str),
    client: &Client,
) -> Result<AcceptOutcome> {
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let taken = store::take(&txn, &token_hash(&acceptance.token)).await?;
    let Some(invitation) = taken else { return Ok(AcceptOutcome::NotOpen) };
    let (id, role) = (UserId::generate(&ctx.clock, ctx.random), &invitation.role);
    // The first administrator, whose own invitation is still open.
    if role != OWNER && people::is_last_owner_in_txn(&txn, &invitation.email).await? {
        return Ok(AcceptOutcome::AccountInUse);
    }
    let Some(has_ended) = void_unproven_in_txn(&txn, tenant, (&invitation.email, role)).await? else {
        return Ok(AcceptOutcome::AccountInUse);
    };
    let joined = people::invited(&txn, id, (&invitation.email, role), acceptance.name.as_ref()).await?;
    let Some(user) = joined else { return Ok(AcceptOutcome::AccountInUse) };
    credentials::add_first_password_in_txn(ctx, &txn, user, hash).await?;
    let (actor, target, details) = (user.to_string(), Some(invitation.id.to_string()), json!({ "role": role }));
    let event = Event { actor: &actor, action: "invitation.accepted", target, details };
    audit::write(ctx, &txn, client, &event).await?;
    txn.commit().await?;
    drop(connection);
    if has_ended {
        // The account is there. A task goes on telling the replicas that cannot be told now.
        if let Err(error) = ctx.verdicts.forget(tenant.id).await {
            tracing::warn!(error = error.chain(), tenant.id = %tenant.id, "an account was voided, and not all replicas are told yet");
        }
    }
    Ok(AcceptOutcome::Accepted(user))
}

/// The secret proves the address. Whoever has made an account with it before could not: nothing of theirs is left. Whether
/// there was one. None when the address is somebody's whose role was given to them, and is another one: whoever invites
/// does not decide about that. Who has registered alone is a member.
async fn void_unproven_in_txn(
    txn: &TenantTxn<'_>,
    tenant: &Tenant,
    (email, role): (&str, &str),
) -> Result<Option<bool>> {
    // Nobody registers where no rollout has brought that.
    let (Ok(()), Ok(email)) = (links::require_links(tenant), email.parse::<Email>()) else { return Ok(Some(false)) };
    let is_unproven = |one: &Standing| one.may_enter && !one.is_proven && one.is_used;
    let standing = people::standing(txn, &email).await?;
    if standing.as_ref().is_some_and(|one| one.role != role && one.role != REGISTERED) {
        return Ok(None);
    }
    let Some(account) = standing.filter(is_unproven) else { return Ok(Some(false)) };
    people::lock_account_in_txn(txn, account.user).await?;
    void_in_txn(txn, account.user).await?;
    store::revoke_made_by(txn, account.user).await?;
    Ok(Some(true))
}
