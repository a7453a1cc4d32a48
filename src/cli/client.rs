//! The REST API of a running Freehold, as the command line speaks it.
//!
//! Every call is bounded in time. A call is repeated only where that is safe: see [`Client::patiently`]. Answers
//! are passed on as the JSON that they are, so that an older program shows what a newer server tells.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};
use url::{Host, Url};

use super::{
    Environment,
    problem::{ClientError, Problem},
};

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than a server takes for any answer (15 s).
const ANSWER: Duration = Duration::from_secs(20);
/// Longer than a server takes for an answer that it streams (12 h).
const STREAM: Duration = Duration::from_hours(13);
/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_mins(2);
/// How long a call is repeated while Freehold is away or busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most items that a list gives at once.
const PAGE: usize = 200;

static PREFER: HeaderName = HeaderName::from_static("prefer");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A connection to one listener, with one credential. Clones share it.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
}

/// Who asks, and whom.
#[derive(Debug, Default)]
pub(super) struct Identity<'a> {
    /// An API key or access token.
    pub(super) bearer: Option<&'a SecretString>,
    /// The host to name instead of the address: a tenant's.
    pub(super) host: Option<&'a str>,
}

impl Client {
    /// The admin listener that `FREEHOLD_URL` names, with the key in `FREEHOLD_API_KEY`.
    pub(super) fn from_environment(environment: &Environment) -> anyhow::Result<Self> {
        let read = |name: &str| environment.get(name).filter(|text| !text.is_empty()).cloned();
        let (Some(url), Some(key)) = (read("FREEHOLD_URL"), read("FREEHOLD_API_KEY")) else {
            anyhow::bail!(
                "set FREEHOLD_URL and FREEHOLD_API_KEY; with `freehold dev` running here: \
                 set -a; . .freehold/dev.env; set +a"
            );
        };
        Self::new(&url, &Identity { bearer: Some(&SecretString::from(key)), host: None })
    }

    /// The listener at `url`.
    pub(super) fn new(url: &str, identity: &Identity<'_>) -> anyhow::Result<Self> {
        let base = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.context("FREEHOLD_URL must be an address such as http://127.0.0.1:8081")?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("freehold/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(identity)?);
        if base.scheme() == "http" {
            // Without TLS no authorities are needed: a machine that has none installed is no obstacle.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build().context("cannot prepare HTTP requests")?, base })
    }

    /// `GET path?query`.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.send(self.http.request(Method::GET, self.url(path)).query(query)).await
    }

    /// `GET path`, answered once the thing has ended or after a second: what follows a change without asking often.
    pub(super) async fn get_waiting(&self, path: &str) -> Result<Value, ClientError> {
        self.send(self.http.request(Method::GET, self.url(path)).header(&PREFER, "wait=1")).await
    }

    /// `POST path`, with an `Idempotency-Key` where the same call may be made again.
    pub(super) async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value, ClientError> {
        let request = self.http.request(Method::POST, self.url(path)).json(body);
        self.send(key.iter().fold(request, |request, key| request.header(&IDEMPOTENCY_KEY, *key))).await
    }

    /// `POST path`, whose answer may take as long as `within`.
    pub(super) async fn post_within(&self, path: &str, body: &Value, within: Duration) -> Result<Value, ClientError> {
        self.send(self.http.request(Method::POST, self.url(path)).json(body).timeout(within)).await
    }

    /// `POST path?query` of lines of JSON, whose answer may take as long as `within`.
    pub(super) async fn post_lines(
        &self,
        (path, query): (&str, &[(&str, String)]),
        lines: Vec<u8>,
        within: Duration,
    ) -> Result<Value, ClientError> {
        let request = self.http.request(Method::POST, self.url(path)).query(query).body(lines).timeout(within);
        self.send(request.header(header::CONTENT_TYPE, "application/x-ndjson")).await
    }

    /// `POST path`, whose answer is a stream of bytes: writes them to `file`. Returns how many they were.
    pub(super) async fn download(&self, path: &str, file: impl AsyncWrite + Unpin) -> anyhow::Result<u64> {
        let request = self.http.request(Method::POST, self.url(path)).json(&json!({}));
        self.save(request, &["application/octet-stream"], file).await
    }

    /// `GET path?query`, whose answer is a stream of lines: as [`Client::download`].
    pub(super) async fn fetch(
        &self,
        path: &str,
        query: &[(&str, String)],
        file: impl AsyncWrite + Unpin,
    ) -> anyhow::Result<u64> {
        let request = self.http.request(Method::GET, self.url(path)).query(query);
        self.save(request, &["application/x-ndjson", "text/csv; charset=utf-8"], file).await
    }

    async fn save(
        &self,
        request: RequestBuilder,
        kinds: &[&str],
        mut file: impl AsyncWrite + Unpin,
    ) -> anyhow::Result<u64> {
        let request = request.timeout(STREAM);
        let lost = |source| ClientError::Lost { url: self.base.to_string(), source };
        let mut response = timeout(ANSWER, self.begin(request)).await.context("Freehold does not answer")??;
        if !response.status().is_success() {
            return Err(self.refusal(response).await.into());
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        let is_expected = kind.is_some_and(|kind| kinds.iter().any(|one| kind == one));
        let foreign = ClientError::Foreign { url: self.base.to_string(), status: response.status() };
        ensure!(is_expected, foreign);
        let mut bytes = 0;
        while let Some(piece) = timeout(SILENCE, response.chunk()).await.context("nothing more comes")?.map_err(lost)? {
            file.write_all(&piece).await?;
            bytes += u64::try_from(piece.len())?;
        }
        file.flush().await?;
        Ok(bytes)
    }

    /// `PATCH path`.
    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(self.http.request(Method::PATCH, self.url(path)).json(body)).await
    }

    /// All items of a list that comes in one piece.
    pub(super) async fn whole(&self, path: &str) -> Result<Vec<Value>, ClientError> {
        Ok(take_items(&mut self.get(path, &[]).await?))
    }

    /// Items of a list that comes in pages, `at_most` of them, and the cursor of what comes after.
    pub(super) async fn items(
        &self,
        path: &str,
        filter: &[(&str, String)],
        at_most: usize,
    ) -> Result<(Vec<Value>, Option<String>), ClientError> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let limit = (at_most - items.len()).min(PAGE);
            let mut query = filter.to_vec();
            query.push(("limit", limit.to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            cursor = page.pointer("/next_cursor").and_then(Value::as_str).map(str::to_owned);
            items.extend(take_items(&mut page));
            if cursor.is_none() || items.len() >= at_most {
                return Ok((items, cursor));
            }
        }
    }

    /// Repeats a call while Freehold is away, restarts or is busy, for [`PATIENCE`]. The call must be one that can be
    /// made twice. That nobody listens at all is told at once, unless `known` to have answered before.
    pub(super) async fn patiently<T>(
        known: bool,
        call: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + PATIENCE;
        let mut known = known;
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error @ ClientError::Unreachable { .. }) if !known => return Err(error),
                Err(error) => error,
            };
            known = true;
            match error.retry_after() {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ => return Err(error),
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let response = self.begin(request).await?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        if !status.is_success() {
            return Err(self.refusal(response).await);
        }
        let url = self.base.to_string();
        let body = response.bytes().await.map_err(|source| ClientError::Lost { url: url.clone(), source })?;
        serde_json::from_slice(&body).map_err(|_| ClientError::Foreign { url, status })
    }

    /// Sends the request, and waits for the head of its answer.
    async fn begin(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let url = self.base.to_string();
        match request.send().await {
            Ok(response) => Ok(response),
            Err(source) if source.is_connect() => Err(ClientError::Unreachable { url, source }),
            Err(source) => Err(ClientError::Lost { url, source: source.without_url() }),
        }
    }

    /// What an answer says that is no success.
    async fn refusal(&self, response: Response) -> ClientError {
        let (url, status, retry_after) = (self.base.to_string(), response.status(), retry_after(&response));
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(source) => return ClientError::Lost { url, source },
        };
        let Ok(mut problem) = serde_json::from_slice::<Problem>(&body) else {
            return ClientError::Foreign { url, status };
        };
        problem.retry_after = retry_after;
        ClientError::Refused(Box::new(problem))
    }
}

fn headers(identity: &Identity<'_>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(bearer) = identity.bearer {
        let text = SecretString::from(format!("Bearer {}", bearer.expose_secret()));
        let mut value = HeaderValue::from_str(text.expose_secret()).ok().context("FREEHOLD_API_KEY is not a key")?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(host) = identity.host {
        headers.insert(header::HOST, HeaderValue::from_str(host)?);
    }
    Ok(headers)
}

fn take_items(page: &mut Value) -> Vec<Value> {
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// No proxy stands between a machine and itself, whatever the environment says.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_needs_an_address_and_a_key_and_says_where_they_come_from() {
        let error = |pairs: &[(&str, &str)]| {
            let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Client::from_environment(&environment).err().map(|error| error.to_string())
        };
        assert!(error(&[]).unwrap().contains(". .freehold/dev.env"));
        assert!(error(&[("FREEHOLD_URL", "http://127.0.0.1:8081"), ("FREEHOLD_API_KEY", "")]).is_some());
        assert!(error(&[("FREEHOLD_URL", "127.0.0.1:8081"), ("FREEHOLD_API_KEY", "key")]).unwrap().contains("such as"));
        assert_eq!(error(&[("FREEHOLD_URL", "http://127.0.0.1:8081"), ("FREEHOLD_API_KEY", "key")]), None);
    }

    #[test]
    fn a_path_is_appended_to_whatever_prefix_the_address_has() {
        let url = |base: &str| Client::new(base, &Identity::default()).unwrap().url("/platform/v1/tenants");
        assert_eq!(url("http://127.0.0.1:8081"), "http://127.0.0.1:8081/platform/v1/tenants");
        assert_eq!(url("http://127.0.0.1/freehold/"), "http://127.0.0.1/freehold/platform/v1/tenants");
    }
}
