//! Makes all error responses: `application/problem+json` (RFC 9457).
//!
//! Programs tell problems apart by `code`, which is stable and listed in docs/API.md. `type` is `about:blank`
//! and `title` the status' own phrase, as RFC 9457 §4.2.1 asks of problems that need no page of their own: no
//! domain has to be kept alive for an answer to stay true. An error is logged here, once, by its severity;
//! its internal chain goes to the log and never into a body.

use std::time::Duration;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::request_id::RequestId;
use crate::error::{Error, FieldError, Severity};

/// The media type of every error answer.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// An error. Every response with a status of 400 and above has this body.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "about:blank")]
    kind: &'static str,
    /// The phrase of the HTTP status.
    #[schema(value_type = String, example = "Unprocessable Entity")]
    title: &'static str,
    /// The HTTP status.
    #[schema(value_type = u16, example = 422)]
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    /// What happened, for people.
    detail: String,
    /// What happened, for programs; stable.
    #[schema(value_type = String, example = "validation_failed")]
    code: &'static str,
    /// The request, as logs and `X-Request-Id` name it.
    request_id: String,
    /// Which fields are wrong, when `code` is `validation_failed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// Proves the next step of a sign-in that needs one: when `code` is `mfa_required` or `mfa_enrolment_required`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown")]
    #[schema(value_type = Option<String>, required = false)]
    mfa_token: Option<SecretString>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    location: Option<String>,
    /// What a proof has to be like (RFC 9470).
    #[serde(skip)]
    challenge: Option<Duration>,
}

/// The code of the problem that an answer carries: an extension of the answer, read by the access log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemCode(pub(crate) &'static str);

impl Problem {
    /// A problem that only HTTP knows. Those of the domain are made from an [`Error`].
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status,
            detail: detail.into(),
            code,
            request_id: RequestId::current(),
            errors: Vec::new(),
            mfa_token: None,
            retry_after: None,
            location: None,
            challenge: None,
        }
    }

    /// The problem of a body above the limit.
    pub(super) fn payload_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is larger than this route accepts")
    }

    /// The same problem with the address where the request belongs.
    #[must_use]
    pub fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    /// The same problem with what the next step of the sign-in is done with.
    #[must_use]
    pub fn with_step(self, token: &SecretString) -> Self {
        Self { mfa_token: Some(token.clone()), ..self }
    }

    /// The same problem with a time after which trying again may help.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl From<Error> for Problem {
    /// Logs the error by its severity: whoever converts it has handled it.
    fn from(error: Error) -> Self {
        log(&error);
        let mut problem = Self::new(status(&error), error.code(), error.to_string());
        match error {
            Error::Validation(errors) => problem.errors = errors,
            Error::StaleProof { max_age } => problem.challenge = Some(max_age),
            Error::Conflict { retry_after, .. } => problem.retry_after = retry_after,
            Error::TooMany { retry_after, .. } | Error::Unavailable { retry_after, .. } => {
                problem.retry_after = Some(retry_after);
            }
            _ => {}
        }
        problem
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::BadRequest { .. } => StatusCode::BAD_REQUEST,
        Error::Validation(_) | Error::Unprocessable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Unauthenticated { .. } | Error::StaleProof { .. } => StatusCode::UNAUTHORIZED,
        Error::Forbidden { .. } => StatusCode::FORBIDDEN,
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Gone { .. } => StatusCode::GONE,
        Error::Conflict { .. } => StatusCode::CONFLICT,
        Error::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Error::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::Damaged { .. } | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The levels are a contract: an event of level error is a defect, and Sentry hears of it.
fn log(error: &Error) {
    let (code, chain) = (error.code(), error.chain());
    match error.severity() {
        Severity::Client => tracing::debug!(error.code = code, error.chain = chain, "a request was refused"),
        Severity::Dependency => tracing::warn!(error.code = code, error.chain = chain, "a dependency is away"),
        Severity::Defect => tracing::error!(error.code = code, error.chain = chain, "a request met a defect"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// A secret that is an answer's purpose.
#[expect(clippy::ref_option, reason = "serde passes references")]
fn shown<S: serde::Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(secret.as_ref().map_or("", |secret| secret.expose_secret()))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: HeaderValue| {
            headers.insert(name, value);
        };
        set(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        set(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            set(header::WWW_AUTHENTICATE, challenge(self.challenge));
        }
        if let Some(wait) = self.retry_after {
            set(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(location) = self.location.as_deref().and_then(|location| HeaderValue::from_str(location).ok()) {
            set(header::LOCATION, location);
        }
        response.extensions_mut().insert(ProblemCode(self.code));
        response
    }
}

/// How to authenticate: with a token, or with a younger proof (RFC 9470, §3).
fn challenge(max_age: Option<Duration>) -> HeaderValue {
    let plain = HeaderValue::from_static("Bearer");
    let Some(max_age) = max_age else { return plain };
    let text = format!(
        "Bearer error=\"insufficient_user_authentication\", \
         error_description=\"a more recent proof is needed\", max_age=\"{}\"",
        max_age.as_secs()
    );
    HeaderValue::try_from(text).unwrap_or(plain)
}

/// Rounded up and never 0, so that nobody who obeys comes back too early.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[tokio::test]
    async fn an_internal_cause_never_reaches_the_body() {
        let response = Error::defect("password of tenant_17").into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "internal");
        assert_eq!(body["detail"], "an internal error");
        assert_eq!(body["status"], 500);
        assert_eq!(body["type"], "about:blank");
        assert!(body.get("errors").is_none());
    }

    #[test]
    fn headers_tell_clients_what_to_do() {
        let anonymous = Error::Unauthenticated { code: "unauthenticated", detail: "sign in first" }.into_response();
        assert_eq!(anonymous.headers()["www-authenticate"], "Bearer");
        let stale = Error::StaleProof { max_age: Duration::from_mins(15) }.into_response();
        let challenge = stale.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer error=\"insufficient_user_authentication\", "), "{challenge}");
        assert!(challenge.ends_with(", max_age=\"900\""), "{challenge}");
        let away = Error::unavailable("database_unavailable", "come back", None).into_response();
        assert_eq!(away.headers()["retry-after"], "1");
        assert_eq!(away.headers()["content-type"], MEDIA_TYPE);
        let taken = Error::conflict("slug_taken", "taken").into_response();
        assert!(!taken.headers().contains_key("retry-after"));
    }
}
