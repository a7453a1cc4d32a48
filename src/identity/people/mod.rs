//! The people of a tenant, and what an account says about them.
//!
//! An account comes with an invitation, or with the tenant itself for the first administrator, and is known by its
//! address, of which there is one spelling. Somebody who is deactivated keeps the account and can prove nothing with
//! it: every statement that lets somebody in asks whether they are active, at the moment that it counts.
//!
//! What a person proves who they are with is kept apart, in [`credentials`](super::credentials), and never comes with
//! a query for people. This room must never tell a stranger whether an address is known.

mod me;
mod store;

pub use me::{Me, MyTenant, me};
pub use store::holds_others;
pub(super) use store::{account, active, add_first, has_password, holds, id_of, invited, join_active};

use super::Identity;
use crate::{
    error::Result,
    types::{TenantId, UserId},
};

/// What signing in has to know of the account with an address.
pub(super) struct Account {
    /// Whose it is.
    pub(super) user: UserId,
    /// Whether they may sign in at all.
    pub(super) is_active: bool,
    /// Whether the address is known to be theirs, or nobody asks.
    pub(super) is_verified: bool,
    /// Of somebody who is not active too, so that the refusal takes as long.
    pub(super) password_hash: Option<String>,
}

/// How many people the tenant has, deactivated ones included.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn count(ctx: &Identity, tenant: TenantId) -> Result<i64> {
    store::count(&ctx.tenancy.connect(tenant).await?).await
}
