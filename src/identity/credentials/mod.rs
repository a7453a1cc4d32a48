//! How people prove who they are: passwords, judged when they are chosen and hashed behind a bound.

mod hashing;
mod policy;

pub(super) use hashing::{BACKGROUND, Hasher, REQUEST};
pub use policy::check_password_policy;
