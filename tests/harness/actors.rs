//! Who asks: [`Anonymous`], a [`Member`] of a tenant (its administrators too), an [`Operator`].
//!
//! What they can do is [`Caller`]'s; the types keep tests from mixing them up.

use std::{collections::BTreeMap, net::SocketAddr, ops::Deref, sync::LazyLock, time::Duration};

use reqwest::{Method, RequestBuilder, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::answer::Answer;

/// Keeps no connection: one that another test's runtime made would die with it.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy();
    client.redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(30)).build().unwrap()
});

/// Somebody who sends requests to one listener, perhaps at a tenant's host and with a bearer token.
#[derive(Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    base: String,
    host: Option<String>,
    bearer: Option<SecretString>,
}

impl Caller {
    /// Without a token, on no connection that lasts.
    pub(crate) fn new(address: SocketAddr, host: String) -> Self {
        Self::through_client(CLIENT.clone(), format!("http://{address}"), Some(host))
    }

    /// Without a token, on the connections of `http`.
    pub(super) const fn through_client(http: reqwest::Client, base: String, host: Option<String>) -> Self {
        Self { http, base, host, bearer: None }
    }

    /// The same with a token.
    pub(crate) fn with(&self, bearer: &SecretString) -> Self {
        Self { bearer: Some(bearer.clone()), ..self.clone() }
    }

    /// The same without a token.
    pub(crate) fn without(&self) -> Self {
        Self { bearer: None, ..self.clone() }
    }

    /// The same at the host of the tenant `slug`.
    pub(crate) fn at(&self, slug: &str) -> Self {
        Self { host: Some(format!("{slug}.localhost")), ..self.clone() }
    }

    /// The same caller, at the listener of another replica.
    pub(crate) fn through(&self, replica: &Self) -> Self {
        Self { http: replica.http.clone(), base: replica.base.clone(), ..self.clone() }
    }

    /// The host that its requests are for.
    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().unwrap()
    }

    /// A request to be completed; sent with [`Answer::to`].
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(host) = &self.host {
            request = request.header(header::HOST, host);
        }
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer.expose_secret()),
            None => request,
        }
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    /// `POST` of a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    /// `POST` of a JSON body under an `Idempotency-Key`.
    pub(crate) async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    /// `PATCH`.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::PATCH, path).json(body)).await
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::DELETE, path)).await
    }

    /// Signs in.
    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/auth/login", &json!({ "email": email, "password": password })).await
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, token: &Value) -> Answer {
        self.post("/v1/auth/refresh", &json!({ "refresh_token": token })).await
    }

    /// How a program of its own speaks to the same listener as the same caller; `parameters` fill the paths.
    pub(crate) fn for_programs(&self, name: &str, parameters: &BTreeMap<String, Value>) -> Value {
        let (url, token) = (self.base.clone(), self.bearer().expose_secret());
        json!({ "name": name, "url": url, "host": self.host, "token": token, "parameters": parameters })
    }

    /// The token that it sends.
    pub(crate) fn bearer(&self) -> &SecretString {
        self.bearer.as_ref().unwrap()
    }
}

macro_rules! actor {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub(crate) struct $name(Caller);

        impl From<Caller> for $name {
            fn from(caller: Caller) -> Self {
                Self(caller)
            }
        }

        impl Deref for $name {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0
            }
        }
    };
}

actor!(
    /// Somebody who does not say who they are.
    Anonymous
);
actor!(
    /// Somebody with a token of a tenant, on the public listener.
    Member
);
actor!(
    /// Somebody with a token, on the admin listener.
    Operator
);
