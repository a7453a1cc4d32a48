//! Headers that change what a request means: `If-Match`, `Idempotency-Key`, `Prefer`; and the `ETag` they need.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    response::{IntoResponseParts, ResponseParts},
};

use crate::{
    error::{Error, Result},
    http::problem::Problem,
};

/// A strong validator (RFC 9110 §8.8.3): the version of a resource, counted up by every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag(
    /// The version.
    pub i64,
);

impl IntoResponseParts for ETag {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        // Digits between quotes always make a header value.
        if let Ok(value) = HeaderValue::try_from(format!("\"{}\"", self.0)) {
            response.headers_mut().insert(header::ETAG, value);
        }
        Ok(response)
    }
}

/// The versions that a client is ready to change. Weak tags never match (RFC 9110 §13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: whichever there is.
    Any,
    /// One of these.
    Tags(Vec<String>),
}

impl IfMatch {
    /// Whether `current` may be changed.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] (412).
    pub fn check(&self, current: ETag) -> Result<()> {
        match self {
            Self::Tags(tags) if !tags.contains(&current.0.to_string()) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }

    fn parse(value: &str) -> Result<Self> {
        if value == "*" {
            return Ok(Self::Any);
        }
        let invalid = || bad("invalid_if_match", "If-Match must be * or a list of entity tags in double quotes");
        let mut strong = Vec::new();
        for tag in value.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let opaque = |tag: &str| Some(tag.strip_prefix('"')?.strip_suffix('"')?.to_owned());
            match tag.strip_prefix("W/") {
                Some(weak) => drop(opaque(weak).ok_or_else(invalid)?),
                None => strong.push(opaque(tag).ok_or_else(invalid)?),
            }
        }
        Ok(Self::Tags(strong))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        let Some(value) = single(&parts.headers, &header::IF_MATCH, "invalid_if_match")? else { return Ok(None) };
        Ok(Some(Self::parse(value)?))
    }
}

/// The client's own name for an attempt: 1 to 255 visible ASCII characters. The same key with the same body
/// is the same attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        const CODE: &str = "invalid_idempotency_key";
        let name = HeaderName::from_static("idempotency-key");
        let Some(key) = single(&parts.headers, &name, CODE)? else { return Ok(None) };
        if !(1..=255).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad(CODE, "Idempotency-Key must be 1 to 255 visible ASCII characters").into());
        }
        Ok(Some(Self(key.to_owned())))
    }
}

/// How long the client would rather wait for a result than be told where to look (RFC 7240 `wait`).
/// Preferences are wishes: one that cannot be understood is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreferWait(
    /// At most [`PreferWait::MAX`]; zero = do not wait.
    pub Duration,
);

impl PreferWait {
    /// The longest wait that is granted: it has to end well before a whole request does.
    pub const MAX: Duration = Duration::from_secs(10);

    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let wish = values.flat_map(|value| value.split([',', ';'])).find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| seconds(value.trim()))?
        });
        Self(wish.unwrap_or_default().min(Self::MAX))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// A number of seconds. One that is too large to be counted is the longest there is (RFC 9111, section 1.2.2).
fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_or(Duration::MAX, Duration::from_secs))
}

/// The only value of a header, if it was sent. Two would let two readers see two requests.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, code: &'static str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad(code, format!("{name} must be ASCII"))),
        _ => Err(bad(code, format!("{name} must be sent once"))),
    }
}

fn bad(code: &'static str, detail: impl Into<String>) -> Error {
    Error::BadRequest { code, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &'static str, value: &str) -> Parts {
        axum::http::Request::builder().header(name, value).body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_strong_tags_of_the_present_version_match() {
        for (value, matches) in
            [("*", true), ("\"7\"", true), ("\"6\", \"7\"", true), ("\"6\"", false), ("W/\"7\"", false)]
        {
            assert_eq!(IfMatch::parse(value).unwrap().check(ETag(7)).is_ok(), matches, "{value}");
        }
        for malformed in ["7", "\"7", "W/7", "\"6\", 7"] {
            assert_eq!(IfMatch::parse(malformed).unwrap_err().code(), "invalid_if_match", "{malformed}");
        }
    }

    #[tokio::test]
    async fn idempotency_keys_are_bounded() {
        let key = async |value: &str| {
            let mut parts = parts("idempotency-key", value);
            <IdempotencyKey as OptionalFromRequestParts<()>>::from_request_parts(&mut parts, &()).await
        };
        assert_eq!(key("order-1").await.unwrap().unwrap().into_text(), "order-1");
        for bad in ["", "two words", &"k".repeat(256)] {
            assert!(key(bad).await.is_err(), "{bad}");
        }
    }

    #[test]
    fn waits_are_clamped_and_nonsense_is_no_wish() {
        for (value, seconds) in [
            ("wait=3", 3),
            ("respond-async, wait=30", 10),
            ("wait=99999999999999999999", 10),
            ("wait=-1", 0),
            ("wait=x", 0),
            ("wait=", 0),
            ("return=minimal; wait=2", 2),
            ("", 0),
        ] {
            assert_eq!(PreferWait::of(&parts("prefer", value).headers).0.as_secs(), seconds, "{value}");
        }
    }
}
