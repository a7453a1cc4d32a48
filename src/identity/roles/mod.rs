//! Roles: names for sets of permissions, of which everybody holds one.
//!
//! Four roles are built in, and what they may do is said with each permission; any other role brings its permissions with it,
//! in its row. Nobody's role is taken from a token: it is read anew whenever what was verified is forgotten.
//!
//! A role must never grant what belongs to the other plane, nor what this version of Freehold does not know.

mod store;

pub(super) use store::{columns, join, read};

use super::Identity;
use crate::{
    control::tenants::Tenant,
    types::{Permission, Plane},
};

/// The role that somebody holds now.
pub(super) struct Role {
    /// What it is called.
    pub(super) name: String,
    /// The permissions in its row: those of a role that is not built in.
    stored: Vec<String>,
}

impl Role {
    /// What it permits in the tenant.
    pub(super) fn permissions(&self, ctx: &Identity, tenant: &Tenant) -> Vec<Permission> {
        ctx.permissions.of_role(plane(tenant), &self.name, &self.stored)
    }
}

/// On which plane a tenant's people act.
fn plane(tenant: &Tenant) -> Plane {
    if tenant.is_platform { Plane::Platform } else { Plane::Tenant }
}
