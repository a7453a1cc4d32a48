//! Durable changes to the fleet, and the checks that judge them.
//!
//! A change to a tenant is an operation: a row that states the intent, and steps that the [`engine`] runs until they
//! are done, whatever is killed in between. One file an operation: [`provision`] makes a tenant, [`warm`] what the next
//! one will get, [`rotate_credentials`] replaces a password. Registering a server and publishing migrations are single
//! transactions behind a preparation that can be repeated; so is another signing key for a tenant. [`fsck`] and
//! [`isolation`] compare promises with reality and change nothing. The [`janitor`] does what is due by itself and mends
//! what leaked; [`remains`] is what it has done on servers.
//!
//! Nothing here ever uses an administrative credential for a tenant's data: that is `tenancy`'s.

pub mod archive;
mod attempt;
pub mod bootstrap;
pub mod certificate;
mod change;
pub mod checks;
pub mod clone;
mod contents;
mod context;
mod copies;
pub mod delete;
pub mod drain;
pub mod engine;
mod erase;
pub mod fsck;
pub mod heartbeat;
pub mod isolation;
pub mod janitor;
pub mod key_encryption;
mod kind;
pub mod labels;
mod making;
mod memory;
mod placement;
pub mod preflight;
pub mod provision;
pub mod publish;
pub mod register_server;
pub mod remains;
pub mod restore;
pub mod rotate_credentials;
pub mod rotate_server;
pub mod rotate_signing_keys;
mod sessions;
pub mod shelf;
pub mod steer;
mod stock;
pub mod suspend;
mod template;
mod tenant_login;
mod transfer;
pub mod update;
pub mod update_server;
pub mod verify_isolation;
pub mod wait;
pub mod warm;

pub use change::Progress;
pub use context::{Context, Settings};
pub use memory::Memory;
