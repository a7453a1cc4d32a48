//! What signed-in people do about their own sessions and their password.

use axum::{extract::State, http::StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        AppState,
        extract::{Json, Listing, NoBody, Path, SignedIn},
        problem::Problem,
    },
    identity::sessions::{self, PasswordChange, Proof, Session},
    types::SessionId,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(revoke))
        .routes(routes!(step_up))
        .routes(routes!(change_password))
}

/// Lists the caller's sessions, the one that was used last first. Not paged: nobody has more than a hundred.
#[utoipa::path(get, path = "/v1/auth/sessions", tag = "auth", operation_id = "list_sessions",
    responses((status = 200, description = "The sessions that have not ended", body = Listing<Session>)))]
async fn list(caller: SignedIn, State(state): State<AppState>) -> Result<Json<Listing<Session>>, Problem> {
    let sessions = sessions::list(&state.identity, &caller.tenant, &caller.principal).await?;
    Ok(Json(Listing::all(sessions)))
}

/// Ends one of the caller's sessions.
#[utoipa::path(delete, path = "/v1/auth/sessions/{id}", tag = "auth", operation_id = "revoke_session",
    params(("id" = SessionId, Path)),
    responses((status = 204, description = "It has ended, on every replica")))]
async fn revoke(
    caller: SignedIn,
    State(state): State<AppState>,
    Path(id): Path<SessionId>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    sessions::revoke(&state.identity, &caller.tenant, (&caller.principal, &caller.client), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the caller proves with that they are there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Challenge)]
struct StepUp {
    /// Their password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// A code of their authenticator app, or a recovery code, if they have a second factor.
    #[schema(value_type = Option<String>, example = "287082")]
    code: Option<SecretString>,
}

/// Proves that it is still the user who is signed in, as changes that take protection away ask for.
#[utoipa::path(post, path = "/v1/auth/step-up", tag = "auth", operation_id = "step_up", request_body = StepUp,
    responses(
        (status = 204, description = "The session has proved itself, for a quarter of an hour"),
        (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
    ))]
async fn step_up(
    caller: SignedIn,
    State(state): State<AppState>,
    Json(body): Json<StepUp>,
) -> Result<StatusCode, Problem> {
    let proof = Proof { password: body.password, code: body.code };
    sessions::step_up(&state.identity, &caller.tenant, (&caller.principal, &caller.client), &proof).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The present password, and the one from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordPatch)]
struct NewPassword {
    /// The present password.
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    /// The password from now on.
    #[schema(value_type = String, format = Password)]
    new_password: SecretString,
}

/// Changes the caller's password. All their other sessions end; API keys stay valid.
#[utoipa::path(post, path = "/v1/auth/password/change", tag = "auth", operation_id = "change_password",
    request_body = NewPassword,
    responses(
        (status = 204, description = "Changed"),
        (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
    ))]
async fn change_password(
    caller: SignedIn,
    State(state): State<AppState>,
    Json(body): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    let change = PasswordChange { current: body.current_password, new: body.new_password };
    sessions::change_password(&state.identity, &caller.tenant, (&caller.principal, &caller.client), &change).await?;
    Ok(StatusCode::NO_CONTENT)
}
