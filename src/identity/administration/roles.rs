//! Custom roles: made, changed and deleted.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    error::Result,
    identity::{
        Caller, Identity, Made, audit, invitations,
        roles::{self, Listed, lock_roster_in_txn, require_role_within, require_within},
    },
    tenancy::idempotency::once,
    types::{Idempotency, Permission, RoleName},
};

/// A role to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// Its name, which it keeps.
    #[schema(inline)]
    pub name: RoleName,
    /// What it grants: some of what `GET /v1/permissions` lists.
    pub permissions: Vec<String>,
}

/// Makes a custom role.
///
/// # Errors
/// `unknown_permission` on `permissions`; `exceeds_own_rights`; `role_exists`, `too_many_roles` (409).
pub async fn create_role(
    ctx: &Identity,
    caller: Caller<'_>,
    new: &NewRole,
    idempotency: Option<&Idempotency>,
) -> Result<Made> {
    let granted = roles::permissions(ctx, caller.tenant, "permissions", &new.permissions)?;
    require_within(caller, &granted)?;
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let resource = uuid::Uuid::nil();
    once(&mut connection, idempotency, resource, async |txn| {
        lock_roster_in_txn(txn).await?;
        let role = roles::add_in_txn(txn, &new.name, &granted).await?;
        let details = json!({ "permissions": role.permissions });
        audit::record(ctx, txn, caller, ("role.created", role.name.clone()), details).await?;
        Made::new(role.name.clone(), Some(role.version), &role)
    })
    .await
}

/// Changes what a custom role grants, for everybody who has it.
///
/// # Errors
/// `not_found`; `role_built_in` (409); `unknown_permission` on `permissions`; `exceeds_own_rights`; 412.
pub async fn update_role(
    ctx: &Identity,
    caller: Caller<'_>,
    name: &RoleName,
    permissions: &[String],
    expected: impl FnOnce(i64) -> Result<()>,
) -> Result<Listed> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let before = roles::custom_in_txn(&txn, name, expected).await?;
    // What is taken away counts as much as what is given.
    require_role_within(ctx, caller, &before)?;
    let granted = roles::permissions(ctx, caller.tenant, "permissions", permissions)?;
    require_within(caller, &granted)?;
    let role = roles::change_in_txn(&txn, name, &granted).await?;
    let former: Vec<_> = before.permissions(ctx, caller.tenant).into_iter().map(Permission::as_str).collect();
    let details = json!({ "from": former, "to": role.permissions });
    audit::record(ctx, &txn, caller, ("role.updated", role.name.clone()), details).await?;
    txn.commit().await?;
    drop(connection);
    ctx.verdicts.forget(caller.tenant.id).await?;
    Ok(role)
}

/// Deletes a custom role that nobody has.
///
/// # Errors
/// `not_found`; `role_built_in`, `role_assigned` (409); `exceeds_own_rights`; 412.
pub async fn delete_role(
    ctx: &Identity,
    caller: Caller<'_>,
    name: &RoleName,
    expected: impl FnOnce(i64) -> Result<()>,
) -> Result<()> {
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    let txn = connection.begin().await?;
    lock_roster_in_txn(&txn).await?;
    let role = roles::custom_in_txn(&txn, name, expected).await?;
    require_role_within(ctx, caller, &role)?;
    invitations::forget_ended_in_txn(&txn, name).await?;
    roles::delete_in_txn(&txn, name).await?;
    audit::record(ctx, &txn, caller, ("role.deleted", role.name), json!({})).await?;
    txn.commit().await
}
