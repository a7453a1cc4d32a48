//! Durable changes to the fleet, and the checks that judge them.
//!
//! A change to a tenant is an operation: a row that states the intent, and steps that the [`engine`] runs until
//! they are done, whatever is killed in between. One file an operation: [`provision`] makes a tenant, [`warm`] what
//! the next one will get. Registering a server and publishing migrations are single transactions behind a preparation
//! that can be repeated.
//! [`fsck`] and [`isolation`] compare promises with reality and change nothing.
//!
//! Nothing here ever uses an administrative credential for a tenant's data: that is `tenancy`'s.

mod attempt;
pub mod bootstrap;
mod context;
mod copies;
pub mod engine;
pub mod fsck;
pub mod housekeeping;
pub mod isolation;
mod kind;
mod making;
mod memory;
pub mod provision;
pub mod publish;
pub mod register_server;
pub mod steer;
mod template;
pub mod verify_isolation;
pub mod wait;
pub mod warm;

pub use context::Context;
pub use memory::Memory;
