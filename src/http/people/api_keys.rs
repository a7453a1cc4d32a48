//! `/v1/api-keys`, and the service accounts that have some.

use std::time::Duration;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{created, created_with};
use crate::{
    error::{Error, FieldError},
    http::{
        AppState,
        extract::{
            IdempotencyKey, Insider, Json, JsonIfAny, List, Listing, NoBody, Page, Path, SignedIn,
            people_right::{ApiKeysWrite, ServiceAccountsWrite},
        },
        problem::Problem,
    },
    identity::{
        Made,
        administration::{self, NewServiceAccount},
        api_keys::{self, ApiKey, Filter, NewApiKey, Rotation},
        people::User,
    },
    types::{ApiKeyId, UserId},
};

const COLLECTION: &str = "/v1/api-keys";
const OF_SERVICE: &str = "/v1/service-accounts/{id}/api-keys";
/// How long both keys are valid after a rotation, unless the request says otherwise.
const OVERLAP_SECONDS: u64 = 3_600;
/// The longest that both keys are valid: a week.
const LONGEST_OVERLAP_SECONDS: u64 = 604_800;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, revoke))
        .routes(routes!(rotate))
        .routes(routes!(create_service_account))
        .routes(routes!(create_for_service))
}

/// A key with its secret.
#[derive(Debug, Serialize, ToSchema)]
struct IssuedApiKey {
    #[serde(flatten)]
    about: ApiKey,
    /// The key. Only this answer has it: whoever repeats the request gets the rest without.
    key: Option<String>,
}

fn issued(made: Made) -> Response {
    created_with(made, COLLECTION, |fields, key| drop(fields.insert("key".to_owned(), key.into())))
}

/// Which keys are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// Only those of this user or service account.
    #[param(inline)]
    user_id: Option<UserId>,
    /// Only those that are valid (`true`), or only those that were revoked or have expired.
    valid: Option<bool>,
}

/// Lists API keys, the newest first: the caller's own, and everybody's with `api-keys:read`.
#[utoipa::path(get, path = COLLECTION, tag = "api-keys", operation_id = "list_api_keys", params(Page, ListFilter),
    responses((status = 200, description = "A page of keys, without their secrets", body = Listing<ApiKey>)))]
async fn list(
    caller: SignedIn,
    State(state): State<AppState>,
    List { page, filter }: List<ListFilter>,
) -> Result<Json<Listing<ApiKey>>, Problem> {
    let filter = Filter { user: filter.user_id, valid: filter.valid };
    let after = page.after::<ApiKeyId>()?;
    let keys = api_keys::list(&state.identity, caller.caller(), filter, after, page.fetch()).await?;
    Ok(Json(Listing::new(keys, &page, |last| last.id)?))
}

/// Makes an API key for the caller, who is signed in. The answer has the key, once.
#[utoipa::path(post, path = COLLECTION, tag = "api-keys", operation_id = "create_api_key", request_body = NewApiKey,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses((status = 201, description = "It is made", body = IssuedApiKey,
        headers(("Location" = String, description = "Where it can be read")))))]
async fn create(
    caller: Insider<ApiKeysWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewApiKey>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, COLLECTION, &new)?;
    Ok(issued(api_keys::create_own(&state.identity, caller.caller(), &new, idempotency.as_ref()).await?))
}

/// One key.
#[utoipa::path(get, path = "/v1/api-keys/{id}", tag = "api-keys", operation_id = "get_api_key",
    params(("id" = ApiKeyId, Path)), responses((status = 200, description = "The key", body = ApiKey)))]
async fn get(
    caller: SignedIn,
    State(state): State<AppState>,
    Path(id): Path<ApiKeyId>,
) -> Result<Json<ApiKey>, Problem> {
    Ok(Json(api_keys::get(&state.identity, caller.caller(), id).await?))
}

/// How a key is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApiKeyPatch)]
struct Replacement {
    /// How long the key stays valid beside its successor.
    #[schema(minimum = 0, maximum = 604_800, default = 3_600)]
    overlap_seconds: Option<u64>,
}

/// Makes a key with another secret that grants the same. The answer has it, once. This one ends after the overlap.
#[utoipa::path(post, path = "/v1/api-keys/{id}/rotate", tag = "api-keys", operation_id = "rotate_api_key",
    params(("id" = ApiKeyId, Path)), request_body(content = Replacement),
    responses(
        (status = 201, description = "The successor", body = IssuedApiKey,
            headers(("Location" = String, description = "Where it can be read"))),
        (status = 409, description = "It is revoked or expired", body = Problem),
    ))]
async fn rotate(
    caller: SignedIn,
    State(state): State<AppState>,
    Path(id): Path<ApiKeyId>,
    JsonIfAny(body): JsonIfAny<Replacement>,
) -> Result<Response, Problem> {
    let seconds = body.overlap_seconds.unwrap_or(OVERLAP_SECONDS);
    if seconds > LONGEST_OVERLAP_SECONDS {
        let message = "must be 0 to 604800";
        return Err(Error::from(FieldError::new("overlap_seconds", "invalid_range", message)).into());
    }
    let rotation = Rotation { overlap: Duration::from_secs(seconds) };
    let (about, key) = api_keys::rotate(&state.identity, caller.caller(), id, rotation).await?;
    let headers =
        [(header::LOCATION, format!("{COLLECTION}/{}", about.id)), (header::CACHE_CONTROL, "no-store".to_owned())];
    let issued = IssuedApiKey { about, key: Some(key.expose_secret().to_owned()) };
    Ok((StatusCode::CREATED, headers, Json(issued)).into_response())
}

/// Revokes a key: of the caller's own, or anybody's with `api-keys:revoke`.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", tag = "api-keys", operation_id = "revoke_api_key",
    params(("id" = ApiKeyId, Path)), responses((status = 204, description = "It opens nothing any more")))]
async fn revoke(
    caller: SignedIn,
    State(state): State<AppState>,
    Path(id): Path<ApiKeyId>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    api_keys::revoke(&state.identity, caller.caller(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes an account for a program. It is listed, changed and deleted as a user is.
#[utoipa::path(post, path = "/v1/service-accounts", tag = "api-keys", operation_id = "create_service_account",
    request_body = NewServiceAccount,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses((status = 201, description = "It is made", body = User, headers(
        ("Location" = String, description = "Where it can be read"),
        ("ETag" = String, description = "Its version"),
    ))))]
async fn create_service_account(
    caller: Insider<ServiceAccountsWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewServiceAccount>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, "/v1/service-accounts", &new)?;
    let identity = &state.identity;
    let made = administration::create_service_account(identity, caller.caller(), &new, idempotency.as_ref()).await?;
    Ok(created(made, "/v1/users"))
}

/// Makes an API key for a service account. The answer has the key, once.
#[utoipa::path(post, path = OF_SERVICE, tag = "api-keys", operation_id = "issue_api_key",
    request_body = NewApiKey,
    params(
        ("id" = UserId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt"),
    ),
    responses(
        (status = 201, description = "It is made", body = IssuedApiKey,
            headers(("Location" = String, description = "Where it can be read"))),
        (status = 409, description = "The account is not active", body = Problem),
    ))]
async fn create_for_service(
    caller: Insider<ServiceAccountsWrite>,
    State(state): State<AppState>,
    Path(account): Path<UserId>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewApiKey>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, OF_SERVICE, &(account, &new))?;
    let identity = &state.identity;
    let made = api_keys::create_for_service(identity, caller.caller(), account, &new, idempotency.as_ref()).await?;
    Ok(issued(made))
}
