//! What people do about their own accounts, most of it without a session: an address is named, or the token of a link that
//! was mailed to it is shown. The answer to an address is the same whether it has an account or not.

use axum::{extract::State, http::StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        AppState,
        extract::{From, Json, NoBody, SignedIn, Tenant},
        problem::Problem,
    },
    identity::{
        accounts::{self, Registration},
        people::{self, Me},
    },
    types::{DisplayName, Email},
};

/// Routes without a session.
pub(super) fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(resend))
        .routes(routes!(verify))
        .routes(routes!(forgot))
        .routes(routes!(reset))
        .routes(routes!(confirm_email))
        .routes(routes!(undo_email))
        .routes(routes!(not_me))
}

/// Routes for signed-in users.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(change_email)).routes(routes!(rename, leave))
}

/// An account that somebody wants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRegistration)]
struct NewAccount {
    /// Their address.
    email: Email,
    /// The password to sign in with from then on.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// Their name; unless it is there, what stands before the `@`.
    #[schema(inline)]
    name: Option<DisplayName>,
}

/// Registers, where the tenant lets people do so.
///
/// The answer is the same whether the address has an account or not: what is true is mailed to the address.
#[utoipa::path(post, path = "/v1/auth/register", tag = "auth", operation_id = "register",
    security(()), request_body = NewAccount, responses(
    (status = 202, description = "The address gets a mail"),
    (status = 403, description = "registration_closed", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn register(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<NewAccount>,
) -> Result<StatusCode, Problem> {
    let wanted = Registration { email: body.email, password: body.password, name: body.name };
    accounts::register(&state.identity, &tenant, &wanted, &client).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Whose mail it is about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MyEmail)]
struct Address {
    /// The address.
    email: Email,
}

/// Mails the link again that proves an address, if there is anything to prove.
#[utoipa::path(post, path = "/v1/auth/email/resend", tag = "auth", operation_id = "resend_verification",
    security(()), request_body = Address, responses(
    (status = 202, description = "The address gets a mail, if it is to be proven"),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn resend(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Address>,
) -> Result<StatusCode, Problem> {
    accounts::resend(&state.identity, &tenant, &body.email, &client).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The token of a link that was mailed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IssuedToken)]
struct Link {
    /// The token.
    #[schema(value_type = String, format = Password)]
    token: SecretString,
}

/// Proves an address.
#[utoipa::path(post, path = "/v1/auth/email/verify", tag = "auth", operation_id = "verify_email",
    security(()), request_body = Link, responses(
    (status = 204, description = "The address is proven"),
    (status = 403, description = "registration_closed", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn verify(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Link>,
) -> Result<StatusCode, Problem> {
    accounts::verify(&state.identity, &tenant, &body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mails a link to choose another password, if the address has an account.
#[utoipa::path(post, path = "/v1/auth/password/forgot", tag = "auth", operation_id = "forgot_password",
    security(()), request_body = Address, responses(
    (status = 202, description = "The address gets a mail, if it has an account"),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn forgot(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Address>,
) -> Result<StatusCode, Problem> {
    accounts::forgot(&state.identity, &tenant, &body.email, &client).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Another password, and the link that lets somebody choose it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPassword)]
struct Reset {
    /// The token of the link.
    #[schema(value_type = String, format = Password)]
    token: SecretString,
    /// The password from now on.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Chooses another password by a link. All sessions end; a second factor stays.
#[utoipa::path(post, path = "/v1/auth/password/reset", tag = "auth", operation_id = "reset_password",
    security(()), request_body = Reset, responses(
    (status = 204, description = "Sign in with the password"),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn reset(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Reset>,
) -> Result<StatusCode, Problem> {
    accounts::reset(&state.identity, &tenant, (&body.token, &body.password), &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for another address of the caller's account. It is the account's once a link to it was followed.
#[utoipa::path(post, path = "/v1/auth/email/change", tag = "auth", operation_id = "change_email",
    request_body = Address, responses(
    (status = 202, description = "The new address gets a mail"),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn change_email(
    caller: SignedIn,
    State(state): State<AppState>,
    Json(body): Json<Address>,
) -> Result<StatusCode, Problem> {
    accounts::change_email(&state.identity, caller.caller(), &body.email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Gives an account its new address. All its sessions end, and the former address is told.
#[utoipa::path(post, path = "/v1/auth/email/change/confirm", tag = "auth", operation_id = "confirm_email",
    security(()), request_body = Link, responses(
    (status = 204, description = "Sign in with the new address"),
    (status = 409, description = "email_in_use", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn confirm_email(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Link>,
) -> Result<StatusCode, Problem> {
    accounts::confirm_email(&state.identity, &tenant, &body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives an account its former address back. Nobody gets in before a new password was chosen, by a link that is mailed.
#[utoipa::path(post, path = "/v1/auth/email/change/undo", tag = "auth", operation_id = "undo_email",
    security(()), request_body = Link, responses(
    (status = 204, description = "The former address gets a mail"),
    (status = 409, description = "email_in_use", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn undo_email(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Link>,
) -> Result<StatusCode, Problem> {
    accounts::undo_email(&state.identity, &tenant, &body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says that what a notice tells of was done by somebody else: all sessions, devices and API keys of the account end, and
/// nobody gets in before a new password was chosen, by a link that is mailed.
#[utoipa::path(post, path = "/v1/auth/not-me", tag = "auth", operation_id = "not_me",
    security(()), request_body = Link, responses(
    (status = 204, description = "The account's address gets a mail"),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn not_me(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Link>,
) -> Result<StatusCode, Problem> {
    accounts::not_me(&state.identity, &tenant, &body.token, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the caller changes about themselves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProfilePatch)]
struct Profile {
    /// Their name.
    #[schema(inline)]
    name: Option<DisplayName>,
}

/// Changes the caller's name.
#[utoipa::path(patch, path = "/v1/auth/me", tag = "auth", operation_id = "update_profile", request_body = Profile,
    responses((status = 200, description = "The caller as they are now", body = Me)))]
async fn rename(
    caller: SignedIn,
    State(state): State<AppState>,
    Json(body): Json<Profile>,
) -> Result<Json<Me>, Problem> {
    accounts::rename(&state.identity, caller.caller(), body.name.as_ref()).await?;
    Ok(Json(people::me(&state.identity, &caller.tenant, &caller.principal).await?))
}

/// Deletes the caller's account. Those who look after people can restore it until it is erased.
#[utoipa::path(delete, path = "/v1/auth/me", tag = "auth", operation_id = "delete_me", responses(
    (status = 204, description = "Deleted; all sessions and API keys have ended"),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
    (status = 409, description = "last_owner", body = Problem),
))]
async fn leave(caller: SignedIn, State(state): State<AppState>, _: NoBody) -> Result<StatusCode, Problem> {
    accounts::leave(&state.identity, caller.caller()).await?;
    Ok(StatusCode::NO_CONTENT)
}
