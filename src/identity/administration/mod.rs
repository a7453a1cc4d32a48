//! What those do who look after a tenant's people: change, deactivate, delete and restore them, end their sessions, make
//! service accounts and custom roles.
//!
//! Each function is one transaction, with its event in the audit log. All of them take the lock of the tenant's roster
//! first, so that they run one after another: what one has checked, no other changes before it commits. So two
//! owners who demote each other at once leave one owner. After the commit every replica verifies the tenant's tokens again.
//!
//! The user's row is locked next, as signing in does before it judges an account, and only then what is the user's:
//! sessions, steps, keys and invitations. Nobody who holds one of those waits for the row of a user or for the roster.
//!
//! # What must never happen
//! * Somebody gives a right that they lack themselves, or changes those who have more. Only owners touch owners.
//! * A tenant is left without an active owner.
//! * A deactivated or deleted user keeps a session, a sign-in that is under way, an API key, or an invitation that they
//!   have made.
//! * A request about somebody's own account ends up here: no such request has a role in it.

mod change;
mod lockout;
mod removal;
mod roles;
mod service_accounts;

pub use change::{Patch, revoke_sessions, update};
pub use lockout::{By, Lockout, lockout, unlock};
pub use removal::{delete, erase, restore};
pub use roles::{NewRole, create_role, delete_role, update_role};
pub use service_accounts::{NewServiceAccount, create_service_account};

use super::{
    Caller, Identity, api_keys, invitations,
    people::{self, Known},
    roles::{lock_roster_in_txn, require_role_within},
    sessions, steps, visits,
};
use crate::{
    error::{Error, Result},
    tenancy::TenantTxn,
    types::UserId,
};

/// Locks the roster and this user, and makes sure that the caller may change them.
///
/// # Errors
/// `not_found`; 412; `exceeds_own_rights`.
async fn lock_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    caller: Caller<'_>,
    id: UserId,
    expected: impl FnOnce(i64) -> Result<()>,
) -> Result<Known> {
    lock_roster_in_txn(txn).await?;
    let known = people::lock(txn, id).await?.ok_or_else(|| Error::not_found("user"))?;
    expected(known.user.version)?;
    require_role_within(ctx, caller, &known.role)?;
    Ok(known)
}

/// Ends the visits of an operator who may not act as others any more, or not by their role. Nobody else has any.
pub(super) async fn end_visits(ctx: &Identity, caller: Caller<'_>, user: UserId) -> Result<()> {
    if caller.tenant.is_platform { visits::end_of_operator(ctx, caller, user).await } else { Ok(()) }
}

/// Ends all that lets a user in, or that lets others in because of them.
pub(super) async fn end_access_in_txn(txn: &TenantTxn<'_>, user: UserId, because: &'static str) -> Result<()> {
    sessions::end_in_txn(txn, user, None, because).await?;
    steps::end_in_txn(txn, user).await?;
    api_keys::revoke_all_in_txn(txn, user).await?;
    invitations::revoke_made_by_in_txn(txn, user).await
}
