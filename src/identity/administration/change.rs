//! Changes a user: name, role, and whether they are active. Ends their sessions.

use serde_json::{Map, Value, json};

use super::{end_access_in_txn, end_visits, lock_in_txn};
use crate::{
    error::{Error, FieldError, Result},
    identity::{
        Caller, Identity, audit, invitations,
        people::{self, Kind, Known, User},
        roles::{self, require_role_within},
        sessions, steps,
    },
    tenancy::TenantTxn,
    types::{DisplayName, RoleName, UserId},
};

/// What shall change; what is absent stays.
#[derive(Debug, Default)]
pub struct Patch {
    /// The name.
    pub name: Option<DisplayName>,
    /// The role.
    pub role: Option<RoleName>,
    /// Whether they may sign in.
    pub active: Option<bool>,
}

/// Changes a user. Whoever is deactivated loses all sessions and API keys; being activated brings none back.
///
/// # Errors
/// `not_found`; `user_deleted`, `last_owner` (409); `unknown_role` on `role`; `exceeds_own_rights`; 412.
pub async fn update(
    ctx: &Identity,
    caller: Caller<'_>,
    id: UserId,
    patch: Patch,
    expected: impl FnOnce(i64) -> Result<()>,
) -> Result<User> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    let known = lock_in_txn(ctx, &txn, caller, id, expected).await?;
    if known.user.deleted_at.is_some() {
        return Err(Error::conflict("user_deleted", "this user is deleted; restore them first"));
    }
    let next = apply_in_txn(ctx, &txn, caller, &known, patch).await?;
    let (before, deactivated) = (&known.user, known.user.active && !next.active);
    let loses = before.role != next.role || deactivated;
    if loses {
        people::require_another_owner_in_txn(&txn, &known).await?;
    }
    if deactivated {
        end_access_in_txn(&txn, id, "user.deactivated").await?;
    } else if before.role != next.role {
        invitations::revoke_made_by_in_txn(&txn, id).await?;
    }
    let changed = people::update(&txn, &next).await?.ok_or_else(|| Error::defect("a locked user is gone"))?;
    record_in_txn(ctx, &txn, caller, before, &changed).await?;
    txn.commit().await?;
    drop(connection);
    if loses {
        ctx.verdicts.forget(caller.tenant.id).await?;
        end_visits(ctx, caller, id).await?;
    }
    Ok(changed)
}

/// The user as they shall be, once the caller may give the role.
async fn apply_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    caller: Caller<'_>,
    known: &Known,
    patch: Patch,
) -> Result<User> {
    let mut next = known.user.clone();
    if let Some(name) = patch.name {
        name.as_str().clone_into(&mut next.name);
    }
    if let Some(active) = patch.active {
        next.active = active;
    }
    if let Some(name) = patch.role.filter(|name| name.as_str() != next.role) {
        let role = roles::named(txn, name.as_str()).await?.ok_or_else(unknown_role)?;
        require_role_within(ctx, caller, &role)?;
        if role.is_owner() && next.kind == Kind::Service {
            return Err(FieldError::new("role", "invalid_value", "must not be owner for a service account").into());
        }
        next.role = role.name;
    }
    Ok(next)
}

pub(super) fn unknown_role() -> Error {
    FieldError::new("role", "unknown_role", "must be a role that GET /v1/roles lists").into()
}

/// One event for each thing that has changed.
async fn record_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    caller: Caller<'_>,
    before: &User,
    after: &User,
) -> Result<()> {
    let mut events: Vec<(&'static str, Value)> = Vec::new();
    if before.role != after.role {
        events.push(("user.role_changed", json!({ "from": before.role, "to": after.role })));
    }
    match (before.active, after.active) {
        (true, false) => events.push(("user.deactivated", json!({}))),
        (false, true) => events.push(("user.activated", json!({}))),
        _ => {}
    }
    if before.name != after.name {
        let changed = Map::from_iter([("changed".to_owned(), json!(["name"]))]);
        events.push(("user.updated", Value::Object(changed)));
    }
    for (action, details) in events {
        audit::record(ctx, txn, caller, (action, after.id.to_string()), details).await?;
    }
    Ok(())
}

/// Ends all sessions of a user, and sign-ins that wait for a step; how many sessions. The user may sign in again.
///
/// # Errors
/// `not_found`; `exceeds_own_rights`.
pub async fn revoke_sessions(ctx: &Identity, caller: Caller<'_>, id: UserId) -> Result<u64> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_in_txn(ctx, &txn, caller, id, |_| Ok(())).await?;
    let ended = sessions::end_in_txn(&txn, id, None, "user.sessions_revoked").await?;
    steps::end_in_txn(&txn, id).await?;
    let event = ("user.sessions_revoked", id.to_string());
    audit::record(ctx, &txn, caller, event, json!({ "sessions": ended })).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(caller.tenant.id).await?;
    end_visits(ctx, caller, id).await?;
    Ok(ended)
}
