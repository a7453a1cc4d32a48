//! `freehold dev`: private PostgreSQL clusters and Redis under one folder, demo tenants, and a replica on top.
//!
//! [`environment::start`] brings all servers up at once and leaves them as it found them: what an earlier run
//! that was killed left running is stopped first, data and passwords are kept. The processes are children of
//! this one, in process groups of their own, so that Ctrl-C reaches Freehold alone and it decides when they end.
//! Then this process becomes the replica ([`replica`]) and is its own first client: it seeds what is missing
//! through the REST API, and writes `dev.json` and `dev.env` last, so that their presence means ready.
//! Nothing here may be used against a server that Freehold did not start itself.

pub mod cluster;
pub mod environment;
pub mod redis;

mod banner;
mod binaries;
mod credentials;
mod demo;
mod files;
mod initdb;
mod lock;
mod mail;
mod memory;
mod place;
mod ports;
mod process;
mod replica;
mod roles;
mod seed;
mod settings;

use std::path::PathBuf;

use super::{Environment as Variables, Outcome, configuration, output::Output, process as runtime};
use crate::{
    app::Product,
    config::{self, TelemetryConfig},
    telemetry,
};

/// The arguments of `freehold dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs PostgreSQL 15 or later, and Redis if it is installed; ./ops/run installs both and runs this. Ctrl-C stops all
that it started; data is kept. FREEHOLD_PUBLIC_LISTEN and FREEHOLD_ADMIN_LISTEN move the listeners from
127.0.0.1:8080 and 127.0.0.1:8081.

Examples:
  freehold dev
  freehold dev --reset
  freehold dev mail          # what was mailed, in another terminal
  FREEHOLD_PUBLIC_LISTEN=127.0.0.1:9080 FREEHOLD_ADMIN_LISTEN=127.0.0.1:9081 freehold dev --folder /tmp/second")]
pub(super) struct Arguments {
    /// Forget everything that an earlier run left, and start from nothing.
    #[arg(long)]
    reset: bool,
    /// Where everything is kept.
    #[arg(long, default_value = ".freehold", global = true)]
    folder: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the mails that were written to the folder instead of being sent, or show one.
    Mail(mail::Arguments),
}

pub(super) fn run(
    product: &Product,
    arguments: &Arguments,
    variables: &Variables,
    output: Output,
) -> anyhow::Result<Outcome> {
    if let Some(Command::Mail(wanted)) = &arguments.command {
        return mail::run(&arguments.folder, wanted, output);
    }
    // Before servers are started for nothing.
    product.check()?;
    let telemetry = TelemetryConfig::load(variables)?;
    let _telemetry = telemetry::start(&configuration::telemetry(&telemetry, config::Environment::Development))?;
    runtime::block_on_all_cores(serve(product, arguments, variables))
}

async fn serve(product: &Product, arguments: &Arguments, variables: &Variables) -> anyhow::Result<Outcome> {
    let stop = runtime::stop_signal()?;
    let starting = environment::start(&arguments.folder, arguments.reset);
    // Dropped half-way, it ends what it has started.
    let Some(environment) = stop.run_until_cancelled(starting).await else { return Ok(Outcome::Success) };
    let environment = environment?;
    let served = replica::run(product, &environment, variables, &stop).await;
    let stopped = environment.stop().await;
    served.and(stopped).map(|()| Outcome::Success)
}
