//! What somebody may do, as `resource:action`, and what the built-in roles may.
//!
//! Each plane has its own permissions: an operator's say nothing in a customer's tenant, nor the other way round.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::types::Invalid;

/// A right. The interfaces spell it `resource:action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See projects.
    ProjectsRead,
    /// Make, change and delete projects.
    ProjectsWrite,
    /// See tasks.
    TasksRead,
    /// Make, change and delete tasks.
    TasksWrite,
    /// See tenants.
    TenantsRead,
    /// Make and change tenants.
    TenantsWrite,
    /// Delete tenants, and take that back.
    TenantsDelete,
    /// See servers.
    ServersRead,
    /// Register and change servers.
    ServersWrite,
    /// Follow operations.
    OperationsRead,
    /// Retry what is blocked.
    OperationsWrite,
    /// See plans.
    PlansRead,
    /// See published migrations.
    MigrationsRead,
    /// Publish migrations.
    MigrationsWrite,
    /// See which key-encryption keys there are.
    KeysRead,
    /// Wrap data keys anew, and replace the platform tenant's own secrets.
    KeysWrite,
    /// Read the operators' audit log.
    AuditRead,
    /// Run `fsck` and `verify isolation`.
    FleetVerify,
}

/// Whose permission it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    /// A customer's users.
    Tenant,
    /// The operators: the users of the platform tenant.
    Platform,
}

use Permission as P;

const ALL: [(Permission, &str, Plane); 18] = [
    (P::ProjectsRead, "projects:read", Plane::Tenant),
    (P::ProjectsWrite, "projects:write", Plane::Tenant),
    (P::TasksRead, "tasks:read", Plane::Tenant),
    (P::TasksWrite, "tasks:write", Plane::Tenant),
    (P::TenantsRead, "tenants:read", Plane::Platform),
    (P::TenantsWrite, "tenants:write", Plane::Platform),
    (P::TenantsDelete, "tenants:delete", Plane::Platform),
    (P::ServersRead, "servers:read", Plane::Platform),
    (P::ServersWrite, "servers:write", Plane::Platform),
    (P::OperationsRead, "operations:read", Plane::Platform),
    (P::OperationsWrite, "operations:write", Plane::Platform),
    (P::PlansRead, "plans:read", Plane::Platform),
    (P::MigrationsRead, "migrations:read", Plane::Platform),
    (P::MigrationsWrite, "migrations:write", Plane::Platform),
    (P::KeysRead, "keys:read", Plane::Platform),
    (P::KeysWrite, "keys:write", Plane::Platform),
    (P::AuditRead, "audit:read", Plane::Platform),
    (P::FleetVerify, "fleet:verify", Plane::Platform),
];

/// The role of those who may do everything in their plane, and cannot be locked out of it.
pub(super) const OWNER: &str = "owner";

impl Permission {
    /// The permission as the interfaces spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        ALL.iter().find(|(permission, ..)| *permission == self).map_or("", |(_, text, _)| text)
    }

    /// Every operator's permission.
    pub fn platform() -> impl Iterator<Item = Self> {
        on(Plane::Platform)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = ALL.iter().find(|(_, name, _)| *name == text).map(|(permission, ..)| *permission);
        found.ok_or_else(|| Invalid::new("unknown_permission", "must be a permission such as projects:read"))
    }
}

/// What a role may do on `plane`. `stored` are a custom role's own permissions; those of another plane, and those
/// that this version does not know, grant nothing.
pub(super) fn of_role(plane: Plane, role: &str, stored: &[String]) -> BTreeSet<Permission> {
    match role {
        OWNER | "admin" => on(plane).collect(),
        "member" => on(plane).filter(|permission| !is_for_admins(*permission)).collect(),
        "viewer" => on(plane)
            .filter(|permission| permission.as_str().ends_with(":read") && !is_for_admins(*permission))
            .collect(),
        _ => of_names(stored).intersection(&on(plane).collect()).copied().collect(),
    }
}

/// The permissions among `names`.
pub(super) fn of_names(names: &[String]) -> BTreeSet<Permission> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

fn on(plane: Plane) -> impl Iterator<Item = Permission> {
    ALL.iter().filter(move |(.., of)| *of == plane).map(|(permission, ..)| *permission)
}

/// What an operator who is a plain member has no part in: the fleet's shape, the end of tenants, and other operators'
/// doings.
fn is_for_admins(permission: Permission) -> bool {
    matches!(
        permission,
        P::TenantsDelete
            | P::ServersWrite
            | P::MigrationsWrite
            | P::KeysRead
            | P::KeysWrite
            | P::AuditRead
            | P::FleetVerify
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_survives_its_text_form() {
        for (permission, text, _) in ALL {
            assert_eq!(permission.as_str(), text);
            assert_eq!(text.parse(), Ok(permission));
        }
        for bad in ["", "projects", "projects:", "Projects:read", "projects:read ", "*"] {
            assert!(bad.parse::<Permission>().is_err(), "{bad}");
        }
    }

    #[test]
    fn roles_get_permissions_of_their_own_plane_alone() {
        for role in [OWNER, "admin", "member", "viewer"] {
            let (tenant, platform) = (of_role(Plane::Tenant, role, &[]), of_role(Plane::Platform, role, &[]));
            assert!(!tenant.is_empty() && !platform.is_empty() && tenant.is_disjoint(&platform), "{role}");
        }
        let viewer = of_role(Plane::Tenant, "viewer", &[]);
        assert!(viewer.contains(&P::ProjectsRead) && !viewer.contains(&P::ProjectsWrite));
        assert!(!of_role(Plane::Platform, "member", &[]).contains(&P::ServersWrite));
    }

    #[test]
    fn a_custom_role_cannot_reach_over_to_the_other_plane() {
        let stored = ["projects:read", "tenants:write", "nonsense:read"].map(str::to_owned);
        assert_eq!(of_role(Plane::Tenant, "auditor", &stored), BTreeSet::from([P::ProjectsRead]));
        assert!(of_role(Plane::Tenant, "unknown", &[]).is_empty());
    }
}
