//! Second factors: the second step of a sign-in, and what signed-in people do about theirs.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use qrcode::{EcLevel, QrCode, render::svg};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{NO_STORE, SignedInTokens, exposed, signed_in};
use crate::{
    error::{Error, Result},
    http::{
        AppState,
        extract::{From, Json, NoBody, SignedIn, Tenant},
        problem::Problem,
    },
    identity::{
        factors::{self, Setup},
        sessions::{self, SecondStep},
        steps::Purpose,
    },
};

/// In pixels, as the image says of itself.
const QR_PIXELS: u32 = 240;

/// Routes in the middle of a sign-in: the token of its first step says whose it is.
pub(super) fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(verify)).routes(routes!(enrol)).routes(routes!(confirm_enrolment))
}

/// Routes for signed-in users.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(set_up))
        .routes(routes!(confirm))
        .routes(routes!(disable))
        .routes(routes!(replace_recovery_codes))
        .routes(routes!(forget_devices))
}

/// The second step of a sign-in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Verification {
    /// `mfa_token` of the answer to the first step.
    #[schema(value_type = String, format = Password)]
    mfa_token: SecretString,
    /// A code of the authenticator app, or a recovery code.
    #[schema(value_type = String, example = "287082")]
    code: SecretString,
    /// What this device was given when it signed in before: then it has a count of failures of its own.
    #[schema(value_type = Option<String>, format = Password)]
    device_token: Option<SecretString>,
    /// Whether this device need not show a code for thirty days.
    #[serde(default)]
    trust_device: bool,
}

/// Goes on with a sign-in that was answered with `mfa_required`.
#[utoipa::path(post, path = "/v1/auth/mfa/verify", tag = "auth", operation_id = "verify_mfa",
    security(()), request_body = Verification, responses(
    (status = 200, description = "Signed in", body = SignedInTokens),
    (status = 401, description = "invalid_mfa_token, or invalid_code: then try again", body = Problem),
    (status = 403, description = "session_limit_reached", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn verify(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(Verification { mfa_token: token, code, device_token, trust_device }): Json<Verification>,
) -> Result<Response, Problem> {
    let step = SecondStep { purpose: Purpose::Code, token, code, device_token, trust_device };
    let tokens = signed_in(sessions::verify_second_step(&state.identity, &tenant, &step, &client).await?)?;
    Ok((NO_STORE, Json(tokens)).into_response())
}

/// What an authenticator app is told.
#[derive(Serialize, ToSchema)]
#[schema(as = Totp)]
struct NewApp {
    /// The secret, to be typed.
    #[schema(value_type = String, example = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]
    secret: String,
    /// The same as an address, to be opened.
    otpauth_uri: String,
    /// The address as a QR code: an SVG image, to be read.
    qr_svg: String,
}

impl NewApp {
    fn answer(setup: &Setup) -> Result<Response> {
        let uri = setup.uri.expose_secret();
        let code = QrCode::with_error_correction_level(uri, EcLevel::M).map_err(Error::internal)?;
        let image = code.render::<svg::Color<'_>>().min_dimensions(QR_PIXELS, QR_PIXELS).build();
        let secret = setup.secret.expose_secret().to_owned();
        Ok((NO_STORE, Json(Self { secret, otpauth_uri: uri.to_owned(), qr_svg: image })).into_response())
    }
}

/// The first step's token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewFactor)]
struct Enrolment {
    /// `mfa_token` of the answer to the first step.
    #[schema(value_type = String, format = Password)]
    mfa_token: SecretString,
}

/// Begins to set an authenticator app up, in a sign-in that was answered with `mfa_enrolment_required`.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/enrol", tag = "auth", operation_id = "enrol_totp",
    security(()), request_body = Enrolment, responses(
    (status = 200, description = "What the app is told; shown once", body = NewApp),
    (status = 401, description = "invalid_mfa_token", body = Problem),
))]
async fn enrol(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(body): Json<Enrolment>,
) -> Result<Response, Problem> {
    let setup = factors::begin_enrolment(&state.identity, &tenant, &body.mfa_token, &client).await?;
    Ok(NewApp::answer(&setup)?)
}

/// Goes on with the sign-in in which an authenticator app was set up, with a code of it.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/enrol/confirm", tag = "auth", operation_id = "verify_totp",
    security(()), request_body = Verification, responses(
    (status = 200, description = "Signed in; the app counts from now on", body = SignedInTokens),
    (status = 401, description = "invalid_mfa_token, or invalid_code: then try again", body = Problem),
    (status = 403, description = "session_limit_reached", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn confirm_enrolment(
    Tenant(tenant): Tenant,
    From(client): From,
    State(state): State<AppState>,
    Json(Verification { mfa_token: token, code, device_token, trust_device }): Json<Verification>,
) -> Result<Response, Problem> {
    let step = SecondStep { purpose: Purpose::Enrolment, token, code, device_token, trust_device };
    let tokens = signed_in(sessions::verify_second_step(&state.identity, &tenant, &step, &client).await?)?;
    Ok((NO_STORE, Json(tokens)).into_response())
}

/// Begins to set an authenticator app up, in place of the one that there is.
///
/// Nothing has changed until a code of the new app is confirmed.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/setup", tag = "auth", operation_id = "create_totp", responses(
    (status = 200, description = "What the app is told; shown once", body = NewApp),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
))]
async fn set_up(caller: SignedIn, State(state): State<AppState>, _: NoBody) -> Result<Response, Problem> {
    let setup = factors::set_up(&state.identity, &caller.tenant, (&caller.principal, &caller.client)).await?;
    Ok(NewApp::answer(&setup)?)
}

/// A code of the new app.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TotpPatch)]
struct Confirmation {
    /// Six digits.
    #[schema(value_type = String, example = "287082")]
    code: SecretString,
}

/// Recovery codes.
#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    /// Each is used once, in place of a code of the app. Shown once; earlier ones are worth nothing any more.
    recovery_codes: Vec<String>,
}

/// Makes the new authenticator app count.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/confirm", tag = "auth", operation_id = "confirm_totp",
    request_body = Confirmation, responses(
    (status = 200, description = "It counts from now on", body = RecoveryCodes),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn confirm(
    caller: SignedIn,
    State(state): State<AppState>,
    Json(body): Json<Confirmation>,
) -> Result<Response, Problem> {
    let by = (&*caller.principal, &caller.client);
    let codes = factors::confirm(&state.identity, &caller.tenant, by, &body.code).await?;
    Ok((NO_STORE, Json(RecoveryCodes { recovery_codes: exposed(&codes) })).into_response())
}

/// The caller's password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Password {
    /// The password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Takes the caller's second factor away, with its recovery codes.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/disable", tag = "auth", operation_id = "disable_totp",
    request_body = Password, responses(
    (status = 204, description = "The password alone is asked for from now on"),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
    (status = 409, description = "mfa_required_by_tenant, mfa_not_enabled", body = Problem),
    (status = 429, description = "Too many attempts; see Retry-After", body = Problem),
))]
async fn disable(
    caller: SignedIn,
    State(state): State<AppState>,
    Json(body): Json<Password>,
) -> Result<StatusCode, Problem> {
    let by = (&*caller.principal, &caller.client);
    factors::disable(&state.identity, &caller.tenant, by, &body.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives the caller new recovery codes in place of all earlier ones.
#[utoipa::path(post, path = "/v1/auth/mfa/recovery-codes", tag = "auth", operation_id = "replace_recovery_codes",
    responses(
    (status = 200, description = "The new ones", body = RecoveryCodes),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
    (status = 409, description = "mfa_not_enabled", body = Problem),
))]
async fn replace_recovery_codes(
    caller: SignedIn,
    State(state): State<AppState>,
    _: NoBody,
) -> Result<Response, Problem> {
    let by = (&*caller.principal, &caller.client);
    let codes = factors::replace_recovery_codes(&state.identity, &caller.tenant, by).await?;
    Ok((NO_STORE, Json(RecoveryCodes { recovery_codes: exposed(&codes) })).into_response())
}

/// Trusts none of the caller's devices any more: each has to show a code at the next sign-in.
#[utoipa::path(delete, path = "/v1/auth/mfa/devices", tag = "auth", operation_id = "forget_devices",
    responses((status = 204, description = "Forgotten")))]
async fn forget_devices(caller: SignedIn, State(state): State<AppState>, _: NoBody) -> Result<StatusCode, Problem> {
    let by = (&*caller.principal, &caller.client);
    factors::forget_devices(&state.identity, &caller.tenant, by).await?;
    Ok(StatusCode::NO_CONTENT)
}
