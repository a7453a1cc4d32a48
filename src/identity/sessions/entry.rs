//! The end of every sign-in: one transaction that opens the session, or says what is missing.
//!
//! What was judged before it is judged again here, with the account locked: the password that was verified may have been
//! changed since, the user deactivated, a second factor set up. So nobody gets in with what was right a moment ago, and
//! no way of signing in leaves out what another one checks.

use secrecy::SecretString;
use serde_json::json;

use super::{
    Opened,
    device::{self, Remembered},
    open_in_txn, store,
};
use crate::{
    control::{sealed::SealedTenant, tenants::Tenant},
    error::{Error, Result},
    identity::{
        Client, Identity,
        audit::{self, ANONYMOUS, Event},
        credentials::{self, Chosen},
        guesses::Reservation,
        links::Notice,
        people::{self, Account},
        steps::{self, Purpose},
        tokens::{Grant, Tokens},
    },
    mail::Words,
    tenancy::TenantTxn,
    types::UserId,
};

/// The result of a request to sign in.
#[derive(Debug)]
pub enum LoginOutcome {
    /// The user is signed in.
    SignedIn {
        /// Their tokens.
        tokens: Tokens,
        /// The recovery codes of the second factor that they have set up on the way. Usually none.
        recovery_codes: Vec<SecretString>,
        /// What the device has to show at the next sign-in, if that is anything new.
        device_token: Option<SecretString>,
        /// Whether nobody has signed in to this account with the device before.
        is_new_device: bool,
    },
    /// The user is refused.
    Refused(Refusal),
    /// Everything is right so far, and one more step is needed.
    Unfinished(Unfinished),
}

/// A sign-in that needs one more step.
#[derive(Debug)]
pub struct Unfinished {
    /// What the step asks for.
    pub purpose: Purpose,
    /// What the step is done with.
    pub token: SecretString,
}

/// Why a sign-in was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The email address, the user or the password is wrong.
    InvalidCredentials,
    /// Everything is right, but the email address is not verified.
    EmailNotVerified,
    /// The password is right and has to be changed, and the request has no new one.
    PasswordChangeRequired,
    /// The code is wrong, or was used before.
    InvalidCode,
    /// The step's token is unknown, used, expired or of another step.
    InvalidStep,
    /// The user has as many sessions as the tenant allows.
    SessionLimitReached,
}

impl Refusal {
    /// The code in responses, audit events and metrics.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "invalid_credentials",
            Self::EmailNotVerified => "email_not_verified",
            Self::PasswordChangeRequired => "password_change_required",
            Self::InvalidCode => "invalid_code",
            Self::InvalidStep => "invalid_mfa_token",
            Self::SessionLimitReached => "session_limit_reached",
        }
    }

    /// Whether somebody has guessed: then the attempt stays counted.
    pub(super) fn is_guess(self) -> bool {
        matches!(self, Self::InvalidCredentials | Self::InvalidCode)
    }
}

impl From<Refusal> for Error {
    /// All but the first are told only to those who know the password.
    fn from(refusal: Refusal) -> Self {
        let detail = match refusal {
            Refusal::InvalidCredentials => "the e-mail address or the password is wrong",
            Refusal::EmailNotVerified => "the e-mail address has to be verified first",
            Refusal::PasswordChangeRequired => "the password has to be changed: send new_password too",
            Refusal::InvalidCode => "the code is wrong, or was used before",
            Refusal::InvalidStep => "the mfa_token is not valid, or not any more: sign in again",
            Refusal::SessionLimitReached => {
                let detail = "you are signed in as often as this tenant allows; sign out elsewhere first".to_owned();
                return Self::Forbidden { code: refusal.code(), detail };
            }
        };
        Self::Unauthenticated { code: refusal.code(), detail }
    }
}

impl LoginOutcome {
    /// For metrics and audit events.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::SignedIn { .. } => "ok",
            Self::Refused(refusal) => refusal.code(),
            Self::Unfinished(unfinished) => unfinished.purpose.code(),
        }
    }
}

/// What a sign-in has proved, and asks for.
pub(super) struct Entry<'a> {
    /// Who.
    pub(super) user: UserId,
    /// The hash that the password was verified against. `None` when a step stands for the password.
    pub(super) hash: Option<&'a str>,
    /// The step that this is, and its token.
    pub(super) step: Option<(Purpose, &'a SecretString)>,
    /// A code, if one was sent.
    pub(super) code: Option<&'a SecretString>,
    /// What a device shows that signed in before; one that is trusted, in place of a code.
    pub(super) device_token: Option<&'a SecretString>,
    /// Whether the device is to be trusted, if it shows a code.
    pub(super) trusts_device: bool,
    /// The password that takes the verified one's place.
    pub(super) chosen: Option<&'a Chosen>,
    /// A newer hash of the verified password.
    pub(super) anew: Option<&'a str>,
    /// Tells the user of the new password, or of the app that they have set up on the way.
    pub(super) notice: Option<&'a Notice>,
    /// Whether the tenant's database knows devices.
    pub(super) knows_devices: bool,
    /// Opens the user's second factor.
    pub(super) key: &'a SealedTenant,
}

/// Opens the session, if everything is as it has to be, and records what came of it.
pub(super) async fn enter(ctx: &Identity, tenant: &Tenant, entry: &Entry<'_>, client: &Client) -> Result<LoginOutcome> {
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    let (outcome, has_ended) = match check_in_txn(ctx, &txn, entry).await? {
        Err(refusal) => (Entered::Refused(refusal), false),
        Ok(proven) => admit_in_txn(ctx, (tenant, &txn), (entry, &proven), client).await?,
    };
    if let Entered::Refused(refusal) = outcome {
        // Nothing of the transaction stays.
        drop(txn);
        drop(connection);
        return refuse(ctx, tenant, Some(entry.user), client, refusal).await;
    }
    txn.commit().await?;
    drop(connection);
    if has_ended && let Err(error) = ctx.verdicts.forget(tenant.id).await {
        // Who signs in need not wait for the control database: a task goes on telling the other replicas.
        tracing::warn!(error = error.chain(), tenant.id = %tenant.id, "sessions were ended, and not all replicas told yet");
    }
    match outcome {
        Entered::Refused(refusal) => Ok(LoginOutcome::Refused(refusal)),
        Entered::Unfinished(unfinished) => Ok(LoginOutcome::Unfinished(unfinished)),
        Entered::Open { grant, recovery_codes, device, notice } => {
            let tokens = ctx.issuer.issue(tenant, grant).await?;
            if let Some(notice) = notice {
                notice.queue_after(ctx, tenant, Words::NewDevice).await;
            }
            let (device_token, is_new_device) = (device.token, device.is_new);
            Ok(LoginOutcome::SignedIn { tokens, recovery_codes, device_token, is_new_device })
        }
    }
}

/// What the transaction has come to.
enum Entered {
    /// The session is open; with the recovery codes of a second factor that was set up on the way, with what becomes of
    /// the device, and with a notice of it.
    Open {
        grant: Grant,
        recovery_codes: Vec<SecretString>,
        device: Remembered,
        notice: Option<Box<Notice>>,
    },
    Unfinished(Unfinished),
    Refused(Refusal),
}

/// What everything comes to that the request has brought.
pub(super) struct Proven {
    account: Account,
    /// Whether a code was shown that is right, or that of an app which was set up on the way.
    pub(super) by_code: bool,
    /// Whether the device is trusted to need none.
    by_device: bool,
}

/// Judges everything, the code last: it is used up.
async fn check_in_txn(ctx: &Identity, txn: &TenantTxn<'_>, entry: &Entry<'_>) -> Result<Result<Proven, Refusal>> {
    let account = people::lock_account_in_txn(txn, entry.user).await?;
    let Some(account) = account.filter(|account| account.is_active && is_verified_password(account, entry)) else {
        return Ok(Err(Refusal::InvalidCredentials));
    };
    if let Some((purpose, token)) = entry.step {
        // Whoever has set up a second factor meanwhile is not let in without it.
        let is_passed_by = purpose == Purpose::Enrolment && account.has_factor;
        if is_passed_by || steps::take_in_txn(txn, token, purpose).await? != Some(entry.user) {
            return Ok(Err(Refusal::InvalidStep));
        }
    }
    if !account.is_verified {
        return Ok(Err(Refusal::EmailNotVerified));
    }
    if account.must_change && entry.chosen.is_none() {
        return Ok(Err(Refusal::PasswordChangeRequired));
    }
    let by_device = match entry.device_token {
        Some(token) if account.has_factor => credentials::is_trusted_in_txn(txn, entry.user, token).await?,
        _ => false,
    };
    let by_code = match (entry.code, entry.step) {
        (Some(code), Some((Purpose::Enrolment, _))) => {
            Some(credentials::confirm_totp_in_txn(ctx, (entry.key, txn), entry.user, code).await?)
        }
        (Some(code), _) if account.has_factor => {
            Some(credentials::accept_code_in_txn(ctx, (entry.key, txn), entry.user, code).await?)
        }
        _ => None,
    };
    Ok(match by_code {
        Some(false) => Err(Refusal::InvalidCode),
        by_code => Ok(Proven { account, by_code: by_code.is_some(), by_device }),
    })
}

/// Whether the password is still the one that was verified.
fn is_verified_password(account: &Account, entry: &Entry<'_>) -> bool {
    entry.hash.is_none_or(|hash| account.password_hash.as_deref() == Some(hash))
}

/// The step that is missing, if one is.
fn missing_step(Proven { account, by_code, by_device }: &Proven) -> Option<Purpose> {
    if *by_code || *by_device {
        return None;
    }
    if account.has_factor {
        return Some(Purpose::Code);
    }
    account.needs_factor.then_some(Purpose::Enrolment)
}

/// Opens the session or begins the next step, and records it. Whether sessions were ended by that.
async fn admit_in_txn(
    ctx: &Identity,
    (tenant, txn): (&Tenant, &TenantTxn<'_>),
    (entry, proven): (&Entry<'_>, &Proven),
    client: &Client,
) -> Result<(Entered, bool)> {
    let missing = missing_step(proven);
    // Who has a second factor has to show it before the password is changed.
    let has_ended = missing != Some(Purpose::Code) && renew_password_in_txn(ctx, txn, entry).await?;
    if let Some(purpose) = missing {
        let token = steps::begin_in_txn(ctx, txn, entry.user, purpose).await?;
        let (target, details) = (Some(entry.user.to_string()), json!({ "needs": purpose.code() }));
        let event = Event { actor: ANONYMOUS, action: "login.unfinished", target, details };
        audit::write(ctx, txn, client, &event).await?;
        return Ok((Entered::Unfinished(Unfinished { purpose, token }), has_ended));
    }
    let recovery_codes = match entry.step {
        Some((Purpose::Enrolment, _)) => {
            Notice::confirm_in_txn(entry.notice, txn, entry.user).await?;
            credentials::replace_recovery_codes_in_txn(ctx, txn, entry.user).await?
        }
        _ => Vec::new(),
    };
    let (grant, makes_room) = match open_in_txn(ctx, txn, entry.user, client).await? {
        Opened::Session { grant, has_ended } => (grant, has_ended),
        Opened::Inactive => return Ok((Entered::Refused(Refusal::InvalidCredentials), false)),
        Opened::Full => return Ok((Entered::Refused(Refusal::SessionLimitReached), false)),
    };
    let device = device::remember_in_txn(ctx, txn, (entry, proven)).await?;
    let notice = if device.is_another {
        Notice::prepare_in_txn(ctx, (tenant, txn), (entry.user, &proven.account.email), client).await?.map(Box::new)
    } else {
        None
    };
    let (actor, target) = (entry.user.to_string(), Some(grant.session.to_string()));
    let (by_code, by_device, new_password) = (proven.by_code, proven.by_device, entry.chosen.is_some());
    let details = json!({
        "code": by_code, "trusted_device": by_device, "new_password": new_password, "new_device": device.is_new
    });
    let event = Event { actor: &actor, action: "login.succeeded", target, details };
    audit::write(ctx, txn, client, &event).await?;
    Ok((Entered::Open { grant, recovery_codes, device, notice }, has_ended || makes_room))
}

/// Stores the new password, or a newer hash. Whether sessions were ended.
async fn renew_password_in_txn(ctx: &Identity, txn: &TenantTxn<'_>, entry: &Entry<'_>) -> Result<bool> {
    if let Some(chosen) = entry.chosen {
        credentials::replace_in_txn(ctx, txn, entry.user, chosen).await?;
        Notice::confirm_in_txn(entry.notice, txn, entry.user).await?;
        steps::end_in_txn(txn, entry.user).await?;
        return Ok(store::end(txn, entry.user, None, "password_changed").await? > 0);
    }
    if let (Some(old), Some(new)) = (entry.hash, entry.anew) {
        credentials::store_anew_in_txn(txn, entry.user, (old, new)).await?;
    }
    Ok(false)
}

/// Records a refusal.
pub(super) async fn refuse(
    ctx: &Identity,
    tenant: &Tenant,
    user: Option<UserId>,
    client: &Client,
    refusal: Refusal,
) -> Result<LoginOutcome> {
    let (target, details) = (user.map(|user| user.to_string()), json!({ "reason": refusal.code() }));
    let event = Event { actor: ANONYMOUS, action: "login.failed", target, details };
    audit::write(ctx, &ctx.tenancy.connect(tenant.id).await?, client, &event).await?;
    Ok(LoginOutcome::Refused(refusal))
}

/// Keeps the attempt counted if somebody has guessed. Releases it if the sign-in succeeded, or failed for another reason:
/// only a whole sign-in takes the account's failures back, so that who knows the password cannot go on guessing codes.
pub(super) async fn settle(ctx: &Identity, reservation: Reservation, outcome: &Result<LoginOutcome>, client: &Client) {
    match outcome {
        Ok(LoginOutcome::Refused(refusal)) if refusal.is_guess() => reservation.failed(ctx, client).await,
        Ok(LoginOutcome::SignedIn { .. } | LoginOutcome::Refused(Refusal::EmailNotVerified)) => {
            reservation.succeeded(ctx).await;
        }
        Ok(LoginOutcome::Refused(_) | LoginOutcome::Unfinished(_)) | Err(_) => reservation.withdraw(ctx).await,
    }
}

/// Counts what came of a sign-in.
pub(super) fn meter(outcome: &Result<LoginOutcome>) {
    let result = match outcome {
        Ok(outcome) => outcome.code(),
        Err(error) => error.code(),
    };
    metrics::counter!("freehold_logins_total", "result" => result).increment(1);
}
