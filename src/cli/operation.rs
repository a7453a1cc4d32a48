//! `freehold operation …`: durable changes to tenants, looked at and waited for.

use std::time::Duration;

use anyhow::{anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    Outcome,
    client::Client,
    output::{self, Column, Output},
    progress::Progress,
};
use crate::types::OperationId;

const PATH: &str = "/platform/v1/operations";
/// Between two looks, each of which waits at the server: bounds what a server costs that does not wait.
const POLL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_mins(15);

const COLUMNS: [Column; 6] = [
    ("ID", "/id"),
    ("KIND", "/kind"),
    ("TENANT", "/tenant_id"),
    ("STATE", "/state"),
    ("CREATED", "/created_at"),
    ("FINISHED", "/finished_at"),
];
const STEPS: [Column; 6] = [
    ("STEP", "/name"),
    ("STATE", "/state"),
    ("ATTEMPTS", "/attempts"),
    ("STARTED", "/started_at"),
    ("FINISHED", "/finished_at"),
    ("ERROR", "/error"),
];

/// Looks at operations.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
An operation survives crashes: it goes on when a replica is there. A blocked one waits for a person: `show` tells
why, `retry` takes it up again once the cause is mended, `cancel` has undone what it did so far.")]
pub(super) enum Command {
    /// List operations, the newest first.
    List {
        /// Only those in this state: queued, running, blocked, succeeded, failed or cancelled.
        #[arg(long)]
        state: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one operation and its steps.
    Show {
        /// Its id: op_…
        id: OperationId,
    },
    /// Wait until an operation has ended; exit code 1 unless it succeeded.
    Watch {
        /// Its id: op_…
        id: OperationId,
    },
    /// Take up a blocked operation again.
    Retry {
        /// Its id: op_…
        id: OperationId,
    },
    /// Have an operation undone, and wait for that.
    Cancel {
        /// Its id: op_…
        id: OperationId,
    },
}

/// What the command line wants to know of an operation.
#[derive(Debug, Deserialize)]
struct Operation {
    state: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    name: String,
    state: String,
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::List { state, limit } => {
            let filter: Vec<_> = state.into_iter().map(|state| ("state", state)).collect();
            let (items, next) = client.items(PATH, &filter, limit).await?;
            output.list(&items, next.as_deref(), &COLUMNS)?;
            if next.is_some() {
                output::note("There are more: say --state, or raise --limit.");
            }
        }
        Command::Show { id } => show(&client.get(&format!("{PATH}/{id}"), &[]).await?, output)?,
        Command::Watch { id } => show(&watch(&client, &id.to_string()).await?, output)?,
        Command::Retry { id } => {
            let operation = client.post(&format!("{PATH}/{id}/retry"), &json!({}), None).await?;
            show(&operation, output)?;
        }
        Command::Cancel { id } => {
            client.post(&format!("{PATH}/{id}/cancel"), &json!({}), None).await?;
            show(&undone(&client, &id.to_string()).await?, output)?;
        }
    }
    Ok(Outcome::Success)
}

fn show(operation: &Value, output: Output) -> anyhow::Result<()> {
    output.record(operation, &COLUMNS)?;
    let steps = operation.get("steps").and_then(Value::as_array);
    if let Some(steps) = steps.filter(|_| !output.is_json()) {
        output::print(format_args!("\n{}", output::table(steps, &STEPS)))?;
    }
    Ok(())
}

/// Waits until an operation has succeeded, and tells its steps meanwhile.
///
/// # Errors
/// It failed or is blocked; Freehold is away for too long; it takes longer than [`PATIENCE`].
pub(super) async fn watch(client: &Client, id: &str) -> anyhow::Result<Value> {
    let mut progress = Progress::begin(&format!("waiting for {id}"));
    finished(client, id, |step| progress.tell(step)).await
}

/// Waits until an operation has been undone, and tells its steps meanwhile.
pub(super) async fn undone(client: &Client, id: &str) -> anyhow::Result<Value> {
    let mut progress = Progress::begin(&format!("undoing {id}"));
    let (operation, answer) = settled(client, id, |step| progress.tell(step)).await?;
    if operation.state == "cancelled" { Ok(answer) } else { Err(operation.complaint(id)) }
}

/// Waits until an operation has succeeded.
///
/// # Errors
/// As [`watch`].
pub(super) async fn finished(client: &Client, id: &str, tell: impl FnMut(&str)) -> anyhow::Result<Value> {
    let (operation, answer) = settled(client, id, tell).await?;
    if operation.state == "succeeded" { Ok(answer) } else { Err(operation.complaint(id)) }
}

/// Waits until an operation has ended or is blocked.
async fn settled(client: &Client, id: &str, mut tell: impl FnMut(&str)) -> anyhow::Result<(Operation, Value)> {
    let path = format!("{PATH}/{id}");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let answer = Client::patiently(true, async || client.get_waiting(&path).await).await?;
        let operation = Operation::deserialize(&answer)?;
        if matches!(operation.state.as_str(), "succeeded" | "failed" | "cancelled" | "blocked") {
            return Ok((operation, answer));
        }
        tell(&operation.describe());
        sleep(POLL).await;
    }
    bail!("the operation {id} goes on; wait for it with: freehold operation watch {id}")
}

impl Operation {
    /// Why this end is not the one that was waited for.
    fn complaint(&self, id: &str) -> anyhow::Error {
        let why = self.error.as_deref().map(output::printable).unwrap_or_default();
        match self.state.as_str() {
            "blocked" => {
                anyhow!("the operation {id} is blocked: {why}; mend the cause, then: freehold operation retry {id}")
            }
            "cancelled" => anyhow!("the operation {id} has been cancelled, and what it did is undone"),
            "failed" => anyhow!("the operation {id} has failed, and what it did is undone: {why}"),
            state => anyhow!("the operation {id} has {state}"),
        }
    }

    /// `3 of 7: create_database`.
    fn describe(&self) -> String {
        if self.direction == "undo" {
            let left = self.steps.iter().filter(|step| matches!(step.state.as_str(), "succeeded" | "undoing")).count();
            return format!("undoing; {left} of {} steps are left", self.steps.len());
        }
        match self.steps.iter().enumerate().find(|(_, step)| step.state != "succeeded") {
            Some((place, step)) => format!("{} of {}: {}", place + 1, self.steps.len(), output::printable(&step.name)),
            None => self.state.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_under_way_is_the_first_that_has_not_succeeded() {
        let step = |name: &str, state: &str| Step { name: name.to_owned(), state: state.to_owned() };
        let open = [step("open", "pending"), step("create_first_admin", "succeeded"), step("activate", "pending")];
        let steps =
            [step("create_role", "succeeded"), step("create_database", "running")].into_iter().chain(open).collect();
        let running = "running".to_owned();
        let operation = Operation { state: running, direction: "forward".to_owned(), error: None, steps };
        assert_eq!(operation.describe(), "2 of 5: create_database");
        assert_eq!(Operation { steps: Vec::new(), ..operation }.describe(), "running");
    }
}
