//! JSON bodies: `Content-Type: application/json`, well-formed, without unknown or repeated fields.

use std::{collections::BTreeMap, error::Error as StdError};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;
use tower_http::timeout::TimeoutError;

use super::field;
use crate::{
    error::{Error, FieldError},
    http::problem::Problem,
};

/// How many fields of a body that should have none are named: its answer is to be no larger than need be.
const MOST_NAMED: usize = 100;

/// The escape of NUL.
const NUL: &[u8] = br"\u0000";

/// A JSON body, in both directions. Types that are read say `#[serde(deny_unknown_fields)]`.
///
/// Refuses with 415 `unsupported_media_type`, 413 `payload_too_large`, 408 `body_timeout`, 400 `malformed_json`
/// (with line and column only) and 422 `validation_failed`.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(
    /// The value.
    pub T,
);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(unsupported());
        }
        Ok(Self(read_object(&read(body).await?)?))
    }
}

/// A JSON body all of whose fields may be left out: then it may be, too.
#[derive(Clone, Copy, Debug)]
pub struct JsonIfAny<T>(
    /// The value.
    pub T,
);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonIfAny<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = read(body).await?;
        match body.is_empty() {
            true => Ok(Self(T::default())),
            false if is_json(&parts.headers) => Ok(Self(read_object(&body)?)),
            false => Err(unsupported()),
        }
    }
}

/// The body of a route that takes none: nothing, or `{}`. A field that nobody would read is a mistake that must not go
/// unnoticed. Every route that changes something takes this or a body.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let JsonIfAny(fields) = JsonIfAny::<BTreeMap<String, IgnoredAny>>::from_request(request, state).await?;
        if fields.is_empty() {
            return Ok(Self);
        }
        Err(Error::Validation(fields.into_keys().take(MOST_NAMED).map(field::unknown).collect()).into())
    }
}

fn unsupported() -> Problem {
    let detail = "send the body as Content-Type: application/json";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// An object, as a body or a line of one has it.
pub(in crate::http) fn read_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    refuse_other_than_object(body)?;
    parse(body)
}

/// `application/json`, with any parameters (`; charset=utf-8`).
fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Every body is an object. serde would also take an array of its members, in an order that no contract names.
fn refuse_other_than_object(body: &[u8]) -> Result<(), Error> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n'))
        && serde_json::from_slice::<IgnoredAny>(body).is_ok()
    {
        return Err(FieldError::new(".", "invalid_type", "must be an object").into());
    }
    Ok(())
}

/// The whole body, which `middleware::bound_body` has bounded in size and time.
async fn read(body: Body) -> Result<Bytes, Problem> {
    let body = body.collect().await.map_err(|error| body_refusal(&error))?;
    Ok(body.to_bytes())
}

/// Why a body could not be read to its end.
pub(in crate::http) fn body_refusal(error: &axum::Error) -> Problem {
    if has_cause::<LengthLimitError>(error) {
        return Problem::payload_too_large();
    }
    if has_cause::<TimeoutError>(error) {
        return Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body took too long to arrive");
    }
    Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body did not arrive whole")
}

fn has_cause<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    error.is::<E>() || error.source().is_some_and(has_cause::<E>)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // Syntax first and as a whole: a body is either malformed or wrong, whichever comes first in it.
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| malformed(&error))?;
    refuse_nul(body)?;
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(|error| {
        if error.inner().is_data() { field::describe(&error).into() } else { malformed(error.inner()) }
    })
}

/// PostgreSQL's `text` cannot contain the character NUL, so a value with it is refused here. Well-formed JSON can write
/// it only as `\u0000`.
fn refuse_nul(body: &[u8]) -> Result<(), Error> {
    if !body.windows(NUL.len()).any(|window| window == NUL) {
        return Ok(());
    }
    let value = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    field_with_nul(String::new(), &value).map_or(Ok(()), |(field, line)| Err(field::nul(field, line).into()))
}

/// The path of the first text that holds a NUL, and the line of the text; or of the object in which a name does.
fn field_with_nul(path: String, value: &Value) -> Option<(String, usize)> {
    match value {
        Value::String(text) => text.split_once('\0').map(|(before, _)| (path, before.matches('\n').count() + 1)),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| field_with_nul(format!("{path}[{index}]"), item))
        }
        Value::Object(fields) if fields.keys().any(|name| name.contains('\0')) => Some((path, 1)),
        Value::Object(fields) => fields.iter().find_map(|(name, item)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            field_with_nul(path, item)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn malformed(error: &serde_json::Error) -> Error {
    let detail = format!("the body is not well-formed JSON at line {}, column {}", error.line(), error.column());
    Error::BadRequest { code: "malformed_json", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_bodies_are_told_from_wrong_ones() {
        for malformed in [&b""[..], b"{", b"[1,]", b"[1] 2", b"{'a':1}", b"\"\xff\"", b"nul"] {
            assert_eq!(parse::<Vec<String>>(malformed).unwrap_err().code(), "malformed_json", "{malformed:?}");
        }
        assert_eq!(parse::<Vec<String>>(b"[1]").unwrap_err().code(), "validation_failed");
        assert_eq!(parse::<Vec<String>>(b"[\"a\"]").unwrap(), ["a"]);
    }

    #[test]
    fn a_nul_is_refused_where_it_stands_and_its_spelling_is_not() {
        let refused = |body: &str| match parse::<Value>(body.as_bytes()) {
            Err(Error::Validation(errors)) => errors[0].field.clone(),
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(refused(r#"{"a":[{"b":"x\u0000"}]}"#), "a[0].b");
        assert_eq!(refused(r#"{"a":{"\u0000":1}}"#), "a");
        assert!(parse::<Value>(br#"{"a":"\\u0000"}"#).is_ok(), "a backslash and a word");
    }

    #[tokio::test]
    async fn a_route_without_a_body_takes_nothing_or_an_empty_object() {
        let sent = async |content_type: &str, body: &'static str| {
            let request = Request::builder().header(header::CONTENT_TYPE, content_type).body(Body::from(body)).unwrap();
            match NoBody::from_request(request, &()).await {
                Ok(NoBody) => (200, String::new()),
                Err(problem) => {
                    let response = problem.into_response();
                    let status = response.status().as_u16();
                    let problem = response.into_body().collect().await.unwrap().to_bytes();
                    let problem: Value = serde_json::from_slice(&problem).unwrap();
                    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
                    let wrong = errors.iter().map(|error| format!("{} {}", error["field"], error["code"]));
                    (status, wrong.collect::<Vec<_>>().join(", ").replace('"', ""))
                }
            }
        };
        let json = "application/json";
        for (content_type, body, status, wrong) in [
            (json, "", 200, ""),
            ("text/plain", "", 200, ""),
            (json, " { } ", 200, ""),
            (json, r#"{"b":{"c":1},"a":null,"a":2}"#, 422, "a unknown_field, b unknown_field"),
            (json, "[]", 422, ". invalid_type"),
            (json, "null", 422, ". invalid_type"),
            (json, "{", 400, ""),
            (json, " ", 400, ""),
            ("text/plain", "{}", 415, ""),
        ] {
            assert_eq!(sent(content_type, body).await, (status, wrong.to_owned()), "{content_type}: {body}");
        }
    }

    #[test]
    fn parameters_of_the_media_type_do_not_matter() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/json", false),
            ("application/jsonp", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
