//! Durable changes to the fleet, and the checks that judge them.
//!
//! A change to a tenant is an operation: a row that states the intent, and steps that the [`engine`] runs until
//! they are done, whatever is killed in between. One file an operation: [`provision`],
//! [`rotate_credentials`]. Registering a
//! server and publishing migrations are single transactions behind a preparation that can be repeated; so is another
//! signing key for a tenant.
//! [`fsck`] and [`isolation`] compare promises with reality and change nothing.
//!
//! Nothing here ever uses an administrative credential for a tenant's data: that is `tenancy`'s.

mod attempt;
pub mod bootstrap;
mod context;
pub mod engine;
pub mod fsck;
pub mod housekeeping;
pub mod isolation;
pub mod key_encryption;
mod kind;
pub mod provision;
pub mod publish;
pub mod register_server;
pub mod rotate_credentials;
pub mod rotate_server;
pub mod rotate_signing_keys;
pub mod steer;
mod template;
pub mod verify_isolation;
pub mod wait;

pub use context::Context;
