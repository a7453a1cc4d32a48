//! The connection to Redis. A background task connects, and reconnects when the connection is lost. Nothing waits for
//! it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{
        Builder, FromValue,
        config::{Config, ReconnectPolicy, UnresponsiveConfig},
        scripts::Script,
    },
};
use secrecy::{ExposeSecret, SecretString};

use super::breaker::Breaker;
use crate::error::{Error, Result};

/// How long a command may take (promises.md §2).
const COMMAND: Duration = Duration::from_millis(50);
/// How long connecting may take (promises.md §2).
const CONNECT: Duration = Duration::from_secs(2);
/// A connection that leaves a command unanswered for this long is closed and opened again.
const UNRESPONSIVE: Duration = Duration::from_secs(1);
/// How often unresponsive connections are looked for.
const UNRESPONSIVE_INTERVAL: Duration = Duration::from_millis(250);
/// How many commands may wait while there is no connection; each gives up after [`COMMAND`].
const QUEUE: usize = 1_000;

/// A connection to Redis. Clones share it.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    breaker: Arc<Breaker>,
}

/// Redis gave no answer. The cause is logged when the breaker opens. Callers continue without Redis.
#[derive(Debug)]
pub struct NoAnswer;

/// The error of a command whose caller cannot continue without Redis.
pub(super) fn away(cause: anyhow::Error) -> Error {
    Error::unavailable("redis_unavailable", "Redis does not answer", cause)
}

impl Redis {
    /// Begins to connect in the background, and retries forever. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When `url` is not an address of a Redis server (`redis://` or `rediss://`).
    pub fn connect(url: &SecretString) -> Result<Self> {
        // The cause is left out: it would contain the URL, and with it the password.
        let unusable = |_| Error::defect("the address of Redis cannot be used");
        let config = Config { fail_fast: false, ..Config::from_url(url.expose_secret()).map_err(unusable)? };
        let client = Builder::from_config(config)
            .with_performance_config(|performance| performance.default_command_timeout = COMMAND)
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT;
                connection.internal_command_timeout = CONNECT;
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = QUEUE;
                connection.unresponsive =
                    UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: UNRESPONSIVE_INTERVAL };
            })
            // No bound on attempts; 100 ms at first, at most 2 s between two.
            .set_policy(ReconnectPolicy::new_exponential(0, 100, 2_000, 2))
            .build()
            .map_err(unusable)?;
        // The task that holds the connection lives as long as the process.
        drop(client.connect());
        Ok(Self { client, breaker: Arc::default() })
    }

    /// Whether Redis answers within the timeout of a command. Tries even while the breaker is open.
    pub async fn ping(&self) -> Result<()> {
        let asked = tokio::time::timeout(2 * COMMAND, self.client.ping::<()>(None)).await;
        match asked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(away(anyhow::Error::msg(error.to_string()))),
            Err(elapsed) => Err(away(elapsed.into())),
        }
    }

    /// The connection, for callers that wait for Redis.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a script, unless the breaker is open.
    pub async fn run<T: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<i64>,
    ) -> Result<T, NoAnswer> {
        if !self.breaker.permits(Instant::now()) {
            return Err(NoAnswer);
        }
        // The outer bound holds whatever the client is doing, loading the script included.
        let asked = script.evalsha_with_reload(&self.client, keys, arguments);
        let cause = match tokio::time::timeout(COMMAND, asked).await {
            Ok(Ok(answer)) => {
                if self.breaker.succeeded() {
                    tracing::info!("redis answers again");
                }
                return Ok(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        metrics::counter!("freehold_redis_failures_total").increment(1);
        if self.breaker.failed(Instant::now()) {
            tracing::warn!(error = cause, "redis does not answer; limits are kept by each replica");
        }
        Err(NoAnswer)
    }
}
