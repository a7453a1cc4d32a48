//! What came back, and what is true of every problem.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::time::Instant;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    what: String,
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    took: Duration,
}

impl Answer {
    /// Sends the request and reads the answer.
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// The same to somebody who may hang up.
    pub(crate) async fn try_to(request: RequestBuilder) -> reqwest::Result<Self> {
        let (client, request) = request.build_split();
        let request = request?;
        let what = format!("{} {}", request.method(), request.url().path());
        let began = Instant::now();
        let response = client.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await?;
        Ok(Self { what, status, headers, body, took: began.elapsed() })
    }

    /// Whether what was asked for is done, or will be.
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// How long it took.
    pub(crate) const fn took(&self) -> Duration {
        self.took
    }

    /// What `Retry-After` says, if it is there.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.headers.get("retry-after")?.to_str().ok()?.parse().ok()?))
    }

    /// The text of a member of the body.
    pub(crate) fn member(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {self:?}")).to_owned()
    }

    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// A header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// All headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body as it came.
    pub(crate) fn text(&self) -> &str {
        &self.body
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{}: {error}: {}", self.what, self.body))
    }

    /// The body of an answer of this status; null when it is empty.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{}: {}{}", self.what, self.body, self.cause());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// What Freehold logged of an internal error, if it ran in this process: the answer does not tell.
    fn cause(&self) -> String {
        if self.status != StatusCode::INTERNAL_SERVER_ERROR {
            return String::new();
        }
        let (logged, id) = (super::fleet::logged(), self.header("x-request-id"));
        let lines = logged.lines().filter(|line| line.contains("\"ERROR\"") && line.contains(id));
        lines.flat_map(|line| ["\n", line]).collect()
    }

    /// The problem of this status and code, after a look at what is true of all of them.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.what);
        assert_eq!(self.header("cache-control"), "no-store", "{}", self.what);
        assert_eq!(problem["code"], code, "{}: {problem}", self.what);
        assert_eq!(problem["status"], status, "{}: {problem}", self.what);
        assert_eq!(problem["type"], "about:blank", "{}", self.what);
        assert_eq!(problem["title"], self.status.canonical_reason().unwrap(), "{}", self.what);
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{}", self.what);
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{}", self.what);
        assert_eq!(self.header("www-authenticate"), if status == 401 { "Bearer" } else { "" }, "{}", self.what);
        let waits = self.headers.contains_key("retry-after");
        assert!(waits || !matches!(status, 429 | 503), "{}: no Retry-After", self.what);
        problem
    }

    /// The fields that are wrong and their codes, of a `validation_failed`.
    pub(crate) fn wrong_fields(&self) -> Vec<(String, String)> {
        let problem = self.problem(422, "validation_failed");
        let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
        let errors = problem["errors"].as_array().unwrap();
        errors.iter().map(|error| (text(error, "field"), text(error, "code"))).collect()
    }

    /// Whether it is told that this field is wrong in this way.
    pub(crate) fn names(&self, field: &str, code: &str) -> bool {
        self.wrong_fields().contains(&(field.to_owned(), code.to_owned()))
    }

    /// That exactly one field is wrong, in this way.
    pub(crate) fn wrong_field(&self, field: &str, code: &str) {
        assert_eq!(self.wrong_fields(), [(field.to_owned(), code.to_owned())], "{}: {}", self.what, self.body);
    }
}
