//! `freehold job …`: work that nobody waits for, such as mails.

use serde_json::json;

use super::{
    Outcome,
    client::Client,
    output::{self, Column, Output},
};
use crate::types::JobId;

const PATH: &str = "/platform/v1/jobs";

const COLUMNS: [Column; 7] = [
    ("ID", "/id"),
    ("KIND", "/kind"),
    ("TENANT", "/tenant_id"),
    ("STATE", "/state"),
    ("ATTEMPTS", "/attempts"),
    ("DUE", "/due_at"),
    ("NOTE", "/note"),
];

/// Looks at jobs.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
A job that fails is tried again for about a day, then it is dead: `list --state dead` shows why, and `retry` has it
tried again once the cause is mended.")]
pub(super) enum Command {
    /// List jobs, the newest first.
    List {
        /// Only those in this state: queued, running, done or dead.
        #[arg(long)]
        state: Option<String>,
        /// Only those for this tenant: ten_…
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one job.
    Show {
        /// Its id: job_…
        id: JobId,
    },
    /// Have a dead job tried again.
    Retry {
        /// Its id: job_…
        id: JobId,
    },
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::List { state, tenant, limit } => {
            let state = state.into_iter().map(|state| ("state", state));
            let filter: Vec<_> = state.chain(tenant.into_iter().map(|tenant| ("tenant_id", tenant))).collect();
            let (items, next) = client.items(PATH, &filter, limit).await?;
            output.list(&items, next.as_deref(), &COLUMNS)?;
            if next.is_some() {
                output::note("There are more: say --state or --tenant, or raise --limit.");
            }
        }
        Command::Show { id } => output.record(&client.get(&format!("{PATH}/{id}"), &[]).await?, &COLUMNS)?,
        Command::Retry { id } => {
            let job = client.post(&format!("{PATH}/{id}/retry"), &json!({}), None).await?;
            output.record(&job, &COLUMNS)?;
        }
    }
    Ok(Outcome::Success)
}
