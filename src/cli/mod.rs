//! The command line: `freehold <command>`.
//!
//! `serve`, `dev`, `check-config`, `migrate` and `bootstrap` work on this machine and read the configuration.
//! All other commands speak to the REST API of a running Freehold (`FREEHOLD_URL`, `FREEHOLD_API_KEY`) and know
//! nothing that it does not say. What was asked for goes to standard output, as a table or as JSON; progress,
//! logs and errors go to standard error. A secret is never an argument: every user of a machine can read those.
//!
//! The environment and the product are handed in by [`freehold::main`](crate::main), once; nothing here reads the
//! process' own.

pub mod dev;

mod archive;
mod audit;
mod bootstrap;
mod check_config;
mod client;
mod configuration;
mod crypto;
mod drift;
mod fsck;
mod job;
mod keys;
mod migrate;
mod migration;
mod new_file;
mod operation;
mod output;
mod plan;
mod problem;
mod process;
mod progress;
mod rollout;
mod secret_input;
mod serve;
mod server;
mod tenant;
mod user;
mod verify;

use std::{collections::BTreeMap, ffi::OsString, io, process::ExitCode};

use clap::{Parser, Subcommand};

use client::Client;
use output::{Format, Output};

use crate::app::Product;

/// The environment, as `std::env::vars` gives it.
type Environment = BTreeMap<String, String>;

const REMOTE_HELP: &str = "\
Commands that speak to a running Freehold read two environment variables:
  FREEHOLD_URL      the address of its admin listener, such as http://127.0.0.1:8081
  FREEHOLD_API_KEY  an operator's API key, as `freehold bootstrap` prints it

Try it on this machine:
  freehold dev                                   # in one terminal
  set -a; . .freehold/dev.env; set +a            # in another
  freehold tenant create initech --admin-email bill@initech.example

Exit codes: 0 done, 1 failed or something was found, 2 wrong usage.";

/// A control plane for `SaaS` products that give every tenant its own PostgreSQL database.
#[derive(Debug, Parser)]
#[command(name = "freehold", version, after_help = REMOTE_HELP, max_term_width = 100)]
struct Arguments {
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a replica: the public listener for tenants, the admin listener for operators.
    Serve(serve::Arguments),
    /// Run everything on this machine: private PostgreSQL and Redis, demo tenants, a replica.
    Dev(dev::Arguments),
    /// Read the configuration, tell everything that is wrong with it, and print what holds.
    CheckConfig(configuration::Arguments),
    /// Change the schema of the control database.
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Make the platform tenant and its first operator, once, and print their API key.
    Bootstrap(bootstrap::Arguments),
    /// Make, list, show, change and delete tenants.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Get at the rows of archived tenants.
    #[command(subcommand)]
    Archive(archive::Command),
    /// Register and list the PostgreSQL servers that hold tenants' databases.
    #[command(subcommand)]
    Server(server::Command),
    /// Look at the durable changes to tenants, wait for them, take up blocked ones.
    #[command(subcommand)]
    Operation(operation::Command),
    /// Look at jobs, such as mails, and have dead ones tried again.
    #[command(subcommand)]
    Job(job::Command),
    /// Look at the plans that tenants can be on.
    #[command(subcommand)]
    Plan(plan::Command),
    /// Lint and publish the migrations of tenants' databases, and list the published ones.
    #[command(subcommand)]
    Migration(migration::Command),
    /// Carry the published migrations to the tenants that exist: plan, start, watch, pause, retry.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Look after people: operators, or those of a tenant.
    #[command(subcommand)]
    User(user::Command),
    /// Look after operators: the same as `user` with an operator's key.
    #[command(subcommand)]
    Operator(user::Command),
    /// Look at audit logs, export them, and verify that they are as they were written.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Look at the key-encryption keys, and wrap data keys anew.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Compare what Freehold remembers with what is really there; exit code 1 when something differs.
    Fsck,
    /// Show where the schemas of tenants are not what their versions say; exit code 1 when one is.
    Drift(drift::Arguments),
    /// Try what must not be possible.
    #[command(subcommand)]
    Verify(verify::Command),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Done, and all is well.
    Success,
    /// Done, but a check found something; it has been printed.
    Found,
}

/// Runs one command line of a product's program; answers with its exit code: 0, 1 (failed, or something was found) or 2 (usage).
pub fn main(
    product: Product,
    arguments: impl IntoIterator<Item = OsString>,
    environment: &BTreeMap<String, String>,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to standard output and counts as success. There is nobody to tell when it cannot be printed.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match run(product, arguments, environment) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::FAILURE,
        // Whoever reads has seen enough: `freehold tenant list | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(product: Product, arguments: Arguments, environment: &Environment) -> anyhow::Result<Outcome> {
    crypto::install()?;
    #[cfg(feature = "crash-points")]
    if let Some(points) = environment.get("CRASH_POINTS") {
        crate::faults::arm_from_text(points)?;
    }
    #[cfg(feature = "crash-points")]
    if let Some(kinds) = environment.get("CRASH_KINDS") {
        crate::faults::restrict_to(kinds);
    }
    let output = Output::new(arguments.output);
    let remote = || Client::from_environment(environment);
    match arguments.command {
        Command::Serve(arguments) => serve::run(product, &arguments, environment),
        Command::Dev(arguments) => dev::run(&product, &arguments, environment, output),
        Command::CheckConfig(arguments) => check_config::run(&product, &arguments, environment, output),
        Command::Migrate(command) => migrate::run(product, &command, environment, output),
        Command::Bootstrap(arguments) => bootstrap::run(product, arguments, environment, output),
        Command::Tenant(command) => process::block_on(tenant::run(command, remote()?, output)),
        Command::Archive(command) => process::block_on(archive::run(command, remote()?, output)),
        Command::Server(command) => process::block_on(server::run(command, remote()?, output)),
        Command::Operation(command) => process::block_on(operation::run(command, remote()?, output)),
        Command::Job(command) => process::block_on(job::run(command, remote()?, output)),
        Command::Plan(command) => process::block_on(plan::run(command, remote()?, output)),
        Command::Migration(command) => migration::run(command, environment, output),
        Command::Rollout(command) => process::block_on(rollout::run(command, remote()?, output)),
        Command::User(command) | Command::Operator(command) => process::block_on(user::run(command, remote()?, output)),
        Command::Audit(command) => process::block_on(audit::run(command, remote()?, output)),
        Command::Keys(command) => process::block_on(keys::run(command, remote()?, output)),
        Command::Fsck => process::block_on(fsck::run(remote()?, output)),
        Command::Drift(arguments) => process::block_on(drift::run(arguments, remote()?, output)),
        Command::Verify(command) => process::block_on(verify::run(command, remote()?, output)),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
