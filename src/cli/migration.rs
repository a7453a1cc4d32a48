//! `freehold migration …`: the migrations of tenants' databases.

use std::path::PathBuf;

use anyhow::ensure;
use serde_json::json;

use super::{
    Outcome,
    client::Client,
    output::{Column, Output},
};
use crate::migrations::MigrationSet;

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

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
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
