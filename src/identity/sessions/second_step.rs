//! The second step of a sign-in: a code, or an authenticator app that is set up because the tenant requires one.
//!
//! The token of the first step says whose sign-in it is, and nothing else: it was given out for a password that was
//! right. Attempts count on the same account as those of the first step.

use secrecy::SecretString;

use super::{
    entry::{Entry, LoginOutcome, Refusal, enter, meter, refuse, settle},
    known_device, require_version,
};
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{
        Client, Identity, guesses, links, people,
        steps::{self, Purpose},
    },
    mail::Words,
};

/// What the second step is done with.
#[derive(Debug)]
pub struct SecondStep {
    /// Which step it is.
    pub purpose: Purpose,
    /// The token of the first one.
    pub token: SecretString,
    /// The code.
    pub code: SecretString,
    /// What the device shows that signed in before.
    pub device_token: Option<SecretString>,
    /// Whether the device is to be trusted.
    pub trust_device: bool,
}

/// Goes on with a sign-in.
///
/// # Errors
/// `too_many_attempts`; `tenant_schema_outdated`.
pub async fn verify_second_step(
    ctx: &Identity,
    tenant: &Tenant,
    request: &SecondStep,
    client: &Client,
) -> Result<LoginOutcome> {
    require_version(tenant)?;
    ctx.issuer.prepare(tenant).await?;
    let key = ctx.factor_key(tenant).await?;
    let connection = ctx.tenancy.connect(tenant.id).await?;
    let account = match steps::find(&connection, &request.token, request.purpose).await? {
        Some(user) => people::account_of(&connection, user).await?,
        None => None,
    };
    drop(connection);
    let Some(account) = account else {
        guesses::unknown_token(ctx, tenant, client).await?;
        return refuse(ctx, tenant, None, client, Refusal::InvalidStep).await;
    };
    let device = known_device(ctx, tenant, &account.email, request.device_token.as_ref()).await?;
    let reservation = guesses::reserve(ctx, tenant, (&account.email, device.as_deref()), client).await?;
    let notice = match request.purpose {
        Purpose::Enrolment => links::announce(ctx, tenant, (&account.email, Words::FactorEnabled), client).await,
        Purpose::Code => Ok(None),
    };
    let notice = match notice {
        Ok(notice) => notice,
        Err(error) => {
            reservation.withdraw(ctx).await;
            return Err(error);
        }
    };
    let entry = Entry {
        user: account.user,
        hash: None,
        step: Some((request.purpose, &request.token)),
        code: Some(&request.code),
        device_token: request.device_token.as_ref(),
        trusts_device: request.trust_device,
        chosen: None,
        anew: None,
        notice: notice.as_ref(),
        knows_devices: guesses::are_counted(tenant),
        key: &key,
    };
    let outcome = enter(ctx, tenant, &entry, client).await;
    settle(ctx, reservation, &outcome, client).await;
    meter(&outcome);
    outcome
}
