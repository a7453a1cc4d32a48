//! `/v1/auth` and the key set, on both listeners: a tenant's people on the public one, operators on the other.

mod accounts;
mod factors;
mod own_sessions;
mod settings;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    extract::{From, Json, NoBody, SignedIn, Tenant},
    problem::Problem,
};
use crate::{
    error::{Error, FieldError},
    identity::{
        invitations,
        people::{self, Me},
        sessions::{self, Login, LoginOutcome, Refusal, Unfinished},
        steps::Purpose,
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
        .merge(factors::open_routes())
        .merge(accounts::open_routes())
}

/// Routes for signed-in users.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(logout))
        .routes(routes!(logout_all))
        .routes(routes!(me))
        .merge(own_sessions::routes())
        .merge(factors::routes())
        .merge(accounts::routes())
        .merge(settings::routes())
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
    /// A code of their authenticator app, or a recovery code, if they have a second factor.
    #[schema(value_type = Option<String>, example = "287082")]
    mfa_code: Option<SecretString>,
    /// What this device was given when it signed in before: then it has a count of failures of its own, and needs no code
    /// if it is trusted.
    #[schema(value_type = Option<String>, format = Password)]
    device_token: Option<SecretString>,
    /// Whether this device need not show a code for thirty days, once it has shown one.
    #[serde(default)]
    trust_device: bool,
    /// Another password, from now on: asked for by `password_change_required`. All other sessions end.
    #[schema(value_type = Option<String>, format = Password)]
    new_password: Option<SecretString>,
}

/// Signs in with a password.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", operation_id = "login",
    security(()), request_body = Credentials, responses(
    (status = 200, description = "Signed in", body = SignedInTokens),
    (status = 401, description = "invalid_credentials, whatever is wrong; or, for who knows the password, what is missing",
        body = Problem),
    (status = 403, description = "session_limit_reached", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn login(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Credentials>,
) -> Result<Response, Problem> {
    let Credentials { email, password, mfa_code: code, device_token, trust_device, new_password } = body;
    let login = Login { email: email.into(), password, code, device_token, trust_device, new_password };
    let tokens = signed_in(sessions::login(&state.identity, &tenant, &login, &client).await?)?;
    Ok((NO_STORE, Json(tokens)).into_response())
}

/// Tokens, and what was made on the way.
#[derive(Serialize, ToSchema)]
#[schema(as = MyTokens)]
struct SignedInTokens {
    /// Of the new session.
    #[serde(flatten)]
    tokens: Tokens,
    /// Where an authenticator app was set up: each is used once, in place of a code of the app. Shown once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    recovery_codes: Vec<String>,
    /// What this device shows at the next sign-in, in place of what it showed before. Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

/// What is shown once, in the answer that it is made for.
fn exposed<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Vec<String> {
    secrets.into_iter().map(|secret| secret.expose_secret().to_owned()).collect()
}

/// Why there are no tokens.
enum Halted {
    Refused(Refusal),
    Unfinished(Unfinished),
}

impl std::convert::From<Halted> for Problem {
    fn from(halted: Halted) -> Self {
        match halted {
            Halted::Refused(refusal) => Error::from(refusal).into(),
            Halted::Unfinished(Unfinished { purpose, token }) => {
                let detail = match purpose {
                    Purpose::Code => "the password is right, and a code of the authenticator app is needed too",
                    Purpose::Enrolment => "the password is right, and an authenticator app has to be set up first",
                };
                Self::new(StatusCode::UNAUTHORIZED, purpose.code(), detail).with_step(&token)
            }
        }
    }
}

/// What somebody who has signed in is given, or what is wrong or missing.
fn signed_in(outcome: LoginOutcome) -> Result<SignedInTokens, Halted> {
    match outcome {
        LoginOutcome::SignedIn { tokens, recovery_codes, device_token, .. } => Ok(SignedInTokens {
            tokens,
            recovery_codes: exposed(&recovery_codes),
            device_token: exposed(&device_token).pop(),
        }),
        LoginOutcome::Refused(refusal) => Err(Halted::Refused(refusal)),
        LoginOutcome::Unfinished(unfinished) => Err(Halted::Unfinished(unfinished)),
    }
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
/// If the answer is lost, send the request again: it gets the same token, until that or the access token that came with
/// it is used, for ten minutes at most. Any other second use ends the session, because somebody else may have the token.
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
    let name = name.map_err(|invalid| Error::from(FieldError::invalid("name", invalid)))?;
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
