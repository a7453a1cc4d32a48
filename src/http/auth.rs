//! `/v1/auth` and the key set, on both listeners: a tenant's people on the public one, operators on the other.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    extract::{From, Json, NoBody, SignedIn, Tenant},
    problem::Problem,
};
use crate::{
    error::FieldError,
    identity::{
        invitations,
        people::{self, Me},
        sessions::{self, Login},
        tokens::{self, Tokens},
    },
};

/// Routes without authentication: the body has the credential, or none is needed.
pub(super) fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(accept_invitation))
        .routes(routes!(key_set))
}

/// Routes for signed-in users.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(logout)).routes(routes!(logout_all)).routes(routes!(me))
}

/// Responses with tokens must not be cached (RFC 6749 §5.1).
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// A request to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// Their email address.
    #[schema(example = "ada@example.com")]
    email: String,
    /// Their password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Signs in with a password.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", operation_id = "login",
    security(()), request_body = Credentials, responses(
    (status = 200, description = "Signed in", body = Tokens),
    (status = 401, description = "invalid_credentials, whatever is wrong", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn login(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Credentials>,
) -> Result<Response, Problem> {
    let login = Login { email: body.email.into(), password: body.password };
    let tokens = sessions::login(&state.identity, &tenant, &login, &client).await?.into_result()?;
    Ok((NO_STORE, Json(tokens)).into_response())
}

/// A refresh token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    /// The refresh token of the last response. Each can be used once.
    #[schema(value_type = String, format = Password)]
    refresh_token: SecretString,
}

/// Exchanges a refresh token for new tokens.
///
/// Using one a second time ends the session, because somebody else may have it.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", operation_id = "refresh",
    security(()), request_body = Refresh, responses(
    (status = 200, description = "New tokens", body = Tokens),
    (status = 401, description = "The token is unknown, expired, used or revoked", body = Problem),
))]
async fn refresh(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Refresh>,
) -> Result<Response, Problem> {
    let tokens = sessions::refresh(&state.identity, &tenant, &body.refresh_token, &client).await?.into_result()?;
    Ok((NO_STORE, Json(tokens)).into_response())
}

/// Ends this session.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", operation_id = "logout",
    responses((status = 204, description = "Signed out")))]
async fn logout(caller: SignedIn, State(state): State<AppState>, _: NoBody) -> Result<StatusCode, Problem> {
    sessions::logout(&state.identity, &caller.tenant, &caller.principal, &caller.client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of the caller.
#[utoipa::path(post, path = "/v1/auth/logout-all", tag = "auth", operation_id = "logout_all", responses(
    (status = 204, description = "Signed out everywhere"),
))]
async fn logout_all(caller: SignedIn, State(state): State<AppState>, _: NoBody) -> Result<StatusCode, Problem> {
    sessions::logout_all(&state.identity, &caller.tenant, &caller.principal, &caller.client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who the caller is and what they may do.
#[utoipa::path(get, path = "/v1/auth/me", tag = "auth", operation_id = "get_caller",
    responses((status = 200, description = "The caller", body = Me)))]
async fn me(caller: SignedIn, State(state): State<AppState>) -> Result<Json<Me>, Problem> {
    Ok(Json(people::me(&state.identity, &caller.tenant, &caller.principal).await?))
}

/// An invitation, accepted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    /// The invitation's secret.
    #[schema(value_type = String, format = Password)]
    token: SecretString,
    /// The password to sign in with from now on.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The invited person's name.
    name: Option<String>,
}

/// Joins the tenant by an invitation.
#[utoipa::path(post, path = "/v1/auth/invitations/accept", tag = "auth", operation_id = "accept_invitation",
    security(()), request_body = Acceptance,
    responses(
        (status = 204, description = "Joined; sign in with the password"),
        (status = 409, description = "The address has an account already", body = Problem),
    ),
)]
async fn accept_invitation(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Acceptance>,
) -> Result<StatusCode, Problem> {
    let name = body.name.map(|name| name.parse()).transpose();
    let name = name.map_err(|invalid| crate::error::Error::from(FieldError::invalid("name", invalid)))?;
    let acceptance = invitations::Acceptance { token: body.token, password: body.password, name };
    invitations::accept(&state.identity, &tenant, &acceptance, &client).await?.into_result()?;
    Ok(StatusCode::NO_CONTENT)
}

/// The public keys that verify the tenant's access tokens (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", operation_id = "get_key_set",
    security(()), responses(
    (status = 200, description = "A JSON Web Key Set", body = Object),
))]
async fn key_set(Tenant(tenant): Tenant, State(state): State<AppState>) -> Result<Response, Problem> {
    let keys = tokens::key_set(&state.identity, &tenant).await?;
    Ok(([(header::CACHE_CONTROL, "public, max-age=300")], Json(keys)).into_response())
}
