//! Follows a rollout to its end: a bar with the rate and the time left at a terminal, a line now and then elsewhere.

use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use super::{PATH, TENANTS, show};
use crate::cli::{
    Outcome,
    client::Client,
    output::{self, Output},
    progress::Bar,
};

/// Between two looks.
const POLL: Duration = Duration::from_millis(250);
/// How many of the tenants that failed are listed.
const LISTED: usize = 20;

/// What the command line wants to know of a rollout.
#[derive(Debug, Deserialize)]
struct Rollout {
    state: String,
    counts: Counts,
    #[serde(default)]
    waves: Option<Vec<Wave>>,
    #[serde(default)]
    tenants_per_second: Option<f64>,
    #[serde(default)]
    seconds_left: Option<u64>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Counts {
    pending: u64,
    running: u64,
    done: u64,
    failed: u64,
    skipped: u64,
}

#[derive(Debug, Deserialize)]
struct Wave {
    state: String,
}

/// Waits until the rollout has ended or pauses, and tells how far it is meanwhile.
pub(super) async fn to_the_end(id: &str, client: &Client, output: Output) -> anyhow::Result<Outcome> {
    let path = format!("{PATH}/{id}");
    let mut bar = Bar::begin();
    let (rollout, answer) = loop {
        let answer = Client::patiently(true, async || client.get(&path, &[]).await).await?;
        let rollout = Rollout::deserialize(&answer)?;
        bar.tell(rollout.counts.settled(), rollout.counts.total(), &rollout.describe());
        if rollout.is_settled() {
            break (rollout, answer);
        }
        sleep(POLL).await;
    };
    drop(bar);
    show(&answer, output)?;
    if rollout.counts.failed > 0 {
        list_failed(&path, client, output).await?;
    }
    rollout.judge(id)
}

async fn list_failed(path: &str, client: &Client, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(());
    }
    let failed = [("state", "failed".to_owned())];
    let (items, next): (Vec<Value>, _) = client.items(&format!("{path}/tenants"), &failed, LISTED).await?;
    output::print(format_args!("\n{}", output::table(&items, &TENANTS)))?;
    if next.is_some() {
        output::note("There are more: freehold rollout status --tenants failed");
    }
    Ok(())
}

impl Counts {
    const fn settled(&self) -> u64 {
        self.done + self.failed + self.skipped
    }

    const fn total(&self) -> u64 {
        self.settled() + self.pending + self.running
    }
}

impl Rollout {
    /// Whether nothing more happens by itself.
    fn is_settled(&self) -> bool {
        !matches!(self.state.as_str(), "planned" | "running") && self.counts.running == 0
    }

    /// `wave 2 of 3, 1 failed, 48.5 a second, 12 s left`.
    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(waves) = &self.waves {
            let begun = waves.iter().filter(|wave| wave.state != "pending").count();
            parts.push(format!("wave {begun} of {}", waves.len()));
        }
        if self.counts.failed > 0 {
            parts.push(format!("{} failed", self.counts.failed));
        }
        if let Some(rate) = self.tenants_per_second {
            parts.push(format!("{rate:.1} a second"));
        }
        if let Some(seconds) = self.seconds_left {
            parts.push(format!("{seconds} s left"));
        }
        if parts.is_empty() { self.state.clone() } else { parts.join(", ") }
    }

    fn judge(&self, id: &str) -> anyhow::Result<Outcome> {
        let why = self.reason.as_deref().map(output::printable).unwrap_or_default();
        match self.state.as_str() {
            "succeeded" => Ok(Outcome::Success),
            "paused" => {
                bail!("the rollout {id} pauses: {why}; then: freehold rollout retry, resume, skip or abort {id}")
            }
            "failed" => bail!(
                "{} tenants failed, and serve as before; mend the cause, then: freehold rollout retry {id}",
                self.counts.failed
            ),
            state => bail!("the rollout {id} is {state}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(state: &str, running: u64, failed: u64) -> Rollout {
        let counts = json!({ "pending": 5, "running": running, "done": 3, "failed": failed, "skipped": 1 });
        let waves = json!([{ "state": "done" }, { "state": "running" }, { "state": "pending" }]);
        let told =
            json!({ "state": state, "counts": counts, "waves": waves, "tenants_per_second": 2.0, "seconds_left": 3 });
        Rollout::deserialize(told).unwrap()
    }

    #[test]
    fn how_far_it_is_is_told_in_a_line() {
        assert_eq!(rollout("running", 2, 0).describe(), "wave 2 of 3, 2.0 a second, 3 s left");
        assert_eq!(rollout("running", 2, 1).describe(), "wave 2 of 3, 1 failed, 2.0 a second, 3 s left");
        assert_eq!((rollout("running", 2, 1).counts.settled(), rollout("running", 2, 1).counts.total()), (5, 12));
    }

    #[test]
    fn a_rollout_is_waited_for_until_nothing_is_under_way() {
        assert!(!rollout("running", 0, 0).is_settled() && !rollout("paused", 1, 0).is_settled());
        assert!(rollout("paused", 0, 0).is_settled() && rollout("succeeded", 0, 0).is_settled());
        assert!(rollout("succeeded", 0, 0).judge("rol_1").is_ok() && rollout("failed", 0, 1).judge("rol_1").is_err());
    }
}
