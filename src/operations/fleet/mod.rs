//! Servers and what stands ready on them: registration, passwords, drain, placement, databases made ahead of demand,
//! and the steps that make or drop a database. Also what replicas tell each other of themselves.

pub mod drain;
pub mod heartbeat;
pub mod key_encryption;
pub(super) mod placement;
pub mod preflight;
pub(super) mod provisioning_steps;
pub mod register_server;
pub mod remains;
pub mod rotate_server;
pub(super) mod tenant_login;
pub mod update_server;
pub mod warm;
