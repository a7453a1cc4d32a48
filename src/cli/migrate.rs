//! `freehold migrate control`: the control database's schema, ahead of the first replica that needs it.

use serde_json::json;

use super::{Environment, Outcome, configuration, output::Output, process};
use crate::{
    app::{App, Product},
    config::Config,
    migrations::Report,
    telemetry::{self, metrics::Metrics},
    types::Clock,
};

/// What can be migrated from here. Tenants' databases are migrated by a running Freehold.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Apply the migrations that the control database lacks. `serve` does so too; several may at once.
    Control(configuration::Arguments),
}

pub(super) fn run(
    product: Product,
    command: &Command,
    environment: &Environment,
    output: Output,
) -> anyhow::Result<Outcome> {
    let Command::Control(arguments) = command;
    let config = arguments.load(environment)?;
    let _telemetry = telemetry::start(&configuration::telemetry(&config.telemetry, config.environment))?;
    let report = process::block_on(migrate(config, product))?;
    let text = match report.applied.len() {
        0 => format!("the control database is at version {} already", report.version),
        count => format!("applied {count} migrations; the control database is at version {}", report.version),
    };
    output.either(&json!({ "applied": report.applied, "version": report.version }), text)?;
    Ok(Outcome::Success)
}

async fn migrate(config: Config, product: Product) -> anyhow::Result<Report> {
    Ok(App::new(config, product, Metrics::install()?, Clock::default())?.migrate_control().await?)
}
