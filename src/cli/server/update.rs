//! `freehold server update`.

use serde_json::{Map, Value, json};

use super::label;

/// The arguments of `freehold server update`. What is not named stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  freehold server update eu-1 --capacity 2000 --label disk=ssd
  freehold server update eu-1 --capacity unlimited --warm-target by-demand --remove-label disk")]
pub(in crate::cli) struct Update {
    /// Its name, or its id: srv_…
    pub(super) server: String,
    /// Where it stands.
    #[arg(long, conflicts_with = "no_region")]
    region: Option<String>,
    /// It stands nowhere in particular.
    #[arg(long)]
    no_region: bool,
    /// Set a label; may be given more than once.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Take a label away; may be given more than once.
    #[arg(long = "remove-label", value_name = "NAME")]
    removed_labels: Vec<String>,
    /// The most connections that all replicas together may hold to its tenants' databases.
    #[arg(long, value_name = "N")]
    connection_budget: Option<u32>,
    /// The most tenants that it takes: a number, or `unlimited`.
    #[arg(long, value_name = "N", value_parser = |text: &str| number_or(text, "unlimited"))]
    capacity: Option<Wanted>,
    /// How many databases are kept ready for new tenants: a number, or `by-demand`.
    #[arg(long, value_name = "N", value_parser = |text: &str| number_or(text, "by-demand"))]
    warm_target: Option<Wanted>,
    /// How many of its tenants a rollout migrates at a time.
    #[arg(long, value_name = "N")]
    rollout_concurrency: Option<u32>,
}

/// A number, or none in particular.
#[derive(Clone, Copy, Debug)]
struct Wanted(Option<u32>);

fn number_or(text: &str, none: &str) -> Result<Wanted, String> {
    if text == none {
        return Ok(Wanted(None));
    }
    text.parse().map(|number| Wanted(Some(number))).map_err(|_| format!("must be a number or {none}"))
}

impl Update {
    pub(super) fn body(&self) -> Value {
        let mut body = Map::new();
        if self.no_region || self.region.is_some() {
            body.insert("region".to_owned(), json!(self.region));
        }
        for (name, number) in
            [("connection_budget", self.connection_budget), ("rollout_concurrency", self.rollout_concurrency)]
        {
            if let Some(number) = number {
                body.insert(name.to_owned(), number.into());
            }
        }
        for (name, wanted) in [("capacity", self.capacity), ("warm_target", self.warm_target)] {
            if let Some(Wanted(number)) = wanted {
                body.insert(name.to_owned(), json!(number));
            }
        }
        let set = self.labels.iter().map(|(name, value)| (name.clone(), json!(value)));
        let labels: Map<_, _> = set.chain(self.removed_labels.iter().map(|name| (name.clone(), Value::Null))).collect();
        if !labels.is_empty() {
            body.insert("labels".to_owned(), Value::Object(labels));
        }
        Value::Object(body)
    }
}
