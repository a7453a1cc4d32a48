//! Configuration: raw text in, one validated [`Config`] out, every error at once.
//!
//! A setting has one name in three spellings: `FREEHOLD_PUBLIC_LISTEN` in the environment, `public_listen` or
//! `[public] listen` in the file, and `FREEHOLD_PUBLIC_LISTEN_FILE` for a file that holds the value (secrets).
//! The environment wins over the file. It is read once, at start; nothing else in Freehold reads the
//! environment. An unknown name is an error: a misspelt limit must not be silently ignored.

mod archives;
mod control;
mod http;
mod identity;
mod jobs;
mod keys;
mod mail;
mod operations;
mod source;
mod telemetry;
mod tenancy;

use std::{collections::BTreeMap, path::Path};

pub use archives::ArchivesConfig;
pub use control::ControlConfig;
pub use http::{Cors, HttpConfig, PublicUrl};
pub use identity::IdentityConfig;
pub use jobs::JobsConfig;
pub use keys::{KeyEncryptionKey, parse_keys};
pub use mail::MailConfig;
pub use operations::OperationsConfig;
use source::Reader;
pub use source::{CLIENT_NAMES, ConfigError, Problem};
pub use telemetry::{LogFormat, TelemetryConfig};
pub use tenancy::TenancyConfig;

use crate::types::Invalid;

/// Where this Freehold runs: decides what is refused at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A person's own machine: plaintext database connections on loopback and generated keys are fine.
    Development,
    /// Customers' data: weak or missing secrets, plaintext database connections and wildcard CORS are refused.
    Production,
}

/// Everything that `freehold serve` needs to know, validated.
#[derive(Debug)]
pub struct Config {
    /// Where this Freehold runs.
    pub environment: Environment,
    /// This replica's name: in leases, in `application_name` and in logs.
    pub replica: String,
    /// Listeners, hosts, CORS.
    pub http: HttpConfig,
    /// The control database and, for `bootstrap`, the platform server.
    pub control: ControlConfig,
    /// The key-encryption keys; the first one seals.
    pub keys: Vec<KeyEncryptionKey>,
    /// Tenant pools.
    pub tenancy: TenancyConfig,
    /// Passwords and tokens.
    pub identity: IdentityConfig,
    /// Durable operations.
    pub operations: OperationsConfig,
    /// Work that nobody waits for.
    pub jobs: JobsConfig,
    /// Mail, if any is sent.
    pub mail: Option<MailConfig>,
    /// Dumps of tenants' databases.
    pub archives: ArchivesConfig,
    /// Redis, when there is one: `redis://` or `rediss://`, with its password.
    pub redis_url: Option<secrecy::SecretString>,
    /// Logs, metrics, Sentry.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Reads `environment` (names and values, as `std::env::vars` gives them) over the optional file.
    pub fn load(environment: &BTreeMap<String, String>, file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(environment, file)?;
        let config = Self::read(&mut reader);
        reader.finish()?;
        Ok(config)
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let kind = deployment(reader);
        Self {
            environment: kind,
            replica: replica(reader),
            http: HttpConfig::read(reader, kind),
            control: ControlConfig::read(reader, kind),
            keys: keys::read(reader, kind),
            tenancy: TenancyConfig::read(reader),
            identity: IdentityConfig::read(reader),
            operations: OperationsConfig::read(reader),
            jobs: JobsConfig::read(reader),
            mail: MailConfig::read(reader, kind),
            archives: ArchivesConfig::read(reader, kind),
            redis_url: redis(reader),
            telemetry: TelemetryConfig::read(reader, kind),
        }
    }
}

fn deployment(reader: &mut Reader<'_>) -> Environment {
    reader.parsed("environment", Environment::Development, |text| match text {
        "development" => Ok(Environment::Development),
        "production" => Ok(Environment::Production),
        _ => Err(Invalid::new("invalid", "must be development or production")),
    })
}

fn replica(reader: &mut Reader<'_>) -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().to_ascii_lowercase();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).take(30).collect();
    let fallback = format!("{host}-{}", std::process::id());
    reader.parsed("replica", fallback, |text| {
        let ok = (1..=40).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        if ok {
            Ok(text.to_owned())
        } else {
            Err(Invalid::new("invalid", "must be 1 to 40 of a-z, 0-9, hyphen and dot"))
        }
    })
}

fn redis(reader: &mut Reader<'_>) -> Option<secrecy::SecretString> {
    reader.optional_secret("redis_url", |text| {
        if text.starts_with("redis://") || text.starts_with("rediss://") {
            Ok(())
        } else {
            Err(Invalid::new("invalid", "must begin with redis:// or rediss://"))
        }
    })
}

#[cfg(test)]
mod tests;
