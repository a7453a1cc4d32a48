//! HTTP: two listeners, one set of rules for requests and answers.
//!
//! [`router`] shows all routes, [`Routes`] are a product's, [`middleware`] all that happens around them, [`admission`]
//! who may come to a tenant's, [`problem`] makes every error answer, [`listener`] owns the sockets. Handlers parse, make
//! one call into the layers below, and map its result: no SQL is spoken here.

pub mod admission;
mod auth;
pub mod extract;
mod health;
pub mod listener;
mod metered;
mod metrics;
mod middleware;
mod observe;
mod openapi;
mod platform;
pub mod problem;
pub mod proxies;
pub mod readiness;
pub mod request_id;
pub mod router;
mod routes;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{extract::FromRef, http::HeaderValue};
use proxies::TrustedProxies;
pub use readiness::Readiness;
pub use routes::Routes;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    identity::Identity,
    operations,
    telemetry::{meters::Meters, metrics::Metrics},
    tenancy::{Tenancy, resolve::Rules},
    types::{Clock, Random, Slug},
};

/// Which of the two sockets a router serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Tenants and their users.
    Public,
    /// Operators, scrapers and probes, on a private network.
    Admin,
}

impl Listener {
    /// As metrics and logs name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// How requests are bounded and answered, on both listeners.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether browsers are told to use HTTPS only.
    pub production: bool,
    /// Origins whose pages may call the API; none = no page of another origin may.
    pub cors_origins: Vec<HeaderValue>,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// How long a body may take to arrive. Shorter than a whole request, so that a slow sender is told so (408).
    pub body_timeout: Duration,
    /// How long a whole request may take, until its answer's head.
    pub request_timeout: Duration,
    /// Whose word about a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// What `/metrics` asks for; none = nothing.
    pub metrics_token: Option<SecretString>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            production: true,
            cors_origins: Vec::new(),
            body_limit: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
            trusted_proxies: TrustedProxies::default(),
            metrics_token: None,
        }
    }
}

/// What handlers work with, as `State<AppState>` or each part by itself: `State<Tenancy>`. Clones share everything.
///
/// A product's handlers ask for the time, for randomness and for the doors to tenants' data; the rest is Freehold's own.
#[derive(Clone, FromRef)]
pub struct AppState {
    /// Every tenant, and the doors to their data.
    pub tenancy: Tenancy,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Whether this replica can serve.
    pub(crate) readiness: Readiness,
    /// The recorder that `/metrics` renders.
    pub(crate) metrics: Metrics,
    /// What is counted by tenant.
    pub(crate) meters: Meters,
    /// How requests are bounded and answered.
    pub(crate) settings: Arc<Settings>,
    /// Connections, and changes that run on when their client hangs up. Shared by both listeners, so that they
    /// drain together.
    #[from_ref(skip)]
    pub(crate) tasks: TaskTracker,
    /// Who is who.
    #[from_ref(skip)]
    pub(crate) identity: Arc<Identity>,
    /// What operations work with.
    #[from_ref(skip)]
    pub(crate) operations: operations::Context,
    /// How requests name tenants.
    #[from_ref(skip)]
    pub(crate) rules: Arc<Rules>,
    /// How a tenant's public address is made.
    #[from_ref(skip)]
    pub(crate) public_url: Arc<dyn Fn(&Slug) -> String + Send + Sync>,
    /// Followers of operations: answers that go on until the operation ends.
    #[from_ref(skip)]
    pub(crate) streams: Streams,
}

/// Answers without a foreseeable end: how many there may be, and when they have to end.
#[derive(Clone, Debug)]
pub struct Streams {
    /// One permit a stream.
    pub slots: Arc<Semaphore>,
    /// This replica stops: streams end, so that connections can drain.
    pub stop: CancellationToken,
}

impl Default for Streams {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(MAX_STREAMS)), stop: CancellationToken::new() }
    }
}

/// Each costs a task and, twice a second at most, a look at the control database.
const MAX_STREAMS: usize = 100;
