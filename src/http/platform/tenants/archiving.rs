//! `POST /platform/v1/tenants/{id}/archive` and `/restore`, and the archives that a tenant has.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    View,
    progress::{self, UnderWay},
};
use crate::{
    http::{
        AppState,
        extract::{Json, Listing, NoBody, Operator, Path, PreferWait, right},
        problem::Problem,
    },
    operations::tenants::{
        archive,
        archive_store::{self, Kept},
        restore,
    },
    types::{ArchiveId, TenantId},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(archive)).routes(routes!(restore)).routes(routes!(list))
}

/// Archives a tenant: it is refused at once, and its database becomes an encrypted archive and is dropped.
///
/// `Prefer: wait=N` waits up to N seconds for the end. When it fails, the tenant is what it was.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/archive", tag = "tenants", operation_id = "archive_tenant",
    params(
        ("id" = TenantId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 200, description = "It is archived already", body = View),
        (status = 202, description = "It is being archived; see Location", body = UnderWay),
        (status = 409, description = "It is being made, another operation is under way, or there is no store",
            body = Problem),
        (status = 410, description = "It has been deleted", body = Problem),
    ),
)]
async fn archive(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<TenantId>,
    _: NoBody,
) -> Result<Response, Problem> {
    let progress = archive::start(&state.operations, id, &caller.origin()).await?;
    Ok(progress::answer(&state, progress, at_most).await?)
}

/// Wakes an archived tenant: its database is made anew out of its newest archive, which is kept.
///
/// `Prefer: wait=N` waits up to N seconds for the end. When it fails, the tenant stays archived.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/restore", tag = "tenants", operation_id = "restore_tenant",
    params(
        ("id" = TenantId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 200, description = "It is awake already", body = View),
        (status = 202, description = "It is being woken; see Location", body = UnderWay),
        (status = 409, description = "It is in another state, another operation is under way, or its server is too old",
            body = Problem),
        (status = 410, description = "It has been deleted", body = Problem),
    ),
)]
async fn restore(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<TenantId>,
    _: NoBody,
) -> Result<Response, Problem> {
    let progress = restore::start(&state.operations, id, &caller.origin()).await?;
    Ok(progress::answer(&state, progress, at_most).await?)
}

/// An archive of a tenant's database.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Archive)]
struct ArchiveView {
    /// Its id; with the tenant's, its name in the store.
    id: ArchiveId,
    /// Its size in the store; null while it is being written.
    bytes: Option<i64>,
    /// SHA-256 of the stored object, in hexadecimal; null while it is being written.
    sha256: Option<String>,
    /// How many rows it holds, all tables together.
    rows: i64,
    /// The newest migration of Freehold's own stream that its database had.
    freehold_version: i32,
    /// The newest migration of the product's that its database had.
    schema_version: i32,
    /// PostgreSQL's version that it was dumped from: 150018 is 15.18. It goes back to that major release or a newer
    /// one.
    server_version: i32,
    /// When the dump began.
    created_at: DateTime<Utc>,
    /// When it was read back whole; null while it is being written.
    verified_at: Option<DateTime<Utc>>,
}

impl From<Kept> for ArchiveView {
    fn from(kept: Kept) -> Self {
        Self {
            id: kept.archive.id,
            bytes: kept.archive.bytes,
            sha256: kept.archive.sha256,
            rows: kept.rows,
            freehold_version: kept.versions.freehold,
            schema_version: kept.versions.product,
            server_version: kept.archive.server_version,
            created_at: kept.archive.created_at,
            verified_at: kept.archive.verified_at,
        }
    }
}

/// A tenant's archives, the newest first.
#[utoipa::path(get, path = "/platform/v1/tenants/{id}/archives", tag = "tenants", operation_id = "list_archives",
    params(("id" = TenantId, Path)),
    responses((status = 200, description = "All of them; none of a tenant that was never archived",
        body = Listing<ArchiveView>)),
)]
async fn list(
    _: Operator<right::TenantsRead>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
) -> Result<Json<Listing<ArchiveView>>, Problem> {
    let kept = archive_store::list(&state.operations, id).await?;
    Ok(Json(Listing::all(kept.into_iter().map(ArchiveView::from).collect())))
}
