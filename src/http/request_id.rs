//! The id of a request: in its log lines, its problem body, its audit events and its `X-Request-Id`.
//!
//! It travels as a task-local value, so that code without a request at hand (an error becoming an answer) can
//! read it. A task that is spawned for a request has to be given it again: `middleware::detach` does so.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::types::Random;

/// The header that carries it in and out.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// 8 to 128 of `A-Z a-z 0-9 . _ : -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the client sent, if it sent exactly one and that is well-formed. Otherwise a new one of 128 random
    /// bits.
    #[must_use]
    pub fn accept(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(id), None) if well_formed(id.as_bytes()) => Self(id.clone()),
            _ => Self::generate(),
        }
    }

    fn generate() -> Self {
        let text = format!("{:032x}", u128::from_be_bytes(Random.bytes()));
        // Hexadecimal digits always make a header value.
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("00000000")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Runs `future` as part of this request.
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The id of the request that this task works for.
    pub(crate) fn of_task() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The text of [`Self::of_task`], empty outside of requests.
    pub(crate) fn current() -> String {
        CURRENT.try_with(|id| id.as_str().to_owned()).unwrap_or_default()
    }
}

fn well_formed(id: &[u8]) -> bool {
    (8..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_well_formed_id_is_kept() {
        let accept = |sent: &[&str]| {
            let pairs = sent.iter().map(|id| (X_REQUEST_ID, id.parse().unwrap()));
            RequestId::accept(&pairs.collect::<HeaderMap>()).as_str().to_owned()
        };
        let long = "a".repeat(128);
        for good in ["abc-1234", "a.b_c:d-e", &long] {
            assert_eq!(accept(&[good]), good);
        }
        let too_long = "a".repeat(129);
        for bad in [&["short"][..], &[&too_long], &["has space"], &["semi;colon"], &["abc-1234", "abc-5678"], &[]] {
            let id = accept(bad);
            assert!(id.len() == 32 && !bad.contains(&id.as_str()), "{bad:?} gave {id}");
        }
        assert_ne!(accept(&[]), accept(&[]));
    }
}
