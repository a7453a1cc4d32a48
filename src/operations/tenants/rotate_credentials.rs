//! `tenant.rotate_credentials`: gives a tenant's database role a new password, without a failed request.
//!
//! [`start`] stores the next password, encrypted, beside the present one, in the transaction that queues the operation.
//! From then on new connections try both (`tenancy::login`). The first step alters the role. The last step makes the
//! next password the present one; until then the rotation can be undone. The role's open sessions are not ended.

use secrecy::SecretString;
use serde_json::json;

use super::change::{Change, refuse};
use crate::{
    control::{
        audit::Origin,
        data_keys,
        secrets::{self, Purpose},
        tenants::{self, Tenant, TenantState},
    },
    error::{Error, Result},
    faults::crash_point,
    operations::{
        Context,
        engine::{
            kind::{Kind, kind},
            run::Run,
        },
    },
    types::{OperationId, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("tenant.rotate_credentials", Unwind, {
    record => forget,
    alter_role => restore_role,
    promote => never,
});

const PRESENT: Purpose = Purpose::TenantDatabasePassword;
const NEXT: Purpose = Purpose::NextTenantDatabasePassword;

/// Queues the rotation, or finds the one that is under way.
///
/// # Errors
/// `not_found`, `tenant_gone`; `tenant_state_conflict` (409) unless the tenant is active or suspended;
/// `operation_in_progress` (409) while another operation is under way on it.
pub async fn start(ctx: &Context, tenant: TenantId, origin: &Origin) -> Result<OperationId> {
    let mut change = Change::begin_of_any(ctx, tenant, origin).await?;
    check_state(&change.tenant)?;
    if let Some(live) = change.under_way(&KIND).await? {
        return Ok(live);
    }
    let id = change.queue(&KIND, &json!({})).await?;
    let txn = change.txn();
    let key = data_keys::get(txn, &ctx.keys, tenant.uuid()).await?;
    secrets::put(txn, &key, tenant.uuid(), NEXT, &SecretString::from(ctx.random.token())).await?;
    tenants::touch_in_txn(txn, tenant).await?;
    let recorded = change.record("tenant.rotate_credentials", &json!({ "operation_id": id })).await?;
    crash_point!("tenant.rotate_credentials.before_commit", tenant);
    recorded.commit().await?;
    crash_point!("tenant.rotate_credentials.after_commit", tenant);
    Ok(id)
}

/// Checks that the tenant has secrets to rotate: that it has a role and a database.
pub(in crate::operations) fn check_state(tenant: &Tenant) -> Result<()> {
    match tenant.state {
        TenantState::Active | TenantState::Suspended => Ok(()),
        state => Err(refuse(state, "only an active or suspended one has secrets that can be replaced")),
    }
}

async fn forget(run: &Run) -> Result<()> {
    let mut txn = run.begin().await?;
    secrets::delete(&mut txn, run.tenant_id().uuid(), NEXT).await?;
    tenants::touch_in_txn(&mut txn, run.tenant_id()).await?;
    Ok(txn.commit().await?)
}

async fn alter_role(run: &Run) -> Result<()> {
    if set_password(run, NEXT).await? {
        return Ok(());
    }
    let detail = format!("the role {} is not on the tenant's server", run.database());
    Err(Error::conflict("role_missing", detail))
}

/// Sets the present password again. If the role does not exist, there is nothing to undo.
async fn restore_role(run: &Run) -> Result<()> {
    set_password(run, PRESENT).await.map(drop)
}

async fn set_password(run: &Run, purpose: Purpose) -> Result<bool> {
    let password = {
        let mut connection = run.ctx.db.acquire().await?;
        secrets::require(&mut connection, &run.ctx.keys, run.tenant_id().uuid(), purpose).await?
    };
    run.admin.set_tenant_password(run.database(), &password).await
}

async fn promote(run: &Run) -> Result<()> {
    let (keys, owner) = (&run.ctx.keys, run.tenant_id().uuid());
    let mut txn = run.begin().await?;
    match secrets::get(&mut txn, keys, owner, NEXT).await? {
        Some(next) => {
            secrets::promote_in_txn(&mut txn, keys, owner, (NEXT, PRESENT), &next).await?;
            tenants::touch_in_txn(&mut txn, run.tenant_id()).await?;
        }
        // An earlier attempt has done it, and died before it could record the step.
        None if secrets::is_newer(&mut txn, owner, PRESENT, run.operation.created_at).await? => {}
        None => return Err(Error::defect("the password that the role has by now is kept nowhere")),
    }
    Ok(txn.commit().await?)
}
