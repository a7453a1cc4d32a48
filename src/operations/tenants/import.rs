//! Records in the operators' audit log that people of a tenant are imported. Whoever they are stands in the tenant's own.

use serde_json::json;

use crate::{
    control::audit::{self, Origin},
    error::Result,
    operations::Context,
    types::{AuditEventId, TenantId},
};

/// Records that an operator imports people into the tenant; before the first of them.
///
/// # Errors
/// The control database is unavailable.
pub async fn record(ctx: &Context, id: TenantId, origin: &Origin, is_dry_run: bool) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    let (event, details) = (AuditEventId::generate(&ctx.clock, ctx.random), json!({ "dry_run": is_dry_run }));
    audit::record_in_txn(&mut txn, event, origin, ("tenant.import_users", &id.to_string()), &details).await?;
    Ok(txn.commit().await?)
}
