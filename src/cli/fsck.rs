//! `freehold fsck`: what Freehold remembers, compared with what is there. Changes nothing.

use std::time::Duration;

use anyhow::bail;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    Outcome,
    client::Client,
    output::{self, Column, Output},
    progress::Progress,
};

/// How long operations that are under way are waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 4] = [("CLASS", "/class"), ("SERVER", "/server"), ("OBJECT", "/object"), ("DETAIL", "/detail")];

pub(super) async fn run(client: Client, output: Output) -> anyhow::Result<Outcome> {
    let report = judged(&client).await?;
    let state = state(&report).to_owned();
    let findings = report.get("findings").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    output.either(&report, text(&report, findings))?;
    match state.as_str() {
        "clean" => Ok(Outcome::Success),
        "dirty" => Ok(Outcome::Found),
        _ => {
            bail!("operations are still under way, so nothing is judged; see: freehold operation list --state running")
        }
    }
}

/// The report once nothing is under way, or the last one.
async fn judged(client: &Client) -> anyhow::Result<Value> {
    let mut progress = Progress::begin("comparing");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report = client.get("/platform/v1/fsck", &[]).await?;
        if state(&report) != "busy" || Instant::now() >= deadline {
            return Ok(report);
        }
        progress.tell("waiting for operations that are under way");
        sleep(PAUSE).await;
    }
}

fn state(report: &Value) -> &str {
    report.get("state").and_then(Value::as_str).unwrap_or_default()
}

fn text(report: &Value, findings: &[Value]) -> String {
    let counts = report.get("counts").and_then(Value::as_object);
    let counts = output::pairs(counts.into_iter().flatten().map(|(class, count)| (class.as_str(), count.to_string())));
    let state = output::printable(state(report));
    if findings.is_empty() {
        format!("{state}\n\n{counts}")
    } else {
        let differences: Vec<_> = findings.iter().flat_map(differences).collect();
        format!("{state}\n\n{counts}\n\n{}{}", output::table(findings, &COLUMNS), differences.concat())
    }
}

/// What each differing object of a finding should be, and what it is.
fn differences(finding: &Value) -> Vec<String> {
    let differences = finding.get("differences").and_then(Value::as_array);
    let text = |difference| format!("\n\n{}", output::difference(difference));
    differences.into_iter().flatten().map(text).collect()
}
