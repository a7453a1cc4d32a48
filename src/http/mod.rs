//! The HTTP API: two listeners, with the same rules for requests and responses.
//!
//! [`router`] has all routes, and [`Routes`] those of a product. [`middleware`] wraps them. [`admission`] decides who
//! may use a tenant's routes. [`problem`] makes every error response. [`listener`] owns the sockets. A handler parses
//! the request, makes one call into the layers below, and converts the result. There is no SQL here.

pub mod admission;
mod audit_log;
mod auth;
pub mod extract;
mod health;
mod imports;
pub mod listener;
mod metered;
mod metrics;
mod middleware;
mod observe;
mod openapi;
mod people;
mod platform;
pub mod problem;
pub mod proxies;
pub mod readiness;
pub mod request_id;
pub mod router;
mod routes;
#[cfg(test)]
mod tests;
mod uncopied;

use std::{ops::Deref, sync::Arc, time::Duration};

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
    types::{Clock, Random, SchemaVersions, Slug},
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
    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// The limits of requests and the settings of responses, on both listeners.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether browsers are told to use HTTPS only.
    pub production: bool,
    /// The CORS origins that may call the API. If it is empty, no page of another origin may.
    pub cors_origins: Vec<HeaderValue>,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// How long a body may take to arrive. This is shorter than the limit of a whole request, so that a slow sender
    /// gets 408.
    pub body_timeout: Duration,
    /// How long a request may take until the head of its response.
    pub request_timeout: Duration,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: TrustedProxies,
    /// The bearer token that `/metrics` requires, if any.
    pub metrics_token: Option<SecretString>,
    /// The oldest versions of a tenant's database that this program can serve.
    pub oldest_versions: SchemaVersions,
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
            oldest_versions: SchemaVersions { freehold: 0, product: 0 },
        }
    }
}

/// What handlers work with, as `State<AppState>` or some parts by themselves: `State<Tenancy>`. Clones share everything,
/// and cost nothing: each layer around a handler makes some for each request.
///
/// A product's handlers take the clock, randomness and [`Tenancy`] from it. The rest is for Freehold's own handlers.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// See [`AppState`].
pub struct Shared {
    /// All tenants, and the connections to their databases.
    pub tenancy: Tenancy,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Whether this replica can serve.
    pub(crate) readiness: Readiness,
    /// The recorder that `/metrics` renders.
    pub(crate) metrics: Metrics,
    /// The counters of each tenant.
    pub(crate) meters: Meters,
    /// How requests are bounded and answered.
    pub(crate) settings: Arc<Settings>,
    /// Connections, and changes that run on when their client hangs up. Shared by both listeners, so that they
    /// drain together.
    pub(crate) tasks: TaskTracker,
    /// Authentication of users.
    pub(crate) identity: Arc<Identity>,
    /// What operations work with.
    pub(crate) operations: operations::Context,
    /// How requests name tenants.
    pub(crate) rules: Arc<Rules>,
    /// How a tenant's public address is made.
    pub(crate) public_url: Arc<dyn Fn(&Slug) -> String + Send + Sync>,
    /// The streams that follow an operation until it ends.
    pub(crate) streams: Streams,
}

impl From<Shared> for AppState {
    fn from(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

macro_rules! parts {
    ($($field:ident: $part:ty),+) => {$(
        impl FromRef<AppState> for $part {
            fn from_ref(state: &AppState) -> Self {
                state.$field.clone()
            }
        }
    )+};
}

parts!(tenancy: Tenancy, clock: Clock, random: Random, readiness: Readiness, metrics: Metrics, settings: Arc<Settings>);

/// Limits streaming responses, which have no known end.
#[derive(Clone, Debug)]
pub struct Streams {
    /// One permit for each stream of events.
    pub slots: Arc<Semaphore>,
    /// One permit for each archive that is being exported.
    pub exports: Arc<Semaphore>,
    /// One permit for each audit log that is being exported.
    pub logs: Arc<Semaphore>,
    /// One permit for each import of people.
    pub imports: Arc<Semaphore>,
    /// Cancelled when this replica stops: streams end then, so that connections can drain.
    pub stop: CancellationToken,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_STREAMS)),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            logs: Arc::new(Semaphore::new(MAX_LOGS)),
            imports: Arc::new(Semaphore::new(MAX_IMPORTS)),
            stop: CancellationToken::new(),
        }
    }
}

/// Each costs a task and, twice a second at most, a look at the control database.
const MAX_STREAMS: usize = 100;
/// Each decrypts as fast as its client reads.
const MAX_EXPORTS: usize = 4;
/// Each reads a page of events whenever its client has taken one.
const MAX_LOGS: usize = 4;
/// Each keeps the results of a hundred thousand lines.
const MAX_IMPORTS: usize = 2;
