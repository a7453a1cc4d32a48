//! Roles: named sets of permissions. Each user has one role.
//!
//! Four roles are built in: the declaration of each permission names the roles that have it. A custom role has its
//! permissions in its row. A role is never read from a token. It is read from the database whenever a token is not in
//! the cache of verified tokens.
//!
//! A role must never grant a permission of the other plane, nor one that this release does not know.

mod store;

pub(super) use store::{columns, join, read};

use super::Identity;
use crate::{
    control::tenants::Tenant,
    types::{Permission, Plane},
};

/// The role that a user has now.
pub(super) struct Role {
    /// Its name.
    pub(super) name: String,
    /// The permissions in its row. Only custom roles have them.
    stored: Vec<String>,
}

impl Role {
    /// The permissions that it grants in the tenant.
    pub(super) fn permissions(&self, ctx: &Identity, tenant: &Tenant) -> Vec<Permission> {
        ctx.permissions.of_role(plane(tenant), &self.name, &self.stored)
    }
}

/// The plane of a tenant's users.
fn plane(tenant: &Tenant) -> Plane {
    if tenant.is_platform { Plane::Platform } else { Plane::Tenant }
}
