//! Durable changes to the fleet, and the checks that judge them.
//!
//! A change to a tenant is an operation: a row that states the intent, and steps that the [`engine`] runs until they
//! are done, whatever is killed in between. The rooms:
//!
//! * [`engine`]: claims, leases, attempts and steps. It knows no operation by name.
//! * [`tenants`]: what is done to one tenant, from provisioning to erasure. One file an operation.
//! * [`fleet`]: servers and their passwords, placement, databases made ahead of demand, replicas.
//! * [`schema`]: the published migrations, and the template databases that are made from them.
//! * [`checks`]: `fsck`, `verify isolation`, and the schedule that runs them. They change nothing.
//!
//! The [`janitor`] starts operations that are due without a request, and repairs leaks. [`memory`] caches what a
//! replica need not ask for twice. Nothing here uses an administrative credential to read or write a tenant's rows for
//! a request:
//! `tenancy` has connections for that.

pub mod bootstrap;
pub mod checks;
mod context;
pub mod control;
pub mod engine;
pub mod fleet;
pub mod janitor;
pub mod kinds;
pub mod labels;
mod memory;
mod pace;
pub mod schema;
pub mod tenants;

pub(crate) use context::{Access, session_name_of};
pub use context::{Context, Settings};
pub use memory::Memory;
