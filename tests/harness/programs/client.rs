//! What clients of programs do. Programs are killed and stopped: a connection may be lost, and an answer with it.

use std::time::Duration;

use freehold::types::Random;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{actors::Caller, answer::Answer};

/// Longer than any answer may take (15 s).
const ANSWER: Duration = Duration::from_secs(20);

impl Caller {
    /// Nobody in particular, at the listener with this URL. Clones share its connections.
    pub(crate) fn at_url(base: &str) -> Self {
        let http = Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER).build().unwrap();
        Self::through_client(http, base.to_owned(), None)
    }

    /// `GET`, which may be answered or not.
    pub(crate) async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        Answer::try_to(self.request(Method::GET, path)).await
    }

    /// Posts `body`, with an `Idempotency-Key` if there is one.
    pub(crate) async fn try_post(&self, path: &str, body: &Value, key: Option<&str>) -> reqwest::Result<Answer> {
        let request = self.request(Method::POST, path).json(body);
        Answer::try_to(key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))).await
    }

    /// Posts a creation until it is answered with something else than "come back", for half a minute. A lost
    /// connection ends it: whether anything was made is then open.
    pub(crate) async fn post_patiently(&self, path: &str, body: &Value, key: &str) -> reqwest::Result<Answer> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.try_post(path, body, Some(key)).await?;
            match answer.retry_after().filter(|pause| Instant::now() + *pause < deadline) {
                Some(pause) => sleep(pause).await,
                None => return Ok(answer),
            }
        }
    }

    /// Makes a tenant as an operator, and is answered when it serves or after ten seconds.
    pub(crate) async fn create_and_wait(&self, slug: &str) -> reqwest::Result<Answer> {
        let body = json!({ "slug": slug, "name": slug, "admin": { "email": format!("admin@{slug}.example") } });
        Answer::try_to(self.request(Method::POST, "/platform/v1/tenants").header("prefer", "wait=10").json(&body)).await
    }

    /// Signs in; the same client with the access token.
    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Self {
        let tokens = self.login(email, password).await.expect(200);
        self.with(&tokens["access_token"].as_str().unwrap().into())
    }

    /// Makes a project with a name that nobody else has.
    pub(crate) async fn make_project(&self) -> Answer {
        self.post("/v1/projects", &json!({ "name": Random.token() })).await
    }
}
