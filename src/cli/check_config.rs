//! `freehold check-config`: everything that is wrong with the configuration, or what holds. Shows no secret.

use serde_json::{Value, json};

use super::{
    Environment, Outcome, configuration,
    output::{self, Output},
};
use crate::{
    app::Product,
    config::{Config, Cors, MailConfig},
    mail::Route,
};

/// Reads the configuration and judges the product as `serve` would, and connects nowhere.
pub(super) fn run(
    product: &Product,
    arguments: &configuration::Arguments,
    environment: &Environment,
    output: Output,
) -> anyhow::Result<Outcome> {
    let config = arguments.load(environment)?;
    product.check()?;
    let settings = effective(&config);
    let rows = settings.iter().map(|(name, value)| match value {
        Value::String(text) => (*name, text.clone()),
        other => (*name, other.to_string()),
    });
    let object: serde_json::Map<_, _> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    output.either(&object, output::pairs(rows))?;
    Ok(Outcome::Success)
}

fn effective(config: &Config) -> Vec<(&'static str, Value)> {
    let given = |is_given: bool| if is_given { "given" } else { "not given" };
    let cors = match &config.http.cors {
        Cors::SameOrigin => "same origin only".to_owned(),
        Cors::Any => "*".to_owned(),
        Cors::Origins(origins) => origins.join(", "),
    };
    let control = config.control.database.as_ref();
    vec![
        ("environment", json!(configuration::name(config.environment))),
        ("replica", json!(config.replica)),
        ("public_listen", json!(config.http.public_listen)),
        ("admin_listen", json!(config.http.admin_listen)),
        ("public_scheme", json!(config.http.public_url.scheme)),
        ("base_domain", json!(config.http.public_url.base_domain)),
        ("public_port", json!(config.http.public_url.port)),
        ("path_prefix", json!(config.http.path_prefix)),
        ("cors_origins", json!(cors)),
        ("max_connections", json!(config.http.max_connections)),
        ("control_host", json!(control.map(|url| format!("{}:{}", url.address.host, url.address.port)))),
        ("control_database", json!(control.map(|url| &url.database))),
        ("control_tls", json!(control.map(|url| url.address.tls.to_string()))),
        ("control_max_connections", json!(config.control.max_connections)),
        ("platform_server_url", json!(given(config.control.platform_server.is_some()))),
        ("key_encryption_keys", json!(config.keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", "))),
        ("redis_url", json!(given(config.redis_url.is_some()))),
        ("tenant_pool_size", json!(config.tenancy.pool_size)),
        ("tenant_pool_idle_seconds", json!(config.tenancy.idle.as_secs())),
        ("password_hash_concurrency", json!(config.identity.hash_concurrency)),
        ("session_idle_hours", json!(config.identity.session_idle.as_secs() / 3_600)),
        ("invitation_hours", json!(config.identity.invitation.as_secs() / 3_600)),
        ("audit_retention_days", json!(config.identity.audit_days.unwrap_or_default())),
        ("operation_concurrency", json!(config.operations.concurrency)),
        ("job_concurrency", json!(config.jobs.concurrency)),
        ("mail", json!(config.mail.as_ref().map(mail))),
        ("archive_store", json!(config.archives.store.as_ref().map(ToString::to_string))),
        ("postgres_bin", json!(config.archives.postgres_bin)),
        ("log", json!(config.telemetry.log)),
        ("metrics_token", json!(given(config.telemetry.metrics_token.is_some()))),
        ("sentry_dsn", json!(given(config.telemetry.sentry_dsn.is_some()))),
    ]
}

/// From whom mail comes, and where it goes first.
fn mail(config: &MailConfig) -> String {
    let from = &config.settings.sender;
    match &config.settings.route {
        Route::Smtp(smtp) => format!("from {from} through {}:{}, TLS {}", smtp.host, smtp.port, smtp.tls.as_str()),
        Route::Folder(folder) => format!("from {from} into the folder {}", folder.display()),
    }
}
