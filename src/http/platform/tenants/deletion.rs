//! `POST /platform/v1/tenants/{id}/delete` and `/undelete`, and the certificate of an erasure.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    View,
    progress::{self, UnderWay},
};
use crate::{
    http::{
        AppState,
        extract::{Json, NoBody, Operator, Path, PreferWait, right},
        problem::Problem,
    },
    operations::tenants::{
        certificate::Certificate,
        delete::{self, Inventory},
    },
    types::TenantId,
};

/// How a tenant is to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletion {
    /// The tenant's slug, to show that this is the one that is meant.
    #[schema(example = "acme")]
    confirm: String,
    /// Only tell what would be destroyed.
    #[serde(default)]
    dry_run: bool,
    /// Erase it at once, without a grace time. This cannot be taken back.
    #[serde(default)]
    erase: bool,
}

/// What a deletion would destroy.
#[derive(Debug, Serialize, ToSchema)]
struct Preview {
    would_delete: WouldDelete,
}

/// What there is of a tenant.
#[derive(Debug, Serialize, ToSchema)]
struct WouldDelete {
    /// Databases; an archived tenant has none.
    databases: u32,
    /// Database roles.
    roles: u32,
    /// People in its database.
    users: i64,
    /// The size of its database.
    bytes: i64,
    /// Archives in the object store.
    backups: usize,
}

impl From<Inventory> for Preview {
    fn from(Inventory { databases, roles, users, bytes, backups }: Inventory) -> Self {
        Self { would_delete: WouldDelete { databases, roles, users, bytes, backups } }
    }
}

/// Deletes a tenant, erases it, or tells what that would destroy.
///
/// A deleted tenant is refused at once and erased after the grace time; until then it can be undeleted. With
/// `erase` there is no grace time; `Prefer: wait=N` waits up to N seconds for the end.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/delete", tag = "tenants", operation_id = "delete_tenant",
    request_body = Deletion,
    params(
        ("id" = TenantId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 200, description = "It is deleted; or, of a dry run, what would be destroyed", body = View),
        (status = 202, description = "It is being erased; see Location", body = UnderWay),
        (status = 409, description = "It is being made, or another operation is under way", body = Problem),
        (status = 410, description = "It has been erased", body = Problem),
    ),
)]
pub(super) async fn delete(
    caller: Operator<right::TenantsDelete>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<TenantId>,
    Json(body): Json<Deletion>,
) -> Result<Response, Problem> {
    if body.dry_run {
        let inventory = delete::preview(&state.operations, id, &body.confirm).await?;
        return Ok(Json(Preview::from(inventory)).into_response());
    }
    let progress = delete::delete(&state.operations, id, &body.confirm, body.erase, &caller.origin()).await?;
    Ok(progress::answer(&state, progress, at_most).await?)
}

/// Takes a deletion back: the tenant is what it was.
///
/// An erasure that has not dropped the database yet is undone first; `Prefer: wait=N` waits for that.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/undelete", tag = "tenants", operation_id = "undelete_tenant",
    params(
        ("id" = TenantId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 200, description = "It is what it was before its deletion", body = View),
        (status = 202, description = "It will be, when its erasure is undone; see Location", body = UnderWay),
        (status = 409, description = "It is being made, or its database is gone already", body = Problem),
        (status = 410, description = "It has been erased", body = Problem),
    ),
)]
pub(super) async fn undelete(
    caller: Operator<right::TenantsDelete>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<TenantId>,
    _: NoBody,
) -> Result<Response, Problem> {
    let progress = delete::undelete(&state.operations, id, &caller.origin()).await?;
    Ok(progress::answer(&state, progress, at_most).await?)
}

/// What was destroyed with an erased tenant.
#[utoipa::path(get, path = "/platform/v1/tenants/{id}/certificate", tag = "tenants",
    operation_id = "get_deletion_certificate", params(("id" = TenantId, Path)),
    responses((status = 200, description = "The certificate; there is none before the erasure", body = Certificate)),
)]
pub(super) async fn certificate(
    _: Operator<right::TenantsRead>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
) -> Result<Json<Certificate>, Problem> {
    Ok(Json(Certificate::issued(&mut *state.operations.db.acquire().await?, id).await?))
}
