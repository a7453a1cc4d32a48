//! The schema of tenants' databases: the published migrations, the template databases that are built from them, and how
//! one tenant's database gets from its versions to others.

pub mod by_operator;
pub(crate) mod migrate;
pub mod publish;
pub(super) mod template;

pub use super::memory::Newest;
use crate::{
    migrations::Roles,
    servers::{OWNER_ROLE, TENANT_ROLE},
};

/// As whom migrations run, and for whom, in every template and in every tenant's database.
pub const ROLES: Roles = Roles { owner: OWNER_ROLE, tenant: TENANT_ROLE };
