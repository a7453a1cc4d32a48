//! The users of a tenant.
//!
//! A user is created when an invitation is accepted. The first administrator is created with the tenant. A user is
//! identified by a normalized email address. A deactivated user still exists, and cannot sign in: every statement that
//! grants access checks that the user is active. A deleted one is inactive too, and can be brought back until they are
//! erased. Whoever looks after people changes them through [`administration`](super::administration).
//!
//! A service account is a user of another kind: an account of a program, without an address or a password. It has API
//! keys, which people make for it.
//!
//! Credentials are stored separately, in [`credentials`](super::credentials), and no query for users returns them. This
//! module must never let a stranger find out whether an email address is known.

mod directory;
mod me;
mod store;

pub use directory::{Counts, Filter, Kind, Query, Sort, State, User, counts, get, list};
pub use me::{Me, MyTenant, me};
pub(super) use store::{
    account, account_of, active, add_all, add_first, add_service, delete, due, erase, erase_due, has_password, holds,
    id_of, invited, join_active, known, knows_device, lock, lock_account_in_txn, longest_with, prove, readdress,
    register, restore, standing, update, with_addresses,
};
pub use store::{are_kept, holds_others};

use super::{Identity, roles::Role};
use crate::{
    error::{Error, Result},
    tenancy::TenantTxn,
    types::{Email, TenantId, UserId},
};

/// What a sign-in needs to know about a user.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(super) struct Account {
    /// The user.
    pub(super) user: UserId,
    /// Their email address. Not to be logged.
    pub(super) email: String,
    /// Whether the user is active.
    pub(super) is_active: bool,
    /// Whether the email address is verified, or the tenant does not require that.
    pub(super) is_verified: bool,
    /// The password hash. Inactive users have it too, so that refusing them takes as long.
    pub(super) password_hash: Option<String>,
    /// Whether the password has to be changed before they are let in.
    pub(super) must_change: bool,
    /// Whether they have set up a second factor.
    pub(super) has_factor: bool,
    /// Whether the tenant requires one of everybody.
    pub(super) needs_factor: bool,
}

/// What there is to know of whoever has an address, before they have shown that they are that.
pub(super) struct Standing {
    /// The user.
    pub(super) user: UserId,
    /// Whether it is a person who is active.
    pub(super) may_enter: bool,
    /// Whether they have proven the address.
    pub(super) is_proven: bool,
    /// Their role's name.
    pub(super) role: String,
    /// Whether they have, or had, any way to prove who they are.
    pub(super) is_used: bool,
}

/// A user whose row is locked, and the role that they have.
pub(super) struct Known {
    pub(super) user: User,
    pub(super) role: Role,
}

/// Somebody to be added among others.
pub(super) struct New<'a> {
    pub(super) id: UserId,
    pub(super) email: &'a Email,
    pub(super) name: &'a str,
    pub(super) role: &'a str,
    pub(super) active: bool,
    pub(super) verified: bool,
}

/// Refuses to take the last active owner away. The caller holds the roster's lock.
///
/// # Errors
/// `last_owner` (409).
pub(super) async fn require_another_owner_in_txn(txn: &TenantTxn<'_>, known: &Known) -> Result<()> {
    if known.role.is_owner() && known.user.active && !store::has_other_owners(txn, known.user.id).await? {
        return Err(Error::conflict("last_owner", "somebody else has to be an owner first"));
    }
    Ok(())
}

/// Whether the account with this address is the only active owner. The caller holds the roster's lock.
pub(super) async fn is_last_owner_in_txn(txn: &TenantTxn<'_>, email: &str) -> Result<bool> {
    match store::owner_by_email(txn, email).await? {
        Some(owner) => Ok(!store::has_other_owners(txn, owner).await?),
        None => Ok(false),
    }
}

/// How many users the tenant has, including deactivated ones.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn count(ctx: &Identity, tenant: TenantId) -> Result<i64> {
    store::count(&ctx.tenancy.connect(tenant).await?).await
}
