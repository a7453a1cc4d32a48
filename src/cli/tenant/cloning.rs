//! `freehold tenant clone`.

use serde_json::json;

use super::{FIELDS, PATH, id, wait};
use crate::{
    cli::{client::Client, output::Output},
    types::{DisplayName, Random, Slug, TenantId},
};

/// The arguments of `freehold tenant clone`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The new tenant holds the rows that the other one has at one moment, which goes on serving meanwhile. People sign in
with the passwords that they have there; sessions, API keys, invitations and the audit log are not carried over.")]
pub(in crate::cli) struct Clone {
    /// The id of the tenant whose rows it gets: ten_…
    #[arg(value_parser = id)]
    id: TenantId,
    /// Its own public name: 3 to 63 of a-z, 0-9 and hyphen, beginning with a letter.
    slug: Slug,
    /// Its name for people; else the slug.
    #[arg(long)]
    name: Option<DisplayName>,
    /// Answer as soon as the tenant is recorded; it is made whatever happens next.
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn make(clone: &Clone, client: &Client, output: Output) -> anyhow::Result<()> {
    let name = clone.name.as_ref().map_or_else(|| clone.slug.to_string(), ToString::to_string);
    let (path, body) = (format!("{PATH}/{}/clone", clone.id), json!({ "slug": clone.slug, "name": name }));
    // The key makes it safe to ask again when an answer was lost: the same tenant is told again.
    let key = format!("cli-{}", Random.token());
    let made = Client::patiently(false, async || client.post(&path, &body, Some(&key)).await).await?;
    let made = if clone.no_wait { made } else { wait(client, made).await? };
    output.record(&made, &FIELDS)
}
