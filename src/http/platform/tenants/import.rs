//! `POST /platform/v1/tenants/{id}/users/import`: operators bring people into a tenant.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    http::{
        AppState,
        admission::Scope,
        extract::{Json, Operator, Path, Query, SignedIn, right},
        imports::{self, Import, ImportQuery, ImportSummary, Sent},
        problem::Problem,
    },
    identity::imports::{By, Person, begin, import as import_lines},
    operations::tenants::import::record,
    tenancy,
    types::{Right, TenantId},
};

fn check(scope: &Scope) -> Result<()> {
    SignedIn::of(scope)?.principal.require(right::TenantsImport::PERMISSION)
}

/// The tenant, as long as it is served.
async fn served(state: &AppState, id: TenantId) -> Result<Arc<Tenant>> {
    let tenant = state.tenancy.by_id(id).await?.filter(|tenant| !tenant.is_platform);
    let tenant = tenant.ok_or_else(|| Error::not_found("tenant"))?;
    tenancy::gate(&tenant, state.settings.oldest_versions)?;
    state.tenancy.settled(tenant).await
}

/// Imports people of a tenant from another system, with any role, and with the hashes of their passwords.
///
/// The body is as that of `POST /v1/users/import`. The operators' audit log names each import, and the tenant's each
/// person who came.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/users/import", tag = "tenants",
    operation_id = "import_tenant_users", params(("id" = TenantId, Path), ImportQuery),
    request_body(content = Person, content_type = "application/x-ndjson", description = "A person on each line"),
    responses(
        (status = 200, description = "What has become of each line", body = ImportSummary),
        (status = 410, description = "The tenant has been deleted", body = Problem),
    ))]
pub(super) async fn import(
    caller: Operator<right::TenantsImport>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    Query(ImportQuery { dry_run }): Query<ImportQuery>,
    sent: Sent,
) -> Result<Json<ImportSummary>, Problem> {
    let (tenant, origin) = (served(&state, id).await?, caller.origin());
    let (mut importing, parts) = Import::of(&state, sent, dry_run)?;
    let (actor, client) = (origin.actor.as_str(), &caller.client);
    begin(&state.identity, By::Operator { tenant: &tenant, actor, client }).await?;
    record(&state.operations, id, &origin, dry_run).await?;
    while let Some(lines) = importing.batch().await? {
        imports::again(&state, &parts, check).await?;
        // It may have been suspended meanwhile.
        let tenant = served(&state, id).await?;
        let by = By::Operator { tenant: &tenant, actor, client };
        importing.add(import_lines(&state.identity, by, lines, dry_run).await?);
    }
    Ok(Json(importing.summary()))
}
