//! Answers that carry one resource: with its entity tag, and with its place when it is new.

use axum::{
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::stored::Versioned;
use crate::{
    error::{Error, Result},
    http::extract::{ETag, Json},
};

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        (self.etag(), Json(self.item)).into_response()
    }
}

/// What a POST that creates answers with. It is kept with the `Idempotency-Key` as it was given, so a repeated
/// request gets the first one's answer even when the resource, or this program, has changed since.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Created {
    location: String,
    version: i64,
    body: serde_json::Value,
}

impl Created {
    /// The answer for a new resource that can be read at `location`.
    pub(super) fn new<T: Serialize>(location: String, made: &Versioned<T>) -> Result<Self> {
        let body = serde_json::to_value(&made.item).map_err(Error::internal)?;
        Ok(Self { location, version: made.version, body })
    }
}

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, [(LOCATION, self.location)], ETag(self.version), Json(self.body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kept_answer_is_given_again_as_it_was() {
        let made = Versioned { item: serde_json::json!({ "name": "Launch", "id": "prj_1" }), version: 1 };
        let first = Created::new("/v1/projects/prj_1".to_owned(), &made).unwrap();
        let again: Created = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        let mut bodies = Vec::new();
        for answer in [first, again] {
            let response = answer.into_response();
            assert_eq!(response.status(), StatusCode::CREATED);
            assert_eq!(response.headers()["location"], "/v1/projects/prj_1");
            assert_eq!(response.headers()["etag"], "\"1\"");
            bodies.push(axum::body::to_bytes(response.into_body(), 4096).await.unwrap());
        }
        assert_eq!(bodies[0], bodies[1]);
    }
}
