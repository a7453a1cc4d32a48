//! `freehold tenant delete`, `undelete` and `certificate`.
//!
//! What destroys is confirmed: at a terminal by typing the tenant's slug, elsewhere by `--yes`. A dry run destroys
//! nothing and asks nothing.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::{FIELDS, PATH, id};
use crate::{
    cli::{
        client::Client,
        operation,
        output::{self, Column, Output},
    },
    types::TenantId,
};

const PREVIEW: [Column; 5] = [
    ("databases", "/would_delete/databases"),
    ("roles", "/would_delete/roles"),
    ("users", "/would_delete/users"),
    ("bytes", "/would_delete/bytes"),
    ("backups", "/would_delete/backups"),
];
const CERTIFICATE: [Column; 13] = [
    ("tenant", "/tenant_id"),
    ("slug", "/slug"),
    ("requested by", "/requested_by"),
    ("requested at", "/requested_at"),
    ("erased at", "/erased_at"),
    ("server", "/server"),
    ("database", "/database"),
    ("roles", "/roles"),
    ("users", "/users"),
    ("data key", "/data_key"),
    ("signing keys", "/signing_keys"),
    ("archives", "/archives"),
    ("keys in Redis", "/cache_keys"),
];

/// The arguments of `freehold tenant delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A deleted tenant is refused at once and can be had back with `freehold tenant undelete` until it is erased.
With --erase it is erased now: its database, role, archives and keys are destroyed, and nothing brings them back.")]
pub(in crate::cli) struct Delete {
    /// Its id: ten_…
    #[arg(value_parser = id)]
    id: TenantId,
    /// Only tell what would be destroyed.
    #[arg(long)]
    dry_run: bool,
    /// Erase it now, without a time in which it can be had back.
    #[arg(long)]
    erase: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn delete(delete: &Delete, client: &Client, output: Output) -> anyhow::Result<()> {
    let tenant = client.get(&format!("{PATH}/{}", delete.id), &[]).await?;
    let slug = tenant.get("slug").and_then(Value::as_str).context("the answer holds no slug")?;
    if !delete.dry_run && !delete.yes {
        confirm(slug, delete.erase)?;
    }
    let path = format!("{PATH}/{}/delete", delete.id);
    let body = json!({ "confirm": slug, "dry_run": delete.dry_run, "erase": delete.erase });
    let answer = Client::patiently(true, async || client.post(&path, &body, None).await).await?;
    if delete.dry_run {
        return output.record(&answer, &PREVIEW);
    }
    let Some(operation) = text(&answer, "operation_id") else { return output.record(&answer, &FIELDS) };
    operation::watch(client, operation).await?;
    certificate(delete.id, client, output).await
}

/// Asks whoever sits at the terminal to type the slug.
fn confirm(slug: &str, erase: bool) -> anyhow::Result<()> {
    let slug = output::printable(slug);
    if !io::stdin().is_terminal() {
        bail!(
            "there is no terminal to ask at whether {slug} shall be deleted: say --yes, or --dry-run to see what goes"
        );
    }
    let what = if erase { "ERASES the tenant, for good" } else { "deletes the tenant" };
    // There is nobody to ask when standard error is closed: then what is read decides.
    let _ = write!(io::stderr(), "This {what}. Type its slug, {slug}, to go on: ");
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).context("cannot read the answer")?;
    ensure!(typed.trim() == slug, "that is not its slug: nothing was deleted");
    Ok(())
}

pub(super) async fn undelete(id: TenantId, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{id}/undelete");
    let mut answer = Client::patiently(false, async || client.post(&path, &json!({}), None).await).await?;
    if let Some(operation) = text(&answer, "operation_id") {
        operation::undone(client, operation).await?;
        answer = Client::patiently(true, async || client.get(&format!("{PATH}/{id}"), &[]).await).await?;
    }
    output.record(&answer, &FIELDS)
}

pub(super) async fn certificate(id: TenantId, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{id}/certificate");
    output.record(&Client::patiently(false, async || client.get(&path, &[]).await).await?, &CERTIFICATE)
}

fn text<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    answer.get(name).and_then(Value::as_str)
}
