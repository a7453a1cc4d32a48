//! `freehold bootstrap`: the first operator, made where the configuration is, before there is anybody to ask.

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    Environment, Outcome, configuration,
    output::{self, Output},
    process, secret_input,
};
use crate::{
    app::App,
    config::Config,
    error::Error,
    operations::bootstrap,
    telemetry::{self, metrics::Metrics},
    types::{Clock, DisplayName, Email},
};

/// The arguments of `freehold bootstrap`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Migrates the control database, makes the platform tenant on the server that FREEHOLD_PLATFORM_SERVER_URL names, and
prints the first operator's API key, once. Run again it says that it is done, and exits with 0.

Example:
  freehold bootstrap --email ada@example.com --password-stdin < password.txt")]
pub(super) struct Arguments {
    /// The first operator's e-mail address.
    #[arg(long)]
    email: Email,
    /// Their name.
    #[arg(long)]
    name: Option<DisplayName>,
    /// Read their password (15 characters or more) from standard input.
    #[arg(long, required = true)]
    password_stdin: bool,
    #[command(flatten)]
    configuration: configuration::Arguments,
}

pub(super) fn run(arguments: Arguments, environment: &Environment, output: Output) -> anyhow::Result<Outcome> {
    let config = arguments.configuration.load(environment)?;
    let server_url = config.control.platform_server.clone().context(
        "set FREEHOLD_PLATFORM_SERVER_URL to the administrative URL of the server that shall hold the platform tenant",
    )?;
    let password = secret_input::from_stdin("the password on standard input")?;
    let request = bootstrap::Request { server_url, email: arguments.email, name: arguments.name, password };
    let _telemetry = telemetry::start(&configuration::telemetry(&config.telemetry, config.environment))?;
    match process::block_on_all_cores(make(config, request))? {
        Some(key) => tell(&key, output)?,
        None => output.either(&json!({ "api_key": null }), "there is an operator already: nothing to do")?,
    }
    Ok(Outcome::Success)
}

/// The first operator's API key, unless there is one already.
async fn make(config: Config, request: bootstrap::Request) -> anyhow::Result<Option<SecretString>> {
    let app = App::new(config, Metrics::install()?, Clock::default())?;
    app.migrate_control().await?;
    let outcome = bootstrap::run(app.operations(), request).await;
    app.operations().db.close().await;
    match outcome {
        Ok(key) => Ok(Some(key)),
        Err(Error::Conflict { code: "already_bootstrapped", .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn tell(key: &SecretString, output: Output) -> anyhow::Result<()> {
    let key = key.expose_secret();
    output.either(&json!({ "api_key": key }), key)?;
    output::note("This API key is shown this once. Keep it safe, and set FREEHOLD_API_KEY to it.");
    Ok(())
}
