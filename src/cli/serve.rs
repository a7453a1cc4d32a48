//! `freehold serve`: one replica, until it is told to stop.

use super::{Environment, Outcome, configuration, process};
use crate::{
    app::{App, Product, Sockets},
    config::Config,
    telemetry::{self, metrics::Metrics},
    types::Clock,
};

/// The arguments of `freehold serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings are listed in .env.example; `freehold check-config` judges them. The first SIGTERM or SIGINT ends the
replica in order: accepted requests are answered, operations are handed over. A second one ends it at once.

Examples:
  freehold serve
  FREEHOLD_PUBLIC_LISTEN=0.0.0.0:80 freehold serve --config /etc/freehold.toml")]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: configuration::Arguments,
}

pub(super) fn run(product: Product, arguments: &Arguments, environment: &Environment) -> anyhow::Result<Outcome> {
    let config = arguments.configuration.load(environment)?;
    let _telemetry = telemetry::start(&configuration::telemetry(&config.telemetry, config.environment))?;
    process::block_on_all_cores(serve(config, product))
}

async fn serve(config: Config, product: Product) -> anyhow::Result<Outcome> {
    let stop = process::stop_signal()?;
    let sockets = Sockets::bind(&config).await?;
    let app = App::new(config, product, Metrics::install()?, Clock::default())?;
    app.serve(sockets, stop).await?;
    Ok(Outcome::Success)
}
