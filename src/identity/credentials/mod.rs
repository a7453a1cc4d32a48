//! Credentials: the ways in which users prove their identity.
//!
//! One table stores them, with a row for each credential of a user. The column `kind` is the kind of credential.
//! `handle` tells several credentials of one kind apart. `data` is what a proof is verified against, such as a hash.
//! Each kind has its own structure of `data`, which the table's constraints check. At present there is one kind:
//!
//! | kind | per user | handle | data |
//! |---|---|---|---|
//! | `password` | at most one | empty | `hash`: argon2id, a PHC string that names its own parameters |
//!
//! A new kind needs a migration that adds it to the table's constraints, and a file here. The columns stay the same.
//! docs/decisions/0021 says how other kinds of credentials fit in.
//!
//! A password is checked when it is chosen ([`check_password_policy`]), and hashed before any row is locked. It is
//! stored until its owner replaces it or is deleted. A clone of the tenant copies it, so its owner can sign in there.
//!
//! This module must never hold a connection while it hashes, exceed the limit of concurrent hashes, or store or log a
//! password. A check without a stored hash must take as long as one with a hash.

mod hashing;
mod policy;
mod store;

pub(super) use hashing::{BACKGROUND, Hasher, REQUEST};
pub use policy::check_password_policy;
pub(super) use store::{add_password, has_password, password_hash};

use super::Identity;
use crate::{
    error::Result,
    tenancy::TenantTxn,
    types::{CredentialId, UserId},
};

/// Adds a password to a user who has none.
///
/// # Errors
/// An internal error when the user has one.
pub(super) async fn add_first_password_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
    hash: &str,
) -> Result<()> {
    store::insert_password(txn, CredentialId::generate(&ctx.clock, ctx.random), user, hash).await
}
