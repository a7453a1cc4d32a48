//! `/v1/users`: who is there, and what those change who look after them.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Versioned, matching};
use crate::{
    error::{Error, FieldError},
    http::{
        AppState,
        extract::{
            Change, IfMatch, Insider, Json, List, Listing, NoBody, Page, Path,
            people_right::{UsersDelete, UsersRead, UsersWrite},
        },
        problem::Problem,
    },
    identity::{
        administration::{self, Lockout, Patch},
        people::{self, Counts, Filter, Kind, Query, Sort, State as UserState, User},
    },
    types::{DisplayName, RoleName, Search, UserId},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(count))
        .routes(routes!(get, update, delete))
        .routes(routes!(restore))
        .routes(routes!(erase))
        .routes(routes!(revoke_sessions))
        .routes(routes!(lockout))
        .routes(routes!(unlock))
}

/// Which people are listed, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// The order; a hyphen turns it around.
    #[serde(default)]
    #[param(inline, required = false)]
    sort: Sort,
    /// Part of the name or address, in any case.
    #[param(inline)]
    q: Option<Search>,
    /// Only those with this role.
    #[param(inline)]
    role: Option<RoleName>,
    /// Only accounts of this kind.
    #[param(inline)]
    kind: Option<Kind>,
    /// Only those in this state. Deleted people are listed only when they are asked for.
    #[param(inline)]
    state: Option<UserState>,
}

/// Lists people and service accounts.
#[utoipa::path(get, path = "/v1/users", tag = "users", operation_id = "list_users", params(Page, ListFilter),
    responses((status = 200, description = "A page of people", body = Listing<User>)))]
async fn list(
    caller: Insider<UsersRead>,
    State(state): State<AppState>,
    List { page, filter }: List<ListFilter>,
) -> Result<Json<Listing<User>>, Problem> {
    let ListFilter { sort, q, role, kind, state: of_state } = filter;
    let after = match page.after::<((Sort, String), Uuid)>()? {
        Some(((order, _), _)) if order != sort => {
            let message = "must be the next_cursor of this list in this order";
            return Err(Error::from(FieldError::new("cursor", "invalid_cursor", message)).into());
        }
        after => after.map(|((_, key), id)| (key, id)),
    };
    let filter = Filter { q, role, kind, state: of_state };
    let query = Query { filter: &filter, sort, after, limit: page.fetch() };
    let (users, total) = people::list(&state.identity, caller.tenant.id, &query, page.include_total()).await?;
    let listing = Listing::new(users, &page, |last| ((sort, last.key(sort)), last.id.uuid()))?;
    Ok(Json(listing.with_total(total)))
}

/// How many people there are, by state and by role.
#[utoipa::path(get, path = "/v1/users/stats", tag = "users", operation_id = "count_users",
    responses((status = 200, description = "The counts", body = Counts)))]
async fn count(caller: Insider<UsersRead>, State(state): State<AppState>) -> Result<Json<Counts>, Problem> {
    Ok(Json(people::counts(&state.identity, caller.tenant.id).await?))
}

/// One of them, deleted or not.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", operation_id = "get_user", params(("id" = UserId, Path)),
    responses((status = 200, description = "The user", body = User, headers(("ETag" = String)))))]
async fn get(
    caller: Insider<UsersRead>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
) -> Result<Versioned<User>, Problem> {
    Ok(people::get(&state.identity, caller.tenant.id, id).await?.into())
}

/// What shall change about somebody; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserPatch {
    /// Their name.
    #[schema(value_type = String, required = false)]
    #[serde(default)]
    name: Change<DisplayName>,
    /// Their role: one that grants no more than yours.
    #[schema(value_type = String, required = false)]
    #[serde(default)]
    role: Change<RoleName>,
    /// Whether they may sign in. Whoever is deactivated loses sessions, API keys and open invitations at once.
    #[schema(value_type = bool, required = false)]
    #[serde(default)]
    active: Change<bool>,
}

/// Changes somebody: name, role, and whether they may sign in.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", operation_id = "update_user", request_body = UserPatch,
    params(
        ("id" = UserId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to change"),
    ),
    responses(
        (status = 200, description = "The user as they are now", body = User, headers(("ETag" = String))),
        (status = 409, description = "They are the last owner, or deleted", body = Problem),
        (status = 412, description = "They are of another version", body = Problem),
    ))]
async fn update(
    caller: Insider<UsersWrite>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
    expected: Option<IfMatch>,
    Json(body): Json<UserPatch>,
) -> Result<Versioned<User>, Problem> {
    let patch = Patch { name: body.name.sent(), role: body.role.sent(), active: body.active.sent() };
    let user = administration::update(&state.identity, caller.caller(), id, patch, matching(expected)).await?;
    Ok(user.into())
}

/// Deletes somebody, who can be restored until they are erased.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users", operation_id = "delete_user",
    params(
        ("id" = UserId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to delete"),
    ),
    responses(
        (status = 204, description = "They are deleted"),
        (status = 409, description = "They are the last owner", body = Problem),
        (status = 412, description = "They are of another version", body = Problem),
    ))]
async fn delete(
    caller: Insider<UsersDelete>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
    expected: Option<IfMatch>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    administration::delete(&state.identity, caller.caller(), id, matching(expected)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings somebody back who was deleted.
#[utoipa::path(post, path = "/v1/users/{id}/restore", tag = "users", operation_id = "restore_user",
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "The user as they are now", body = User, headers(("ETag" = String))),
        (status = 409, description = "They are not deleted", body = Problem),
    ))]
async fn restore(
    caller: Insider<UsersDelete>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
    _: NoBody,
) -> Result<Versioned<User>, Problem> {
    Ok(administration::restore(&state.identity, caller.caller(), id).await?.into())
}

/// Erases somebody who was deleted, for good.
#[utoipa::path(post, path = "/v1/users/{id}/erase", tag = "users", operation_id = "erase_user",
    params(("id" = UserId, Path)),
    responses(
        (status = 204, description = "They are gone"),
        (status = 409, description = "They are not deleted, or rows of the product's refer to them", body = Problem),
    ))]
async fn erase(
    caller: Insider<UsersDelete>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    administration::erase(&state.identity, caller.caller(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sessions that were ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionSummary)]
struct Revoked {
    /// How many.
    revoked: u64,
}

/// Ends all sessions of somebody, who may sign in again.
#[utoipa::path(post, path = "/v1/users/{id}/revoke-sessions", tag = "users", operation_id = "revoke_sessions",
    params(("id" = UserId, Path)), responses((status = 200, description = "They are ended", body = Revoked)))]
async fn revoke_sessions(
    caller: Insider<UsersWrite>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
    _: NoBody,
) -> Result<Json<Revoked>, Problem> {
    let revoked = administration::revoke_sessions(&state.identity, caller.caller(), id).await?;
    Ok(Json(Revoked { revoked }))
}

/// Whether somebody is locked out because of failed attempts to sign in.
#[utoipa::path(get, path = "/v1/users/{id}/lockout", tag = "users", operation_id = "get_lockout",
    params(("id" = UserId, Path)), responses((status = 200, description = "How attempts stand", body = Lockout)))]
async fn lockout(
    caller: Insider<UsersRead>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
) -> Result<Json<Lockout>, Problem> {
    Ok(Json(administration::lockout(&state.identity, caller.caller(), id).await?))
}

/// Forgets somebody's failed attempts to sign in.
#[utoipa::path(post, path = "/v1/users/{id}/unlock", tag = "users", operation_id = "unlock_user",
    params(("id" = UserId, Path)), responses((status = 204, description = "They may try again")))]
async fn unlock(
    caller: Insider<UsersWrite>,
    State(state): State<AppState>,
    Path(id): Path<UserId>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    administration::unlock(&state.identity, caller.caller(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<User> for Versioned<User> {
    fn from(item: User) -> Self {
        Self { version: item.version, item }
    }
}
