//! `freehold migration …`: the migrations of tenants' databases.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use serde_json::json;

use super::{
    Environment, Outcome,
    client::Client,
    output::{Column, Output, printable},
    process,
};
use crate::migrations::{
    MigrationSet,
    lint::{self, Finding},
};

const PATH: &str = "/platform/v1/migrations";

const COLUMNS: [Column; 6] = [
    ("STREAM", "/stream"),
    ("VERSION", "/version"),
    ("NAME", "/name"),
    ("UNDO", "/undoable"),
    ("PUBLISHED", "/published_at"),
    ("BY", "/published_by"),
];

/// Looks after migrations.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what in a folder of migrations would lock, lose or break something; exit code 1 on errors. Asks no server.
    #[command(after_help = "\
Every rule has a reason and a safe form: see docs/MIGRATIONS.md. A comment right before a statement waives a rule:
  -- freehold:allow drop-column: no release since 2.4 reads it

Example:
  freehold migration lint tenant-migrations/product")]
    Lint {
        /// The folder.
        dir: PathBuf,
    },
    /// Publish the product's migrations out of a folder: from then on new tenants are made with them.
    #[command(after_help = "\
The folder holds V1__first.sql, V2__second.sql, …: every published file of the product unchanged, followed by new ones.
U2__second.sql beside V2__second.sql undoes it: it may be added later, and never changes once it is published.
The set is tried on a scratch database first. Freehold's own migrations come with the program and stay as they are.

Example:
  freehold migration publish --dir tenant-migrations/product")]
    Publish {
        /// The folder.
        #[arg(long, default_value = "tenant-migrations/product")]
        dir: PathBuf,
    },
    /// List the published migrations: Freehold's own, then the product's.
    List,
}

/// What asks no server does not need to know one.
pub(super) fn run(command: Command, environment: &Environment, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Lint { dir } => run_lint(&dir, output),
        remote => process::block_on(run_remote(remote, Client::from_environment(environment)?, output)),
    }
}

fn run_lint(dir: &Path, output: Output) -> anyhow::Result<Outcome> {
    ensure!(dir.is_dir(), "there is no folder {}: say the folder of the migrations", dir.display());
    let findings = lint::lint_directory(dir)?;
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    output.either(&json!({ "findings": findings, "errors": errors }), written(&findings, errors))?;
    Ok(if errors == 0 { Outcome::Success } else { Outcome::Found })
}

/// `file:line: rule: message`, and the safe form in a line of its own.
fn written(findings: &[Finding], errors: usize) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { file, line, rule, message, safe_form, level } = finding;
        let (file, message) = (printable(file), printable(message));
        let _ = writeln!(text, "{file}:{line}: {rule}: {message}\n    {}; instead: {safe_form}", level.as_str());
    }
    let others = findings.len() - errors;
    let _ = write!(text, "{errors} errors, {others} warnings and pieces of advice");
    text
}

async fn run_remote(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Lint { .. } => {}
        Command::Publish { dir } => {
            ensure!(dir.is_dir(), "there is no folder {}: say --dir and the folder of the migrations", dir.display());
            let set = MigrationSet::from_directory(&dir)?;
            let files: Vec<_> =
                set.texts().into_iter().map(|(name, sql)| json!({ "name": name, "sql": sql })).collect();
            let published = client.post(PATH, &json!({ "files": files }), None).await?;
            output.record(&published, &[("version", "/version"), ("added", "/added")])?;
        }
        Command::List => {
            let items = client.whole(PATH).await?;
            output.list(&items, None, &COLUMNS)?;
        }
    }
    Ok(Outcome::Success)
}
