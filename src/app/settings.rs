//! What each part of a replica is told of the configuration.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretBox};

use crate::{
    config::{Config, Cors, Environment},
    control::{self, ControlDb, listener::Signals, sealing::KeyRing},
    error::{Error, Result},
    http::{self, proxies::TrustedProxies},
    identity::{self, letters::Letters},
    jobs::{self, Desk},
    mail::Mailer,
    migrations,
    operations::{self, engine::Pace},
    servers::AdminUrl,
    tenancy::{PoolSettings, resolve::Rules},
    types::{Random, SchemaVersions, Slug},
};

/// How a tenant's public address is made.
pub(super) fn public_url(config: &Config) -> Arc<dyn Fn(&Slug) -> String + Send + Sync> {
    let public_url = config.http.public_url.clone();
    Arc::new(move |slug| public_url.of(slug))
}

/// Where the control database is.
pub(super) fn control_url(config: &Config) -> Result<&AdminUrl> {
    config.control.database.as_ref().ok_or_else(|| Error::defect("the configuration has no control database"))
}

/// How the control database is reached.
pub(super) fn control_settings(config: &Config) -> Result<control::Settings> {
    let url = control_url(config)?;
    Ok(control::Settings {
        host: url.address.host.clone(),
        port: url.address.port,
        role: url.credentials.role.clone(),
        password: url.credentials.password.clone(),
        database: url.database.clone(),
        verify_tls: url.address.tls == crate::servers::Tls::VerifyFull,
        ca_file: config.control.ca_file.clone(),
        max_connections: config.control.max_connections,
        application_name: format!("freehold:{}", config.replica),
    })
}

/// How requests are bounded and answered.
pub(super) fn http_settings(config: &Config, oldest_version: i32) -> Result<http::Settings> {
    let origins = match &config.http.cors {
        Cors::SameOrigin => Vec::new(),
        Cors::Any => vec!["*".to_owned()],
        Cors::Origins(origins) => origins.clone(),
    };
    let origin = |origin: String| origin.parse().map_err(|error| Error::internal(anyhow::Error::new(error)));
    Ok(http::Settings {
        production: config.environment == Environment::Production,
        cors_origins: origins.into_iter().map(origin).collect::<Result<_>>()?,
        trusted_proxies: TrustedProxies::new(config.http.trusted_proxies.clone()),
        metrics_token: config.telemetry.metrics_token.clone(),
        oldest_versions: SchemaVersions { freehold: migrations::OLDEST_FREEHOLD_VERSION, product: oldest_version },
        ..http::Settings::default()
    })
}

/// How long, and how often.
pub(super) fn operations_settings(config: &Config) -> operations::Settings {
    operations::Settings {
        janitor: config.operations.janitor,
        deletion_grace: config.operations.deletion_grace,
        slug_redirect: config.operations.slug_redirect,
        slug_reservation: config.operations.slug_reservation,
        deletions_per_hour: config.operations.deletions_per_hour,
        pace: pace(config),
    }
}

#[cfg(feature = "crash-points")]
fn pace(config: &Config) -> Pace {
    config.operations.test_pace.map_or_else(Pace::default, Pace::quick)
}

#[cfg(not(feature = "crash-points"))]
fn pace(_: &Config) -> Pace {
    Pace::default()
}

/// What jobs and schedules need.
pub(super) fn desk(config: &Config, db: &ControlDb, keys: &Arc<KeyRing>, signals: &Signals) -> Desk {
    Desk {
        db: db.clone(),
        keys: Arc::clone(keys),
        signals: signals.clone(),
        random: Random,
        replica: config.replica.clone(),
        pace: jobs_pace(config),
        kept: jobs::schedule::Kept::default(),
    }
}

/// How fast jobs and schedules go.
#[cfg(feature = "crash-points")]
fn jobs_pace(config: &Config) -> jobs::Pace {
    config.operations.test_pace.map_or_else(jobs::Pace::default, jobs::Pace::quick)
}

/// How fast jobs and schedules go.
#[cfg(not(feature = "crash-points"))]
fn jobs_pace(_: &Config) -> jobs::Pace {
    jobs::Pace::default()
}

/// How mail is sent, if it is.
pub(super) fn letters(config: &Config) -> Result<Option<Letters>> {
    let Some(mail) = &config.mail else { return Ok(None) };
    let public_url = public_url(config);
    Ok(Some(Letters::new(Mailer::new(&mail.settings)?, public_url, mail.link.clone())))
}

/// The keys that seal.
pub(super) fn key_ring(config: &Config) -> Result<KeyRing> {
    KeyRing::new(config.keys.iter().map(|kek| (kek.id.clone(), SecretBox::new(Box::new(*kek.key.expose_secret())))))
}

/// How connections to tenants' databases are kept.
pub(super) fn pool_settings(config: &Config) -> PoolSettings {
    PoolSettings {
        max_size: usize::try_from(config.tenancy.pool_size).unwrap_or(1),
        idle: config.tenancy.idle,
        secrets_kept: usize::try_from(config.tenancy.secrets_kept).unwrap_or(usize::MAX),
        application_name: format!("freehold:{}", config.replica),
    }
}

/// How people are known.
pub(super) fn identity_settings(config: &Config, product: &str) -> identity::Settings {
    identity::Settings {
        hash_concurrency: usize::try_from(config.identity.hash_concurrency).unwrap_or(1),
        session_idle: config.identity.session_idle,
        product: product.to_owned(),
        audit_days: config.identity.audit_days,
        issuer: public_url(config),
    }
}

/// How requests name tenants.
pub(super) fn rules(config: &Config) -> Rules {
    Rules { base_domain: config.http.public_url.base_domain.clone(), path_prefix: config.http.path_prefix }
}
