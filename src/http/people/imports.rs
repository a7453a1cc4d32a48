//! `POST /v1/users/import`: people who come from another system.

use axum::extract::State;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    error::Result,
    http::{
        AppState,
        admission::Scope,
        extract::{Insider, Json, Query, SignedIn, people_right::UsersWrite},
        imports::{self, Import, ImportQuery, ImportSummary, Sent},
        problem::Problem,
    },
    identity::{
        imports::{By, Person, begin, import},
        people_right::SharedRight,
    },
    types::Plane,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(import_users))
}

fn check(scope: &Scope) -> Result<()> {
    let caller = SignedIn::of(scope)?;
    let plane = if caller.tenant.is_platform { Plane::Platform } else { Plane::Tenant };
    caller.principal.require(UsersWrite::permission(plane))
}

/// Imports people from another system, with the hashes of their passwords.
///
/// The body has a person on each line, as JSON, in at most 100,000 lines of 16 KiB and 64 MiB together. Each line stands
/// alone. Whoever has a known address stays as they are, so that an import can be repeated. The caller has proved lately
/// that they are there. A password is replaced by a hash of Freehold's own when its owner signs in.
#[utoipa::path(post, path = "/v1/users/import", tag = "users", operation_id = "import_users", params(ImportQuery),
    request_body(content = Person, content_type = "application/x-ndjson", description = "A person on each line"),
    responses((status = 200, description = "What has become of each line", body = ImportSummary),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem)))]
async fn import_users(
    caller: Insider<UsersWrite>,
    State(state): State<AppState>,
    Query(ImportQuery { dry_run }): Query<ImportQuery>,
    sent: Sent,
) -> Result<Json<ImportSummary>, Problem> {
    let (mut importing, parts) = Import::of(&state, sent, dry_run)?;
    begin(&state.identity, By::Insider(caller.caller())).await?;
    while let Some(lines) = importing.batch().await? {
        let now = SignedIn::of(&imports::again(&state, &parts, check).await?)?;
        importing.add(import(&state.identity, By::Insider(now.caller()), lines, dry_run).await?);
    }
    Ok(Json(importing.summary()))
}
