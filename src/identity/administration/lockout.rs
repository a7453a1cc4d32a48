//! Whether somebody is locked out because of failed attempts to sign in, and the end of that.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;

use super::lock_in_txn;
use crate::{
    error::{Error, Result},
    identity::{
        Caller, Identity, audit, credentials,
        guesses::{self, GUESSES_SINCE},
        people, require_schema,
    },
    types::UserId,
};

/// How failed attempts to sign in stand with an account.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Lockout {
    /// Whether there were so many that the next attempt is refused for a quarter of an hour.
    pub locked: bool,
    /// Until when the next attempt is refused, because of a lock or of a delay that grows. Devices that signed in before
    /// have counts of their own.
    pub until: Option<DateTime<Utc>>,
    /// How many failures count.
    pub failures: i32,
    /// What refuses the next attempt.
    pub by: Option<By>,
}

/// What refuses an attempt.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = LockoutKind)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// There were as many failures as there may be.
    Lock,
    /// There were some, and the next attempt has to wait.
    Delay,
}

/// How failed attempts stand with a user's account.
///
/// # Errors
/// `not_found`; `tenant_schema_outdated`.
pub async fn lockout(ctx: &Identity, caller: Caller<'_>, id: UserId) -> Result<Lockout> {
    require_schema(caller.tenant, GUESSES_SINCE)?;
    let connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let account = people::account_of(&connection, id).await?.ok_or_else(|| Error::not_found("user"))?;
    let standing = guesses::standing(&connection, &account.email).await?;
    let wait = standing.wait.and_then(|wait| TimeDelta::from_std(wait).ok());
    let by = wait.map(|_| if standing.is_locked() { By::Lock } else { By::Delay });
    Ok(Lockout {
        locked: matches!(by, Some(By::Lock)),
        until: wait.map(|wait| ctx.clock.now() + wait),
        failures: standing.tries,
        by,
    })
}

/// Forgets the failures of a user and of their devices. Networks that are refused stay refused.
///
/// # Errors
/// `not_found`; `exceeds_own_rights`; `tenant_schema_outdated`.
pub async fn unlock(ctx: &Identity, caller: Caller<'_>, id: UserId) -> Result<()> {
    require_schema(caller.tenant, GUESSES_SINCE)?;
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_in_txn(ctx, &txn, caller, id, |_| Ok(())).await?;
    let account = people::account_of(&txn, id).await?.ok_or_else(|| Error::not_found("user"))?;
    let devices = credentials::devices_in_txn(&txn, id).await?;
    let forgotten = guesses::forget_in_txn(&txn, &account.email, &devices).await?;
    audit::record(ctx, &txn, caller, ("user.unlocked", id.to_string()), json!({ "failures": forgotten })).await?;
    txn.commit().await
}
