//! Roles: named sets of permissions. Each user has one role.
//!
//! Four roles are built in: the declaration of each permission names the roles that have it. A custom role has its
//! permissions in its row; it is made, changed and deleted by [`administration`](super::administration). A role is never
//! read from a token. It is read from the database whenever a token is not in the cache of verified tokens.
//!
//! A role must never grant a permission of the other plane, nor one that this release does not know. Nobody must give
//! anybody a right that they lack themselves: whatever gives one asks [`require_within`] first.

mod store;

use chrono::{DateTime, Utc};
use serde::Serialize;
pub(super) use store::{columns, join, lock_roster_in_txn, named, read};
use utoipa::ToSchema;

use super::{Caller, Identity, permissions::OWNER};
use crate::{
    control::tenants::Tenant,
    error::{Error, FieldError, Result},
    tenancy::TenantTxn,
    types::{Permission, Plane, RoleName},
};

/// How many roles a tenant has at most, the built-in ones included.
const MOST: i64 = 200;

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

    /// Whether it always holds everything.
    pub(super) fn is_owner(&self) -> bool {
        self.name == OWNER
    }
}

/// A role as people see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Role)]
pub struct Listed {
    /// Its name, which is its id.
    pub name: String,
    /// What it grants, as `resource:action`.
    pub permissions: Vec<String>,
    /// Whether it comes with Freehold, and never changes.
    pub built_in: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// For its entity tag.
    #[serde(skip)]
    pub version: i64,
}

impl Listed {
    /// Shows what the role grants by this release, and not what its row says.
    fn effective(mut self, ctx: &Identity, tenant: &Tenant) -> Self {
        let granted = ctx.permissions.of_role(plane(tenant), &self.name, &self.permissions);
        self.permissions = granted.into_iter().map(|one| one.as_str().to_owned()).collect();
        self
    }
}

/// The plane of a tenant's users.
pub(super) fn plane(tenant: &Tenant) -> Plane {
    if tenant.is_platform { Plane::Platform } else { Plane::Tenant }
}

/// All roles of the tenant, the built-in ones first.
///
/// # Errors
/// The tenant's database cannot be reached.
pub async fn list(ctx: &Identity, tenant: &Tenant) -> Result<Vec<Listed>> {
    let roles = store::list(&ctx.tenancy.connect(tenant.id).await?).await?;
    Ok(roles.into_iter().map(|role| role.effective(ctx, tenant)).collect())
}

/// One role.
///
/// # Errors
/// `not_found`.
pub async fn get(ctx: &Identity, tenant: &Tenant, name: &RoleName) -> Result<Listed> {
    let role = store::get(&ctx.tenancy.connect(tenant.id).await?, name).await?;
    role.map(|role| role.effective(ctx, tenant)).ok_or_else(|| Error::not_found("role"))
}

/// The permissions that a custom role of the tenant can grant.
#[must_use]
pub fn grantable(ctx: &Identity, tenant: &Tenant) -> Vec<&'static str> {
    ctx.permissions.of_role(plane(tenant), OWNER, &[]).into_iter().map(Permission::as_str).collect()
}

/// The permissions of these names, each once. `field` is what a request calls the list.
///
/// # Errors
/// `unknown_permission` on the entry.
pub(super) fn permissions(ctx: &Identity, tenant: &Tenant, field: &str, names: &[String]) -> Result<Vec<Permission>> {
    let mut found = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let message = "must be a permission that GET /v1/permissions lists";
        let unknown = || FieldError::new(format!("{field}[{at}]"), "unknown_permission", message);
        let permission = ctx.permissions.named(plane(tenant), name).ok_or_else(unknown)?;
        if !found.contains(&permission) {
            found.push(permission);
        }
    }
    Ok(found)
}

/// Refuses a caller who lacks one of `granted`, which they are about to give, or to take from somebody.
///
/// # Errors
/// `exceeds_own_rights` (403).
pub(super) fn require_within(caller: Caller<'_>, granted: &[Permission]) -> Result<()> {
    match granted.iter().find(|permission| !caller.principal.can(**permission)) {
        None => Ok(()),
        Some(missing) => Err(exceeds(format!("you do not have the permission {} yourself", missing.as_str()))),
    }
}

/// The same for a role. The role `owner` is the owners' alone, since it holds what is still to come.
///
/// # Errors
/// `exceeds_own_rights` (403).
pub(super) fn require_role_within(ctx: &Identity, caller: Caller<'_>, role: &Role) -> Result<()> {
    if role.is_owner() && caller.principal.role != OWNER {
        return Err(exceeds("only owners can do this to owners, and make somebody one".to_owned()));
    }
    require_within(caller, &role.permissions(ctx, caller.tenant))
}

fn exceeds(detail: String) -> Error {
    Error::Forbidden { code: "exceeds_own_rights", detail }
}

/// Adds a custom role. The caller holds the roster's lock.
///
/// # Errors
/// `role_exists`, `too_many_roles` (409).
pub(super) async fn add_in_txn(txn: &TenantTxn<'_>, name: &RoleName, permissions: &[Permission]) -> Result<Listed> {
    if let Some(role) = store::insert(txn, name, &names(permissions), MOST).await? {
        return Ok(role);
    }
    match store::get(txn, name).await? {
        Some(_) => Err(Error::conflict("role_exists", "there is a role of this name")),
        None => Err(Error::conflict("too_many_roles", "a tenant has at most 200 roles")),
    }
}

/// The custom role of this name, if it still is of the version that is expected.
///
/// # Errors
/// `not_found`; `role_built_in` (409); 412.
pub(super) async fn custom_in_txn(
    txn: &TenantTxn<'_>,
    name: &RoleName,
    expected: impl FnOnce(i64) -> Result<()>,
) -> Result<Role> {
    let role = store::get(txn, name).await?.ok_or_else(|| Error::not_found("role"))?;
    if role.built_in {
        return Err(Error::conflict("role_built_in", "a built-in role stays as it is"));
    }
    expected(role.version)?;
    Ok(Role { name: role.name, stored: role.permissions })
}

/// Changes what a custom role grants.
pub(super) async fn change_in_txn(txn: &TenantTxn<'_>, name: &RoleName, permissions: &[Permission]) -> Result<Listed> {
    store::update(txn, name, &names(permissions)).await?.ok_or_else(|| Error::defect("a locked role is gone"))
}

/// Deletes a custom role.
///
/// # Errors
/// `role_assigned` (409).
pub(super) async fn delete_in_txn(txn: &TenantTxn<'_>, name: &RoleName) -> Result<()> {
    match store::delete(txn, name).await? {
        Some(1) => Ok(()),
        Some(_) => Err(Error::defect("a locked role is gone")),
        None => Err(Error::conflict("role_assigned", "people have this role, or are invited to it")),
    }
}

fn names(permissions: &[Permission]) -> Vec<&'static str> {
    permissions.iter().map(|permission| permission.as_str()).collect()
}
