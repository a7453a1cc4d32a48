//! A client of one listener, as one caller.

use std::time::Duration;

use freehold::types::Random;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Longer than any answer may take (15 s).
const ANSWER: Duration = Duration::from_secs(20);

/// A client of one listener, as one caller. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    host: Option<String>,
    bearer: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) took: Duration,
}

impl Answer {
    /// The text of a member of the body.
    pub(crate) fn text(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member} in {self:?}")).to_owned()
    }

    /// The seconds of `Retry-After`, if it is there.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

impl Api {
    pub(crate) fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER).build().unwrap();
        Self { http, base: base.to_owned(), host: None, bearer: None }
    }

    /// The same, at the tenant's host.
    pub(crate) fn at(&self, slug: &str) -> Self {
        Self { host: Some(format!("{slug}.localhost")), ..self.clone() }
    }

    /// The same, with a token or key.
    pub(crate) fn with(&self, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<Answer> {
        Self::send(self.request(Method::GET, path)).await
    }

    /// Posts `body`, with an `Idempotency-Key` if there is one.
    pub(crate) async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> reqwest::Result<Answer> {
        let request = self.request(Method::POST, path).json(body);
        Self::send(key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))).await
    }

    /// Posts a creation until it is answered with something else than "come back", for half a minute. A lost
    /// connection ends it: whether anything was made is then open.
    pub(crate) async fn post_patiently(&self, path: &str, body: &Value, key: &str) -> reqwest::Result<Answer> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.post(path, body, Some(key)).await?;
            match answer.retry_after().filter(|pause| Instant::now() + *pause < deadline) {
                Some(pause) => sleep(pause).await,
                None => return Ok(answer),
            }
        }
    }

    /// Makes a tenant as an operator, and is answered when it serves or after ten seconds.
    pub(crate) async fn create_and_wait(&self, slug: &str) -> reqwest::Result<Answer> {
        let body = json!({ "slug": slug, "name": slug, "admin": { "email": format!("admin@{slug}.example") } });
        Self::send(self.request(Method::POST, "/platform/v1/tenants").header("prefer", "wait=10").json(&body)).await
    }

    /// The same caller, at another replica.
    pub(crate) fn through(&self, replica: &Self) -> Self {
        Self { http: replica.http.clone(), base: replica.base.clone(), ..self.clone() }
    }

    /// The host and the token that requests carry.
    pub(crate) fn identity(&self) -> (&str, &str) {
        (self.host.as_deref().unwrap(), self.bearer.as_deref().unwrap())
    }

    /// Signs in; the same client with the access token.
    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Self {
        let answer = self.post("/v1/auth/login", &json!({ "email": email, "password": password }), None).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        self.with(&answer.text("access_token"))
    }

    /// Makes a project with a name that nobody else has.
    pub(crate) async fn make_project(&self) -> Answer {
        let body = json!({ "name": Random.token() });
        self.post("/v1/projects", &body, None).await.unwrap()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        request
    }

    async fn send(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let began = Instant::now();
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body, took: began.elapsed() })
    }
}
