//! `freehold archive export`: a tenant's newest archive as a dump in a file.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::fs::{self, File};

use super::{
    Outcome,
    client::Client,
    new_file,
    output::{Column, Output},
    tenant::{self, PATH},
};

const FIELDS: [Column; 4] = [("tenant", "/tenant_id"), ("slug", "/slug"), ("file", "/file"), ("bytes", "/bytes")];

/// Looks after the archives of tenants.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write the rows of an archived tenant to a file: the newest archive, decrypted, as `pg_restore` reads it.
    Export(Export),
}

/// The arguments of `freehold archive export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  freehold archive export initech --to initech.dump
  pg_restore --list initech.dump                          # what is in it
  pg_restore --no-owner --no-acl -d scratch initech.dump  # into an empty database
  pg_restore --data-only -t projects -f - initech.dump    # the rows of one table

The file holds everything that the tenant's people have written: keep it as such. Nothing changes in Freehold, and the
audit log names who exported what.")]
pub(super) struct Export {
    /// The tenant: its slug, or its id (ten_…).
    tenant: String,
    /// The file to write. There must be none of this name; only its owner can read it.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    let Command::Export(Export { tenant, to }) = command;
    ensure!(!fs::try_exists(&to).await?, "{} is there already: name another file", to.display());
    let tenant = tenant::find(&client, &tenant).await?;
    let text = |name: &str| tenant.get(name).and_then(Value::as_str).context("the answer holds no tenant");
    let (id, slug) = (text("id")?, text("slug")?);
    let path = format!("{PATH}/{id}/archives/export");
    let bytes = new_file::write(&to, async |file: &mut File| client.download(&path, file).await).await?;
    let exported = json!({ "tenant_id": id, "slug": slug, "file": to.display().to_string(), "bytes": bytes });
    output.record(&exported, &FIELDS)?;
    Ok(Outcome::Success)
}
