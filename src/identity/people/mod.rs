//! The people of a tenant: how many there are, and what one of them learns about themselves.

mod census;
mod me;

pub use me::{Me, MyTenant};
