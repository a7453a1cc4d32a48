//! `freehold drift`: objects of tenants' schemas that are not what the tenants' versions say.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Outcome,
    client::Client,
    output::{self, Output},
    progress::Progress,
};

const PATH: &str = "/platform/v1/drift";
const SWEEP: &str = "/platform/v1/drift/sweep";
const PAUSE: Duration = Duration::from_millis(500);

/// Looks for drift.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 1 when a schema differs. `-` is what an object should be, `+` what it is. Nothing is changed.

Example:
  freehold drift --sweep --tenant ten_…")]
pub(super) struct Arguments {
    /// Read the schemas of all tenants now, instead of telling what the last sweep found.
    #[arg(long)]
    sweep: bool,
    /// Tell of this tenant only.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

/// What programs are told.
#[derive(Debug, Serialize)]
struct Report<'a> {
    sweep: &'a Value,
    items: &'a [Value],
}

pub(super) async fn run(arguments: Arguments, client: Client, output: Output) -> anyhow::Result<Outcome> {
    let sweep = if arguments.sweep { swept(&client).await? } else { client.get(SWEEP, &[]).await? };
    let filter: Vec<_> = arguments.tenant.into_iter().map(|tenant| ("tenant_id", tenant)).collect();
    let (items, _) = client.items(PATH, &filter, usize::MAX).await?;
    output.either(&Report { sweep: &sweep, items: &items }, text(&sweep, &items))?;
    Ok(if items.is_empty() { Outcome::Success } else { Outcome::Found })
}

/// Asks for a sweep and waits for its end.
async fn swept(client: &Client) -> anyhow::Result<Value> {
    let mut progress = Progress::begin("reading schemas");
    client.post(PATH, &json!({}), None).await?;
    loop {
        let sweep = client.get(SWEEP, &[]).await?;
        if sweep.get("asked_at").is_none_or(Value::is_null) {
            return Ok(sweep);
        }
        progress.tell("reading schemas");
        sleep(PAUSE).await;
    }
}

fn text(sweep: &Value, items: &[Value]) -> String {
    let count = |what: &str| sweep.pointer(&format!("/last/{what}")).and_then(Value::as_i64).unwrap_or_default();
    let when = sweep.get("ended_at").and_then(Value::as_str);
    let last = match when {
        Some(when) => format!(
            "the sweep that ended at {when} looked at {} tenants: {} differ, {} could not be read",
            count("tenants"),
            count("drifted"),
            count("unreadable")
        ),
        None => "no sweep has ended yet".to_owned(),
    };
    let differences = items.iter().map(|item| {
        let tenant = item.get("tenant_id").and_then(Value::as_str).unwrap_or_default();
        format!("\n\n{}  {}", output::printable(tenant), output::difference(item))
    });
    last + &differences.collect::<String>()
}
