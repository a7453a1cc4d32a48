//! Service accounts: made here, and changed and deleted as people are.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::change::unknown_role;
use crate::{
    error::{Error, FieldError, Result},
    identity::{
        Caller, Identity, Made, audit, people,
        roles::{self, lock_roster_in_txn, require_role_within},
    },
    tenancy::idempotency::once,
    types::{DisplayName, Idempotency, RoleName, UserId},
};

/// An account for a program.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewServiceAccount {
    /// Its name.
    #[schema(inline)]
    pub name: DisplayName,
    /// Its role: the most that its API keys can do.
    #[schema(inline)]
    pub role: RoleName,
}

/// Makes a service account. It has no API key yet.
///
/// # Errors
/// `unknown_role`, `invalid_value` on `role`; `exceeds_own_rights`.
pub async fn create_service_account(
    ctx: &Identity,
    caller: Caller<'_>,
    new: &NewServiceAccount,
    idempotency: Option<&Idempotency>,
) -> Result<Made> {
    let id = UserId::generate(&ctx.clock, ctx.random);
    let mut connection = ctx.tenancy.connect(caller.tenant.id).await?;
    once(&mut connection, idempotency, id.uuid(), async |txn| {
        lock_roster_in_txn(txn).await?;
        let role = roles::named(txn, new.role.as_str()).await?.ok_or_else(unknown_role)?;
        require_role_within(ctx, caller, &role)?;
        if role.is_owner() {
            return Err(FieldError::new("role", "invalid_value", "must not be owner for a service account").into());
        }
        let account = people::add_service(txn, id, &new.name, &role.name).await?;
        let account = account.ok_or_else(|| Error::defect("an INSERT has answered with no row"))?;
        let details = json!({ "role": role.name });
        audit::record(ctx, txn, caller, ("service_account.created", id.to_string()), details).await?;
        Made::new(id.to_string(), Some(account.version), &account)
    })
    .await
}
