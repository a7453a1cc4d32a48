//! `/v1/roles` and `/v1/permissions`.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Versioned, created, matching};
use crate::{
    http::{
        AppState,
        extract::{
            IdempotencyKey, IfMatch, Insider, Json, Listing, NoBody, Path,
            people_right::{RolesRead, RolesWrite},
        },
        problem::Problem,
    },
    identity::{
        administration::{self, NewRole},
        roles::{self, Listed},
    },
    types::RoleName,
};

const COLLECTION: &str = "/v1/roles";

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(permissions)).routes(routes!(list, create)).routes(routes!(get, update, delete))
}

/// A permission that a role of this tenant can grant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Permission)]
struct Grantable {
    /// As `resource:action`.
    name: &'static str,
}

/// The permissions that roles can grant.
#[utoipa::path(get, path = "/v1/permissions", tag = "roles", operation_id = "list_permissions",
    responses((status = 200, description = "All of them; not paged", body = Listing<Grantable>)))]
async fn permissions(
    caller: Insider<RolesRead>,
    State(state): State<AppState>,
) -> Result<Json<Listing<Grantable>>, Problem> {
    let names = roles::grantable(&state.identity, &caller.tenant);
    Ok(Json(Listing::all(names.into_iter().map(|name| Grantable { name }).collect())))
}

/// Lists roles, the built-in ones first.
#[utoipa::path(get, path = COLLECTION, tag = "roles", operation_id = "list_roles",
    responses((status = 200, description = "All of them; not paged", body = Listing<Listed>)))]
async fn list(caller: Insider<RolesRead>, State(state): State<AppState>) -> Result<Json<Listing<Listed>>, Problem> {
    Ok(Json(Listing::all(roles::list(&state.identity, &caller.tenant).await?)))
}

/// Makes a custom role, which grants no more than the caller holds.
#[utoipa::path(post, path = COLLECTION, tag = "roles", operation_id = "create_role", request_body = NewRole,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses(
        (status = 201, description = "It is made", body = Listed, headers(
            ("Location" = String, description = "Where it can be read"),
            ("ETag" = String, description = "Its version"),
        )),
        (status = 409, description = "There is a role of this name", body = Problem),
    ))]
async fn create(
    caller: Insider<RolesWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewRole>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, COLLECTION, &new)?;
    let made = administration::create_role(&state.identity, caller.caller(), &new, idempotency.as_ref()).await?;
    Ok(created(made, COLLECTION))
}

/// One role.
#[utoipa::path(get, path = "/v1/roles/{name}", tag = "roles", operation_id = "get_role",
    params(("name" = String, Path)),
    responses((status = 200, description = "The role", body = Listed, headers(("ETag" = String)))))]
async fn get(
    caller: Insider<RolesRead>,
    State(state): State<AppState>,
    Path(name): Path<RoleName>,
) -> Result<Versioned<Listed>, Problem> {
    Ok(roles::get(&state.identity, &caller.tenant, &name).await?.into())
}

/// What a custom role shall grant from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RolePatch {
    /// All that it grants.
    permissions: Vec<String>,
}

/// Changes what a custom role grants, for everybody who has it.
#[utoipa::path(patch, path = "/v1/roles/{name}", tag = "roles", operation_id = "update_role", request_body = RolePatch,
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to change"),
    ),
    responses(
        (status = 200, description = "The role as it is now", body = Listed, headers(("ETag" = String))),
        (status = 409, description = "It is built in", body = Problem),
        (status = 412, description = "It is of another version", body = Problem),
    ))]
async fn update(
    caller: Insider<RolesWrite>,
    State(state): State<AppState>,
    Path(name): Path<RoleName>,
    expected: Option<IfMatch>,
    Json(patch): Json<RolePatch>,
) -> Result<Versioned<Listed>, Problem> {
    let identity = &state.identity;
    let role =
        administration::update_role(identity, caller.caller(), &name, &patch.permissions, matching(expected)).await?;
    Ok(role.into())
}

/// Deletes a custom role that nobody has.
#[utoipa::path(delete, path = "/v1/roles/{name}", tag = "roles", operation_id = "delete_role",
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to delete"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It is built in, or somebody has it", body = Problem),
        (status = 412, description = "It is of another version", body = Problem),
    ))]
async fn delete(
    caller: Insider<RolesWrite>,
    State(state): State<AppState>,
    Path(name): Path<RoleName>,
    expected: Option<IfMatch>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    administration::delete_role(&state.identity, caller.caller(), &name, matching(expected)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<Listed> for Versioned<Listed> {
    fn from(item: Listed) -> Self {
        Self { version: item.version, item }
    }
}
