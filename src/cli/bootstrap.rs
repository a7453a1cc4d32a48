//! `freehold bootstrap`: the first operator, made where the configuration is, before there is anybody to ask.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::process::geteuid;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    Environment, Outcome, configuration,
    output::{self, Output},
    process, secret_input,
};
use crate::{
    app::{App, Product},
    config::Config,
    error::Error,
    operations::bootstrap,
    telemetry::{self, metrics::Metrics},
    types::{Clock, DisplayName, Email, Random},
};

/// The arguments of `freehold bootstrap`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Migrates the control database, makes the platform tenant on the server that FREEHOLD_PLATFORM_SERVER_URL names, and
prints the first operator's API key, once, or writes it into a file. Run again it says that it is done, and exits with 0.

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
    /// Write the API key into this file, which only its owner may read, and do not print it.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    #[command(flatten)]
    configuration: configuration::Arguments,
}

pub(super) fn run(
    product: Product,
    arguments: Arguments,
    environment: &Environment,
    output: Output,
) -> anyhow::Result<Outcome> {
    let config = arguments.configuration.load(environment)?;
    let server_url = config.control.platform_server.clone().context(
        "set FREEHOLD_PLATFORM_SERVER_URL to the administrative URL of the server that shall hold the platform tenant",
    )?;
    let password = secret_input::from_stdin("the password on standard input")?;
    // On the disk before the key is valid: a file that cannot be written is refused while nothing is lost.
    let file = arguments.api_key_file.as_deref().map(KeyFile::make).transpose()?;
    let api_key = file.as_ref().map_or_else(new_key, |file| file.key.clone());
    let key = api_key.clone();
    let request = bootstrap::Request { server_url, email: arguments.email, name: arguments.name, password, api_key };
    let _telemetry = telemetry::start(&configuration::telemetry(&config.telemetry, config.environment))?;
    match (process::block_on_all_cores(make(config, product, request))?, file) {
        (true, Some(file)) => file.keep(output)?,
        (true, None) => tell(&key, output)?,
        (false, file) => {
            file.map(KeyFile::discard).transpose()?;
            output.either(&json!({ "api_key": null }), "there is an operator already: nothing to do")?;
        }
    }
    Ok(Outcome::Success)
}

fn new_key() -> SecretString {
    bootstrap::new_key(&Clock::default(), Random)
}

/// Where the API key is to be: beside it under another name, until it is valid. A run that was killed has left the key
/// there, valid or not: the next one goes on with it. What stands under the final name stays when this run has no key.
struct KeyFile<'a> {
    path: &'a Path,
    unfinished: PathBuf,
    key: SecretString,
}

impl<'a> KeyFile<'a> {
    fn make(path: &'a Path) -> anyhow::Result<Self> {
        let unfinished = path.with_added_extension("unfinished");
        let key = Self::left(&unfinished).map_or_else(|| Self::write(&unfinished), Ok);
        let key = key.with_context(|| format!("the file {} cannot be made", unfinished.display()))?;
        Ok(Self { path, unfinished, key })
    }

    /// The key that an earlier run has left, in a file that nobody else can have written or read.
    fn left(unfinished: &Path) -> Option<SecretString> {
        let found = fs::symlink_metadata(unfinished).ok()?;
        let is_own = found.is_file() && found.uid() == geteuid().as_raw() && found.mode() & 0o777 == 0o600;
        let text = is_own.then(|| fs::read_to_string(unfinished).ok()).flatten()?;
        Some(SecretString::from(text.trim_end())).filter(bootstrap::is_key)
    }

    fn write(unfinished: &Path) -> io::Result<SecretString> {
        match fs::remove_file(unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(unfinished)?;
        let key = new_key();
        writeln!(file, "{}", key.expose_secret())?;
        file.sync_all()?;
        Ok(key)
    }

    fn keep(self, output: Output) -> anyhow::Result<()> {
        fs::rename(&self.unfinished, self.path)?;
        let told = format!("the first operator's API key is in {}", self.path.display());
        output.either(&json!({ "api_key_file": self.path }), told)
    }

    fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.unfinished)
    }
}

/// Whether the request's API key is the first operator's: there may be one with another key already.
async fn make(config: Config, product: Product, request: bootstrap::Request) -> anyhow::Result<bool> {
    let app = App::new(config, product, Metrics::install()?, Clock::default())?;
    app.migrate_control().await?;
    let outcome = bootstrap::run(app.operations(), request).await;
    app.operations().db.close().await;
    match outcome {
        Ok(()) => Ok(true),
        Err(Error::Conflict { code: "already_bootstrapped", .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn tell(key: &SecretString, output: Output) -> anyhow::Result<()> {
    let key = key.expose_secret();
    output.either(&json!({ "api_key": key }), key)?;
    output::note("This API key is shown this once. Keep it safe, and set FREEHOLD_API_KEY to it.");
    Ok(())
}
