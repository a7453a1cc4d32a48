//! All permissions, Freehold's own and the product's, and which of them each role grants.
//!
//! The set is built once, when the program starts. It refuses permissions that could be confused with others: see
//! [`Permissions::new`].

use std::sync::Arc;

use crate::types::{Permission, Plane, RESERVED_RESOURCES, Role};

/// The permissions of operators. Each is a type that a handler asks for: `Operator<right::TenantsRead>`.
pub mod right {
    crate::types::permissions! {
        pub const PLATFORM: Platform;

        /// See tenants.
        TenantsRead = "tenants:read" for [Admin, Member, Viewer];
        /// Make and change tenants.
        TenantsWrite = "tenants:write" for [Admin, Member];
        /// Act as somebody of a tenant for a while.
        TenantsVisit = "tenants:visit" for [Admin, Member];
        /// Delete tenants, and take that back.
        TenantsDelete = "tenants:delete" for [Admin];
        /// Read the rows of archived tenants.
        ArchivesExport = "archives:export" for [Admin];
        /// Bring people into tenants from other systems.
        TenantsImport = "tenants:import" for [Admin];
        /// See servers.
        ServersRead = "servers:read" for [Admin, Member, Viewer];
        /// Register and change servers.
        ServersWrite = "servers:write" for [Admin];
        /// Follow operations.
        OperationsRead = "operations:read" for [Admin, Member, Viewer];
        /// Retry what is blocked.
        OperationsWrite = "operations:write" for [Admin, Member];
        /// See jobs.
        JobsRead = "jobs:read" for [Admin, Member, Viewer];
        /// Have dead jobs tried again.
        JobsWrite = "jobs:write" for [Admin, Member];
        /// See plans.
        PlansRead = "plans:read" for [Admin, Member, Viewer];
        /// See published migrations.
        MigrationsRead = "migrations:read" for [Admin, Member, Viewer];
        /// Publish migrations.
        MigrationsWrite = "migrations:write" for [Admin];
        /// See rollouts, and plan them.
        RolloutsRead = "rollouts:read" for [Admin, Member, Viewer];
        /// Start rollouts, pause and end them, and have tenants tried again or left out.
        RolloutsWrite = "rollouts:write" for [Admin];
        /// See which key-encryption keys there are.
        KeysRead = "keys:read" for [Admin];
        /// Wrap data keys anew, and replace the platform tenant's own secrets.
        KeysWrite = "keys:write" for [Admin];
        /// Read the operators' audit log.
        AuditRead = "audit:read" for [Admin];
        /// Run `fsck` and `verify isolation`.
        FleetVerify = "fleet:verify" for [Admin];
    }
}

/// The permissions about a tenant's people, which operators have about their own likewise. Each is a type that a handler
/// of both listeners asks for: `Insider<people_right::UsersRead>`.
pub mod people {
    use crate::{
        identity::PEOPLE_SINCE,
        types::{Permission, Plane, Role},
    };

    /// What every database has that is served.
    const EVER: i32 = 0;

    /// A right that exists on both planes.
    pub trait SharedRight: Send + Sync + 'static {
        /// From which version of Freehold's stream on a tenant's database has what it is about.
        const SINCE: i32;

        /// What the caller must have, who is of `plane`.
        fn permission(plane: Plane) -> Permission;
    }

    macro_rules! shared {
        ($(since $since:ident {
            $($(#[$doc:meta])+ $name:ident = $text:literal for [$($role:ident),*];)+
        })+) => {
            $($(
                $(#[$doc])+
                #[derive(Clone, Copy, Debug)]
                pub struct $name;

                impl SharedRight for $name {
                    const SINCE: i32 = $since;

                    fn permission(plane: Plane) -> Permission {
                        Permission::new(plane, $text, &[$(Role::$role),*])
                    }
                }
            )+)+

            /// All of them for tenants, in this order.
            pub const TENANT: &[Permission] =
                &[$($(Permission::new(Plane::Tenant, $text, &[$(Role::$role),*])),+),+];
            /// All of them for operators.
            pub const PLATFORM: &[Permission] =
                &[$($(Permission::new(Plane::Platform, $text, &[$(Role::$role),*])),+),+];
        };
    }

    shared! {
        since PEOPLE_SINCE {
            /// See all people, and how many there are.
            UsersRead = "users:read" for [Admin];
            /// Change people: name, role, whether they are active; end their sessions.
            UsersWrite = "users:write" for [Admin];
            /// Delete people, bring them back, and erase them.
            UsersDelete = "users:delete" for [Admin];
            /// See roles and what they grant.
            RolesRead = "roles:read" for [Admin];
            /// Make, change and delete custom roles.
            RolesWrite = "roles:write" for [Admin];
            /// See invitations.
            InvitationsRead = "invitations:read" for [Admin];
            /// Invite people, and take that back.
            InvitationsWrite = "invitations:write" for [Admin];
            /// See everybody's API keys.
            ApiKeysRead = "api-keys:read" for [Admin];
            /// Make API keys for oneself.
            ApiKeysWrite = "api-keys:write" for [Admin, Member];
            /// Revoke anybody's API keys.
            ApiKeysRevoke = "api-keys:revoke" for [Admin];
            /// Make service accounts, and API keys for them.
            ServiceAccountsWrite = "service-accounts:write" for [Admin];
            /// Read, export and verify the audit log.
            AuditEventsRead = "audit-events:read" for [Admin];
        }
        since EVER {
            /// See what is decided about people.
            SettingsRead = "settings:read" for [Admin];
            /// Decide about people: their sessions, passwords and second factors.
            SettingsWrite = "settings:write" for [Admin];
        }
    }
}

/// The role that always has all permissions of its plane.
pub(super) const OWNER: &str = "owner";

/// Whether an operator who acts as somebody is without this permission, though the user has it: those that change
/// something about people.
pub(super) fn is_withheld_from_visitors(permission: Permission) -> bool {
    people::TENANT.contains(&permission) && !permission.as_str().ends_with(":read")
}

/// All permissions. Clones share them.
#[derive(Clone, Debug)]
pub struct Permissions {
    all: Arc<[Permission]>,
}

impl Permissions {
    /// Freehold's own permissions and those of a product.
    ///
    /// # Errors
    /// A sentence for each permission that the product may not declare.
    pub fn new(product: &[Permission]) -> Result<Self, Vec<String>> {
        let faults: Vec<_> = (0..product.len()).filter_map(|at| fault(product, at)).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let own = [people::TENANT, right::PLATFORM, people::PLATFORM];
        Ok(Self { all: product.iter().chain(own.into_iter().flatten()).copied().collect() })
    }

    /// The permission of this name on `plane`.
    pub(super) fn named(&self, plane: Plane, name: &str) -> Option<Permission> {
        self.all.iter().find(|one| one.plane() == plane && one.as_str() == name).copied()
    }

    /// The permissions of a role on `plane`, in the order of declaration. `stored` are the permissions in a custom
    /// role's row. Permissions of another plane, and those that this release does not know, grant nothing.
    pub(super) fn of_role(&self, plane: Plane, role: &str, stored: &[String]) -> Vec<Permission> {
        let held = |permission: &Permission| match role {
            OWNER => true,
            "admin" => permission.is_held_by(Role::Admin),
            "member" => permission.is_held_by(Role::Member),
            "viewer" => permission.is_held_by(Role::Viewer),
            _ => is_among(*permission, stored),
        };
        self.all.iter().filter(|one| one.plane() == plane && held(one)).copied().collect()
    }
}

/// Whether `names` contain the permission.
pub(super) fn is_among(permission: Permission, names: &[String]) -> bool {
    names.iter().any(|name| name == permission.as_str())
}

/// Why the product may not declare the permission at index `at`; `None` if it may.
fn fault(product: &[Permission], at: usize) -> Option<String> {
    let permission = product.get(at)?;
    let name = permission.as_str();
    let Some(resource) = permission.resource() else {
        return Some(format!("the permission {name:?} must be of the form resource:action, in a-z, 0-9 and hyphens"));
    };
    if permission.plane() != Plane::Tenant {
        return Some(format!("the permission {name} is declared for operators: a product's permissions are Tenant's"));
    }
    if RESERVED_RESOURCES.contains(&resource) {
        return Some(format!("the permission {name} is about {resource}, which Freehold keeps for itself"));
    }
    let earlier = product.iter().take(at);
    earlier.into_iter().any(|other| other.as_str() == name).then(|| format!("the permission {name} is declared twice"))
}

#[cfg(test)]
mod tests {
    use super::{people::SharedRight, *};
    use crate::types::Right;

    crate::types::permissions! {
        const NOTES: Tenant;

        /// See notes.
        NotesRead = "notes:read" for [Admin, Member, Viewer];
        /// Write notes.
        NotesWrite = "notes:write" for [Member];
    }

    fn all() -> Permissions {
        Permissions::new(NOTES).unwrap()
    }

    #[test]
    fn roles_get_permissions_of_their_own_plane_alone() {
        for role in [OWNER, "admin", "member", "viewer"] {
            for plane in [Plane::Tenant, Plane::Platform] {
                let granted = all().of_role(plane, role, &[]);
                assert!(!granted.is_empty() && granted.iter().all(|one| one.plane() == plane), "{role}");
            }
        }
    }

    #[test]
    fn the_owner_holds_everything_and_others_what_is_said() {
        let of = |role| all().of_role(Plane::Tenant, role, &[]);
        let keys = people::ApiKeysWrite::permission(Plane::Tenant);
        assert_eq!(of(OWNER), [NOTES, people::TENANT].concat());
        assert_eq!(of("member"), [NOTES, &[keys]].concat());
        assert_eq!(of("admin"), [&[NotesRead::PERMISSION], people::TENANT].concat());
        assert_eq!(of("viewer"), [NotesRead::PERMISSION]);
        assert_eq!(all().of_role(Plane::Platform, OWNER, &[]), [right::PLATFORM, people::PLATFORM].concat());
    }

    #[test]
    fn a_custom_role_cannot_reach_over_to_the_other_plane() {
        let stored = ["notes:read", "tenants:write", "nonsense:read"].map(str::to_owned);
        assert_eq!(all().of_role(Plane::Tenant, "auditor", &stored), [NotesRead::PERMISSION]);
        assert!(all().of_role(Plane::Tenant, "unknown", &[]).is_empty());
    }

    /// Rights of operators are of another plane: a later one of theirs takes no name from a product.
    #[test]
    fn a_product_may_call_a_permission_as_operators_call_theirs() {
        let theirs = Permission::new(Plane::Tenant, right::PLATFORM[0].as_str(), &[Role::Viewer]);
        let all = Permissions::new(&[theirs]).unwrap();
        assert_eq!(all.of_role(Plane::Tenant, "viewer", &[]), [theirs]);
        assert!(all.of_role(Plane::Platform, OWNER, &[]).iter().all(|one| one.plane() == Plane::Platform));
        let theirs = right::PLATFORM.len() + people::PLATFORM.len();
        assert_eq!(all.of_role(Plane::Platform, OWNER, &[]).len(), theirs);
    }

    #[test]
    fn each_reserved_resource_is_refused() {
        for resource in RESERVED_RESOURCES {
            let name: &'static str = format!("{resource}:read").leak();
            let faults = Permissions::new(&[Permission::new(Plane::Tenant, name, &[])]).unwrap_err();
            assert!(matches!(&faults[..], [fault] if fault.contains("keeps for itself")), "{faults:?}");
        }
    }

    #[test]
    fn a_product_cannot_declare_what_could_be_mistaken() {
        let tenant = |name| Permission::new(Plane::Tenant, name, &[]);
        for (permission, words) in [
            (tenant("notes"), "resource:action"),
            (tenant("Notes:read"), "resource:action"),
            (tenant("users:read"), "keeps for itself"),
            (tenant("notes:read"), "twice"),
            (Permission::new(Plane::Platform, "fleet:burn", &[]), "for operators"),
        ] {
            let faults = Permissions::new(&[NOTES, &[permission]].concat()).unwrap_err();
            assert!(matches!(&faults[..], [fault] if fault.contains(words)), "{faults:?}");
        }
    }
}
