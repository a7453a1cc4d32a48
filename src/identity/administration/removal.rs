//! Deletes a user, brings them back, or erases them for good.
//!
//! A deleted user is kept: name, address and password. Nobody gets in with them, and nobody else gets the address. An
//! erased one is gone with all that was theirs; the audit log keeps their id.

use serde_json::json;

use super::{end_access_in_txn, end_visits, lock_in_txn};
use crate::{
    error::{Error, Result},
    identity::{
        Caller, Identity, audit,
        people::{self, User},
    },
    types::UserId,
};

/// Deletes a user, who can be restored. Does nothing to one who is deleted already.
///
/// # Errors
/// `not_found`; `last_owner` (409); `exceeds_own_rights`; 412.
pub async fn delete(
    ctx: &Identity,
    caller: Caller<'_>,
    id: UserId,
    expected: impl FnOnce(i64) -> Result<()>,
) -> Result<()> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    let known = lock_in_txn(ctx, &txn, caller, id, expected).await?;
    people::require_another_owner_in_txn(&txn, &known).await?;
    if !people::delete(&txn, id).await? {
        return Ok(());
    }
    end_access_in_txn(&txn, id, "user.deleted").await?;
    audit::record(ctx, &txn, caller, ("user.deleted", id.to_string()), json!({})).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(caller.tenant.id).await?;
    end_visits(ctx, caller, id).await
}

/// Takes a deletion back: the user may sign in again.
///
/// # Errors
/// `not_found`; `user_not_deleted` (409); `exceeds_own_rights`.
pub async fn restore(ctx: &Identity, caller: Caller<'_>, id: UserId) -> Result<User> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_in_txn(ctx, &txn, caller, id, |_| Ok(())).await?;
    let user = people::restore(&txn, id).await?.ok_or_else(not_deleted)?;
    audit::record(ctx, &txn, caller, ("user.restored", id.to_string()), json!({})).await?;
    txn.commit().await?;
    Ok(user)
}

/// Erases a deleted user. There is no way back.
///
/// # Errors
/// `not_found`; `user_not_deleted`, `user_in_use` (409); `exceeds_own_rights`.
pub async fn erase(ctx: &Identity, caller: Caller<'_>, id: UserId) -> Result<()> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    let known = lock_in_txn(ctx, &txn, caller, id, |_| Ok(())).await?;
    if known.user.deleted_at.is_none() {
        return Err(not_deleted());
    }
    if !people::erase(&txn, id).await? {
        let detail = "rows of the product's refer to this user, and keep them from being erased";
        return Err(Error::conflict("user_in_use", detail));
    }
    audit::record(ctx, &txn, caller, ("user.erased", id.to_string()), json!({})).await?;
    txn.commit().await
}

fn not_deleted() -> Error {
    Error::conflict("user_not_deleted", "this user is not deleted")
}
