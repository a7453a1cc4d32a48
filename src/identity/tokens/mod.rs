//! Access tokens and the keys that sign them.

mod access;
mod keys;

pub(super) use access::{Claims, LIFETIME, claimed_tenant, invalid, key_id, sign, verify};
pub(super) use keys::Keys;
pub use keys::make_signing_key;
