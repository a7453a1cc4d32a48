//! A tenant's administrators see what is decided about its people, and decide otherwise.
//!
//! Whoever decides has proved lately that they are there: a decision may take protection from everybody. A decision and
//! its audit event are one transaction. It holds for what happens from then on: sessions keep their end until they are
//! used to get new tokens, passwords until they are changed.

use serde_json::json;

pub use super::settings::{CharacterClass, Decisions, Registration, WhenFull};
use super::{
    Client, Identity, Principal,
    audit::{self, Event},
    sessions,
};
use crate::{control::tenants::Tenant, error::Result};

/// What the tenant has decided, and the version of that.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn get(ctx: &Identity, tenant: &Tenant) -> Result<(Decisions, i64)> {
    Decisions::read(&ctx.tenancy.connect(tenant.id).await?).await
}

/// Changes what the tenant has decided. `change` gets the version, and may refuse it.
///
/// # Errors
/// Those of `change`; `session_required` for API keys; `insufficient_user_authentication` when the session has not
/// proved itself lately; `validation_failed`.
pub async fn update(
    ctx: &Identity,
    tenant: &Tenant,
    (principal, client): (&Principal, &Client),
    change: impl FnOnce(&mut Decisions, i64) -> Result<()>,
) -> Result<(Decisions, i64)> {
    sessions::require_version(tenant)?;
    let mut connection = ctx.tenancy.connect(tenant.id).await?;
    let txn = connection.begin().await?;
    sessions::require_proof_in_txn(&txn, principal).await?;
    let (before, version) = Decisions::lock_in_txn(&txn).await?;
    let mut decisions = before.clone();
    change(&mut decisions, version)?;
    let changed = decisions.replace_in_txn(&txn, &before).await?;
    if changed.is_empty() {
        return Ok((before, version));
    }
    let (actor, details) = (principal.id_text(), json!({ "changed": changed }));
    let event = Event { actor: &actor, action: "settings.changed", target: None, details };
    audit::write(ctx, &txn, client, &event).await?;
    let after = Decisions::read(&txn).await?;
    txn.commit().await?;
    Ok(after)
}
