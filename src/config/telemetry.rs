//! Logs, metrics and Sentry.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::{ConfigError, Environment, source::Reader};
use crate::types::Invalid;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Coloured text, for people.
    Pretty,
}

/// Logs, metrics and Sentry.
#[derive(Debug)]
pub struct TelemetryConfig {
    /// A `tracing` filter: `info,freehold=debug`.
    pub log: String,
    /// How log lines look.
    pub format: LogFormat,
    /// When set, `/metrics` asks for it as a bearer token.
    pub metrics_token: Option<SecretString>,
    /// Where defects are reported, if anywhere.
    pub sentry_dsn: Option<SecretString>,
}

impl TelemetryConfig {
    /// This section alone, for development: `freehold dev` logs before the rest of its configuration exists.
    pub fn load(environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(environment, None)?;
        let config = Self::read(&mut reader, Environment::Development);
        reader.problems()?;
        Ok(config)
    }

    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let production = environment == Environment::Production;
        // fred tells of every lost connection by itself; readiness and the breaker tell what it means.
        let log = reader.parsed("log", "info,fred=error".to_owned(), |text| {
            match text.parse::<tracing_subscriber::EnvFilter>() {
                Ok(_) => Ok(text.to_owned()),
                Err(_) => Err(Invalid::new("invalid", "must be a filter such as info or info,freehold=debug")),
            }
        });
        let default = if production { LogFormat::Json } else { LogFormat::Pretty };
        let format = reader.parsed("log_format", default, |text| match text {
            "json" => Ok(LogFormat::Json),
            "pretty" => Ok(LogFormat::Pretty),
            _ => Err(Invalid::new("invalid", "must be json or pretty")),
        });
        let metrics_token = reader.optional_secret("metrics_token", |text| {
            if text.len() >= 16 || !production {
                Ok(())
            } else {
                Err(Invalid::new("weak", "must have at least 16 characters in production"))
            }
        });
        let sentry_dsn = reader.optional_secret("sentry_dsn", |text| {
            text.parse::<sentry::types::Dsn>().map(drop).map_err(|_| Invalid::new("invalid", "must be a Sentry DSN"))
        });
        Self { log, format, metrics_token, sentry_dsn }
    }
}
