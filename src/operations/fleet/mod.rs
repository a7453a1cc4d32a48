//! Operations on servers: registration, password rotation, drain, placement and the warm pool. Also the steps that
//! create or drop a tenant's database, and the heartbeat of replicas.

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
