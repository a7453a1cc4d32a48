//! Where the configuration of this process comes from, and what each part of the program wants of it.

use std::path::{Path, PathBuf};

use super::Environment;
use crate::{
    config::{self, Config, ConfigError, TelemetryConfig},
    telemetry::{LogFormat, Settings},
};

/// Read when it is there and no other file is named.
const DEFAULT_FILE: &str = "freehold.toml";

/// Where the configuration comes from.
#[derive(Debug, clap::Args)]
// Flattened into the arguments of commands, whose types have the same name.
#[group(skip)]
pub(super) struct Arguments {
    /// The configuration file; else `FREEHOLD_CONFIG`, else ./freehold.toml if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Arguments {
    /// Reads the environment over the file.
    pub(super) fn load(&self, environment: &Environment) -> Result<Config, ConfigError> {
        let named = environment.get("FREEHOLD_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file());
        let file = self.config.clone().or(named).or_else(default);
        Config::load(environment, file.as_deref().map(Path::new))
    }
}

/// What telemetry wants to know.
pub(super) fn telemetry(config: &TelemetryConfig, environment: config::Environment) -> Settings {
    Settings {
        log_filter: config.log.clone(),
        log_format: match config.format {
            config::LogFormat::Json => LogFormat::Json,
            config::LogFormat::Pretty => LogFormat::Pretty,
        },
        sentry_dsn: config.sentry_dsn.clone(),
        environment: name(environment).to_owned(),
    }
}

/// As the setting spells it.
pub(super) fn name(environment: config::Environment) -> &'static str {
    match environment {
        config::Environment::Development => "development",
        config::Environment::Production => "production",
    }
}
