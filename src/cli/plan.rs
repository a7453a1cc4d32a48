//! `freehold plan …`: what tenants can be on.

use super::{
    Outcome,
    client::Client,
    output::{Column, Output},
};

const COLUMNS: [Column; 4] =
    [("NAME", "/name"), ("LIMITS", "/limits"), ("QUOTAS", "/quotas"), ("FEATURES", "/features")];

/// Looks at plans.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the plans; what a plan does not name is unlimited.
    List,
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    let Command::List = command;
    let items = client.whole("/platform/v1/plans").await?;
    output.list(&items, None, &COLUMNS)?;
    Ok(Outcome::Success)
}
