//! `freehold user import`: people of a tenant from another system.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::cli::{
    Outcome,
    client::Client,
    output::{Output, note},
    tenant,
};

/// The largest file, in bytes: what Freehold takes at once.
const LIMIT: u64 = 64 * 1024 * 1024;
/// Longer than Freehold takes for an import (10 min).
const ANSWER: Duration = Duration::from_mins(11);
/// How many refused lines are shown.
const MOST_SHOWN: usize = 20;

/// The arguments of `freehold user import`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Import {
    /// The tenant's slug or id.
    tenant: String,
    /// The file: a person on each line, as JSON.
    file: PathBuf,
    /// Only say what would become of each line.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(import: Import, client: &Client, output: Output) -> anyhow::Result<Outcome> {
    let Import { tenant, file, dry_run } = import;
    let size = tokio::fs::metadata(&file).await.with_context(|| format!("cannot read {}", file.display()))?.len();
    ensure!(size <= LIMIT, "{} has more than 64 MiB: import it in parts", file.display());
    let lines = tokio::fs::read(&file).await.with_context(|| format!("cannot read {}", file.display()))?;
    let tenant = tenant::find(client, &tenant).await?;
    let id = tenant.get("id").and_then(Value::as_str).context("the answer holds no tenant")?;
    let path = format!("{}/{id}/users/import", tenant::PATH);
    let query = [("dry_run", dry_run.to_string())];
    // It can be made twice: whoever was imported stays as they are.
    let call = async || client.post_lines((&path, &query), lines.clone(), ANSWER).await;
    let answer = Client::patiently(false, call).await?;
    output.either(&answer, told(&answer))?;
    let refused = answer.get("refused").and_then(Value::as_u64).unwrap_or_default();
    if refused > 0 && !output.is_json() {
        note("lines that were refused can be mended and imported again: nobody is imported twice");
    }
    Ok(if refused > 0 { Outcome::Found } else { Outcome::Success })
}

/// The counts, and the first lines that were refused.
fn told(answer: &Value) -> String {
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let made = if answer.get("dry_run") == Some(&Value::Bool(true)) { "would be created" } else { "created" };
    let counts = [(made, "created"), ("existed already", "existing"), ("refused", "refused")];
    let mut lines: Vec<_> = counts.iter().map(|(words, name)| format!("{} {words}", count(name))).collect();
    let results = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let refused = results.iter().filter_map(|result| Some((result.get("line")?, result.get("error")?)));
    lines.extend(refused.take(MOST_SHOWN).map(|(line, error)| {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        format!("line {line}: {} {}", text("field"), text("message"))
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_told_how_many_and_what_was_wrong() {
        let error = json!({ "field": "role", "code": "unknown_role", "message": "must be a role" });
        let results = json!([{ "line": 1, "state": "created" }, { "line": 2, "state": "refused", "error": error }]);
        let answer = json!({ "created": 1, "existing": 0, "refused": 1, "dry_run": true, "results": results });
        let expected = "1 would be created\n0 existed already\n1 refused\nline 2: role must be a role";
        assert_eq!(told(&answer), expected);
    }
}
