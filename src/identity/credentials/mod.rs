//! Credentials: the ways in which users prove their identity.
//!
//! One table stores them, with a row for each credential of a user. The column `kind` is the kind of credential.
//! `handle` tells several credentials of one kind apart. `data` is what a proof is verified against, such as a hash.
//! Each kind has its own structure of `data`, which the table's constraints check:
//!
//! | kind | per user | handle | data |
//! |---|---|---|---|
//! | `password` | at most one | empty | `hash`: argon2id, a PHC string that names its own parameters, or what another system has made; `must_change` |
//! | `former_password` | as many as the tenant asks for | its id | `hash` |
//! | `totp` | at most one that counts, and one that is being set up | empty, or `new` | `seed`: sealed; `last_step`: the last one that was accepted |
//! | `recovery_code` | ten | its number | `digest` |
//! | `trusted_device` | several, in databases that know no devices yet | the digest of its token | `expires_at` |
//! | `known_device` | fifty at most | the digest of its token | `expires_at`; `trusted_until`, if it is trusted |
//!
//! A new kind needs a migration that adds it to the table's constraints, and a file here. The columns stay the same.
//! docs/decisions/0021 says how other kinds of credentials fit in.
//!
//! A password is checked when it is chosen ([`check_password_policy`]), and hashed before any row is locked. It is
//! stored until its owner replaces it or is deleted. A clone of the tenant copies it, so its owner can sign in there.
//!
//! This module must never hold a connection while it hashes, exceed the limit of concurrent hashes, or store or log a
//! password. A check without a stored hash must take as long as one with a hash.

mod choosing;
mod common;
mod devices;
mod factors;
mod foreign;
mod hashing;
mod policy;
mod store;
mod totp;

pub(super) use choosing::{
    Chosen, choose, choose_if_known, hash_anew, replace_in_txn, require_policy, set_in_txn, store_anew_in_txn,
    used_before,
};
pub(super) use devices::{
    device_digest, devices_in_txn, forget_devices_in_txn, is_known_in_txn, is_trusted_in_txn, know_device_in_txn,
    trust_device_in_txn,
};
pub(super) use factors::{
    accept_code_in_txn, begin_totp_in_txn, confirm_totp_in_txn, remove_factor_in_txn, remove_factor_since_in_txn,
    replace_recovery_codes_in_txn, reseal,
};
pub(super) use foreign::accept as accept_foreign_hash;
pub(super) use hashing::{BACKGROUND, Hasher, REQUEST};
pub use policy::{Policy, check_password_policy};
pub(super) use store::{
    add_password, has_any, has_factor, has_password, knows_device, must_change, password_hash, purge_devices,
    remove_all as remove_all_in_txn, retire_password as retire_password_in_txn,
};
pub(super) use totp::uri;

use super::Identity;
use crate::{
    error::Result,
    tenancy::TenantTxn,
    types::{CredentialId, UserId},
};

/// Adds a password to each of these users, who have none.
pub(super) async fn add_first_passwords_in_txn(
    ctx: &Identity,
    txn: &TenantTxn<'_>,
    new: &[(UserId, &str)],
) -> Result<()> {
    let ids: Vec<_> = new.iter().map(|_| CredentialId::generate(&ctx.clock, ctx.random).uuid()).collect();
    let users: Vec<_> = new.iter().map(|(user, _)| user.uuid()).collect();
    let hashes: Vec<_> = new.iter().map(|(_, hash)| *hash).collect();
    store::insert_passwords(txn, (&ids, &users), &hashes).await
}

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
