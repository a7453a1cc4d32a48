//! `freehold tenant suspend`, `resume`, `rename` and `update`: changes that can be taken back.

use anyhow::ensure;
use serde_json::{Map, Value, json};

use super::{FIELDS, PATH, id};
use crate::{
    cli::{client::Client, output::Output, server::label},
    types::{DisplayName, Reason, Slug, TenantId},
};

/// The arguments of `freehold tenant suspend`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Suspend {
    /// Its id: ten_…
    #[arg(value_parser = id)]
    id: TenantId,
    /// Why, for other operators; kept in the audit log.
    #[arg(long)]
    reason: Reason,
}

/// The arguments of `freehold tenant update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  freehold tenant update ten_… --plan bench
  freehold tenant update ten_… --label tier=gold --remove-label trial
  freehold tenant update ten_… --pin 3")]
pub(in crate::cli) struct Update {
    /// Its id: ten_…
    #[arg(value_parser = id)]
    id: TenantId,
    /// Another name for people.
    #[arg(long)]
    name: Option<DisplayName>,
    /// Another plan.
    #[arg(long)]
    plan: Option<String>,
    /// The version of the product's migrations beyond which rollouts do not take it.
    #[arg(long, value_name = "VERSION")]
    pin: Option<i32>,
    /// Let rollouts take it with the others again.
    #[arg(long, conflicts_with = "pin")]
    unpin: bool,
    /// A label to be set; may be given more than once, and leaves others as they are.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A label to be taken away; may be given more than once.
    #[arg(long = "remove-label", value_name = "NAME")]
    removed_labels: Vec<String>,
}

pub(super) async fn suspend(suspend: &Suspend, client: &Client, output: Output) -> anyhow::Result<()> {
    let (path, body) = (format!("{PATH}/{}/suspend", suspend.id), json!({ "reason": suspend.reason }));
    let tenant = Client::patiently(false, async || client.post(&path, &body, None).await).await?;
    output.record(&tenant, &FIELDS)
}

pub(super) async fn resume(id: TenantId, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{id}/resume");
    let tenant = Client::patiently(false, async || client.post(&path, &json!({}), None).await).await?;
    output.record(&tenant, &FIELDS)
}

pub(super) async fn rename(id: TenantId, slug: &Slug, client: &Client, output: Output) -> anyhow::Result<()> {
    patch(id, &json!({ "slug": slug }), client, output).await
}

pub(super) async fn update(update: &Update, client: &Client, output: Output) -> anyhow::Result<()> {
    let body = update.body();
    ensure!(body != json!({}), "say what to change: --name, --plan, --pin, --unpin, --label or --remove-label");
    patch(update.id, &body, client, output).await
}

async fn patch(id: TenantId, body: &Value, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = format!("{PATH}/{id}");
    let tenant = Client::patiently(false, async || client.patch(&path, body).await).await?;
    output.record(&tenant, &FIELDS)
}

impl Update {
    fn body(&self) -> Value {
        let mut body = json!({});
        if let Some(name) = &self.name {
            body["name"] = name.as_str().into();
        }
        if let Some(plan) = &self.plan {
            body["plan"] = plan.as_str().into();
        }
        if self.unpin {
            body["pinned_version"] = Value::Null;
        }
        if let Some(version) = self.pin {
            body["pinned_version"] = version.into();
        }
        let set = self.labels.iter().map(|(name, value)| (name.clone(), json!(value)));
        let removed = self.removed_labels.iter().map(|name| (name.clone(), Value::Null));
        let labels: Map<_, _> = set.chain(removed).collect();
        if !labels.is_empty() {
            body["labels"] = labels.into();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_says_what_was_given_and_nothing_else() {
        let update = Update {
            id: "ten_0190b6a4c1e87d3f8a2b5c6d7e8f9012".parse().unwrap(),
            name: None,
            plan: Some("bench".to_owned()),
            pin: None,
            unpin: false,
            labels: vec![("tier".to_owned(), "gold".to_owned())],
            removed_labels: vec!["trial".to_owned()],
        };
        assert_eq!(update.body(), json!({ "plan": "bench", "labels": { "tier": "gold", "trial": null } }));
        let nothing = Update { plan: None, labels: Vec::new(), removed_labels: Vec::new(), ..update };
        assert_eq!(nothing.body(), json!({}));
        let pinned = Update { pin: Some(3), ..nothing };
        assert_eq!(pinned.body(), json!({ "pinned_version": 3 }));
        let unpinned = Update { pin: None, unpin: true, ..pinned };
        assert_eq!(unpinned.body(), json!({ "pinned_version": null }));
    }
}
