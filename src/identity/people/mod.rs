//! The users of a tenant.
//!
//! A user is created when an invitation is accepted. The first administrator is created with the tenant. A user is
//! identified by a normalized email address. A deactivated user still exists, and cannot sign in: every statement that
//! grants access checks that the user is active.
//!
//! Credentials are stored separately, in [`credentials`](super::credentials), and no query for users returns them. This
//! module must never let a stranger find out whether an email address is known.

mod me;
mod store;

pub use me::{Me, MyTenant, me};
pub use store::{are_kept, holds_others};
pub(super) use store::{
    account, account_of, active, add_first, has_password, holds, id_of, invited, join_active, lock_account_in_txn,
};

use super::Identity;
use crate::{
    error::Result,
    types::{TenantId, UserId},
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

/// How many users the tenant has, including deactivated ones.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn count(ctx: &Identity, tenant: TenantId) -> Result<i64> {
    store::count(&ctx.tenancy.connect(tenant).await?).await
}
