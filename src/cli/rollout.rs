//! `freehold rollout …`: the published migrations, carried to the tenants that exist.

mod rehearsal;
mod watch;

use serde_json::{Value, json};

use super::{
    Outcome,
    client::Client,
    output::{self, Column, Output},
};
use crate::types::{Random, Reason, RolloutId};

const PATH: &str = "/platform/v1/rollouts";

const COLUMNS: [Column; 10] = [
    ("ID", "/id"),
    ("STATE", "/state"),
    ("VERSION", "/schema_version"),
    ("PENDING", "/counts/pending"),
    ("RUNNING", "/counts/running"),
    ("DONE", "/counts/done"),
    ("FAILED", "/counts/failed"),
    ("SKIPPED", "/counts/skipped"),
    ("CREATED", "/created_at"),
    ("FINISHED", "/finished_at"),
];
const MORE: [Column; 2] = [("UNDOES", "/undoes"), ("REASON", "/reason")];
const WAVES: [Column; 8] = [
    ("WAVE", "/position"),
    ("TENANTS", "/tenants"),
    ("STATE", "/state"),
    ("PENDING", "/counts/pending"),
    ("RUNNING", "/counts/running"),
    ("DONE", "/counts/done"),
    ("FAILED", "/counts/failed"),
    ("SKIPPED", "/counts/skipped"),
];
const TENANTS: [Column; 7] = [
    ("TENANT", "/slug"),
    ("WAVE", "/wave"),
    ("STATE", "/state"),
    ("FROM", "/from_version"),
    ("TO", "/to_version"),
    ("MS", "/duration_ms"),
    ("ERROR", "/error"),
];
const PLANNED: [Column; 4] =
    [("WAVE", "/position"), ("TENANTS", "/of"), ("COUNT", "/count"), ("SECONDS", "/estimate_seconds")];
const FILES: [Column; 4] = [("STREAM", "/stream"), ("FILE", "/name"), ("TENANTS", "/tenants"), ("LOSES", "/loses")];
const OBSTACLES: [Column; 2] = [("IN THE WAY", "/code"), ("WHY", "/detail")];

/// Looks after rollouts.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
A rollout takes the tenants that are behind to the published migrations: canaries first, then wave after wave. Each
tenant's schema is compared with the one it must have. A tenant that fails serves as before. Where a rollout can be
named and is not, the newest one is meant.

Examples:
  freehold rollout plan --canary acme --rehearse acme
  freehold rollout start --canary acme --waves 5%,25%,100% --max-failures 2%
  freehold rollout status --tenants failed
  freehold rollout retry
  freehold rollout undo --dry-run")]
pub(super) enum Command {
    /// Show what a rollout would do, and start nothing.
    Plan {
        #[command(flatten)]
        wanted: Wanted,
        /// Run the migrations on a copy of this tenant's database too, by id or slug, and show what each statement does;
        /// exit code 1 if one fails.
        #[arg(long, value_name = "TENANT")]
        rehearse: Option<String>,
    },
    /// Start a rollout, and follow it to its end; exit code 1 unless it succeeds.
    Start {
        #[command(flatten)]
        wanted: Wanted,
        /// Do not wait for its end.
        #[arg(long)]
        detach: bool,
    },
    /// List rollouts, the newest first.
    List {
        /// Only those in this state: planned, running, paused, succeeded, failed or aborted.
        #[arg(long)]
        state: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show a rollout and its waves, or its tenants.
    Status {
        /// Its id: rol_…
        id: Option<RolloutId>,
        /// List its tenants in this state instead: pending, running, done, failed or skipped.
        #[arg(long, value_name = "STATE")]
        tenants: Option<String>,
        /// How many tenants at most.
        #[arg(long, default_value_t = 200)]
        limit: usize,
    },
    /// Follow a rollout to its end; exit code 1 unless it succeeds.
    Watch {
        /// Its id: rol_…
        id: Option<RolloutId>,
    },
    /// Begin no other tenant until the rollout is resumed.
    Pause {
        /// Its id: rol_…
        id: Option<RolloutId>,
    },
    /// Go on with a paused rollout; what has failed so far is not counted against it any more.
    Resume {
        /// Its id: rol_…
        id: Option<RolloutId>,
    },
    /// End a rollout; tenants whose turn has not come stay on their versions.
    Abort {
        /// Its id: rol_…
        id: Option<RolloutId>,
    },
    /// Have failed tenants tried again, all of them or some.
    Retry {
        /// Its id: rol_…
        id: Option<RolloutId>,
        /// A failed tenant, by id or slug; may be given more than once. All failed ones otherwise.
        #[arg(long = "tenant", value_name = "TENANT")]
        tenants: Vec<String>,
    },
    /// Take the tenants of a rollout back to the versions that each had before, by undo files, and follow that to its
    /// end; exit code 1 unless it succeeds. Nothing is begun when an undo file is missing.
    Undo {
        /// Its id: rol_…
        id: Option<RolloutId>,
        #[command(flatten)]
        order: Order,
        /// Say what would happen, which undo files are missing and what they throw away, and start nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not wait for its end.
        #[arg(long)]
        detach: bool,
    },
    /// Leave tenants out that are waiting, or have failed.
    Skip {
        /// Its id: rol_…
        id: Option<RolloutId>,
        /// A tenant, by id or slug; may be given more than once.
        #[arg(long = "tenant", value_name = "TENANT", required = true)]
        tenants: Vec<String>,
        /// Why, for other operators.
        #[arg(long)]
        reason: Reason,
    },
}

/// The rollout that is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The version of the product's migrations; the newest unless said otherwise.
    #[arg(long, value_name = "VERSION")]
    to: Option<i32>,
    #[command(flatten)]
    order: Order,
}

/// In which order, and how carefully.
#[derive(Debug, clap::Args)]
pub(super) struct Order {
    /// A tenant that goes first, by id or slug; may be given more than once.
    #[arg(long, value_name = "TENANT", value_delimiter = ',')]
    canary: Vec<String>,
    /// The waves: 5%,25%,100% unless said otherwise. Also plan=NAME, region=NAME or label=NAME=VALUE; the last is 100%.
    #[arg(long, value_name = "WAVES", value_delimiter = ',', value_parser = wave)]
    waves: Vec<Value>,
    /// At most so many tenants of one server at a time.
    #[arg(long)]
    concurrency: Option<i32>,
    /// Pause with more failures than that: a share such as 2%, or a number.
    #[arg(long, value_name = "LIMIT")]
    max_failures: Option<String>,
}

/// A wave as the API wants it.
fn wave(text: &str) -> Result<Value, String> {
    match text.split_once('=') {
        None => Ok(json!(text)),
        Some((kind @ ("plan" | "region" | "label"), which)) => Ok(json!({ kind: which })),
        Some(_) => Err("must be a share such as 25%, plan=NAME, region=NAME or label=NAME=VALUE".to_owned()),
    }
}

impl Wanted {
    fn body(&self) -> Value {
        let mut body = self.order.body();
        if let Some(to) = self.to {
            body["target_version"] = json!(to);
        }
        body
    }
}

impl Order {
    fn body(&self) -> Value {
        let mut body = json!({ "canary": self.canary });
        if !self.waves.is_empty() {
            body["waves"] = json!(self.waves);
        }
        for (name, value) in [
            ("concurrency", self.concurrency.map(Value::from)),
            ("max_failures", self.max_failures.clone().map(Value::from)),
        ] {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Plan { wanted, rehearse } => {
            let planned = client.post(&format!("{PATH}/plan"), &wanted.body(), None).await?;
            match rehearse {
                None => plan(&planned, output)?,
                Some(tenant) => return rehearsal::show(planned, (&tenant, wanted.to), &client, output).await,
            }
        }
        Command::Start { wanted, detach } => return follow(PATH, &wanted.body(), detach, (&client, output)).await,
        Command::List { state, limit } => {
            let filter: Vec<_> = state.into_iter().map(|state| ("state", state)).collect();
            let (items, next) = client.items(PATH, &filter, limit).await?;
            output.list(&items, next.as_deref(), &COLUMNS)?;
        }
        Command::Status { id, tenants: None, .. } => {
            let id = resolve(id, &client).await?;
            show(&client.get(&format!("{PATH}/{id}"), &[]).await?, output)?;
        }
        Command::Status { id, tenants: Some(state), limit } => {
            let path = format!("{PATH}/{}/tenants", resolve(id, &client).await?);
            let (items, next) = client.items(&path, &[("state", state)], limit).await?;
            output.list(&items, next.as_deref(), &TENANTS)?;
        }
        Command::Watch { id } => return watch::to_the_end(&resolve(id, &client).await?, &client, output).await,
        Command::Pause { id } => change(id, "pause", &json!({}), &client, output).await?,
        Command::Resume { id } => change(id, "resume", &json!({}), &client, output).await?,
        Command::Abort { id } => change(id, "abort", &json!({}), &client, output).await?,
        Command::Retry { id, tenants } => {
            let only = if tenants.is_empty() { json!("failed") } else { json!(tenants) };
            change(id, "retry", &json!({ "only": only }), &client, output).await?;
        }
        Command::Undo { id, order, dry_run, detach } => {
            let path = format!("{PATH}/{}/undo", resolve(id, &client).await?);
            if !dry_run {
                return follow(&path, &order.body(), detach, (&client, output)).await;
            }
            let mut body = order.body();
            body["dry_run"] = json!(true);
            plan(&client.post(&path, &body, None).await?, output)?;
        }
        Command::Skip { id, tenants, reason } => {
            change(id, "skip", &json!({ "tenants": tenants, "reason": reason }), &client, output).await?;
        }
    }
    Ok(Outcome::Success)
}

/// Starts what `body` asks for at `path`, and follows it to its end.
async fn follow(
    path: &str,
    body: &Value,
    detach: bool,
    (client, output): (&Client, Output),
) -> anyhow::Result<Outcome> {
    // Its own name for this attempt: an answer that is lost is asked for again.
    let key = Random.token();
    let started = Client::patiently(false, async || client.post(path, body, Some(&key)).await).await?;
    let id = started.pointer("/id").and_then(Value::as_str).unwrap_or_default();
    if detach {
        show(&started, output)?;
        return Ok(Outcome::Success);
    }
    watch::to_the_end(id, client, output).await
}

async fn change(
    id: Option<RolloutId>,
    verb: &str,
    body: &Value,
    client: &Client,
    output: Output,
) -> anyhow::Result<()> {
    let path = format!("{PATH}/{}/{verb}", resolve(id, client).await?);
    let rollout = Client::patiently(false, async || client.post(&path, body, None).await).await?;
    show(&rollout, output)
}

/// The rollout that is meant: the newest unless one is named.
async fn resolve(id: Option<RolloutId>, client: &Client) -> anyhow::Result<String> {
    if let Some(id) = id {
        return Ok(id.to_string());
    }
    let (items, _) = client.items(PATH, &[], 1).await?;
    let newest = items.first().and_then(|item| item.pointer("/id")).and_then(Value::as_str);
    newest.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("there is no rollout yet"))
}

fn show(rollout: &Value, output: Output) -> anyhow::Result<()> {
    let fields: Vec<_> = COLUMNS.into_iter().chain(MORE).collect();
    output.record(rollout, &fields)?;
    parts(rollout, "waves", &WAVES, output)
}

fn plan(plan: &Value, output: Output) -> anyhow::Result<()> {
    let fields = [
        ("FREEHOLD VERSION", "/freehold_version"),
        ("VERSION", "/schema_version"),
        ("SECONDS", "/estimate_seconds"),
        ("OLDER REPLICAS", "/older_replicas"),
        ("UNDOES", "/undoes"),
        ("STAYING", "/staying"),
    ];
    output.record(plan, &fields)?;
    parts(plan, "obstacles", &OBSTACLES, output)?;
    parts(plan, "files", &FILES, output)?;
    parts(plan, "waves", &PLANNED, output)
}

/// A table of a part, below a record for people.
fn parts(of: &Value, part: &str, columns: &[Column], output: Output) -> anyhow::Result<()> {
    let rows = of.get(part).and_then(Value::as_array).filter(|rows| !rows.is_empty() && !output.is_json());
    rows.map_or(Ok(()), |rows| output::print(format_args!("\n{}", output::table(rows, columns))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_written_as_the_api_wants_them() {
        assert_eq!(wave("25%").unwrap(), json!("25%"));
        assert_eq!(wave("plan=free").unwrap(), json!({ "plan": "free" }));
        assert_eq!(wave("label=tier=gold").unwrap(), json!({ "label": "tier=gold" }));
        assert!(wave("colour=red").is_err());
    }

    #[test]
    fn a_body_says_only_what_was_said() {
        let order = Order { canary: Vec::new(), waves: Vec::new(), concurrency: None, max_failures: None };
        let none = Wanted { to: None, order };
        assert_eq!(none.body(), json!({ "canary": [] }));
        let waves = vec![json!({ "plan": "free" }), json!("100%")];
        let order = Order { canary: vec!["acme".into()], waves, concurrency: Some(2), max_failures: Some("1".into()) };
        let all = Wanted { to: Some(3), order };
        let expected = json!({
            "canary": ["acme"], "waves": [{ "plan": "free" }, "100%"], "target_version": 3, "concurrency": 2,
            "max_failures": "1",
        });
        assert_eq!(all.body(), expected);
    }
}
