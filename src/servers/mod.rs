//! The administration of one PostgreSQL server with its administrative credential: roles, databases, grants.
//!
//! The credential has CREATEDB and CREATEROLE and is never a superuser's; it is used here alone. The data path
//! ([`Connector`] with a tenant's own [`Credentials`]) shares nothing with it but how a connection is made.
//!
//! Every change observes the world first and can be repeated: what is already as it should be is adopted.
//! A [`ServerAdmin`] is one dedicated session, so its advisory locks guard exactly the statements that run on
//! it, and die with it. A database is made closed, taken from PUBLIC, granted to its tenant and opened last.
//!
//! This module must never see a slug, write a plain password into SQL, or drop a database that does not belong
//! to [`OWNER_ROLE`].

pub mod dump;
pub mod programs;

mod address;
mod admin;
mod adoption;
mod child;
mod connect;
mod databases;
mod errors;
mod identifier;
mod inspect;
mod lock;
mod logins;
mod names;
mod preflight;
mod removal;
mod roles;
mod scram;
mod scratch;
mod sessions;

pub use address::{AdminUrl, Credentials, ServerAddress, Tls};
pub use admin::{ServerAdmin, ServerVersion};
pub use adoption::{FormerOwner, Found, Inside, Obstacle, Right};
pub use connect::{CONNECT_TIMEOUT, Connection, Connector};
pub(crate) use errors::{SCHEMA_CHANGED, SchemaFault, schema_changed, schema_fault};
pub use errors::{constraint, is_sqlstate, login_refused};
pub use identifier::{quote_ident, quote_literal};
pub use inspect::{DatabaseInfo, RoleInfo};
pub use lock::LockKey;
pub use logins::TransferLogin;
pub use names::{BUILDER_PREFIX, OWNER_ROLE, ROLLOUT_PREFIX, TENANT_ROLE};
pub use preflight::{Demands, Finding, Severity};
pub use scram::verifier;
pub use scratch::{scratch_name, scratch_of};

/// The comment by which Freehold knows its own databases and roles. What lacks it is somebody else's.
pub const MARK: &str = "managed by freehold";
