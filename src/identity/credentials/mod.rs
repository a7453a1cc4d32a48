//! Credentials: what people prove who they are with.
//!
//! One table holds them all: a row for each way in which somebody can prove who they are. Its `kind` says what the
//! row is, its `handle` which one of that kind where a person may have several, and its `data` what a proof is held
//! against; the shape of `data` belongs to the kind, and the table checks it. Passwords are the one kind there is:
//!
//! | kind | of one person | handle | data |
//! |---|---|---|---|
//! | `password` | at most one | empty | `hash`: argon2id, a PHC string that names its own parameters |
//!
//! A new kind is a migration that lets the table's checks know it, and a file here; the table keeps its shape.
//! docs/decisions/0021 says how the kinds fit that will come.
//!
//! A password is judged when it is chosen ([`check_password_policy`]), hashed before anything is locked, and kept until
//! its owner replaces it or is gone. It goes into clones of the tenant, where its owner can sign in with it.
//!
//! This room must never hold a connection while it hashes, hash more at once than it may, store or log what somebody
//! typed, or be quicker when there is nothing to compare with.

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

/// Gives somebody who has no password one.
///
/// # Errors
/// Internal when they have one.
pub(super) async fn add_first_password_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    user: UserId,
    hash: &str,
) -> Result<()> {
    store::insert_password(txn, CredentialId::generate(&ctx.clock, ctx.random), user, hash).await
}
